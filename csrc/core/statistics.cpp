#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "parallel.h"
#include "typed_values.h"

namespace fastload {
namespace {

template <class T>
uint64_t to_bits(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    const double wide = value;
    uint64_t bits;
    std::memcpy(&bits, &wide, 8);
    return bits;
  } else {
    return static_cast<uint64_t>(static_cast<std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>(value));
  }
}

// Any values: nulls, NaN, infinities. One pass for the mean, one for the deviations.
template <class T>
void summarize_general(const T* values, uint64_t rows, uint64_t row_elements, uint64_t columns, const uint8_t* valid,
                       StatRecord* records) {
  std::vector<double> sums(columns);
  std::vector<T> least(columns), most(columns);
  std::vector<uint8_t> any(columns);
  for (uint64_t c = 0; c < columns; ++c) records[c] = StatRecord();
  const auto each = [&](auto&& visit) {
    for (uint64_t row = 0; row < rows; ++row) {
      if (valid && !valid[row]) continue;
      uint64_t column = 0;
      for (uint64_t i = 0; i < row_elements; ++i) {
        visit(column, values[row * row_elements + i]);
        if (++column == columns) column = 0;
      }
    }
  };
  uint64_t null_rows = 0;
  if (valid) null_rows = static_cast<uint64_t>(std::count(valid, valid + rows, uint8_t{0}));
  each([&](uint64_t c, T value) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(value)) {
        ++records[c].nans;
        return;
      }
    }
    if (!any[c] || value < least[c]) least[c] = value;
    if (!any[c] || value > most[c]) most[c] = value;
    any[c] = 1;
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isinf(value)) {
        ++records[c].infinities;
        return;
      }
    }
    ++records[c].count;
    sums[c] += static_cast<double>(value);
  });
  for (uint64_t c = 0; c < columns; ++c) {
    records[c].nulls = null_rows;
    if (any[c]) {
      records[c].min_bits = to_bits(least[c]);
      records[c].max_bits = to_bits(most[c]);
    }
    if (records[c].count) records[c].mean = sums[c] / static_cast<double>(records[c].count);
  }
  each([&](uint64_t c, T value) {
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(value)) return;
    }
    const double deviation = static_cast<double>(value) - records[c].mean;
    records[c].m2 += deviation * deviation;
  });
}

#if defined(__x86_64__)
#define FASTLOAD_WIDE __attribute__((target("avx2")))
bool has_wide() { return __builtin_cpu_supports("avx2"); }
#else
#define FASTLOAD_WIDE
bool has_wide() { return false; }
#endif
#define FASTLOAD_INLINE inline __attribute__((always_inline))

// Whole numbers without nulls are added up in lanes: one for each column, or several, side by side, that compilers turn
// into vector instructions; with AVX2 where the processor has it.
template <class T>
struct Lanes {
  std::vector<double> sums, means, deviations;
  std::vector<T> least, most;

  explicit Lanes(uint64_t lanes)
      : sums(lanes),
        means(lanes),
        deviations(lanes),
        least(lanes, std::numeric_limits<T>::max()),
        most(lanes, std::numeric_limits<T>::lowest()) {}
};

template <class T>
FASTLOAD_INLINE void add_some(const T* from, uint64_t n, Lanes<T>& lanes) {
  double* __restrict sums = lanes.sums.data();
  T* __restrict least = lanes.least.data(), * __restrict most = lanes.most.data();
  for (uint64_t i = 0; i < n; ++i) {
    least[i] = from[i] < least[i] ? from[i] : least[i];
    most[i] = from[i] > most[i] ? from[i] : most[i];
    sums[i] += static_cast<double>(from[i]);
  }
}

template <class T>
FASTLOAD_INLINE void deviate_some(const T* from, uint64_t n, Lanes<T>& lanes) {
  double* __restrict deviations = lanes.deviations.data();
  const double* __restrict means = lanes.means.data();
  for (uint64_t i = 0; i < n; ++i) {
    const double deviation = static_cast<double>(from[i]) - means[i];
    deviations[i] += deviation * deviation;
  }
}

