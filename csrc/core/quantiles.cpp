#include "quantiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <type_traits>

#include "errors.h"
#include "parallel.h"
#include "typed_values.h"

namespace fastload {
namespace {

constexpr unsigned kDigitBits = 11;
constexpr uint64_t kBins = uint64_t{1} << kDigitBits;
constexpr uint64_t kStretchRows = 4096;
constexpr uint64_t kColumnsTogether = 64;  // so that their histograms stay in the caches
constexpr uint8_t kUnwanted = 255;

template <class T>
struct Key {
  using Bits = std::conditional_t<
      sizeof(T) == 8, uint64_t,
      std::conditional_t<sizeof(T) == 4, uint32_t, std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;
  static constexpr unsigned kBits = sizeof(T) * 8;
  static constexpr Bits kTop = Bits(Bits{1} << (kBits - 1));

  static Bits of(T value) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof bits);
    if constexpr (std::is_floating_point_v<T>) return bits & kTop ? Bits(~bits) : Bits(bits | kTop);
    if constexpr (std::is_signed_v<T>) return Bits(bits ^ kTop);
    return bits;
  }
  static T value(Bits key) {
    if constexpr (std::is_floating_point_v<T>)
      key = key & kTop ? Bits(key & ~kTop) : Bits(~key);
    else if constexpr (std::is_signed_v<T>)
      key = Bits(key ^ kTop);
    T value;
    std::memcpy(&value, &key, sizeof value);
    return value;
  }
};

// One value that is looked for in one column: the upper bits of its key, and its rank among those that share them.
struct Wanted {
  uint64_t prefix = 0, rank = 0;
};

// All the wanted ones of some columns that lie side by side.
template <class T>
class Selection {
 public:
  Selection(const T* values, uint64_t rows, uint64_t stride, uint64_t columns, unsigned threads)
      : values_(values), rows_(rows), stride_(stride), columns_(columns), threads_(threads) {}

  // Writes quantile l of column c to out[l * stride + c].
  void find(const std::vector<double>& levels, double* out) {
    prefixes_.assign(columns_, {0});
    count();
    std::vector<uint64_t> present(columns_);
    for (uint64_t c = 0; c < columns_; ++c)
      for (uint64_t bin = 0; bin < kBins; ++bin) present[c] += histograms_[c * kBins + bin];
    std::vector<std::vector<Wanted>> wanted(columns_);
    for (uint64_t c = 0; c < columns_; ++c)
      for (const double level : levels) {
        const double place = level * static_cast<double>(present[c] ? present[c] - 1 : 0);
        const auto rank = static_cast<uint64_t>(place);
        wanted[c].push_back({0, rank});
        wanted[c].push_back({0, std::min(rank + 1, present[c] ? present[c] - 1 : 0)});
      }
    descend(wanted);
    while (known_bits_ < Key<T>::kBits) {
      for (uint64_t c = 0; c < columns_; ++c) {
        prefixes_[c].clear();
        for (const Wanted& one : wanted[c]) prefixes_[c].push_back(one.prefix);
        std::sort(prefixes_[c].begin(), prefixes_[c].end());
        prefixes_[c].erase(std::unique(prefixes_[c].begin(), prefixes_[c].end()), prefixes_[c].end());
      }
      count();
      descend(wanted);
    }
    for (uint64_t c = 0; c < columns_; ++c)
      for (size_t l = 0; l < levels.size(); ++l) {
        const double place = levels[l] * static_cast<double>(present[c] ? present[c] - 1 : 0);
        const auto low = static_cast<double>(value_of(wanted[c][2 * l]));
        const auto high = static_cast<double>(value_of(wanted[c][2 * l + 1]));
        const double part = place - std::floor(place);
        const double between = part == 0 || low == high ? low : low + (high - low) * part;
        out[l * stride_ + c] = present[c] ? between : std::numeric_limits<double>::quiet_NaN();
      }
  }

 private:
  using Bits = typename Key<T>::Bits;

  unsigned digit_bits() const { return std::min(kDigitBits, Key<T>::kBits - known_bits_); }
  T value_of(const Wanted& wanted) const { return Key<T>::value(static_cast<Bits>(wanted.prefix)); }

