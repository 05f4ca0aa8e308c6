#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>

#include "check.h"
#include "fixtures.h"

namespace fastload::test {
namespace {

template <class T>
std::vector<uint8_t> to_bytes(const std::vector<T>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <class T>
T from_bits(uint64_t bits) {
  if constexpr (std::is_floating_point_v<T>) {
    double value;
    std::memcpy(&value, &bits, 8);
    return static_cast<T>(value);
  } else {
    return static_cast<T>(bits);
  }
}

// The same numbers in long double, one column at a time.
template <class T>
void check_column(const StatRecord& record, const std::vector<T>& values) {
  long double sum = 0, m2 = 0, magnitude = 0;
  uint64_t count = 0, nans = 0, infinities = 0;
  bool any = false;
  T least{}, most{};
  for (const T value : values) {
    if constexpr (std::is_floating_point_v<T>) {
      nans += std::isnan(value);
      infinities += std::isinf(value);
      if (std::isnan(value)) continue;
    }
    least = any ? std::min(least, value) : value;
    most = any ? std::max(most, value) : value;
    any = true;
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isinf(value)) continue;
    }
    ++count;
    sum += static_cast<long double>(value);
    magnitude = std::max(magnitude, std::fabs(static_cast<long double>(value)));
  }
  CHECK_EQ(record.count, count);
  CHECK_EQ(record.nans, nans);
  CHECK_EQ(record.infinities, infinities);
  if (any) {
    CHECK(from_bits<T>(record.min_bits) == least);
    CHECK(from_bits<T>(record.max_bits) == most);
  }
  if (count == 0) return;
  const long double mean = sum / static_cast<long double>(count);
  for (const T value : values)
    if (std::isfinite(static_cast<double>(value)))
      m2 += (static_cast<long double>(value) - mean) * (static_cast<long double>(value) - mean);
  CHECK(std::fabs(record.mean - mean) <= 1e-13L * magnitude);
  CHECK(std::fabs(record.m2 - m2) <= 1e-10L * m2 + 1e-25L * magnitude * magnitude * static_cast<long double>(count));
}

// Rows of `columns` values of T: dense, then with nulls, then (floats) with NaN, and with infinities, too.
template <class T>
void check_dtype(Dtype dtype, uint64_t columns) {
  std::mt19937_64 random(columns);
  const FieldSpec spec = columns == 1 ? field("x", dtype) : field("x", dtype, {columns});
  for (const uint64_t rows : {1u, 2u, 15u, 16u, 17u, 1000u})
    for (const bool with_nulls : {false, true})
      for (const int odd : {0, 1, 2}) {
        std::vector<T> values(rows * columns);
        for (T& value : values) {
          if constexpr (std::is_floating_point_v<T>) {
            value = static_cast<T>(std::normal_distribution<double>(1e3, 5)(random));
            if (odd >= 1 && random() % 7 == 0) value = std::numeric_limits<T>::quiet_NaN();
            if (odd == 2 && random() % 11 == 0)
              value = random() % 2 ? std::numeric_limits<T>::infinity() : -std::numeric_limits<T>::infinity();
          } else {
            value = static_cast<T>(random());
          }
        }
        std::vector<uint8_t> valid(rows, 1);
        for (uint8_t& v : valid) v = !with_nulls || random() % 3;
        std::vector<StatRecord> records(columns);
        summarize(spec, rows, to_bytes(values).data(), nullptr, with_nulls ? valid.data() : nullptr, records.data());
        for (uint64_t c = 0; c < columns; ++c) {
          std::vector<T> column;
          for (uint64_t row = 0; row < rows; ++row)
            if (valid[row]) column.push_back(values[row * columns + c]);
          check_column(records[c], column);
          CHECK_EQ(records[c].nulls, static_cast<uint64_t>(std::count(valid.begin(), valid.end(), 0)));
        }
      }
}

}  // namespace

TEST(statistics_agree_with_long_double) {
  for (const uint64_t columns : {1, 3, 9, 16, 40, 300}) {
    check_dtype<int8_t>(Dtype::int8, columns);
    check_dtype<int16_t>(Dtype::int16, columns);
    check_dtype<int32_t>(Dtype::int32, columns);
    check_dtype<int64_t>(Dtype::int64, columns);
    check_dtype<uint8_t>(Dtype::uint8, columns);
    check_dtype<uint16_t>(Dtype::uint16, columns);
    check_dtype<uint32_t>(Dtype::uint32, columns);
    check_dtype<uint64_t>(Dtype::uint64, columns);
    check_dtype<float>(Dtype::float32, columns);
    check_dtype<double>(Dtype::float64, columns);
  }
}

// Sums are of distances from the first value of a column.
TEST(a_first_value_far_from_the_others_costs_no_digits) {
  std::mt19937_64 random(3);
  for (const double first : {0.0, 1e3, 1e9, 1e100, -1e150, std::numeric_limits<double>::quiet_NaN()})
    for (const double mean : {0.0, 1e-3, 1e7, 1e150})
      for (const double spread : {0.0, 1e-9, 1.0}) {
        std::vector<double> values(2000);
        for (double& value : values) value = mean + spread * std::normal_distribution<double>()(random);
        values[0] = first;
        StatRecord record;
        summarize(field("x", Dtype::float64), values.size(), to_bytes(values).data(), nullptr, nullptr, &record);
        check_column(record, values);
      }
}

