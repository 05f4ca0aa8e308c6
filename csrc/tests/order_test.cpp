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

Order make_order(const Blocks& blocks, const OrderOptions& options) {
  return Order(std::make_shared<const BlockIndex>(blocks.rows), blocks.costs, options);
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

std::vector<uint64_t> numbers_of(const Order& order) {
  std::vector<uint64_t> numbers;
  for (const RowRef& ref : locate_all(order)) numbers.push_back(order.row_number(ref));
  return numbers;
}

void check_every_row_once(const Order& order, const Blocks& blocks) {
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (const RowRef& ref : locate_all(order)) {
    CHECK(ref.block < blocks.rows.size());
    CHECK(ref.row < blocks.rows[ref.block]);
    CHECK(seen.insert({ref.block, ref.row}).second);
  }
  uint64_t expected = 0;
  for (const uint32_t rows : blocks.rows) expected += rows;
  CHECK_EQ(seen.size(), expected);
}

// Every window loads the blocks that its rows lie in.
void check_loads(const Order& order) {
  uint64_t next_load = 0, next_position = 0;
  for (uint64_t w = 0; w < order.windows().size(); ++w) {
    const Window& window = order.windows()[w];
    CHECK_EQ(window.first_load, next_load);
    CHECK_EQ(window.first_position, next_position);
    CHECK(window.rows > 0 && window.loads > 0);
    std::set<uint32_t> blocks;
    for (uint64_t i = 0; i < window.loads; ++i) {
      CHECK_EQ(order.window_of_load(next_load + i), w);
      CHECK(blocks.insert(order.block_of_load(next_load + i)).second);
    }
    std::vector<RowRef> refs(window.rows);
    order.locate(w, window.first_position, window.rows, refs.data());
    for (const RowRef& ref : refs) CHECK(blocks.count(ref.block));
    next_load += window.loads;
    next_position += window.rows;
  }
  CHECK_EQ(next_load, order.loads());
  CHECK_EQ(next_position, order.rows());
}

}  // namespace

TEST(every_row_comes_once_however_the_blocks_are_cut) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Blocks blocks = some_blocks(1 + static_cast<uint32_t>(seed), seed);
    for (const bool shuffle : {false, true})
      for (const uint64_t lanes : {1, 2, 3, 8, 60})
        for (const uint64_t window_bytes : {uint64_t{1}, uint64_t{1500}, uint64_t{5000}, UINT64_MAX}) {
          OrderOptions options;
          options.shuffle = shuffle;
          options.seed = seed;
          options.window_bytes = window_bytes;
          options.lanes = lanes;
          const Order order = make_order(blocks, options);
          check_every_row_once(order, blocks);
          check_loads(order);
        }
  }
}

TEST(ranks_share_the_order_out_among_them) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const Blocks blocks = some_blocks(2 + static_cast<uint32_t>(seed), seed);
    for (const uint64_t lanes : {1, 4, 6, 7})
      for (const uint64_t window_bytes : {uint64_t{3000}, UINT64_MAX}) {
        OrderOptions options;
        options.shuffle = seed % 3;
        options.seed = seed;
        options.window_bytes = window_bytes;
        options.lanes = lanes;
        const std::vector<uint64_t> whole = numbers_of(make_order(blocks, options));
        for (const uint64_t world_size : {1, 2, 3, 4})
          for (const Ends ends : {Ends::repeat, Ends::drop, Ends::uneven})
            for (const uint64_t first : {size_t{0}, whole.size() / 3, whole.size() - 1, whole.size()})
              for (options.rank = 0; options.rank < world_size; ++options.rank) {
                options.world_size = world_size;
                options.ends = ends;
                options.first_position = first;
                const Order order = make_order(blocks, options);
                check_loads(order);
                const std::vector<uint64_t> mine = numbers_of(order);
                const uint64_t left = whole.size() - first;
                if (ends == Ends::repeat) CHECK_EQ(mine.size(), (left + world_size - 1) / world_size);
                if (ends == Ends::drop) CHECK_EQ(mine.size(), left / world_size);
                for (size_t q = 0; q < mine.size(); ++q) {
                  const uint64_t position = first + options.rank + q * world_size;
                  CHECK_EQ(mine[q], whole[position % whole.size()]);
                  CHECK_EQ(order.is_repeated(q), position >= whole.size());
                  CHECK_EQ(order.global_after(q), std::min<uint64_t>(whole.size(), first + q * world_size));
                }
                if (ends == Ends::uneven) CHECK(first + options.rank + mine.size() * world_size >= whole.size());
                if (ends != Ends::repeat && !mine.empty()) CHECK(!order.is_repeated(mine.size() - 1));
              }
        options.world_size = 1;
        options.rank = options.first_position = 0;
      }
  }
}

