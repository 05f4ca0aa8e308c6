#include "order.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "errors.h"

namespace fastload {

Order::Order(const std::vector<uint32_t>& block_rows, const std::vector<uint64_t>& block_cost_bytes,
             const OrderOptions& options) {
  std::vector<uint32_t> blocks = options.blocks;
  if (blocks.empty()) {
    blocks.resize(block_rows.size());
    std::iota(blocks.begin(), blocks.end(), 0u);
  }
  for (const uint32_t block : blocks)
    if (block >= block_rows.size())
      fail(Cause::argument, "block " + std::to_string(block) + " was asked for; there are " +
                                std::to_string(block_rows.size()) + " blocks");
  sequence_ = blocks;
  const uint64_t key = mix64(mix64(options.seed) ^ options.epoch);
  if (options.shuffle) {
    std::vector<uint64_t> images(blocks.size());
    Permutation(blocks.size(), key).apply(0, blocks.size(), images.data());
    for (size_t i = 0; i < blocks.size(); ++i) sequence_[i] = blocks[images[i]];
  }
  cut_windows(block_cost_bytes, std::max<uint64_t>(1, options.window_bytes));
  index_rows(block_rows);
  if (options.shuffle)
    for (size_t w = 0; w < windows_.size(); ++w) permutations_.emplace_back(windows_[w].rows, mix64(key + w + 1));
}

// As few windows as the budget allows, of about equal cost: a short last window would mix its rows badly.
void Order::cut_windows(const std::vector<uint64_t>& block_cost_bytes, uint64_t window_bytes) {
  uint64_t total = 0;
  for (uint32_t block : sequence_) total += block_cost_bytes[block];
  uint64_t wanted = window_bytes >= total ? 1 : (total + window_bytes - 1) / window_bytes;
  for (;;) {
    uint64_t spent = 0;
    for (size_t i = 0; i < sequence_.size(); ++i) {
      const uint64_t cost = block_cost_bytes[sequence_[i]];
      const bool full = !windows_.empty() && windows_.back().cost_bytes + cost > window_bytes;
      const bool enough = spent >= total / wanted * windows_.size() && windows_.size() < wanted;
      if (windows_.empty() || full || enough) {
        windows_.emplace_back();
        windows_.back().first_block = i;
      }
      ++windows_.back().blocks;
      windows_.back().cost_bytes += cost;
      block_window_.push_back(static_cast<uint32_t>(windows_.size() - 1));
      spent += cost;
    }
    if (windows_.size() <= wanted) return;
    wanted = windows_.size();  // whole blocks did not fill the windows: a remnant was left over, so share it out
    windows_.clear();
    block_window_.clear();
  }
}

void Order::index_rows(const std::vector<uint32_t>& block_rows) {
  starts_.reserve(sequence_.size() + 1);
  starts_.push_back(0);
  for (Window& window : windows_) {
    const auto first = sequence_.begin() + static_cast<std::ptrdiff_t>(window.first_block);
    std::sort(first, first + static_cast<std::ptrdiff_t>(window.blocks));
    window.first_position = starts_.back();
    for (uint64_t i = 0; i < window.blocks; ++i) starts_.push_back(starts_.back() + block_rows[first[i]]);
    window.rows = starts_.back() - window.first_position;
  }
  if (rows() == 0) return;
  const uint64_t bucket_rows = std::max<uint64_t>(1, rows() / sequence_.size() / 2);
  while ((uint64_t{2} << bucket_shift_) <= bucket_rows) ++bucket_shift_;
  uint32_t block = 0;
  for (uint64_t row = 0; row < rows(); row += uint64_t{1} << bucket_shift_) {
    while (starts_[block + 1] <= row) ++block;
    bucket_block_.push_back(block);
  }
}

uint64_t Order::window_at(uint64_t position) const {
  const auto after = std::upper_bound(windows_.begin(), windows_.end(), position,
                                      [](uint64_t p, const Window& w) { return p < w.first_position; });
  return static_cast<uint64_t>(after - windows_.begin()) - 1;
}

void Order::locate(uint64_t window, uint64_t first_position, size_t count, RowRef* refs) const {
  constexpr size_t kChunk = 256;
  uint64_t rows[kChunk];
  const uint64_t base = windows_[window].first_position;
  for (size_t done = 0; done < count;) {
    const size_t n = std::min(kChunk, count - done);
    if (permutations_.empty())
      std::iota(rows, rows + n, first_position + done - base);
    else
      permutations_[window].apply(first_position + done - base, n, rows);
    for (size_t i = 0; i < n; ++i) {
      const uint64_t row = base + rows[i];
      uint32_t block = bucket_block_[row >> bucket_shift_];
      while (starts_[block + 1] <= row) ++block;
      refs[done + i] = {sequence_[block], static_cast<uint32_t>(row - starts_[block])};
    }
    done += n;
  }
}

}  // namespace fastload
