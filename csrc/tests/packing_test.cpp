#include "packing.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "check.h"

namespace fastload::test {
namespace {

// Lengths up to `longest`, short ones more frequent, some of them 0.
std::vector<int64_t> some_lengths(size_t count, int64_t longest, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int64_t> lengths(count);
  for (int64_t& length : lengths) length = static_cast<int64_t>(random() % (1 + random() % (longest + 1)));
  return lengths;
}

// What is left of each bin, sorted, by the plain reading of the method: look at every bin for every item.
std::vector<uint32_t> plain_best_fit(std::vector<uint32_t> lengths, uint32_t capacity) {
  std::sort(lengths.rbegin(), lengths.rend());
  std::vector<uint32_t> rooms;
  for (const uint32_t length : lengths) {
    auto best = rooms.end();
    for (auto room = rooms.begin(); room != rooms.end(); ++room)
      if (*room >= length && (best == rooms.end() || *room < *best)) best = room;
    if (best == rooms.end()) best = rooms.insert(rooms.end(), capacity);
    *best -= length;
  }
  std::sort(rooms.begin(), rooms.end());
  return rooms;
}

void check_pools(const std::vector<int64_t>& lengths, const PackingOptions& options) {
  const std::vector<int64_t> counts = count_packed_rows(lengths.data(), lengths.size(), options);
  std::vector<int64_t> seen(lengths.size());  // tokens that came so far: pieces of a document come in their order
  for (size_t pool = 0; pool < counts.size(); ++pool) {
    const PackedPool packed = pack_pool(lengths.data(), lengths.size(), options, pool);
    CHECK_EQ(packed.first_piece.size(), static_cast<size_t>(counts[pool]) + 1);
    CHECK_EQ(packed.first_piece.front(), 0);
    CHECK_EQ(packed.first_piece.back(), static_cast<int64_t>(packed.documents.size()));
    for (int64_t row = 0; row < counts[pool]; ++row) {
      int64_t filled = 0;
      const auto r = static_cast<size_t>(row);
      CHECK(packed.first_piece[r] < packed.first_piece[r + 1]);  // no row is empty
      for (auto i = static_cast<size_t>(packed.first_piece[r]); i < static_cast<size_t>(packed.first_piece[r + 1]);
           ++i) {
        const auto document = static_cast<size_t>(packed.documents[i]);
        CHECK_EQ(packed.starts[i] % options.row_tokens, 0);
        CHECK(packed.lengths[i] > 0);
        filled += packed.lengths[i];
        CHECK(packed.starts[i] + packed.lengths[i] <= lengths[document]);
        seen[document] += packed.lengths[i];
      }
      CHECK(filled <= options.row_tokens);
    }
  }
  CHECK(seen == lengths);
}

}  // namespace

TEST(the_next_stack_is_found_at_any_distance) {
  for (const uint32_t keys : {1u, 2u, 63u, 64u, 65u, 4096u, 4097u, 300000u}) {
    Stacks stacks(keys);
    std::vector<uint32_t> filled;
    std::mt19937_64 random(keys);
    for (uint32_t item = 0; item < 40; ++item) {
      filled.push_back(static_cast<uint32_t>(random() % keys));
      stacks.push(filled.back(), item);
    }
    std::sort(filled.begin(), filled.end());
    while (!filled.empty()) {
      const auto key = static_cast<uint32_t>(random() % (keys + 1));
      const auto next = std::lower_bound(filled.begin(), filled.end(), key);
      CHECK_EQ(stacks.at_least(key), next == filled.end() ? Stacks::kNone : *next);
      if (next == filled.end()) continue;
      stacks.pop(*next);
      filled.erase(next);
    }
    CHECK_EQ(stacks.at_least(0), Stacks::kNone);
  }
}

TEST(a_stack_gives_back_last_what_came_first) {
  Stacks stacks(10);
  for (const uint32_t item : {7u, 3u, 5u}) stacks.push(4, item);
  for (const uint32_t item : {5u, 3u, 7u}) CHECK_EQ(stacks.pop(4), item);
}

TEST(bins_are_as_full_as_a_plain_best_fit_makes_them) {
  for (const uint32_t capacity : {1u, 2u, 10u, 64u, 100u, 5000u}) {
    BestFit fit(capacity);  // used again: nothing of one call may be left in the next
    for (uint64_t seed = 0; seed < 30; ++seed) {
      std::vector<uint32_t> lengths, bins;
      for (const int64_t length : some_lengths(seed * 7, capacity, seed))
        if (length > 0) lengths.push_back(static_cast<uint32_t>(length));
      const uint32_t count = fit.pack(lengths, bins);
      std::vector<uint32_t> rooms(count, capacity);
      for (size_t i = 0; i < lengths.size(); ++i) {
        CHECK(bins[i] < count);
        CHECK(lengths[i] <= rooms[bins[i]]);
        rooms[bins[i]] -= lengths[i];
      }
      std::sort(rooms.begin(), rooms.end());
      CHECK(rooms == plain_best_fit(lengths, capacity));
    }
  }
}

TEST(every_token_of_every_document_is_packed_once) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<int64_t> lengths = some_lengths(1 + seed * 11, seed % 2 ? 30 : 300, seed);
    for (const uint32_t row_tokens : {1u, 7u, 64u, 400u})
      for (const uint64_t pool_documents : {uint64_t{1}, uint64_t{13}, uint64_t{1000}})
        for (const bool shuffle : {false, true})
          check_pools(lengths, {row_tokens, pool_documents, shuffle ? std::optional<uint64_t>(seed) : std::nullopt});
  }
}

