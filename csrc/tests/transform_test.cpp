#include "transform.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "fixtures.h"
#include "parallel.h"
#include "prefetcher.h"
#include "quantiles.h"
#include "row_reader.h"

namespace fastload::test {
namespace {

// int64 -> twice as many int64: integers[0] * x and the row's key, or 0 without keys. Refuses integers[1].
int64_t times_and_key(const void* in, const uint8_t* valid, const uint64_t* keys, int64_t rows, const int64_t* integers,
                      const void*, void* out) {
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t value = static_cast<const int64_t*>(in)[i];
    if (value == integers[1]) return 1 + i;
    static_cast<int64_t*>(out)[2 * i] = valid && !valid[i] ? -1 : integers[0] * value;
    static_cast<int64_t*>(out)[2 * i + 1] = keys ? static_cast<int64_t>(keys[i]) : 0;
  }
  return 0;
}

// The first of two int64 and the numbers' first double, as double.
int64_t first_and_number(const void* in, const uint8_t*, const uint64_t*, int64_t rows, const int64_t*,
                         const void* numbers, void* out) {
  for (int64_t i = 0; i < rows; ++i)
    static_cast<double*>(out)[i] =
        static_cast<double>(static_cast<const int64_t*>(in)[2 * i]) + *static_cast<const double*>(numbers);
  return 0;
}

Kernel times(int64_t factor, int64_t refused = -1) {
  return {&times_and_key, {factor, refused}, {}, 16, "is not liked"};
}

Kernel plus(double number) {
  uint64_t bits;
  std::memcpy(&bits, &number, 8);
  return {&first_and_number, {}, {bits}, 8, ""};
}

constexpr uint64_t kKey = 77;

// The rows' numbers as they are, thrice with their keys, and thrice plus a half.
std::shared_ptr<const BatchColumns> three_columns(int64_t refused = -1) {
  return std::make_shared<BatchColumns>(BatchColumns{{{field("row", Dtype::int64), 0, {}},
                                                      {field("thrice", Dtype::int64, {2}), 0, {times(3, refused)}},
                                                      {field("plus", Dtype::float64), 0, {times(3), plus(0.5)}}},
                                                     true});
}

void check_three_columns(const Batch& batch) {
  CHECK_EQ(batch.fields.size(), size_t{3});
  const auto* rows = reinterpret_cast<const int64_t*>(batch.fields[0].values->data());
  const auto* thrice = reinterpret_cast<const int64_t*>(batch.fields[1].values->data());
  const auto* plus = reinterpret_cast<const double*>(batch.fields[2].values->data());
  for (uint64_t i = 0; i < batch.rows; ++i) {
    CHECK_EQ(thrice[2 * i], 3 * rows[i]);
    CHECK_EQ(thrice[2 * i + 1], static_cast<int64_t>(row_key(kKey, static_cast<uint64_t>(rows[i]))));
    CHECK_EQ(plus[i], 3.0 * static_cast<double>(rows[i]) + 0.5);
  }
}

}  // namespace

TEST(kernels_get_every_row_once_with_its_key) {
  for (const unsigned threads : {0u, 1u, 3u})
    for (const uint64_t memory_bytes : {uint64_t{1} << 30, uint64_t{3000}}) {  // whole, and in windows
      const auto source = std::make_shared<MadeSource>(40, 100);
      const auto engine = Engine::create(source, {threads, std::max(memory_bytes, source->decoded_bytes(0)), 1 << 16});
      EpochOptions options;
      options.batch_rows = 333;
      options.order.shuffle = true;
      options.columns = three_columns();
      options.draw_key = kKey;
      const auto epoch = engine->start(options);
      uint64_t rows = 0, sum = 0;
      for (Batch batch;;) {
        const Epoch::Status status = epoch->try_next(&batch);
        if (status == Epoch::Status::finished) break;
        if (status == Epoch::Status::waiting) epoch->wait(1.0);
        if (status != Epoch::Status::ready) continue;
        check_three_columns(batch);
        rows += batch.rows;
        for (uint64_t i = 0; i < batch.rows; ++i)
          sum += static_cast<uint64_t>(reinterpret_cast<const int64_t*>(batch.fields[0].values->data())[i]);
      }
      CHECK_EQ(rows, uint64_t{4000});
      CHECK_EQ(sum, uint64_t{4000 * 3999 / 2});
    }
}

TEST(a_refused_row_is_named_and_its_batch_alone_is_lost) {
  for (const unsigned threads : {0u, 2u}) {
    const auto engine = Engine::create(std::make_shared<MadeSource>(10, 100), {threads, 1 << 30, 1 << 16});
    EpochOptions options;
    options.batch_rows = 100;
    options.columns = three_columns(421);
    const auto epoch = engine->start(options);
    uint64_t good = 0, refused = 0;
    for (Batch batch;;) {
      try {
        const Epoch::Status status = epoch->try_next(&batch);
        if (status == Epoch::Status::finished) break;
        if (status == Epoch::Status::waiting) epoch->wait(1.0);
        good += status == Epoch::Status::ready;
      } catch (const Error& error) {
        CHECK(error.cause() == Cause::refused);
        CHECK_EQ(std::string(error.what()), std::string("field 'thrice', row 421: is not liked"));
        ++refused;
      }
    }
    CHECK_EQ(good, uint64_t{9});
    CHECK_EQ(refused, uint64_t{1});
  }
}

