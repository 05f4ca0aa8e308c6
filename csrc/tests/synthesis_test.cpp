#include "synthesis.h"

#include <algorithm>
#include <map>

#include "check.h"
#include "fixtures.h"
#include "row_reader.h"

namespace fastload::test {
namespace {

constexpr uint64_t kKey = 99;

void between(const void* rows, const int64_t* bases, const int64_t* neighbors, const double* parts, int64_t n,
             int64_t columns, void* out) {
  CHECK_EQ(n, int64_t{1});
  CHECK_EQ(columns, int64_t{1});
  const auto* values = static_cast<const int64_t*>(rows);
  const double base = static_cast<double>(values[bases[0]]), neighbor = static_cast<double>(values[neighbors[0]]);
  *static_cast<int64_t*>(out) = static_cast<int64_t>(base + parts[0] * (neighbor - base));
}

int64_t negated(const void* in, const uint8_t*, const uint64_t*, int64_t rows, const int64_t*, const void*, void* out) {
  for (int64_t i = 0; i < rows; ++i) static_cast<int64_t*>(out)[i] = -static_cast<const int64_t*>(in)[i];
  return 0;
}

// Two classes of 3 and 2 bases, whose values are far from each other's and from those of 1,000 rows; each base's
// neighbours are the next ones of its class.
struct Made {
  std::vector<int64_t> values{1000000, 1001000, 1002000, 5000000, 5001000};
  std::vector<int32_t> neighbors{1, 2, 0, 4, 3};
  std::shared_ptr<MadeSource> real = std::make_shared<MadeSource>(10, 100);
  std::shared_ptr<SynthesizingSource> source;

  explicit Made(std::vector<Synthesis::Class> classes = {{250, 0, 3}, {130, 3, 2}}, uint32_t k = 1) {
    FieldRows rows;
    rows.data = reinterpret_cast<const uint8_t*>(values.data());
    rows.stride_bytes = 8;
    std::vector<Synthesis::Field> fields;
    if (k) fields.push_back({0, &between});
    source = std::make_shared<SynthesizingSource>(real, std::vector<MemorySource::Column>{{real->fields()[0], rows}},
                                                  Synthesis(1000, std::move(classes), neighbors.data(), k, fields));
  }
};

// row number -> value, of a whole epoch; `negate`: of a second column that a kernel makes.
std::map<int64_t, int64_t> values_of_epoch(const Made& made, unsigned threads, uint64_t memory_bytes, bool negate,
                                           uint64_t rank = 0, uint64_t world_size = 1, uint64_t key = kKey) {
  const auto engine = Engine::create(made.source, {threads, memory_bytes, 1 << 16});
  EpochOptions options;
  options.batch_rows = 77;
  options.order.shuffle = true;
  options.order.rank = rank;
  options.order.world_size = world_size;
  options.order.ends = Ends::uneven;
  options.row_numbers = true;
  options.draw_key = key;
  std::vector<BatchColumn> columns{{made.real->fields()[0], 0, {}}};
  if (negate) columns.push_back({field("negated", Dtype::int64), 0, {{&negated, {}, {}, 8, ""}}});
  options.columns = std::make_shared<BatchColumns>(BatchColumns{columns, false});
  const auto epoch = engine->start(options);
  std::map<int64_t, int64_t> out;
  for (Batch batch; take(*epoch, &batch);)
    for (uint64_t i = 0; i < batch.rows; ++i) {
      const int64_t number = reinterpret_cast<const int64_t*>(batch.row_numbers->data())[i];
      const int64_t value = reinterpret_cast<const int64_t*>(batch.fields[0].values->data())[i];
      if (negate) CHECK_EQ(reinterpret_cast<const int64_t*>(batch.fields[1].values->data())[i], -value);
      CHECK(out.emplace(number, value).second);
    }
  return out;
}

}  // namespace

TEST(rows_that_are_made_come_once_and_lie_between_their_parents) {
  const Made made;
  const auto values = values_of_epoch(made, 1, 1 << 20, true);
  CHECK_EQ(values.size(), size_t{1380});
  std::map<int64_t, int> bases;
  for (const auto& [number, value] : values) {
    if (number < 1000) {
      CHECK_EQ(value, number);
      continue;
    }
    const auto row = static_cast<uint64_t>(number);
    const Parents parents = made.source->synthesis()->parents(row, row_key(kKey, row));
    const size_t base = static_cast<size_t>(parents.base), neighbor = static_cast<size_t>(parents.neighbor);
    CHECK_EQ(base < 3, number < 1250);
    CHECK_EQ(parents.neighbor, static_cast<int64_t>(made.neighbors[base]));
    CHECK(parents.part >= 0 && parents.part < 1);
    const auto [low, high] = std::minmax(made.values[base], made.values[neighbor]);
    CHECK(value >= low && value <= high);
    ++bases[parents.base];
  }
  CHECK_EQ(bases.size(), size_t{5});
  for (const auto& [base, times] : bases) CHECK(times > 30);
}

TEST(they_are_the_same_for_any_threads_memory_and_ranks) {
  const Made made;
  const auto expected = values_of_epoch(made, 0, 1 << 20, false);
  for (const unsigned threads : {1u, 3u})
    for (const uint64_t memory_bytes : {uint64_t{1} << 20, uint64_t{3000}})
      CHECK(values_of_epoch(made, threads, memory_bytes, threads == 3) == expected);
  auto both = values_of_epoch(made, 2, 1 << 20, false, 0, 2);
  both.merge(values_of_epoch(made, 2, 1 << 20, false, 1, 2));
  CHECK(both == expected);
  const auto other = values_of_epoch(made, 1, 1 << 20, false, 0, 1, kKey + 1);  // another epoch's
  uint64_t same = 0;
  for (const auto& [number, value] : other) same += number >= 1000 && expected.at(number) == value;
  CHECK(same < 20);
  const auto reader = RowReader::create(made.source, 1 << 12);
  std::vector<uint64_t> rows(1380);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = (i * 7) % 1380;
  const Batch batch = reader->read(rows.data(), rows.size(), {}, nullptr, nullptr, kKey);
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK_EQ(reinterpret_cast<const int64_t*>(batch.fields[0].values->data())[i],
             expected.at(static_cast<int64_t>(rows[i])));
}

TEST(windows_hold_their_share_of_the_rows_that_are_made) {
  const Made made({{1000, 0, 3}});
  const auto engine = Engine::create(made.source, {1, 3000, 1 << 16});
  OrderOptions options;
  options.shuffle = true;
  options.window_bytes = 1600;  // of two blocks
  const auto order = engine->order(options);
  CHECK(order->windows().size() >= 4);
  uint64_t largest = 0;
  for (const Window& window : order->windows()) largest = std::max(largest, window.rows);
  CHECK(largest <= 1200);
}

TEST(without_neighbours_rows_are_their_bases_over_again) {
  const Made made({{40, 3, 2}}, 0);
  for (const auto& [number, value] : values_of_epoch(made, 2, 1 << 20, true))
    if (number >= 1000) CHECK(value == 5000000 || value == 5001000);
  const int32_t beyond[] = {1, 2};
  CHECK_ERROR(Cause::row_index, ({"neighbour 2", "2 rows"}), Synthesis(9, {{5, 0, 2}}, beyond, 1, {}));
  CHECK_ERROR(Cause::argument, ({"a class needs"}), Synthesis(1, {{5, 0, 0}}, nullptr, 0, {}));
}

}  // namespace fastload::test
