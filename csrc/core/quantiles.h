// Exact order statistics of the columns of an array, in a few passes over it and without a copy of it.
//
// Values become unsigned keys of the same order (the sign bit of a float turned, and all bits where it was set). Each
// pass counts eleven further bits of the keys, from the top, of those values that share their upper bits with a wanted
// one: a histogram says in which bin it lies, and how far in. That is a selection by radix (MSD), as in Alabi et al.,
// "Fast k-Selection Algorithms for Graphics Processing Units", 2012.
#pragma once

#include <cstdint>
#include <vector>

#include "layout.h"

namespace fastload {

// values : rows x columns, row-major, of a number's dtype. levels : ascending, within 0 .. 1.
// Returns [level][column]: the value at level * (n - 1) of the n values that are not NaN, in order, linear in between;
// NaN for a column that has none.
std::vector<double> quantiles(Dtype dtype, const uint8_t* values, uint64_t rows, uint64_t columns,
                              const std::vector<double>& levels, unsigned threads);

}  // namespace fastload
