#include "synthesis.h"

#include <algorithm>
#include <string>
#include <utility>

#include "errors.h"
#include "permutation.h"

namespace fastload {
namespace {

// Which of a row's random words is drawn for what; fastload/kernels/calls.py has the slots before these.
constexpr uint64_t kBaseSlot = 16, kNeighborSlot = 17, kPartSlot = 18;

// As in fastload/kernels/_math.py.
uint64_t draw(uint64_t key, uint64_t slot) { return mix64(key + (slot + 1) * 0x9E3779B97F4A7C15); }
uint64_t below(uint64_t word, uint64_t count) { return ((word >> 32) * count) >> 32; }

}  // namespace

Synthesis::Synthesis(uint64_t first_row, std::vector<Class> classes, const int32_t* neighbors, uint32_t k,
                     std::vector<Field> fields)
    : first_row_(first_row), classes_(std::move(classes)), neighbors_(neighbors), k_(k), fields_(std::move(fields)) {
  uint64_t end = 0, bases = 0;
  for (const Class& one : classes_) {
    if (one.bases == 0 || one.bases > UINT32_MAX)
      fail(Cause::argument, "a class needs 1 to 2^32 - 1 rows to make others of, not " + std::to_string(one.bases));
    ends_.push_back(end += one.rows);
    bases = std::max(bases, one.first_base + one.bases);
  }
  for (uint64_t i = 0; i < bases * k_; ++i)
    if (neighbors_[i] < 0 || static_cast<uint64_t>(neighbors_[i]) >= bases)
      fail(Cause::row_index, "neighbour " + std::to_string(neighbors_[i]) + " is not one of " + std::to_string(bases) +
                                 " rows to make others of");
}

Parents Synthesis::parents(uint64_t row, uint64_t key) const {
  const size_t number =
      static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), row - first_row_) - ends_.begin());
  const Class& one = classes_[number];
  Parents out;
  out.base = static_cast<int64_t>(one.first_base + below(draw(key, kBaseSlot), one.bases));
  if (k_ == 0) {
    out.neighbor = out.base;
    return out;
  }
  out.neighbor = neighbors_[static_cast<uint64_t>(out.base) * k_ + below(draw(key, kNeighborSlot), k_)];
  out.part = static_cast<double>(draw(key, kPartSlot) >> 11) * 0x1p-53;
  return out;
}

SynthesizingSource::SynthesizingSource(std::shared_ptr<const Source> real, std::vector<MemorySource::Column> resident,
                                       Synthesis synthesis)
    : real_(std::move(real)),
      real_blocks_(static_cast<uint32_t>(real_->block_rows().size())),
      resident_(std::move(resident)),
      synthesis_(std::move(synthesis)) {
  fields_ = real_->fields();
  block_rows_ = real_->block_rows();
  const uint64_t each = *std::max_element(block_rows_.begin(), block_rows_.end());
  for (uint64_t row = 0; row < synthesis_.rows(); row += each)
    block_rows_.push_back(static_cast<uint32_t>(std::min(each, synthesis_.rows() - row)));
}

void SynthesizingSource::load(uint32_t block, uint8_t* memory, LoadScratch& scratch, FieldRows* rows) const {
  if (is_real(block)) return real_->load(block, memory, scratch, rows);
  for (size_t i = 0; i < resident_.size(); ++i) rows[i] = resident_[i].rows;
}

}  // namespace fastload