TEST(rows_follow_their_first_pieces_and_keep_the_base_order) {
  const std::vector<int64_t> lengths{5, 2, 12, 3, 0, 1};
  const PackedPool packed = pack_pool(lengths.data(), lengths.size(), {8, 6, std::nullopt}, 0);
  CHECK(packed.documents == (std::vector<int64_t>{0, 3, 1, 2, 5, 2}));
  CHECK(packed.starts == (std::vector<int64_t>{0, 0, 0, 8, 0, 0}));
  CHECK(packed.lengths == (std::vector<int64_t>{5, 3, 2, 4, 1, 8}));
  CHECK(packed.first_piece == (std::vector<int64_t>{0, 2, 5, 6}));
}

TEST(no_documents_and_empty_documents_take_no_rows) {
  CHECK(count_packed_rows(nullptr, 0, {8, 4, 1}).empty());
  const std::vector<int64_t> lengths(5, 0);
  CHECK(count_packed_rows(lengths.data(), lengths.size(), {8, 4, 1}) == (std::vector<int64_t>{0, 0}));
  CHECK_EQ(pack_pool(lengths.data(), lengths.size(), {8, 4, 1}, 1).first_piece.size(), size_t{1});
}

TEST(more_pieces_than_can_be_counted_are_refused) {
  const std::vector<int64_t> lengths{3, INT64_MAX};
  CHECK_ERROR(Cause::argument, ({"document 1", "2^32 pieces", "smaller pools"}),
              count_packed_rows(lengths.data(), lengths.size(), {1, 2, std::nullopt}));
}

TEST(pieces_are_placed_one_after_the_other) {
  const std::vector<int32_t> values{10, 11, 12, 13, 14, 20, 21, 30};
  const std::vector<int64_t> offsets{0, 5, 7, 0}, starts{3, 0, 0, 1}, lengths{2, 2, 1, 2}, bins{0, 0, 2, 2};
  const int32_t fill = -1;
  std::vector<int32_t> packed(15, 99), documents(15, 99), positions(15, 99);
  const auto place = [&](uint64_t elements, uint64_t rows, uint64_t row_tokens) {
    place_pieces(reinterpret_cast<const uint8_t*>(values.data()), elements, 4, reinterpret_cast<const uint8_t*>(&fill),
                 {offsets.data(), starts.data(), lengths.data(), bins.data(), bins.size()},
                 {rows, row_tokens, reinterpret_cast<uint8_t*>(packed.data()), documents.data(), positions.data()});
  };
  place(8, 3, 5);
  CHECK(packed == (std::vector<int32_t>{13, 14, 20, 21, -1, -1, -1, -1, -1, -1, 30, 11, 12, -1, -1}));
  CHECK(documents == (std::vector<int32_t>{1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 0}));
  CHECK(positions == (std::vector<int32_t>{3, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0}));
  CHECK_ERROR(Cause::argument, {"piece 2 lies outside"}, place(8, 2, 5));
  CHECK_ERROR(Cause::argument, {"piece 2 lies outside"}, place(7, 3, 5));
  CHECK_ERROR(Cause::argument, {"piece 1 does not fit"}, place(8, 3, 3));
}

}  // namespace fastload::test