// The whole of a chunk, added up (kDeviate: its deviations): lanes after lanes, and what is left.
template <class T, bool kDeviate>
FASTLOAD_INLINE void pass_over(const T* values, uint64_t elements, Lanes<T>& lanes) {
  const uint64_t wide = lanes.sums.size(), whole = elements / wide * wide;
  for (uint64_t at = 0; at < elements; at += wide) {
    const uint64_t n = at < whole ? wide : elements - whole;
    if constexpr (kDeviate)
      deviate_some<T>(values + at, n, lanes);
    else
      add_some<T>(values + at, n, lanes);
  }
}

template <class T, bool kDeviate>
FASTLOAD_WIDE void wide_pass(const T* values, uint64_t elements, Lanes<T>& lanes) {
  pass_over<T, kDeviate>(values, elements, lanes);
}

template <class T, bool kDeviate>
void pass(const T* values, uint64_t elements, Lanes<T>& lanes) {
  static const bool is_wide = has_wide();
  if (is_wide)
    wide_pass<T, kDeviate>(values, elements, lanes);
  else
    pass_over<T, kDeviate>(values, elements, lanes);
}

template <class T>
void summarize_whole(const T* values, uint64_t elements, uint64_t columns, StatRecord* records) {
  const uint64_t copies = columns >= 16 ? 1 : (16 + columns - 1) / columns;  // independent sums for narrow fields
  Lanes<T> lanes(columns * copies);
  pass<T, false>(values, elements, lanes);
  for (uint64_t c = 0; c < columns; ++c) {
    StatRecord record;
    double sum = 0;
    T low = lanes.least[c], high = lanes.most[c];
    for (uint64_t lane = c; lane < lanes.sums.size(); lane += columns) {
      sum += lanes.sums[lane];
      low = std::min(low, lanes.least[lane]);
      high = std::max(high, lanes.most[lane]);
    }
    record.count = elements / columns;
    record.min_bits = to_bits(low);
    record.max_bits = to_bits(high);
    record.mean = sum / static_cast<double>(record.count);
    for (uint64_t lane = c; lane < lanes.sums.size(); lane += columns) lanes.means[lane] = record.mean;
    records[c] = record;
  }
  pass<T, true>(values, elements, lanes);
  for (uint64_t lane = 0; lane < lanes.sums.size(); ++lane) records[lane % columns].m2 += lanes.deviations[lane];
}

// Floats are read once: sums of the distances from a value of the column, and of their squares. Four lanes are a
// vector.
template <class T>
struct Floats {
  static constexpr int kVector = 4, kVectors = 2, kTile = kVector * kVectors;
  typedef T Values __attribute__((vector_size(kVector * sizeof(T)), aligned(sizeof(T)), may_alias));
  typedef double Sums __attribute__((vector_size(kVector * 8), aligned(8), may_alias));
  typedef int64_t Counts __attribute__((vector_size(kVector * 8), aligned(8), may_alias));

  std::vector<double> shifts, sums, squares;
  std::vector<T> least, most;
  std::vector<int64_t> finite;

  explicit Floats(uint64_t lanes)
      : shifts(lanes),
        sums(lanes),
        squares(lanes),
        least(lanes, std::numeric_limits<T>::infinity()),
        most(lanes, -std::numeric_limits<T>::infinity()),
        finite(lanes) {}

