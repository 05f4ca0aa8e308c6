#include "source.h"

#include <algorithm>
#include <numeric>

namespace fastload {
namespace {

constexpr uint64_t kMemoryBlockRows = uint64_t{1} << 24;  // a multiple of 8: validity bitmaps split on bytes

}  // namespace

uint64_t Source::rows() const { return std::accumulate(block_rows_.begin(), block_rows_.end(), uint64_t{0}); }

MemorySource::MemorySource(std::vector<Column> columns, uint64_t rows) : columns_(std::move(columns)) {
  for (const Column& column : columns_) fields_.push_back(column.field);
  for (uint64_t row = 0; row < rows; row += kMemoryBlockRows)
    block_rows_.push_back(static_cast<uint32_t>(std::min(kMemoryBlockRows, rows - row)));
}

void MemorySource::load(uint32_t block, uint8_t*, LoadScratch&, FieldRows* rows) const {
  const uint64_t first = block * kMemoryBlockRows;
  for (size_t i = 0; i < columns_.size(); ++i) {
    FieldRows view = columns_[i].rows;
    if (columns_[i].field.is_ragged())
      view.offsets64 += first;
    else
      view.data += first * view.stride_bytes;
    if (view.validity) view.validity += first / 8;
    rows[i] = view;
  }
}

}  // namespace fastload