// Every pattern of float16, decoded by the definition of the format; the low half is the sub-normal numbers.
TEST(sixteen_bit_floats_are_read_as_they_are) {
  for (const Dtype dtype : {Dtype::float16, Dtype::bfloat16}) {
    for (uint32_t pattern = 0; pattern < 65536; ++pattern) {
      const bool half = dtype == Dtype::float16;
      const int fraction_bits = half ? 10 : 7, bias = half ? 15 : 127;
      const uint32_t largest = half ? 31 : 255;
      const uint32_t exponent = pattern >> fraction_bits & largest, fraction = pattern & ((1u << fraction_bits) - 1);
      double expected = exponent == 0 ? std::ldexp(static_cast<double>(fraction), 1 - bias - fraction_bits)
                                      : std::ldexp(static_cast<double>(fraction + (1u << fraction_bits)),
                                                   static_cast<int>(exponent) - bias - fraction_bits);
      if (pattern >> 15) expected = -expected;
      StatRecord record;
      const auto value = static_cast<uint16_t>(pattern);
      summarize(field("x", dtype), 1, reinterpret_cast<const uint8_t*>(&value), nullptr, nullptr, &record);
      if (exponent == largest) {
        CHECK_EQ(record.count, uint64_t{0});
        CHECK_EQ(fraction ? record.nans : record.infinities, uint64_t{1});
      } else {
        CHECK_EQ(record.count, uint64_t{1});
        CHECK_EQ(record.mean, expected);
      }
    }
  }
}

TEST(channels_last_images_are_summed_by_channel) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 2 * 4 * 5; ++i)
    for (const int channel : {10, 20, 30}) pixels.push_back(static_cast<uint8_t>(channel + i % 2));
  std::vector<StatRecord> records(3);
  summarize(field("image", Dtype::uint8, {4, 5, 3}), 2, pixels.data(), nullptr, nullptr, records.data());
  for (size_t c = 0; c < 3; ++c) {
    CHECK_EQ(records[c].count, uint64_t{40});
    CHECK_EQ(records[c].mean, 10.0 * static_cast<double>(c + 1) + 0.5);
    CHECK_EQ(records[c].m2, 10.0);
  }
}

TEST(ragged_fields_have_values_and_lengths) {
  const std::vector<int32_t> values = {5, -3, 8};
  const std::vector<uint32_t> offsets = {0, 2, 2, 3};
  const std::vector<uint8_t> valid = {1, 0, 1};
  std::vector<StatRecord> records(2);
  summarize(nullable(variable(field("t", Dtype::int32))), 3, to_bytes(values).data(), offsets.data(), valid.data(),
            records.data());
  check_column<int32_t>(records[0], values);
  check_column<uint32_t>(records[1], {2, 1});  // the null row has no length
  CHECK_EQ(records[1].nulls, uint64_t{1});
  StatRecord text;
  summarize(field("s", Dtype::string), 3, to_bytes(values).data(), offsets.data(), nullptr, &text);
  check_column<uint32_t>(text, {2, 0, 1});
}

TEST(all_nulls_and_no_elements_have_no_mean) {
  const std::vector<float> values(4, std::numeric_limits<float>::quiet_NaN());
  const std::vector<uint8_t> none(4, 0);
  StatRecord record;
  summarize(nullable(field("x", Dtype::float32)), 4, to_bytes(values).data(), nullptr, none.data(), &record);
  CHECK_EQ(record.count, uint64_t{0});
  CHECK_EQ(record.nulls, uint64_t{4});
  const std::vector<uint32_t> offsets(5, 0);
  std::vector<StatRecord> records(2);
  summarize(variable(field("t", Dtype::int32)), 4, nullptr, offsets.data(), nullptr, records.data());
  CHECK_EQ(records[0].count, uint64_t{0});
  CHECK_EQ(records[1].count, uint64_t{4});
}

TEST(classes_are_counted_until_there_are_too_many) {
  std::mt19937_64 random(6);
  std::vector<int16_t> values(5000);
  std::vector<uint8_t> valid(values.size());
  std::map<int64_t, uint64_t> expected;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<int16_t>(random() % 20) * 100 - 1000;
    valid[i] = random() % 4 != 0;
    if (valid[i]) ++expected[values[i]];
  }
  const FieldSpec spec = nullable(field("y", Dtype::int16));
  ClassCounts counts;
  CHECK(count_classes(spec, values.size(), to_bytes(values).data(), valid.data(), counts));
  CHECK_EQ(counts.values.size(), expected.size());
  CHECK(std::is_sorted(counts.values.begin(), counts.values.end()));
  for (size_t i = 0; i < counts.values.size(); ++i) CHECK_EQ(counts.rows[i], expected[counts.values[i]]);
  ClassCounts more;
  CHECK(count_classes(spec, values.size(), to_bytes(values).data(), valid.data(), more));
  merge_classes(counts, more);
  for (size_t i = 0; i < counts.values.size(); ++i) CHECK_EQ(counts.rows[i], 2 * expected[counts.values[i]]);

  std::vector<int32_t> many(kMaxClasses + 1);
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<int32_t>(i);
  ClassCounts full;
  CHECK(count_classes(field("y", Dtype::int32), kMaxClasses, to_bytes(many).data(), nullptr, full));
  CHECK_EQ(full.values.size(), kMaxClasses);
  ClassCounts over;
  CHECK(!count_classes(field("y", Dtype::int32), many.size(), to_bytes(many).data(), nullptr, over));
  CHECK(over.values.empty());
}

}  // namespace fastload::test