  // Round after round of kTile neighbouring lanes, all in registers.
  FASTLOAD_INLINE void add_tile(const T* values, uint64_t rounds, uint64_t lane) {
    const uint64_t lanes = sums.size();
    Sums shift[kVectors], sum[kVectors], square[kVectors];
    Values low[kVectors], high[kVectors];
    Counts count[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const uint64_t at = lane + static_cast<uint64_t>(v) * kVector;
      shift[v] = *reinterpret_cast<const Sums*>(&shifts[at]);
      sum[v] = *reinterpret_cast<const Sums*>(&sums[at]);
      square[v] = *reinterpret_cast<const Sums*>(&squares[at]);
      low[v] = *reinterpret_cast<const Values*>(&least[at]);
      high[v] = *reinterpret_cast<const Values*>(&most[at]);
      count[v] = *reinterpret_cast<const Counts*>(&finite[at]);
    }
    for (const T *from = values + lane, *end = from + rounds * lanes; from != end; from += lanes) {
      for (int v = 0; v < kVectors; ++v) {
        const Values value = *reinterpret_cast<const Values*>(from + v * kVector);
        low[v] = value < low[v] ? value : low[v];
        high[v] = value > high[v] ? value : high[v];
        Sums wide;  // in one instruction; __builtin_convertvector takes four
        for (int i = 0; i < kVector; ++i) wide[i] = static_cast<double>(value[i]);
        const Sums zero = wide - wide;
        const Counts mask = zero == zero;  // not of NaN and infinities
        const Sums kept = (Sums)((Counts)(wide - shift[v]) & mask);
        count[v] -= mask;  // by -1
        sum[v] += kept;
        square[v] += kept * kept;
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      const uint64_t at = lane + static_cast<uint64_t>(v) * kVector;
      *reinterpret_cast<Sums*>(&sums[at]) = sum[v];
      *reinterpret_cast<Sums*>(&squares[at]) = square[v];
      *reinterpret_cast<Values*>(&least[at]) = low[v];
      *reinterpret_cast<Values*>(&most[at]) = high[v];
      *reinterpret_cast<Counts*>(&finite[at]) = count[v];
    }
  }

  FASTLOAD_INLINE void add_one(T value, uint64_t lane) {
    least[lane] = value < least[lane] ? value : least[lane];
    most[lane] = value > most[lane] ? value : most[lane];
    if (!std::isfinite(value)) return;
    const double distance = static_cast<double>(value) - shifts[lane];
    finite[lane] += 1;
    sums[lane] += distance;
    squares[lane] += distance * distance;
  }

  FASTLOAD_INLINE void add_all(const T* values, uint64_t elements) {
    constexpr uint64_t kReadAtOnce = 4096 / sizeof(T);  // a page: what the tiles after the first find in the cache
    const uint64_t lanes = sums.size(), rounds = elements / lanes, tiled = lanes / kTile * kTile;
    const uint64_t some = std::max<uint64_t>(1, kReadAtOnce / lanes);
    for (uint64_t round = 0; round < rounds; round += some) {
      const uint64_t n = std::min(some, rounds - round);
      const T* from = values + round * lanes;
      for (uint64_t lane = 0; lane < tiled; lane += kTile) add_tile(from, n, lane);
      for (uint64_t lane = tiled; lane < lanes; ++lane)
        for (uint64_t i = 0; i < n; ++i) add_one(from[i * lanes + lane], lane);
    }
    for (uint64_t i = rounds * lanes; i < elements; ++i) add_one(values[i], i - rounds * lanes);
  }

  FASTLOAD_WIDE void add_all_wide(const T* values, uint64_t elements) { add_all(values, elements); }
};

// False if these sums would not do: with infinities, or where values lie much closer to each other than to the first.
template <class T>
bool summarize_floats(const T* values, uint64_t elements, uint64_t columns, StatRecord* records) {
  constexpr uint64_t kWidest = 256, kLookedAt = 16;
  constexpr double kFar = 1e6;  // square of a distance, in variances: 20 of the 53 bits of the squares' sum are lost
  const uint64_t tile = Floats<T>::kTile, copies = columns <= kWidest ? tile / std::gcd(tile, columns) : 1;
  Floats<T> lanes(columns * copies);
  for (uint64_t c = 0; c < columns; ++c) {
    double shift = 0;
    for (uint64_t i = c; i < std::min(elements, kLookedAt * columns); i += columns) {
      if (!std::isfinite(values[i])) continue;
      shift = static_cast<double>(values[i]);
      break;
    }
    for (uint64_t lane = c; lane < lanes.sums.size(); lane += columns) lanes.shifts[lane] = shift;
  }
  static const bool is_wide = has_wide();
  if (is_wide)
    lanes.add_all_wide(values, elements);
  else
    lanes.add_all(values, elements);
  const uint64_t per_column = elements / columns;
  for (uint64_t c = 0; c < columns; ++c) {
    StatRecord record;
    double sum = 0, squares = 0;
    T low = lanes.least[c], high = lanes.most[c];
    for (uint64_t lane = c; lane < lanes.sums.size(); lane += columns) {
      sum += lanes.sums[lane];
      squares += lanes.squares[lane];
      low = std::min(low, lanes.least[lane]);
      high = std::max(high, lanes.most[lane]);
      record.count += static_cast<uint64_t>(lanes.finite[lane]);
    }
    record.nans = per_column - record.count;
    if (record.count) {
      if (std::isinf(low) || std::isinf(high)) return false;
      const double offset = sum / static_cast<double>(record.count), lost = sum * offset;
      record.min_bits = to_bits(low);
      record.max_bits = to_bits(high);
      record.mean = lanes.shifts[c] + offset;
      record.m2 = squares - lost;
      if (!(lost <= kFar * record.m2) && squares != 0) return false;
    } else if (!std::isinf(low) || low < 0 || high > 0) {
      return false;  // infinities only
    }
    records[c] = record;
  }
  return true;
}

template <class T>
void summarize_values(const T* values, uint64_t rows, uint64_t row_elements, uint64_t columns, const uint8_t* valid,
                      StatRecord* records) {
  const uint64_t elements = rows * row_elements;
  const bool all_valid = !valid || std::find(valid, valid + rows, uint8_t{0}) == valid + rows;
  if (all_valid && elements >= columns && elements > 0) {
    if constexpr (!std::is_floating_point_v<T>) return summarize_whole(values, elements, columns, records);
    if constexpr (std::is_floating_point_v<T>)
      if (summarize_floats(values, elements, columns, records)) return;
  }
  summarize_general(values, rows, row_elements, columns, valid, records);
}

void summarize_lengths(uint64_t rows, const uint32_t* offsets, const uint8_t* valid, StatRecord* record) {
  std::vector<uint32_t> lengths(rows);
  for (uint64_t row = 0; row < rows; ++row) lengths[row] = offsets[row + 1] - offsets[row];
  summarize_values(lengths.data(), rows, 1, 1, valid, record);
}

constexpr uint64_t kSmallRange = 1 << 16;

// Values close together: one counter each, no look-up. False if they are not.
template <class T>
bool count_small_range(const T* values, uint64_t rows, const uint8_t* valid, ClassCounts& counts) {
  int64_t low = std::numeric_limits<int64_t>::max(), high = std::numeric_limits<int64_t>::min();
  for (uint64_t row = 0; row < rows; ++row) {
    if (valid && !valid[row]) continue;
    low = std::min(low, static_cast<int64_t>(values[row]));
    high = std::max(high, static_cast<int64_t>(values[row]));
  }
  if (low > high) return true;  // no value at all
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  if (range >= kSmallRange) return false;
  std::vector<uint64_t> found(range + 1);
  for (uint64_t row = 0; row < rows; ++row)
    if (!valid || valid[row]) ++found[static_cast<uint64_t>(values[row]) - static_cast<uint64_t>(low)];
  for (uint64_t i = 0; i <= range; ++i) {
    if (!found[i]) continue;
    counts.values.push_back(static_cast<int64_t>(static_cast<uint64_t>(low) + i));
    counts.rows.push_back(found[i]);
  }
  return true;
}

// Any values. False as soon as there are too many.
template <class T>
bool count_any(const T* values, uint64_t rows, const uint8_t* valid, ClassCounts& counts) {
  std::unordered_map<int64_t, uint64_t> found;
  for (uint64_t row = 0; row < rows;) {
    uint64_t end = row + 1;
    if (!valid || valid[row]) {
      while (end < rows && values[end] == values[row] && (!valid || valid[end])) ++end;  // often a run: one look-up
      found[static_cast<int64_t>(values[row])] += end - row;
      if (found.size() > kMaxClasses) return false;
    }
    row = end;
  }
  for (const auto& [value, n] : found) counts.values.push_back(value);
  std::sort(counts.values.begin(), counts.values.end());
  for (int64_t value : counts.values) counts.rows.push_back(found[value]);
  return true;
}

}  // namespace

