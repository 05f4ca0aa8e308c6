// Count, nulls, min, max, mean and squared deviations of the values of one field in one block.
#pragma once

#include <cstdint>
#include <vector>

#include "layout.h"

namespace fastload {

// values : rows x row_bytes, or all elements of a ragged field. offsets : elements before each row, rows + 1 of them
// (ragged only). valid : one byte a row, or null. Writes field.stat_columns() records. Mean and m2 take finite values
// only and are computed in two passes in double (relative error near 1e-16 times the number of rows of a block).
void summarize(const FieldSpec& field, uint64_t rows, const uint8_t* values, const uint32_t* offsets,
               const uint8_t* valid, StatRecord* records);

// The same of an array in memory, a few rows at a time, in `threads` threads: [block][column].
std::vector<StatRecord> summarize_array(const FieldSpec& field, uint64_t rows, const uint8_t* values, unsigned threads);

// Counts the values of a scalar integer, boolean or categories field of one block into `counts`, ascending; false (and
// no more use) when there are more than kMaxClasses of them.
bool count_classes(const FieldSpec& field, uint64_t rows, const uint8_t* values, const uint8_t* valid,
                   ClassCounts& counts);

// Adds the counts of further rows; both ascending.
void merge_classes(ClassCounts& total, const ClassCounts& more);

}  // namespace fastload