TEST(named_rows_go_through_the_same_kernels) {
  const auto reader = RowReader::create(std::make_shared<MadeSource>(10, 100), 1 << 12);
  std::vector<uint64_t> rows(700);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = i * 7 % 1000;
  const Batch batch = reader->read(rows.data(), rows.size(), padded(true), nullptr, three_columns(), kKey);
  check_three_columns(batch);
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK_EQ(reinterpret_cast<const int64_t*>(batch.fields[0].values->data())[i], static_cast<int64_t>(rows[i]));
  CHECK_ERROR(Cause::refused, {"row 700: is not liked"},
              reader->read(rows.data(), rows.size(), padded(true), nullptr, three_columns(700), kKey));
}

TEST(arrays_are_cut_into_stretches_and_the_first_refused_row_is_told) {
  std::vector<int64_t> values(500'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i);
  const auto* in = reinterpret_cast<const uint8_t*>(values.data());
  std::vector<double> out(values.size());
  for (const unsigned threads : {0u, 1u, 4u})
    for (const uint64_t rows : {uint64_t{0}, uint64_t{1}, uint64_t{499'999}}) {
      std::fill(out.begin(), out.end(), -1.0);
      const Kernel* refused_by = nullptr;
      CHECK_EQ(transform_rows({times(2), plus(0.25)}, in, 8, nullptr, nullptr, rows,
                              reinterpret_cast<uint8_t*>(out.data()), threads, &refused_by),
               int64_t{0});
      for (uint64_t i = 0; i < rows; ++i) CHECK_EQ(out[i], 2.0 * static_cast<double>(i) + 0.25);
      CHECK_EQ(out[rows], -1.0);
    }
  std::vector<int64_t> twice(2 * values.size());
  values[300'000] = values[450'000] = -5;
  const Kernel* refused_by = nullptr;
  const std::vector<Kernel> kernels = {times(1, -5)};
  CHECK_EQ(transform_rows(kernels, in, 8, nullptr, nullptr, values.size(), reinterpret_cast<uint8_t*>(twice.data()), 3,
                          &refused_by),
           int64_t{300'001});
  CHECK(refused_by == &kernels[0]);
}

TEST(what_a_thread_throws_reaches_the_caller) {
  std::atomic<int> begun{0};
  CHECK_ERROR(Cause::closed, {"one of them"}, in_threads(4, [&] {
                ++begun;
                if (begun == 2) fail(Cause::closed, "one of them");
              }));
}

// By selection, and by sorting.
TEST(quantiles_are_those_of_the_sorted_values) {
  std::mt19937_64 random(4);
  const std::vector<double> levels = {0.0, 0.25, 0.5, 0.75, 0.999, 1.0};
  for (const uint64_t rows : {1, 2, 5, 1000, 20'001})
    for (const uint64_t columns : {1, 3, 70}) {
      std::vector<float> values(rows * columns);
      for (float& value : values) {
        value = static_cast<float>(random() % 1000) * (random() % 2 ? 1e-3f : -1e6f);
        if (random() % 20 == 0) value = std::numeric_limits<float>::quiet_NaN();
      }
      const std::vector<double> found =
          quantiles(Dtype::float32, reinterpret_cast<const uint8_t*>(values.data()), rows, columns, levels, 2);
      for (uint64_t c = 0; c < columns; ++c) {
        std::vector<float> column;
        for (uint64_t row = 0; row < rows; ++row)
          if (!std::isnan(values[row * columns + c])) column.push_back(values[row * columns + c]);
        std::sort(column.begin(), column.end());
        for (size_t l = 0; l < levels.size(); ++l) {
          const double got = found[l * columns + c];
          if (column.empty()) {
            CHECK(std::isnan(got));
            continue;
          }
          const double place = levels[l] * static_cast<double>(column.size() - 1);
          const auto low = static_cast<size_t>(place);
          const size_t high = std::min(low + 1, column.size() - 1);
          const double part = place - std::floor(place);
          const double expected =
              part == 0 ? column[low] : column[low] + (static_cast<double>(column[high]) - column[low]) * part;
          CHECK(std::fabs(got - expected) <= 1e-12 * std::fabs(expected));
        }
      }
    }
  CHECK_ERROR(Cause::argument, {"numbers"}, quantiles(Dtype::string, nullptr, 0, 1, levels, 1));
}

}  // namespace fastload::test