TEST(a_rank_needs_the_blocks_of_its_lanes_only) {
  for (const uint64_t window_blocks : {uint64_t{150}, UINT64_MAX})
    for (const uint64_t world_size : {2, 3, 4, 6, 12}) {
      OrderOptions options;
      options.shuffle = true;
      options.lanes = 12;
      options.window_bytes = window_blocks;  // blocks that cost 1
      options.world_size = world_size;
      for (options.rank = 0; options.rank < world_size; ++options.rank) {
        const Order order(std::make_shared<const BlockIndex>(uint64_t{1000 * 64 + 17}, 64u), {}, options);
        CHECK(order.loads() * world_size * 2 <= 1001 * 3);
      }
    }
}

TEST(the_order_of_the_lanes_is_a_permutation_in_each) {
  OrderOptions options;
  options.shuffle = true;
  options.lanes = 4;
  const std::vector<uint64_t> rows =
      numbers_of(Order(std::make_shared<const BlockIndex>(uint64_t{4000}, 10u), {}, options));
  for (size_t lane = 0; lane < 4; ++lane) {
    std::set<uint64_t> blocks;
    uint64_t ascents = 0;
    for (size_t i = lane; i < rows.size(); i += 4) {
      blocks.insert(rows[i] / 10);
      ascents += i >= 4 && rows[i] > rows[i - 4];
    }
    CHECK_EQ(blocks.size(), size_t{100});
    CHECK(ascents > 400 && ascents < 600);
  }
}

TEST(a_row_is_found_in_blocks_of_any_size) {
  for (const std::vector<uint32_t>& rows : std::vector<std::vector<uint32_t>>{
           {5}, {1, 1, 1}, {4, 4, 4, 2}, {4, 4, 4}, {4, 2, 4}, {1, 7, 3, 100, 2}, {2, 3}, {}}) {
    const BlockIndex index(rows);
    uint64_t row = 0;
    for (uint32_t block = 0; block < rows.size(); ++block) {
      CHECK_EQ(index.start(block), row);
      for (uint32_t i = 0; i < rows[block]; ++i, ++row)
        CHECK(index.locate(row).block == block && index.locate(row).row == i);
    }
    CHECK_EQ(index.start(rows.size()), row);
    CHECK_EQ(index.rows(), row);
  }
  const BlockIndex large(uint64_t{1} << 40, 1000003);
  for (uint64_t row = 0; row < large.rows(); row += 12345678901) {
    CHECK_EQ(large.locate(row).block, row / 1000003);
    CHECK_EQ(large.locate(row).row, row % 1000003);
  }
  CHECK_ERROR(Cause::argument, {"0 a block"}, BlockIndex(5, 0));
}

TEST(windows_keep_their_budget_and_are_even) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const Blocks blocks = some_blocks(100, seed);
    OrderOptions options;
    options.shuffle = seed % 2;
    options.window_bytes = 900 + seed * 200;
    const Order order = make_order(blocks, options);
    uint64_t largest = 0;
    check_loads(order);
    for (const Window& window : order.windows()) {
      CHECK(window.cost_bytes <= options.window_bytes || window.loads == 1);
      largest = std::max(largest, window.cost_bytes);
    }
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
    for (const RowRef& ref : locate_all(make_order(blocks, options))) {
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
  const Order order = make_order(blocks, options);
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
    for (const RowRef& ref : locate_all(make_order(blocks, options)))
      rows.push_back(uint64_t{ref.block} << 32 | ref.row);
    return rows;
  };
  CHECK(rows_of(1, 0) == rows_of(1, 0));
  CHECK(rows_of(1, 0) != rows_of(1, 1));
  CHECK(rows_of(1, 0) != rows_of(2, 0));
  CHECK(rows_of(1, 2) != rows_of(2, 1));
}

TEST(an_order_of_nothing_has_no_rows) {
  const Order order = make_order({}, OrderOptions{});
  CHECK_EQ(order.rows(), uint64_t{0});
  CHECK(order.windows().empty());
}

// A budget of no bytes still lets one block at a time through.
TEST(a_window_of_no_bytes_holds_one_block) {
  const Blocks blocks = some_blocks(5, 2);
  OrderOptions options;
  options.window_bytes = 0;
  CHECK_EQ(make_order(blocks, options).windows().size(), size_t{5});
}

TEST(what_is_no_order_is_refused) {
  const Blocks blocks = some_blocks(5, 2);
  OrderOptions options;
  options.lanes = 0;
  CHECK_ERROR(Cause::argument, {"1 to 65536 lanes, got 0"}, make_order(blocks, options));
  options.lanes = uint64_t{1} << 62;
  CHECK_ERROR(Cause::argument, {"lanes"}, make_order(blocks, options));
  options.lanes = 1;
  options.rank = options.world_size = 2;
  CHECK_ERROR(Cause::argument, {"rank must be below world_size (2), got 2"}, make_order(blocks, options));
  options.rank = 0;
  options.first_position = 5 * 40 + 1;
  CHECK_ERROR(Cause::argument, {"position 201"}, make_order(blocks, options));
}

}  // namespace fastload::test
