#include "order.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "errors.h"

namespace fastload {
namespace {

constexpr uint64_t kMaxLanes = 65536;

using Wide = unsigned __int128;

uint64_t divide_up(uint64_t value, uint64_t by) { return value / by + (value % by != 0); }

uint64_t cost_of(const std::vector<uint64_t>& costs, uint64_t block) { return costs.empty() ? 1 : costs[block]; }

uint64_t rows_of_rank(uint64_t rows, const OrderOptions& options) {
  switch (options.ends) {
    case Ends::repeat:
      return divide_up(rows, options.world_size);
    case Ends::drop:
      return rows / options.world_size;
    case Ends::uneven:
      return rows > options.rank ? divide_up(rows - options.rank, options.world_size) : 0;
  }
  return 0;
}

}  // namespace

Order::Order(std::shared_ptr<const BlockIndex> index, const std::vector<uint64_t>& costs, const OrderOptions& options)
    : options_(options), index_(std::move(index)), line_(index_) {
  if (options_.lanes == 0 || options_.lanes > kMaxLanes)
    fail(Cause::argument,
         "an order has 1 to " + std::to_string(kMaxLanes) + " lanes, got " + std::to_string(options_.lanes));
  if (options_.rank >= options_.world_size)
    fail(Cause::argument, "rank must be below world_size (" + std::to_string(options_.world_size) + "), got " +
                              std::to_string(options_.rank));
  if (options_.first_position > total_rows())
    fail(Cause::argument, "an order of " + std::to_string(total_rows()) + " rows cannot begin at position " +
                              std::to_string(options_.first_position));
  key_ = mix64(mix64(options_.seed) ^ options_.epoch);
  lane_rows_ = total_rows() / options_.lanes;
  rows_ = rows_of_rank(total_rows() - options_.first_position, options_);
  uint64_t total_cost = costs.empty() ? index_->blocks() : std::accumulate(costs.begin(), costs.end(), uint64_t{0});
  const bool one_window = options_.window_bytes >= total_cost;
  if (options_.shuffle && (options_.lanes > 1 || !one_window)) arrange_line();
  if (one_window)
    cuts_ = {0, lane_rows_};
  else
    cuts_ = options_.lanes == 1 ? cut_one_lane(costs) : cut_lanes(costs);
  list_windows(costs);
}

// The blocks in an order of their own.
void Order::arrange_line() {
  const uint64_t blocks = index_->blocks();
  std::vector<uint64_t> images(blocks);
  Permutation(blocks, key_).apply(0, 1, blocks, images.data());
  line_blocks_.assign(images.begin(), images.end());
  index_line();
}

void Order::index_line() {
  std::vector<uint32_t> rows;
  rows.reserve(line_blocks_.size());
  for (const uint32_t block : line_blocks_)
    rows.push_back(static_cast<uint32_t>(index_->start(block + 1) - index_->start(block)));
  line_ = std::make_shared<const BlockIndex>(rows);
}

// As few windows of whole blocks as the budget allows, of about equal cost: a short last window would mix its rows
// badly.
std::vector<uint64_t> Order::cut_one_lane(const std::vector<uint64_t>& costs) {
  const uint64_t blocks = index_->blocks(), window_bytes = std::max<uint64_t>(1, options_.window_bytes);
  const auto block_at = [this](uint64_t i) {
    return line_blocks_.empty() ? static_cast<uint32_t>(i) : line_blocks_[i];
  };
  uint64_t total = 0;
  for (uint64_t i = 0; i < blocks; ++i) total += cost_of(costs, i);
  std::vector<uint64_t> firsts;  // blocks that windows begin with
  for (uint64_t wanted = divide_up(total, window_bytes);; wanted = firsts.size()) {
    firsts.clear();
    uint64_t spent = 0, window_cost = 0;
    for (uint64_t i = 0; i < blocks; ++i) {
      const uint64_t cost = cost_of(costs, block_at(i));
      const bool full = window_cost + cost > window_bytes;
      const bool enough = Wide{spent} * wanted >= Wide{total} * firsts.size() && firsts.size() < wanted;
      if (firsts.empty() || full || enough) {
        firsts.push_back(i);
        window_cost = 0;
      }
      window_cost += cost;
      spent += cost;
    }
    if (firsts.size() <= wanted) break;  // else whole blocks left a remnant over: share it out
  }
  if (!line_blocks_.empty()) {
    for (size_t w = 0; w < firsts.size(); ++w)
      std::sort(line_blocks_.begin() + static_cast<std::ptrdiff_t>(firsts[w]),
                w + 1 < firsts.size() ? line_blocks_.begin() + static_cast<std::ptrdiff_t>(firsts[w + 1])
                                      : line_blocks_.end());
    index_line();
  }
  std::vector<uint64_t> cuts;
  for (const uint64_t first : firsts) cuts.push_back(line_->start(first));
  cuts.push_back(total_rows());
  return cuts;
}

// Windows of equal rows, as many as it takes to keep the blocks they touch within the budget. One block of each lane
// may be too much already: whoever holds the blocks has to see to that.
std::vector<uint64_t> Order::cut_lanes(const std::vector<uint64_t>& costs) {
  std::vector<uint64_t> cost_before{0};  // of the first blocks of the line
  for (uint64_t i = 0; i < index_->blocks(); ++i)
    cost_before.push_back(cost_before.back() + cost_of(costs, line_blocks_.empty() ? i : line_blocks_[i]));
  const auto cost_between = [&](uint64_t first_row, uint64_t end_row) {
    return first_row < end_row
               ? cost_before[line_->locate(end_row - 1).block + 1] - cost_before[line_->locate(first_row).block]
               : 0;
  };
  const uint64_t window_bytes = std::max<uint64_t>(1, options_.window_bytes);
  const uint64_t finest = std::max<uint64_t>(1, std::min(lane_rows_, divide_up(index_->blocks(), options_.lanes)));
  for (uint64_t windows = std::min(finest, divide_up(cost_before.back(), window_bytes));;) {
    std::vector<uint64_t> cuts;
    for (uint64_t w = 0; w <= windows; ++w)
      cuts.push_back(lane_rows_ / windows * w + lane_rows_ % windows * w / windows);
    uint64_t largest = 0;
    for (uint64_t w = 0; w < windows; ++w) {
      uint64_t cost = 0;
      for (uint64_t lane = 0; lane < options_.lanes; ++lane)
        cost += cost_between(lane * lane_rows_ + cuts[w], lane * lane_rows_ + cuts[w + 1]);
      largest = std::max(largest, cost);
    }
    if (largest <= window_bytes || windows >= finest) return cuts;
    windows = std::min(finest, std::max(windows + 1, windows * (largest / window_bytes)));
  }
}

void Order::list_windows(const std::vector<uint64_t>& costs) {
  const uint64_t lanes = options_.lanes, ends_of_lanes = lane_rows_ * lanes;
  // The rank's first position at or after a global one.
  const auto local = [this](uint64_t position) {
    const uint64_t first = options_.first_position + options_.rank;
    return std::min(rows_, position <= first ? 0 : divide_up(position - first, options_.world_size));
  };
  const bool in_file_order = lanes == 1 && line_blocks_.empty();
  for (uint64_t number = 0; number <= number_of_windows(); ++number) {
    const bool is_last = number == number_of_windows();
    Window window;
    window.number = number;
    window.first_position = is_last ? local(ends_of_lanes) : local(cuts_[number] * lanes);
    window.rows = (is_last ? rows_ : local(cuts_[number + 1] * lanes)) - window.first_position;
    if (window.rows == 0) continue;
    window.first_load = loads();
    windows_.push_back(window);
    if (is_last) {
      std::set<uint64_t> blocks;  // of the line
      for (uint64_t i = 0; i < window.rows; ++i)
        blocks.insert(line_->locate(line_row(global(window.first_position + i) % total_rows())).block);
      for (const uint64_t block : blocks) add_load(block, costs);
    } else if (in_file_order) {  // loads_ would only count up
      const uint64_t first = index_->locate(cuts_[number]).block, last = index_->locate(cuts_[number + 1] - 1).block;
      if (windows_.size() == 1) first_counted_ = first;
      counted_loads_ += last + 1 - first;
      windows_.back().loads = last + 1 - first;
      for (uint64_t block = first; block <= last && !costs.empty(); ++block) windows_.back().cost_bytes += costs[block];
    } else {
      const uint64_t apart = std::gcd(lanes, options_.world_size);
      uint64_t next = 0;  // neighbouring lanes may share a block
      for (uint64_t lane = (options_.first_position + options_.rank) % apart; lane < lanes; lane += apart) {
        const uint64_t end = line_->locate(lane * lane_rows_ + cuts_[number + 1] - 1).block + 1;
        next = std::max<uint64_t>(next, line_->locate(lane * lane_rows_ + cuts_[number]).block);
        for (; next < end; ++next) add_load(next, costs);
      }
    }
  }
}

void Order::add_load(uint64_t block_of_line, const std::vector<uint64_t>& costs) {
  const uint32_t block = line_blocks_.empty() ? static_cast<uint32_t>(block_of_line) : line_blocks_[block_of_line];
  loads_.push_back(block);
  ++windows_.back().loads;
  windows_.back().cost_bytes += cost_of(costs, block);
}

uint64_t Order::global_after(uint64_t rows) const {
  return std::min(total_rows(), options_.first_position + std::min(rows, rows_) * options_.world_size);
}

uint64_t Order::window_at(uint64_t position) const {
  const auto after = std::upper_bound(windows_.begin(), windows_.end(), position,
                                      [](uint64_t p, const Window& w) { return p < w.first_position; });
  return static_cast<uint64_t>(after - windows_.begin()) - 1;
}

uint64_t Order::window_of_load(uint64_t load) const {
  const auto after = std::upper_bound(windows_.begin(), windows_.end(), load,
                                      [](uint64_t i, const Window& w) { return i < w.first_load; });
  return static_cast<uint64_t>(after - windows_.begin()) - 1;
}

Permutation Order::permutation(uint64_t number, uint64_t lane) const {
  return Permutation(cuts_[number + 1] - cuts_[number], mix64(key_ + 1 + number * options_.lanes + lane));
}

// The row of the line that is at this position of the whole order.
uint64_t Order::line_row(uint64_t position) const {
  if (position >= lane_rows_ * options_.lanes) return position;
  const uint64_t lane = position % options_.lanes, row = position / options_.lanes;
  const auto after = std::upper_bound(cuts_.begin(), cuts_.end(), row);
  const auto number = static_cast<uint64_t>(after - cuts_.begin()) - 1;
  uint64_t image = row - cuts_[number];
  if (options_.shuffle) permutation(number, lane).apply(image, 1, 1, &image);
  return lane * lane_rows_ + cuts_[number] + image;
}

void Order::locate(uint64_t window, uint64_t first_position, size_t count, RowRef* refs) const {
  const uint64_t number = windows_[window].number;
  if (number == number_of_windows()) {
    for (size_t i = 0; i < count; ++i) refs[i] = ref_of_line(line_row(global(first_position + i) % total_rows()));
    return;
  }
  constexpr size_t kChunk = 256;
  uint64_t rows[kChunk];
  // The rank's positions go round its lanes; in each of them they are equally far apart.
  const uint64_t apart = std::gcd(options_.lanes, options_.world_size);
  const uint64_t turn = options_.lanes / apart, step = options_.world_size / apart;
  for (uint64_t i = 0; i < std::min<uint64_t>(turn, count); ++i) {
    const uint64_t position = global(first_position + i), lane = position % options_.lanes;
    const uint64_t first = position / options_.lanes - cuts_[number], base = lane * lane_rows_ + cuts_[number];
    const uint64_t total = divide_up(count - i, turn);
    Permutation permutation;
    if (options_.shuffle) permutation = this->permutation(number, lane);
    for (uint64_t done = 0; done < total; done += kChunk) {
      const size_t n = std::min<uint64_t>(kChunk, total - done);
      if (options_.shuffle)
        permutation.apply(first + done * step, step, n, rows);
      else
        for (size_t j = 0; j < n; ++j) rows[j] = first + (done + j) * step;
      for (size_t j = 0; j < n; ++j) refs[i + (done + j) * turn] = ref_of_line(base + rows[j]);
    }
  }
}

}  // namespace fastload
