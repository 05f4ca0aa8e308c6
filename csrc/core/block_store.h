// Decoded blocks in memory, within a budget.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "buffer.h"
#include "gather.h"
#include "order.h"
#include "source.h"

namespace fastload {

enum class BlockState : uint8_t { empty, loading, ready, bad };

// The blocks of a source, at places fixed beforehand in one piece of memory on huge pages. Two uses:
// resident: every block has its own place, and stays (the data fit the budget);
// rotating: the windows of an order take turns in arenas of the size of the largest window.
// Not thread-safe by itself: states belong to whoever holds the engine's lock; load() of one block is one thread's.
class BlockStore {
 public:
  static std::unique_ptr<BlockStore> resident(const Source& source);
  // At most `max_arenas`, and no more than fit `memory_bytes`, but always one. Their memory is the pool's.
  static std::unique_ptr<BlockStore> rotating(const Source& source, const Order& order, uint64_t max_arenas,
                                              uint64_t memory_bytes, BufferPool& pool);

  uint64_t arenas() const { return arenas_; }  // windows that have a place at the same time
  bool rotates() const { return arenas_ != UINT64_MAX; }

  BlockState state(uint32_t block) const { return states_[block]; }
  void set_state(uint32_t block, BlockState state);
  bool is_there(uint32_t block) const { return states_[block] >= BlockState::ready; }
  // A block that cannot be loaded is there, too: all its rows are zeros and empty, and whoever meets one asks for the
  // error.
  void set_bad(uint32_t block, std::exception_ptr error);
  void forget_bad_blocks();  // they may be tried anew: nobody looks at their rows
  bool has_bad_blocks() const { return !errors_.empty(); }
  std::exception_ptr error(uint32_t block) const { return errors_.at(block); }
  // Blocks of a window that is over make room: they are empty again.
  void release(const Order& order, const Window& window);
  // load : the number of this load in the order; a block that two windows share is loaded for each.
  void load(uint32_t block, uint64_t load, LoadScratch& scratch) {
    source_.load(block, memory_->data() + places_[rotates() ? load : block], scratch, views(block));
  }

  const FieldRows* views() const { return views_.data(); }
  uint64_t size_bytes() const { return memory_->size_bytes(); }

 private:
  explicit BlockStore(const Source& source);
  FieldRows* views(uint32_t block) { return views_.data() + block * source_.fields().size(); }

  const Source& source_;
  std::vector<uint64_t> places_;  // in memory_, per block, or per load where windows take turns
  std::shared_ptr<Buffer> memory_;
  std::vector<BlockState> states_;
  BlockViews views_;
  std::unordered_map<uint32_t, std::exception_ptr> errors_;  // of bad blocks
  std::vector<uint8_t> zeros_;                               // what their rows are made of
  uint64_t arenas_ = UINT64_MAX;
};

// A block decoded for random access, kept alive by its users.
struct CachedBlock {
  Buffer memory;
  std::vector<FieldRows> views;
};

// The most recently used blocks of a source, up to `memory_bytes` (and always the one being used). Thread-safe: several
// threads may decode different blocks at once; one asking for a block that another is decoding waits for it.
class BlockCache {
 public:
  BlockCache(const Source& source, uint64_t memory_bytes) : source_(source), memory_bytes_(memory_bytes) {}
  // What it takes to load the block, if that is to be done, is added to `costs`, if given.
  std::shared_ptr<const CachedBlock> get(uint32_t block, ReadCosts* costs = nullptr);

 private:
  struct Entry {
    std::shared_ptr<const CachedBlock> cached;  // null while it is being decoded
    std::list<uint32_t>::iterator recency;
    uint64_t size_bytes = 0;
  };
  void make_room(uint64_t size_bytes);

  const Source& source_;
  const uint64_t memory_bytes_;
  std::mutex mutex_;
  std::condition_variable decoded_;
  std::unordered_map<uint32_t, Entry> entries_;
  std::list<uint32_t> recency_;  // first: used last
  uint64_t used_bytes_ = 0;
};

}  // namespace fastload
