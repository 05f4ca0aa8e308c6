#include "block_index.h"

#include <algorithm>
#include <string>

#include "errors.h"

namespace fastload {

BlockIndex::BlockIndex(const std::vector<uint32_t>& block_rows) : blocks_(block_rows.size()) {
  bool equal = true;
  for (size_t i = 0; i < block_rows.size(); ++i) {
    rows_ += block_rows[i];
    equal = equal && (i + 1 < block_rows.size() ? block_rows[i] == block_rows[0] : block_rows[i] <= block_rows[0]);
  }
  if (rows_ == 0 || (equal && make_equal(rows_, block_rows[0]))) return;
  starts_.reserve(blocks_ + 1);
  starts_.push_back(0);
  for (const uint32_t rows : block_rows) starts_.push_back(starts_.back() + rows);
  const uint64_t bucket_rows = std::max<uint64_t>(1, rows_ / blocks_ / 2);
  while ((uint64_t{2} << bucket_shift_) <= bucket_rows) ++bucket_shift_;
  uint32_t block = 0;
  for (uint64_t row = 0; row < rows_; row += uint64_t{1} << bucket_shift_) {
    while (starts_[block + 1] <= row) ++block;
    buckets_.push_back(block);
  }
}

BlockIndex::BlockIndex(uint64_t rows, uint32_t block_rows) : rows_(rows) {
  if (block_rows == 0) fail(Cause::argument, "blocks must have rows, got 0 a block");
  blocks_ = (rows + block_rows - 1) / block_rows;
  if (!make_equal(rows, block_rows))
    fail(Cause::argument,
         std::to_string(rows) + " rows in blocks of " + std::to_string(block_rows) + " are more than can be numbered");
}

// The product with the reciprocal is exact while rows * block_rows < 2^64: its error is below row * block_rows / 2^64.
bool BlockIndex::make_equal(uint64_t rows, uint64_t block_rows) {
  uint64_t product;
  if (block_rows == 0 || __builtin_mul_overflow(rows, block_rows, &product)) return false;
  block_rows_ = block_rows;
  reciprocal_ = block_rows == 1 ? 0 : UINT64_MAX / block_rows + 1;
  return true;
}

}  // namespace fastload
