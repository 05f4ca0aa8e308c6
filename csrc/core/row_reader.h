// Random access: any rows, in any order, now.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "block_store.h"
#include "gather.h"

namespace fastload {

// Thread-safe. Decoded blocks are kept within `memory_bytes`, and each call holds at most so much while it copies rows:
// where the rows lie in more blocks, it takes them in turns.
class RowReader {
 public:
  // In a forked child the last reference leaves the reader in memory: threads that are not there may wait in its cache.
  static std::shared_ptr<RowReader> create(std::shared_ptr<const Source> source, uint64_t memory_bytes);

  // rows : row numbers of the source. padding, draw_key : see BatchBuilder. columns : null, the fields as they are.
  // What it takes is added to `costs`, if given.
  Batch read(const uint64_t* rows, size_t count, const std::vector<Padding>& padding, ReadCosts* costs = nullptr,
             std::shared_ptr<const BatchColumns> columns = nullptr, uint64_t draw_key = 0);
  const std::vector<FieldSpec>& fields() const { return source_->fields(); }

 private:
  RowReader(std::shared_ptr<const Source> source, uint64_t memory_bytes);
  RowRef locate(uint64_t row) const;

  std::shared_ptr<const Source> source_;
  const std::shared_ptr<const BatchColumns> as_they_are_;
  const BlockIndex index_;
  const uint64_t memory_bytes_;
  const int owner_process_;
  BlockCache cache_;
  std::shared_ptr<BufferPool> pool_;
};

}  // namespace fastload
