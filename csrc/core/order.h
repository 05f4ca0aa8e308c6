// Which row comes when: a pure function of (seed, epoch, position), and which of the positions are a rank's.
//
//   blocks in file order       B0 B1 B2 B3 B4 B5 B6 B7
//   permuted by (seed, epoch)  B5 B0 B7 B2 B6 B1 B3 B4           the line: all rows, block after block
//   cut into lanes             B5 B0 B7 B2 | B6 B1 B3 B4         of `lane_rows` rows each (here two lanes)
//   and into windows           B5 B0 : B7 B2 | B6 B1 : B3 B4     the same rows of every lane, of `window_bytes`
//   together rows permuted inside each window of a lane
//
// Position p is row p / lanes of lane p mod lanes; the rows that are left over when a lane is as long as the others
// (fewer than `lanes`) come last. Rank r of W takes the positions p = first_position + r + q * W; where W divides the
// number of lanes these lie in one lane out of W, and a rank needs the blocks of its lanes only. The order depends on
// the lanes, never on the ranks. One lane is cut at the borders of blocks, and its windows hold their blocks in file
// order; with one window as large as the data that is a true permutation. Several lanes are cut anywhere: a block at a
// border belongs to both sides. Without shuffling all permutations are the identity.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "block_index.h"
#include "permutation.h"

namespace fastload {

// Positions of a rank, all of one window. What is said of blocks is a range of Order's loads.
struct Window {
  uint64_t first_position = 0, rows = 0;  // counted in the rank's own positions
  uint64_t first_load = 0, loads = 0;
  uint64_t cost_bytes = 0;
  uint64_t number = 0;  // in the whole order
};

// What happens where the rows left do not come out even among the ranks.
enum class Ends : uint8_t {
  repeat,  // ranks that would have one row less get one from the beginning of the order
  drop,    // ranks that would have one more do not get it
  uneven,  // some ranks have one row more
};

struct OrderOptions {
  bool shuffle = false;
  uint64_t seed = 0, epoch = 0;
  uint64_t window_bytes = UINT64_MAX;  // what does not fit a window has one of its own
  uint64_t lanes = 1;
  uint64_t rank = 0, world_size = 1;
  Ends ends = Ends::repeat;
  uint64_t first_position = 0;  // in the whole order
};

// Thread-safe once made. Memory: a true permutation of one lane costs nothing beyond the index; lanes and windows that
// are shuffled O(blocks).
class Order {
 public:
  // block_cost_bytes : one entry per block, or none: each costs 1.
  Order(std::shared_ptr<const BlockIndex> index, const std::vector<uint64_t>& block_cost_bytes,
        const OrderOptions& options);

  uint64_t total_rows() const { return index_->rows(); }  // of the whole order
  uint64_t rows() const { return rows_; }                 // of the rank, repeated ones included
  bool is_repeated(uint64_t position) const { return global(position) >= total_rows(); }
  // Rows of the whole order that all ranks have had when each has had `rows`.
  uint64_t global_after(uint64_t rows) const;

  const std::vector<Window>& windows() const { return windows_; }
  uint64_t window_at(uint64_t position) const;
  // The blocks to load, window by window.
  uint64_t loads() const { return counted_loads_ + loads_.size(); }
  uint32_t block_of_load(uint64_t load) const {
    return load < counted_loads_ ? static_cast<uint32_t>(first_counted_ + load) : loads_[load - counted_loads_];
  }
  uint64_t window_of_load(uint64_t load) const;
  // refs[i] = the row at first_position + i; the range must lie inside one window.
  void locate(uint64_t window, uint64_t first_position, size_t count, RowRef* refs) const;
  uint64_t row_number(RowRef ref) const { return index_->start(ref.block) + ref.row; }

 private:
  uint64_t global(uint64_t position) const {
    return options_.first_position + options_.rank + position * options_.world_size;
  }
  std::vector<uint64_t> cut_one_lane(const std::vector<uint64_t>& costs);
  std::vector<uint64_t> cut_lanes(const std::vector<uint64_t>& costs);
  void arrange_line();
  void index_line();
  void list_windows(const std::vector<uint64_t>& costs);
  void add_load(uint64_t block_of_line, const std::vector<uint64_t>& costs);
  uint64_t number_of_windows() const { return cuts_.size() - 1; }
  Permutation permutation(uint64_t window, uint64_t lane) const;
  uint64_t line_row(uint64_t global_position) const;
  RowRef ref_of_line(uint64_t row) const {
    const RowRef ref = line_->locate(row);
    return {line_blocks_.empty() ? ref.block : line_blocks_[ref.block], ref.row};
  }

  const OrderOptions options_;
  const std::shared_ptr<const BlockIndex> index_;  // file order
  std::shared_ptr<const BlockIndex> line_;
  std::vector<uint32_t> line_blocks_;  // empty: file order
  uint64_t key_ = 0;
  uint64_t lane_rows_ = 0, rows_ = 0;
  std::vector<uint64_t> cuts_;  // window w holds the rows cuts_[w] .. cuts_[w + 1] of every lane
  std::vector<Window> windows_;
  uint64_t first_counted_ = 0, counted_loads_ = 0;  // blocks in file order, which come before ...
  std::vector<uint32_t> loads_;                     // ... those that have to be listed
};

}  // namespace fastload
