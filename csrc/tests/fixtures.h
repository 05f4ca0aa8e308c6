// Data for the tests: folders that go away, tables with a plain copy to compare with, sources that misbehave on demand.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gather.h"
#include "prefetcher.h"
#include "shard_reader.h"
#include "shard_writer.h"

namespace fastload::test {

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::vector<std::string> names() const;

 private:
  std::string path_;
};

// One field of a table, as a caller of ShardWriter::append() holds it.
struct TestColumn {
  FieldSpec field;
  std::vector<uint8_t> values;
  std::vector<int64_t> offsets;  // ragged only
  std::vector<uint8_t> valid;    // nullable only
};

struct Table {
  uint64_t rows = 0;
  std::vector<TestColumn> columns;

  std::vector<FieldSpec> fields() const;
  std::vector<ColumnRows> from(uint64_t first) const;  // the rows from `first` on
  bool is_valid(size_t field, uint64_t row) const;
  // What reading this value must give: nulls are NaN in float fields, zero in others, empty in ragged ones.
  std::string value(size_t field, uint64_t row) const;
};

constexpr uint32_t kTestCategories = 7;

FieldSpec field(std::string name, Dtype dtype, std::vector<uint64_t> shape = {});
FieldSpec variable(FieldSpec spec);
FieldSpec nullable(FieldSpec spec);
// Every dtype as scalar, vector, nullable, ragged, nullable ragged, as far as it may be; and categories.
std::vector<FieldSpec> every_field();
// Values that compress in even fields, and do not in odd ones. Every fifth row of a nullable field is null.
Table make_table(const std::vector<FieldSpec>& fields, uint64_t rows, uint64_t seed);
// One field "row" of int64 that holds the row's number, and one of `width` floats beside it.
Table make_numbered_table(uint64_t rows, uint64_t width = 4);

// Writes the table to `path` in portions of `portion_rows`.
void write_table(const std::string& path, const Table& table, const WriterOptions& options,
                 uint64_t portion_rows = UINT64_MAX);
// The same in a folder; returns the path.
std::string write_shard(const TemporaryFolder& folder, const std::string& name, const Table& table,
                        const WriterOptions& options, uint64_t portion_rows = UINT64_MAX);
std::shared_ptr<ShardSource> open_source(const std::vector<std::string>& paths);

std::vector<uint8_t> read_file(const std::string& path);
void write_file(const std::string& path, const std::vector<uint8_t>& bytes);

// Throws CheckFailed unless row `i` of the batch is row `row` of the table.
void check_row(const Batch& batch, uint64_t i, const Table& table, uint64_t row);

// For the fields of any table here: zeros to the longest row, or no padding.
inline std::vector<Padding> padded(bool pad) { return std::vector<Padding>(pad ? kMaxFields : 0); }

// Rows made up on the spot: row r holds the int64 r in its first field and, if asked for, r % 5 times r in a second,
// ragged one. All memory is the engine's, as if the blocks had been decoded.
class MadeSource : public Source {
 public:
  MadeSource(uint32_t blocks, uint32_t rows_per_block, bool ragged = false, uint64_t padding_bytes = 0);

  uint64_t raw_bytes(uint32_t block) const override { return decoded_bytes(block); }
  uint64_t decoded_bytes(uint32_t block) const override;
  uint64_t stored_bytes(uint32_t) const override { return 1; }
  void will_need(uint32_t) const override {}
  void load(uint32_t block, uint8_t* memory, LoadScratch& scratch, FieldRows* rows) const override;
  void check_whole() const override {}

  std::function<void(uint32_t block)> before_load;  // may wait, or throw
  mutable std::atomic<uint64_t> loads{0};

 private:
  const uint64_t padding_bytes_;
};

// Numbers of the first field of a batch, which is int64.
std::vector<int64_t> row_numbers(const Batch& batch);
// Takes batches until the end; throws what the engine throws. `batches` counts those taken, up to a throw too.
std::vector<int64_t> drain(Epoch& epoch, uint64_t* batches = nullptr);
// The next batch; false at the end.
bool take(Epoch& epoch, Batch* batch);

}  // namespace fastload::test
