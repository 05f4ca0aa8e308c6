#include "interpolate.h"

#include <algorithm>
#include <string>

#include "errors.h"
#include "parallel.h"

namespace fastload {
namespace {

// Of what is made, that a thread takes at a time: some huge pages (2 MiB), since one that two threads touch first, both
// at once, is filled with zeros by both.
constexpr uint64_t kStretchBytes = uint64_t{4} << 20;

void check_rows(const int64_t* numbers, uint64_t count, uint64_t given) {
  for (uint64_t i = 0; i < count; ++i)
    if (static_cast<uint64_t>(numbers[i]) >= given)
      fail(Cause::row_index, "row " + std::to_string(numbers[i]) + " is not one of " + std::to_string(given) + " rows");
}

}  // namespace

void interpolate_rows(InterpolateFunction function, const Interpolation& what, uint8_t* out, unsigned threads) {
  check_rows(what.bases, what.made, what.given);
  check_rows(what.neighbors, what.made, what.given);
  const uint64_t row_bytes = what.columns * what.value_bytes;
  Stretches stretches(what.made, kStretchBytes / std::max<uint64_t>(1, row_bytes));
  in_threads(std::min<uint64_t>(threads, stretches.number()), [&] {
    for (uint64_t begin, end; stretches.next(&begin, &end);)
      function(what.rows, what.bases + begin, what.neighbors + begin, what.parts + begin,
               static_cast<int64_t>(end - begin), static_cast<int64_t>(what.columns), out + begin * row_bytes);
  });
}

}  // namespace fastload