  // Histograms of the next digit, one for each prefix of each column: histograms_[(first slot of the column + slot) *
  // kBins + digit].
  void count() {
    first_slots_.assign(columns_, 0);
    uint64_t slots = 0;
    for (uint64_t c = 0; c < columns_; ++c) {
      first_slots_[c] = slots;
      slots += prefixes_[c].size();
    }
    histograms_.assign(slots * kBins, 0);
    std::mutex mutex;
    Stretches stretches(rows_, kStretchRows);
    in_threads(std::min<uint64_t>(threads_, stretches.number()), [&] {
      std::vector<uint32_t> counts(slots * kBins);
      uint64_t counted = 0;
      const auto hand_in = [&] {
        std::lock_guard<std::mutex> lock(mutex);
        for (uint64_t i = 0; i < counts.size(); ++i) histograms_[i] += counts[i];
        std::fill(counts.begin(), counts.end(), 0);
        counted = 0;
      };
      for (uint64_t begin, end; stretches.next(&begin, &end);) {
        if (known_bits_ == 0)
          count_all(begin, end, counts.data());
        else
          count_wanted(begin, end, counts.data());
        if ((counted += end - begin) > (uint64_t{1} << 31)) hand_in();
      }
      hand_in();
    });
  }

  void count_all(uint64_t begin, uint64_t end, uint32_t* counts) const {
    const unsigned shift = Key<T>::kBits - digit_bits();
    for (uint64_t row = begin; row < end; ++row) {
      const T* const values = values_ + row * stride_;
      for (uint64_t c = 0; c < columns_; ++c)
        if (values[c] == values[c]) ++counts[c * kBins + (Key<T>::of(values[c]) >> shift)];
    }
  }

  void count_wanted(uint64_t begin, uint64_t end, uint32_t* counts) const {
    const unsigned shift = Key<T>::kBits - known_bits_ - digit_bits(), known_shift = Key<T>::kBits - known_bits_;
    const uint64_t digits = (uint64_t{1} << digit_bits()) - 1;
    for (uint64_t row = begin; row < end; ++row) {
      const T* const values = values_ + row * stride_;
      for (uint64_t c = 0; c < columns_; ++c) {
        const uint64_t key = Key<T>::of(values[c]), prefix = key >> known_shift;
        const std::vector<uint64_t>& wanted = prefixes_[c];
        for (size_t slot = 0; slot < wanted.size(); ++slot)
          if (wanted[slot] == prefix && values[c] == values[c]) {
            ++counts[(first_slots_[c] + slot) * kBins + ((key >> shift) & digits)];
            break;
          }
      }
    }
  }

  // Each wanted value lies in one bin of the histogram of its prefix, at a rank that is smaller by those in the bins
  // before.
  void descend(std::vector<std::vector<Wanted>>& wanted) {
    for (uint64_t c = 0; c < columns_; ++c)
      for (Wanted& one : wanted[c]) {
        const auto at = std::lower_bound(prefixes_[c].begin(), prefixes_[c].end(), one.prefix) - prefixes_[c].begin();
        const uint64_t* const histogram = histograms_.data() + (first_slots_[c] + static_cast<uint64_t>(at)) * kBins;
        uint64_t bin = 0;
        while (bin + 1 < kBins && one.rank >= histogram[bin]) one.rank -= histogram[bin++];
        one.prefix = one.prefix << digit_bits() | bin;
      }
    known_bits_ += digit_bits();
  }

  const T* const values_;
  const uint64_t rows_, stride_, columns_;
  const unsigned threads_;
  unsigned known_bits_ = 0;
  std::vector<std::vector<uint64_t>> prefixes_;
  std::vector<uint64_t> first_slots_, histograms_;
};

template <class T>
void select(const T* values, uint64_t rows, uint64_t columns, const std::vector<double>& levels, unsigned threads,
            double* out) {
  for (uint64_t first = 0; first < columns; first += kColumnsTogether)
    Selection<T>(values + first, rows, columns, std::min(kColumnsTogether, columns - first), threads)
        .find(levels, out + first);
}

}  // namespace

std::vector<double> quantiles(Dtype dtype, const uint8_t* values, uint64_t rows, uint64_t columns,
                              const std::vector<double>& levels, unsigned threads) {
  if (dtype == Dtype::string || dtype == Dtype::bytes) fail(Cause::argument, "quantiles are of numbers, not of text");
  std::vector<double> out(levels.size() * columns);
  with_values(dtype, values, rows * columns,
              [&](const auto* typed) { select(typed, rows, columns, levels, threads, out.data()); });
  return out;
}

}  // namespace fastload
