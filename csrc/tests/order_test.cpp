#include "order.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "check.h"
#include "fixtures.h"

namespace fastload::test {
namespace {

struct Blocks {
  std::vector<uint32_t> rows;
  std::vector<uint64_t> costs;
};

Blocks some_blocks(uint32_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  Blocks blocks;
  for (uint32_t i = 0; i < count; ++i) {
    blocks.rows.push_back(1 + static_cast<uint32_t>(random() % 40));
    blocks.costs.push_back(1 + random() % 1000);
  }
  return blocks;
}

// All rows in the order of their positions.
std::vector<RowRef> locate_all(const Order& order) {
  std::vector<RowRef> refs(order.rows());
  for (uint64_t w = 0; w < order.windows().size(); ++w) {
    const Window& window = order.windows()[w];
    order.locate(w, window.first_position, window.rows, refs.data() + window.first_position);
  }
  return refs;
}

void check_every_row_once(const Order& order, const Blocks& blocks, const std::vector<uint32_t>& taking_part) {
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (const RowRef& ref : locate_all(order)) {
    CHECK(ref.block < blocks.rows.size());
    CHECK(ref.row < blocks.rows[ref.block]);
    CHECK(seen.insert({ref.block, ref.row}).second);
  }
  uint64_t expected = 0;
  for (const uint32_t block : taking_part) expected += blocks.rows[block];
  CHECK_EQ(seen.size(), expected);
  for (const auto& [block, row] : seen) CHECK(std::count(taking_part.begin(), taking_part.end(), block) == 1);
}

}  // namespace

TEST(every_row_comes_once_however_the_blocks_are_cut) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Blocks blocks = some_blocks(1 + static_cast<uint32_t>(seed), seed);
    std::vector<uint32_t> all(blocks.rows.size()), some;
    std::iota(all.begin(), all.end(), 0u);
    for (const uint32_t block : all)
      if (block % 3 != 1) some.push_back(block);
    for (const bool shuffle : {false, true})
      for (const uint64_t window_bytes : {uint64_t{1}, uint64_t{1500}, uint64_t{5000}, UINT64_MAX}) {
        OrderOptions options;
        options.shuffle = shuffle;
        options.seed = seed;
        options.window_bytes = window_bytes;
        check_every_row_once(Order(blocks.rows, blocks.costs, options), blocks, all);
        options.blocks = some;
        check_every_row_once(Order(blocks.rows, blocks.costs, options), blocks, some);
      }
  }
}

TEST(windows_keep_their_budget_and_are_even) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const Blocks blocks = some_blocks(100, seed);
    OrderOptions options;
    options.shuffle = seed % 2;
    options.window_bytes = 900 + seed * 200;
    const Order order(blocks.rows, blocks.costs, options);
    uint64_t next_block = 0, next_position = 0, largest = 0;
    for (const Window& window : order.windows()) {
      CHECK_EQ(window.first_block, next_block);
      CHECK_EQ(window.first_position, next_position);
      CHECK(window.blocks > 0);
      CHECK(window.cost_bytes <= options.window_bytes || window.blocks == 1);
      for (uint64_t i = 0; i < window.blocks; ++i)
        CHECK_EQ(order.window_of_block(next_block + i), order.window_at(next_position));
      next_block += window.blocks;
      next_position += window.rows;
      largest = std::max(largest, window.cost_bytes);
    }
    CHECK_EQ(next_block, order.sequence().size());
    CHECK_EQ(next_position, order.rows());
    // The last one is no remnant, which would mix its rows badly.
    if (options.window_bytes > 5000) CHECK(order.windows().back().cost_bytes * 2 >= largest);
  }
}

TEST(without_shuffling_rows_come_as_they_lie) {
  const Blocks blocks = some_blocks(30, 9);
  for (const uint64_t window_bytes : {uint64_t{1}, uint64_t{2000}, UINT64_MAX}) {
    OrderOptions options;
    options.window_bytes = window_bytes;
    RowRef expected{0, 0};
    for (const RowRef& ref : locate_all(Order(blocks.rows, blocks.costs, options))) {
      CHECK(ref.block == expected.block && ref.row == expected.row);
      if (++expected.row == blocks.rows[expected.block]) expected = {expected.block + 1, 0};
    }
  }
}

TEST(a_range_of_positions_is_a_range_of_the_whole) {
  const Blocks blocks = some_blocks(50, 4);
  OrderOptions options;
  options.shuffle = true;
  options.window_bytes = 6000;
  const Order order(blocks.rows, blocks.costs, options);
  const std::vector<RowRef> whole = locate_all(order);
  for (uint64_t position = 0; position < order.rows(); position += 7) {
    const uint64_t w = order.window_at(position);
    const Window& window = order.windows()[w];
    CHECK(position >= window.first_position && position < window.first_position + window.rows);
    std::vector<RowRef> part(std::min<uint64_t>(11, window.first_position + window.rows - position));
    order.locate(w, position, part.size(), part.data());
    for (size_t i = 0; i < part.size(); ++i)
      CHECK(part[i].block == whole[position + i].block && part[i].row == whole[position + i].row);
  }
}

TEST(seed_and_epoch_make_the_order) {
  const Blocks blocks = some_blocks(20, 1);
  const auto rows_of = [&](uint64_t seed, uint64_t epoch) {
    OrderOptions options;
    options.shuffle = true;
    options.seed = seed;
    options.epoch = epoch;
    std::vector<uint64_t> rows;
    for (const RowRef& ref : locate_all(Order(blocks.rows, blocks.costs, options)))
      rows.push_back(uint64_t{ref.block} << 32 | ref.row);
    return rows;
  };
  CHECK(rows_of(1, 0) == rows_of(1, 0));
  CHECK(rows_of(1, 0) != rows_of(1, 1));
  CHECK(rows_of(1, 0) != rows_of(2, 0));
  CHECK(rows_of(1, 2) != rows_of(2, 1));
}

TEST(an_order_of_nothing_has_no_rows) {
  const Order order({}, {}, OrderOptions{});
  CHECK_EQ(order.rows(), uint64_t{0});
  CHECK(order.windows().empty());
}

// A budget of no bytes still lets one block at a time through.
TEST(a_window_of_no_bytes_holds_one_block) {
  const Blocks blocks = some_blocks(5, 2);
  OrderOptions options;
  options.window_bytes = 0;
  CHECK_EQ(Order(blocks.rows, blocks.costs, options).windows().size(), size_t{5});
}

TEST(a_block_that_is_not_there_is_refused) {
  const Blocks blocks = some_blocks(5, 2);
  OrderOptions options;
  options.blocks = {0, 5};
  CHECK_ERROR(Cause::argument, {"block 5"}, Order(blocks.rows, blocks.costs, options));
}

}  // namespace fastload::test
