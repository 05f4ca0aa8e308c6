#include "transform.h"

#include <algorithm>
#include <mutex>

#include "parallel.h"

namespace fastload {
namespace {

constexpr uint64_t kPassBytes = uint64_t{32} << 10;    // of the largest rows of a chain
constexpr uint64_t kStretchBytes = uint64_t{1} << 20;  // of an array, that a thread takes at a time

uint64_t rows_at_a_time(const std::vector<Kernel>& kernels, uint64_t in_row_bytes) {
  uint64_t largest = std::max<uint64_t>(1, in_row_bytes);
  for (const Kernel& kernel : kernels) largest = std::max(largest, kernel.out_row_bytes);
  return std::max<uint64_t>(1, kPassBytes / largest);
}

}  // namespace

std::shared_ptr<const BatchColumns> BatchColumns::as_they_are(const std::vector<FieldSpec>& fields) {
  auto all = std::make_shared<BatchColumns>();
  for (const FieldSpec& field : fields) all->columns.push_back({field, static_cast<uint32_t>(all->columns.size()), {}});
  return all;
}

std::vector<FieldSpec> BatchColumns::fields() const {
  std::vector<FieldSpec> out;
  for (const BatchColumn& column : columns) out.push_back(column.field);
  return out;
}

KernelScratch::KernelScratch(const std::vector<Kernel>& kernels, uint64_t in_row_bytes, BufferPool* pool)
    : kernels_(kernels), rows_(rows_at_a_time(kernels, in_row_bytes)) {
  const auto take = [&](uint64_t bytes) { return pool ? pool->take(bytes) : std::make_shared<Buffer>(bytes); };
  if (pool) in_ = take(rows_ * in_row_bytes);
  uint64_t largest = 0;
  for (size_t k = 0; k + 1 < kernels.size(); ++k) largest = std::max(largest, kernels[k].out_row_bytes);
  for (size_t i = 0; i < 2 && i + 1 < kernels.size(); ++i) between_[i] = take(rows_ * largest);
}

int64_t KernelScratch::run(const uint8_t* in, const uint8_t* valid, const uint64_t* keys, uint64_t rows, uint8_t* out,
                           const Kernel** refused_by) const {
  for (size_t k = 0; k < kernels_.size(); ++k) {
    const Kernel& kernel = kernels_[k];
    uint8_t* const to = k + 1 == kernels_.size() ? out : between_[k % 2]->data();
    const int64_t refused =
        kernel.function(in, valid, keys, static_cast<int64_t>(rows), kernel.integers.data(), kernel.numbers.data(), to);
    if (refused) {
      *refused_by = &kernel;
      return refused;
    }
    in = to;
  }
  return 0;
}

int64_t transform_rows(const std::vector<Kernel>& kernels, const uint8_t* in, uint64_t in_row_bytes,
                       const uint8_t* valid, const uint64_t* keys, uint64_t rows, uint8_t* out, unsigned threads,
                       const Kernel** refused_by) {
  const uint64_t out_row_bytes = kernels.back().out_row_bytes;
  // Large enough to make calls cheap, small enough that all threads have some.
  Stretches stretches(
      rows, std::min(kStretchBytes / std::max<uint64_t>(1, in_row_bytes), rows / (4 * std::max(1u, threads)) + 1));
  std::mutex mutex;
  uint64_t first_refused = UINT64_MAX;
  in_threads(std::min<uint64_t>(threads, stretches.number()), [&] {
    const KernelScratch scratch(kernels, in_row_bytes, nullptr);
    for (uint64_t begin, end; stretches.next(&begin, &end);) {
      for (uint64_t at = begin; at < end; at += scratch.rows()) {
        const uint64_t n = std::min(scratch.rows(), end - at);
        const Kernel* refuser = nullptr;
        const int64_t refused = scratch.run(in + at * in_row_bytes, valid ? valid + at : nullptr,
                                            keys ? keys + at : nullptr, n, out + at * out_row_bytes, &refuser);
        if (!refused) continue;
        std::lock_guard<std::mutex> lock(mutex);
        const uint64_t row = at + static_cast<uint64_t>(refused - 1);
        if (row < first_refused) {
          first_refused = row;
          *refused_by = refuser;
        }
        break;
      }
    }
  });
  return first_refused == UINT64_MAX ? 0 : static_cast<int64_t>(first_refused + 1);
}

}  // namespace fastload
