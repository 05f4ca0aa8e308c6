// Rows from decoded blocks into the memory of a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

#include "block_index.h"
#include "buffer.h"
#include "errors.h"
#include "source.h"
#include "synthesis.h"
#include "transform.h"

namespace fastload {

// One field of a finished batch. Ragged fields that are padded carry `lengths`, others `offsets`.
struct FieldBatch {
  std::shared_ptr<Buffer> values;
  std::shared_ptr<Buffer> lengths;  // int64[rows]
  std::shared_ptr<Buffer> offsets;  // int64[rows + 1]
  std::shared_ptr<Buffer> valid;    // uint8[rows], 1 = present
  uint64_t width = 0;               // padded: elements of the longest row; else elements of all rows
};

// How rows of unequal length become a rectangle.
struct Padding {
  bool left = false;        // what is missing is filled in before the row, not after it
  uint64_t multiple = 1;    // widths are multiples of it
  uint64_t length = 0;      // the width, whatever the rows; 0: that of the longest
  bool truncate = false;    // rows longer than `length` lose their end; else they are refused
  uint64_t value_bits = 0;  // what is filled in: an element's bytes, little-endian
};

struct Batch {
  uint64_t rows = 0;
  std::vector<FieldBatch> fields;
  std::shared_ptr<Buffer> row_numbers;  // int64[rows], where asked for
  std::vector<uint32_t> bad_rows;       // of the batch: zeros instead of what could not be loaded, because of ...
  std::exception_ptr error;
  uint64_t elements = 0, places = 0;  // of padded fields: there are so many elements in so many places
  uint64_t size_bytes() const;
};

// Where the blocks of a source lie: [block * fields + field].
using BlockViews = std::vector<FieldRows>;

// What to gather. Rows are given as (block, row); blocks index `views`.
struct GatherTask {
  const std::vector<FieldSpec>* fields;  // of the source
  const FieldRows* views;
  const RowRef* refs;
  size_t count;
  bool guard;                  // some rows lie in a file map
  const uint64_t* numbers;     // of the rows in the data set; null unless columns are transformed or rows are made
  const Synthesis* synthesis;  // how the last rows of the data set are made, if they are
};

// A kernel cannot take a row.
class RefusedRow : public Error {
 public:
  RefusedRow(const BatchColumn& column, const Kernel& kernel, uint64_t row);
};

// A batch under construction. Parts may be filled by several threads at once: each holds its own rows.
class BatchBuilder {
 public:
  // padding : one per field of the source, for ragged numeric ones; empty: values and offsets. Text is never padded.
  // draw_key : see row_key().
  BatchBuilder(std::shared_ptr<const BatchColumns> columns, uint64_t draw_key, uint64_t rows, uint64_t parts,
               const std::vector<Padding>& padding, BufferPool& pool);

  // Fills rows first_row .. first_row + task.count of the batch. Views may be given up once this returns. Returns the
  // seconds that kernels took of it.
  double fill(const GatherTask& task, uint64_t part, uint64_t first_row);
  // After every part was filled.
  Batch finish();

 private:
  struct Run {
    const uint8_t* data;
    uint64_t elements;
  };
  struct Part {
    uint64_t first_row = 0;
    std::vector<std::vector<Run>> runs;      // per column, ragged ones only
    std::vector<std::vector<uint8_t>> kept;  // copies of the runs where the views do not outlive fill()
  };

  struct Made {
    size_t place;  // among the task's rows
    Parents parents;
  };

  void lay_out(size_t column, const std::vector<Part>& parts);
  double transform(const GatherTask& task, const std::vector<Made>& made, const BatchColumn& column, uint64_t first_row,
                   const uint64_t* keys, FieldBatch& to);
  // Of the rows in begin .. end of the task, those that are made get values of their own in this field of the source.
  static void synthesize(const GatherTask& task, const std::vector<Made>& made, uint32_t source, size_t begin,
                         size_t end, uint8_t* out);

  const std::shared_ptr<const BatchColumns> columns_;
  const uint64_t draw_key_;
  const std::vector<Padding> padding_;
  BufferPool& pool_;
  Batch batch_;
  std::vector<Part> parts_;
};

}  // namespace fastload