void summarize(const FieldSpec& field, uint64_t rows, const uint8_t* values, const uint32_t* offsets,
               const uint8_t* valid, StatRecord* records) {
  const uint64_t columns = field.value_columns();
  if (field.is_ragged()) {
    if (columns)  // elements of null rows do not exist, so only the lengths know of nulls
      with_values(field.dtype, values, offsets[rows],
                  [&](const auto* typed) { summarize_values(typed, offsets[rows], 1, 1, nullptr, records); });
    summarize_lengths(rows, offsets, valid, records + columns);
    return;
  }
  const uint64_t row_elements = field.row_bytes() / field.element_bytes();
  with_values(field.dtype, values, rows * row_elements,
              [&](const auto* typed) { summarize_values(typed, rows, row_elements, columns, valid, records); });
}

std::vector<StatRecord> summarize_array(const FieldSpec& field, uint64_t rows, const uint8_t* values,
                                        unsigned threads) {
  constexpr uint64_t kBlockBytes = uint64_t{512} << 10;  // read twice, the second time from the caches
  const uint64_t columns = field.stat_columns(), row_bytes = std::max<uint64_t>(1, field.row_bytes());
  const uint64_t block_rows = std::max<uint64_t>(1, kBlockBytes / row_bytes);
  Stretches stretches(rows, block_rows);
  std::vector<StatRecord> records(stretches.number() * columns);
  in_threads(std::min<uint64_t>(threads, stretches.number()), [&] {
    for (uint64_t begin, end; stretches.next(&begin, &end);)
      summarize(field, end - begin, values + begin * row_bytes, nullptr, nullptr,
                &records[begin / block_rows * columns]);
  });
  return records;
}

