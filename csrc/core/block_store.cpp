#include "block_store.h"

#include <algorithm>

namespace fastload {

BlockStore::BlockStore(const Source& source)
    : source_(source),
      states_(source.block_rows().size(), BlockState::empty),
      views_(source.block_rows().size() * source.fields().size()) {}

std::unique_ptr<BlockStore> BlockStore::resident(const Source& source) {
  std::unique_ptr<BlockStore> store(new BlockStore(source));
  uint64_t end = 0;
  for (uint32_t block = 0; block < source.block_rows().size(); ++block) {
    store->places_.push_back(end);
    end += source.decoded_bytes(block);
  }
  store->memory_ = std::make_shared<Buffer>(end);
  return store;
}

std::unique_ptr<BlockStore> BlockStore::rotating(const Source& source, const Order& order, uint64_t max_arenas,
                                                 uint64_t memory_bytes, BufferPool& pool) {
  std::unique_ptr<BlockStore> store(new BlockStore(source));
  uint64_t arena_bytes = 0;
  for (const Window& window : order.windows()) {
    uint64_t bytes = 0;
    for (uint64_t i = window.first_load; i < window.first_load + window.loads; ++i)
      bytes += source.decoded_bytes(order.block_of_load(i));
    arena_bytes = std::max(arena_bytes, bytes);
  }
  const uint64_t fitting = arena_bytes ? memory_bytes / arena_bytes : max_arenas;
  const uint64_t arenas = std::max<uint64_t>(1, std::min<uint64_t>({max_arenas, fitting, order.windows().size()}));
  for (size_t w = 0; w < order.windows().size(); ++w) {
    const Window& window = order.windows()[w];
    uint64_t end = w % arenas * arena_bytes;
    for (uint64_t i = window.first_load; i < window.first_load + window.loads; ++i) {
      store->places_.push_back(end);
      end += source.decoded_bytes(order.block_of_load(i));
    }
  }
  const uint64_t needed =
      arenas * arena_bytes;  // close to the budget: take all of it, and the next order's fits as well
  store->memory_ = pool.take(needed > memory_bytes / 2 ? std::max(needed, memory_bytes) : needed);
  store->arenas_ = arenas;
  return store;
}

void BlockStore::release(const Order& order, const Window& window) {
  for (uint64_t i = window.first_load; i < window.first_load + window.loads; ++i)
    set_state(order.block_of_load(i), BlockState::empty);
}

void BlockStore::set_state(uint32_t block, BlockState state) {
  if (states_[block] == BlockState::bad) errors_.erase(block);
  states_[block] = state;
}

void BlockStore::forget_bad_blocks() {
  for (const auto& [block, error] : errors_) states_[block] = BlockState::empty;
  errors_.clear();
}

void BlockStore::set_bad(uint32_t block, std::exception_ptr error) {
  if (zeros_.empty()) {
    size_t needed = 0;  // a row of a fixed field, or the offsets of a ragged one
    for (const FieldSpec& spec : source_.fields()) needed = std::max<size_t>(needed, spec.row_bytes());
    for (const uint64_t rows : source_.block_rows()) needed = std::max<size_t>(needed, sizeof(int64_t) * (rows + 1));
    zeros_.resize(needed);
  }
  for (size_t f = 0; f < source_.fields().size(); ++f) {
    FieldRows& rows = views(block)[f] = FieldRows();
    rows.data = zeros_.data();
    if (source_.fields()[f].is_ragged()) rows.offsets64 = reinterpret_cast<const int64_t*>(zeros_.data());
  }
  errors_.emplace(block, std::move(error));
  states_[block] = BlockState::bad;
}

std::shared_ptr<const CachedBlock> BlockCache::get(uint32_t block, ReadCosts* costs) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    const auto found = entries_.find(block);
    if (found == entries_.end()) break;
    if (found->second.cached) {
      recency_.splice(recency_.begin(), recency_, found->second.recency);
      return found->second.cached;
    }
    decoded_.wait(lock);
  }
  const uint64_t size_bytes = source_.decoded_bytes(block);
  make_room(size_bytes);
  std::list<uint32_t> first{block};
  entries_.emplace(block, Entry{nullptr, first.begin(), size_bytes});
  recency_.splice(recency_.begin(), first);  // cannot throw: both know the block, or neither
  used_bytes_ += size_bytes;
  lock.unlock();
  std::shared_ptr<CachedBlock> cached;
  try {
    cached = std::make_shared<CachedBlock>();
    cached->memory = Buffer(size_bytes);
    cached->views.resize(source_.fields().size());
    LoadScratch scratch;
    source_.load(block, cached->memory.data(), scratch, cached->views.data());
    if (costs) {
      costs->times += scratch.times;
      costs->blocks_loaded += 1;
      costs->stored_bytes += source_.stored_bytes(block);
    }
  } catch (...) {
    lock.lock();
    recency_.erase(entries_[block].recency);
    entries_.erase(block);
    used_bytes_ -= size_bytes;
    decoded_.notify_all();
    throw;
  }
  lock.lock();
  entries_[block].cached = cached;
  decoded_.notify_all();
  return cached;
}

void BlockCache::make_room(uint64_t size_bytes) {
  for (auto at = recency_.end(); at != recency_.begin() && used_bytes_ + size_bytes > memory_bytes_;) {
    --at;
    const auto entry = entries_.find(*at);
    if (!entry->second.cached) continue;  // being decoded
    used_bytes_ -= entry->second.size_bytes;
    entries_.erase(entry);
    at = recency_.erase(at);
  }
}

}  // namespace fastload
