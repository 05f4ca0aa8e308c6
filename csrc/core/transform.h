// From a decoded row to a row of the batch: kernels that were compiled elsewhere (fastload/kernels) and are called in
// the engine's threads, on rows that lie in the first caches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "buffer.h"
#include "layout.h"
#include "permutation.h"

namespace fastload {

// rows    : how many; they lie one after the other in `in`, and are written so to `out`
// valid   : one byte a row, 0 = null, or null when all are present
// keys    : what a row's random draws are made of, or null where nothing is drawn
// integers, numbers : the same in every call; what they mean is the kernel's own
// Returns 0, or 1 + the number of a row that it cannot take.
using KernelFunction = int64_t (*)(const void* in, const uint8_t* valid, const uint64_t* keys, int64_t rows,
                                   const int64_t* integers, const void* numbers, void* out);

struct Kernel {
  KernelFunction function = nullptr;  // its code stays for the life of the process
  std::vector<int64_t> integers;
  std::vector<uint64_t> numbers;  // as bytes, aligned to 8
  uint64_t out_row_bytes = 0;
  std::string refusal;  // what is wrong with a row that it cannot take
};

// A field of the batch, and what it is made of.
struct BatchColumn {
  FieldSpec field;              // as it is delivered
  uint32_t source = 0;          // field of the source
  std::vector<Kernel> kernels;  // one after the other; none: rows are copied as they are
};

struct BatchColumns {
  std::vector<BatchColumn> columns;
  bool draws = false;  // some kernel needs keys

  static std::shared_ptr<const BatchColumns> as_they_are(const std::vector<FieldSpec>& fields);
  std::vector<FieldSpec> fields() const;
};

// SplitMix64's output number `row` of the generator with this key, as fastload/plan/random.py has it.
inline uint64_t row_key(uint64_t key, uint64_t row) { return mix64(key + row * 0x9E3779B97F4A7C15); }

// Memory for the rows between two kernels: as many as make calls cheap, and few enough for the caches.
class KernelScratch {
 public:
  KernelScratch(const std::vector<Kernel>& kernels, uint64_t in_row_bytes, BufferPool* pool);
  uint64_t rows() const { return rows_; }
  uint8_t* in() const { return in_->data(); }
  // Runs the chain on at most rows() rows. Returns as a kernel does; `refused_by` is then the kernel that refused.
  int64_t run(const uint8_t* in, const uint8_t* valid, const uint64_t* keys, uint64_t rows, uint8_t* out,
              const Kernel** refused_by) const;

 private:
  const std::vector<Kernel>& kernels_;
  const uint64_t rows_;
  std::shared_ptr<Buffer> in_, between_[2];
};

// Arrays in memory, in `threads` threads (0: in the caller's). Returns and `refused_by` as above, of the first such
// row.
int64_t transform_rows(const std::vector<Kernel>& kernels, const uint8_t* in, uint64_t in_row_bytes,
                       const uint8_t* valid, const uint64_t* keys, uint64_t rows, uint8_t* out, unsigned threads,
                       const Kernel** refused_by);

}  // namespace fastload