bool count_classes(const FieldSpec& field, uint64_t rows, const uint8_t* values, const uint8_t* valid,
                   ClassCounts& counts) {
  counts.values.clear();
  counts.rows.clear();
  bool few = true;
  with_values(field.dtype, values, rows, [&](const auto* typed) {
    if constexpr (!std::is_floating_point_v<std::remove_cv_t<std::remove_reference_t<decltype(*typed)>>>)
      few = count_small_range(typed, rows, valid, counts) || count_any(typed, rows, valid, counts);
  });
  if (few && counts.values.size() <= kMaxClasses) return true;
  counts.values.clear();
  counts.rows.clear();
  return false;
}

void merge_classes(ClassCounts& total, const ClassCounts& more) {
  ClassCounts merged{total.field, {}, {}};
  merged.values.reserve(total.values.size() + more.values.size());
  merged.rows.reserve(total.values.size() + more.values.size());
  for (size_t a = 0, b = 0; a < total.values.size() || b < more.values.size();) {
    const bool from_total = b == more.values.size() || (a < total.values.size() && total.values[a] <= more.values[b]);
    const bool from_more = a == total.values.size() || (b < more.values.size() && more.values[b] <= total.values[a]);
    merged.values.push_back(from_total ? total.values[a] : more.values[b]);
    merged.rows.push_back((from_total ? total.rows[a] : 0) + (from_more ? more.rows[b] : 0));
    a += from_total;
    b += from_more;
  }
  total = std::move(merged);
}

}  // namespace fastload
