// Where a row lies: the number of its block, and its place in it.
#pragma once

#include <cstdint>
#include <vector>

namespace fastload {

struct RowRef {
  uint32_t block;
  uint32_t row;  // inside the block
};

// Rows numbered through a list of blocks. Thread-safe once made. Equal blocks (the last one may be shorter) cost no
// memory and one multiplication a row; others O(blocks) of memory and about one step.
class BlockIndex {
 public:
  BlockIndex() = default;
  explicit BlockIndex(const std::vector<uint32_t>& block_rows);
  BlockIndex(uint64_t rows, uint32_t block_rows);  // equal blocks

  uint64_t rows() const { return rows_; }
  uint64_t blocks() const { return blocks_; }
  uint64_t start(uint64_t block) const {  // of block == blocks(): rows()
    if (!starts_.empty()) return starts_[block];
    return block == blocks_ ? rows_ : block * block_rows_;
  }
  RowRef locate(uint64_t row) const {  // row < rows()
    if (starts_.empty()) {
      const auto block =
          static_cast<uint32_t>(reciprocal_ ? static_cast<unsigned __int128>(row) * reciprocal_ >> 64 : row);
      return {block, static_cast<uint32_t>(row - uint64_t{block} * block_rows_)};
    }
    uint32_t block = buckets_[row >> bucket_shift_];
    while (starts_[block + 1] <= row) ++block;
    return {block, static_cast<uint32_t>(row - starts_[block])};
  }

 private:
  bool make_equal(uint64_t rows, uint64_t block_rows);

  uint64_t rows_ = 0, blocks_ = 0;
  uint64_t block_rows_ = 1;
  uint64_t reciprocal_ = 0;  // 2^64 / block_rows_, rounded up; 0 for blocks of one row
  std::vector<uint64_t> starts_;
  std::vector<uint32_t> buckets_;  // block that holds row (i << bucket_shift_)
  int bucket_shift_ = 0;
};

}  // namespace fastload
