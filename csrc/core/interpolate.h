// Rows between two others, which is what SMOTE makes: a kernel that was compiled elsewhere (fastload/kernels), run in
// several threads.
#pragma once

#include <cstdint>

namespace fastload {

// out[i] = rows[bases[i]] + parts[i] * (rows[neighbors[i]] - rows[bases[i]]), for i in 0 .. n. Rows have `columns`
// values of the kernel's type and lie one after the other. One call with n = 1 makes one row.
using InterpolateFunction = void (*)(const void* rows, const int64_t* bases, const int64_t* neighbors,
                                     const double* parts, int64_t n, int64_t columns, void* out);

// What is to be made: `made` rows of `columns` values of `value_bytes` each, of the `given` ones.
struct Interpolation {
  const uint8_t* rows;
  uint64_t given, columns, value_bytes;
  const int64_t *bases, *neighbors;
  const double* parts;
  uint64_t made;
};

// Writes the rows that are made to `out`, in `threads` threads (0: in the caller's).
void interpolate_rows(InterpolateFunction function, const Interpolation& what, uint8_t* out, unsigned threads);

}  // namespace fastload
