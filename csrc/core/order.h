// Which row comes when: a pure function of (seed, epoch, position).
//
//   blocks in file order       B0 B1 B2 B3 B4 B5 B6 B7
//   permuted by (seed, epoch)  B5 B0 | B7 B2 | B6 B1 | B3 B4     cut into windows of at most `window_bytes`,
//   the sequence               B0 B5 | B2 B7 | B1 B6 | B3 B4     inside which blocks are read in file order
//   rows permuted inside each window; position p is the p-th row of that
//
// One window as large as the data is a true permutation. Without shuffling both permutations are the identity.
#pragma once

#include <cstdint>
#include <vector>

#include "permutation.h"

namespace fastload {

struct RowRef {
  uint32_t block;  // of the source
  uint32_t row;    // inside the block
};

struct Window {
  uint64_t first_position = 0, rows = 0;
  uint64_t first_block = 0, blocks = 0;  // a range of Order::sequence()
  uint64_t cost_bytes = 0;
};

struct OrderOptions {
  bool shuffle = false;
  uint64_t seed = 0, epoch = 0;
  uint64_t window_bytes = UINT64_MAX;  // what does not fit a window has one of its own
  std::vector<uint32_t> blocks;        // the blocks taking part; empty means all
};

// Thread-safe once made. Memory: O(blocks).
class Order {
 public:
  // block_rows, block_cost_bytes : one entry per block of the source. Throws if options.blocks names one that is not.
  Order(const std::vector<uint32_t>& block_rows, const std::vector<uint64_t>& block_cost_bytes,
        const OrderOptions& options);

  uint64_t rows() const { return starts_.back(); }
  const std::vector<uint32_t>& sequence() const { return sequence_; }
  const std::vector<Window>& windows() const { return windows_; }
  uint64_t window_at(uint64_t position) const;
  uint64_t window_of_block(uint64_t sequence_index) const { return block_window_[sequence_index]; }
  // refs[i] = the row at first_position + i; the range must lie inside one window.
  void locate(uint64_t window, uint64_t first_position, size_t count, RowRef* refs) const;

 private:
  void cut_windows(const std::vector<uint64_t>& block_cost_bytes, uint64_t window_bytes);
  void index_rows(const std::vector<uint32_t>& block_rows);

  std::vector<uint32_t> sequence_;
  std::vector<uint64_t> starts_;  // position of the first row of each block of the sequence, and the end
  std::vector<uint32_t> block_window_;
  std::vector<uint32_t> bucket_block_;  // block that holds row (i << bucket_shift_) of the sequence
  int bucket_shift_ = 0;
  std::vector<Window> windows_;
  std::vector<Permutation> permutations_;  // one per window, none without shuffling
};

}  // namespace fastload
