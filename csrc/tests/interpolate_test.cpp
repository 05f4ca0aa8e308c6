#include "interpolate.h"

#include <vector>

#include "check.h"

namespace fastload::test {
namespace {

void interpolate_doubles(const void* rows, const int64_t* bases, const int64_t* neighbors, const double* parts,
                         int64_t n, int64_t columns, void* out) {
  const auto* const values = static_cast<const double*>(rows);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const double base = values[bases[i] * columns + j];
      static_cast<double*>(out)[i * columns + j] = base + parts[i] * (values[neighbors[i] * columns + j] - base);
    }
}

struct Job {
  std::vector<double> rows, parts;
  std::vector<int64_t> bases, neighbors;
  uint64_t columns;

  Job(uint64_t given, uint64_t columns, uint64_t made) : columns(columns) {
    for (uint64_t i = 0; i < given * columns; ++i) rows.push_back(static_cast<double>(i * i % 97));
    for (uint64_t i = 0; i < made; ++i) {
      bases.push_back(static_cast<int64_t>(i % given));
      neighbors.push_back(static_cast<int64_t>(i * 7 % given));
      parts.push_back(static_cast<double>(i % 13) / 13);
    }
  }
  Interpolation what() const {
    return {reinterpret_cast<const uint8_t*>(rows.data()),
            rows.size() / columns,
            columns,
            sizeof(double),
            bases.data(),
            neighbors.data(),
            parts.data(),
            parts.size()};
  }
  std::vector<double> run(unsigned threads) const {
    std::vector<double> out(parts.size() * columns + 1, -1);
    interpolate_rows(&interpolate_doubles, what(), reinterpret_cast<uint8_t*>(out.data()), threads);
    CHECK_EQ(out.back(), -1.0);
    return out;
  }
};

}  // namespace

TEST(interpolated_rows_are_the_same_in_any_number_of_threads) {
  const Job job(31, 5, 500'000);
  std::vector<double> expected(job.parts.size() * job.columns + 1, -1);
  interpolate_doubles(job.rows.data(), job.bases.data(), job.neighbors.data(), job.parts.data(),
                      static_cast<int64_t>(job.parts.size()), static_cast<int64_t>(job.columns), expected.data());
  for (const unsigned threads : {0u, 1u, 2u, 7u}) CHECK(job.run(threads) == expected);
}

TEST(rows_larger_than_a_stretch_are_interpolated_one_by_one) {
  const Job job(3, 700'000, 4);
  CHECK(job.run(3) == job.run(1));
}

TEST(nothing_to_interpolate_is_nothing_made) { CHECK_EQ(Job(3, 2, 0).run(2).size(), size_t{1}); }

TEST(a_row_to_interpolate_that_is_not_there_is_refused) {
  Job job(31, 5, 10);
  job.neighbors[4] = 31;
  CHECK_ERROR(Cause::row_index, ({"row 31", "31 rows"}), job.run(1));
  job.neighbors[4] = 0;
  job.bases[9] = -1;
  CHECK_ERROR(Cause::row_index, ({"row -1"}), job.run(1));
}

}  // namespace fastload::test
