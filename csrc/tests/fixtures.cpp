#include "fixtures.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>

#include "byte_order.h"
#include "check.h"

namespace fastload::test {
namespace {

// One element, in the dtype's own bits.
void put_element(std::vector<uint8_t>& to, const FieldSpec& spec, uint64_t bits) {
  uint8_t bytes[8];
  if (spec.categories) bits %= kTestCategories;
  if (spec.dtype == Dtype::boolean) bits &= 1;
  if (spec.dtype == Dtype::string) bits = 'a' + bits % 26;
  store_le(bytes, bits);
  to.insert(to.end(), bytes, bytes + spec.element_bytes());
}

std::string null_value(const FieldSpec& spec) {
  if (spec.is_ragged()) return "";
  std::string element(spec.element_bytes(), '\0');
  const auto set = [&](auto nan) { std::memcpy(element.data(), &nan, sizeof nan); };
  if (spec.dtype == Dtype::float16) set(uint16_t{0x7E00});
  if (spec.dtype == Dtype::bfloat16) set(uint16_t{0x7FC0});
  if (spec.dtype == Dtype::float32) set(std::numeric_limits<float>::quiet_NaN());
  if (spec.dtype == Dtype::float64) set(std::numeric_limits<double>::quiet_NaN());
  std::string value;
  for (uint64_t at = 0; at < spec.row_bytes(); at += element.size()) value += element;
  return value;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "fastload-test-XXXXXX").string();
  if (!mkdtemp(name.data())) throw CheckFailed("cannot make a temporary folder: " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryFolder::names() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_))
    names.push_back(entry.path().filename().string());
  return names;
}

std::vector<FieldSpec> Table::fields() const {
  std::vector<FieldSpec> specs;
  for (const TestColumn& column : columns) specs.push_back(column.field);
  return specs;
}

std::vector<ColumnRows> Table::from(uint64_t first) const {
  std::vector<ColumnRows> rows;
  for (const TestColumn& column : columns) {
    ColumnRows part;
    if (column.field.is_ragged())
      part = {column.values.data(), column.offsets.data() + first, nullptr};
    else
      part = {column.values.data() + first * column.field.row_bytes(), nullptr, nullptr};
    if (column.field.nullable) part.valid = column.valid.data() + first;
    rows.push_back(part);
  }
  return rows;
}

bool Table::is_valid(size_t f, uint64_t row) const { return !columns[f].field.nullable || columns[f].valid[row]; }

std::string Table::value(size_t f, uint64_t row) const {
  const TestColumn& column = columns[f];
  if (!is_valid(f, row)) return null_value(column.field);
  const auto* bytes = reinterpret_cast<const char*>(column.values.data());
  const uint64_t size = column.field.row_bytes();
  if (!column.field.is_ragged()) return std::string(bytes + row * size, size);
  const auto begin = static_cast<uint64_t>(column.offsets[row]), end = static_cast<uint64_t>(column.offsets[row + 1]);
  return std::string(bytes + begin * size, (end - begin) * size);
}

FieldSpec field(std::string name, Dtype dtype, std::vector<uint64_t> shape) {
  FieldSpec spec;
  spec.name = std::move(name);
  spec.dtype = dtype;
  spec.shape = std::move(shape);
  return spec;
}

FieldSpec variable(FieldSpec spec) {
  spec.variable = true;
  return spec;
}

FieldSpec nullable(FieldSpec spec) {
  spec.nullable = true;
  return spec;
}

std::vector<FieldSpec> every_field() {
  std::vector<FieldSpec> specs;
  for (uint8_t d = 0; d < kDtypes; ++d) {
    const auto dtype = static_cast<Dtype>(d);
    const std::string name = "d" + std::to_string(d);
    const FieldSpec scalar = field(name, dtype);
    if (scalar.is_text()) {
      specs.push_back(scalar);
      specs.push_back(nullable(field(name + "?", dtype)));
      continue;
    }
    specs.push_back(scalar);
    specs.push_back(field(name + "[3]", dtype, {3}));
    specs.push_back(nullable(field(name + "?", dtype)));
    specs.push_back(nullable(field(name + "[2,5]?", dtype, {2, 5})));
    specs.push_back(variable(field(name + "*", dtype)));
    specs.push_back(nullable(variable(field(name + "*?", dtype))));
  }
  FieldSpec categories = field("categories", Dtype::int32);
  categories.categories = true;
  specs.push_back(categories);
  categories.name = "categories?";
  specs.push_back(nullable(categories));
  return specs;
}

Table make_table(const std::vector<FieldSpec>& fields, uint64_t rows, uint64_t seed) {
  std::mt19937_64 random(seed);
  Table table;
  table.rows = rows;
  for (size_t f = 0; f < fields.size(); ++f) {
    TestColumn column;
    column.field = fields[f];
    const uint64_t row_elements = fields[f].row_bytes() / fields[f].element_bytes();
    const uint64_t range = f % 2 == 0 ? 50 : UINT64_MAX;
    if (fields[f].is_ragged()) column.offsets.push_back(0);
    for (uint64_t row = 0; row < rows; ++row) {
      const bool is_null = fields[f].nullable && random() % 5 == 0;
      if (fields[f].nullable) column.valid.push_back(!is_null);
      const uint64_t elements = !fields[f].is_ragged() ? row_elements : is_null ? 0 : random() % 8;
      for (uint64_t i = 0; i < elements; ++i) put_element(column.values, fields[f], random() % range);
      if (fields[f].is_ragged()) column.offsets.push_back(column.offsets.back() + static_cast<int64_t>(elements));
    }
    table.columns.push_back(std::move(column));
  }
  return table;
}

Table make_numbered_table(uint64_t rows, uint64_t width) {
  Table table;
  table.rows = rows;
  table.columns.resize(2);
  table.columns[0].field = field("row", Dtype::int64);
  table.columns[1].field = field("x", Dtype::float32, {width});
  for (uint64_t row = 0; row < rows; ++row) {
    put_element(table.columns[0].values, table.columns[0].field, row);
    for (uint64_t i = 0; i < width; ++i) {
      const float value = static_cast<float>(row) + static_cast<float>(i) / 8;
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      put_element(table.columns[1].values, table.columns[1].field, bits);
    }
  }
  return table;
}

void write_table(const std::string& path, const Table& table, const WriterOptions& options, uint64_t portion_rows) {
  const FileId id = {7, 7, 7};
  const auto writer = ShardWriter::create(path + ".tmp", table.fields(), id, options);
  for (uint64_t first = 0; first < table.rows; first += std::min(portion_rows, table.rows - first))
    writer->append(table.from(first), std::min(portion_rows, table.rows - first));
  std::vector<Dictionary> dictionaries;
  for (uint32_t f = 0; f < table.columns.size(); ++f) {
    if (!table.columns[f].field.categories) continue;
    dictionaries.push_back({f, {}});
    for (uint32_t c = 0; c < kTestCategories; ++c) dictionaries.back().entries.push_back(std::string(c, 'x'));
  }
  writer->finish(dictionaries, path);
}

std::string write_shard(const TemporaryFolder& folder, const std::string& name, const Table& table,
                        const WriterOptions& options, uint64_t portion_rows) {
  write_table(folder.file(name), table, options, portion_rows);
  return folder.file(name);
}

std::shared_ptr<ShardSource> open_source(const std::vector<std::string>& paths) {
  std::vector<std::shared_ptr<const ShardReader>> shards;
  for (const std::string& path : paths) shards.push_back(std::make_shared<const ShardReader>(path));
  std::vector<uint32_t> indices(shards.at(0)->layout().fields.size());
  for (uint32_t i = 0; i < indices.size(); ++i) indices[i] = i;
  return std::make_shared<ShardSource>(std::move(shards), std::move(indices));
}

std::vector<uint8_t> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw CheckFailed("cannot write " + path);
}

void check_row(const Batch& batch, uint64_t i, const Table& table, uint64_t row) {
  for (size_t f = 0; f < table.columns.size(); ++f) {
    const FieldSpec& spec = table.columns[f].field;
    const FieldBatch& out = batch.fields[f];
    const std::string expected = table.value(f, row);
    uint64_t begin = i * spec.row_bytes(), bytes = spec.row_bytes();
    if (out.lengths) {
      const auto* lengths = reinterpret_cast<const int64_t*>(out.lengths->data());
      begin = i * out.width * spec.element_bytes();
      bytes = static_cast<uint64_t>(lengths[i]) * spec.element_bytes();
      for (uint64_t at = begin + bytes; at < begin + out.width * spec.element_bytes(); ++at)
        CHECK_EQ(int{out.values->data()[at]}, 0);
    } else if (out.offsets) {
      const auto* offsets = reinterpret_cast<const int64_t*>(out.offsets->data());
      begin = static_cast<uint64_t>(offsets[i]) * spec.element_bytes();
      bytes = static_cast<uint64_t>(offsets[i + 1] - offsets[i]) * spec.element_bytes();
    }
    const std::string found =
        bytes ? std::string(reinterpret_cast<const char*>(out.values->data()) + begin, bytes) : "";
    if (found != expected) throw CheckFailed("row " + std::to_string(row) + ", field " + spec.name + ": another value");
    if (spec.nullable) CHECK_EQ(out.valid->data()[i] != 0, table.is_valid(f, row));
  }
}

MadeSource::MadeSource(uint32_t blocks, uint32_t rows_per_block, bool ragged, uint64_t padding_bytes)
    : padding_bytes_(padding_bytes) {
  fields_.push_back(field("row", Dtype::int64));
  if (ragged) fields_.push_back(variable(field("copies", Dtype::int64)));
  block_rows_.assign(blocks, rows_per_block);
}

uint64_t MadeSource::decoded_bytes(uint32_t block) const {
  const uint64_t rows = block_rows_[block];
  return align_up(rows * 8, kAlignment) + padding_bytes_ +
         (fields_.size() > 1 ? align_up(4 * (rows + 1), kAlignment) + align_up(rows * 4 * 8, kAlignment) : 0);
}

void MadeSource::load(uint32_t block, uint8_t* memory, LoadScratch&, FieldRows* rows) const {
  ++loads;
  if (before_load) before_load(block);
  const uint64_t count = block_rows_[block], first = block * count;
  auto* numbers = reinterpret_cast<int64_t*>(memory);
  for (uint64_t i = 0; i < count; ++i) numbers[i] = static_cast<int64_t>(first + i);
  rows[0] = FieldRows();
  rows[0].data = memory;
  rows[0].stride_bytes = 8;
  if (fields_.size() < 2) return;
  auto* offsets = reinterpret_cast<uint32_t*>(memory + align_up(count * 8, kAlignment));
  auto* copies =
      reinterpret_cast<int64_t*>(reinterpret_cast<uint8_t*>(offsets) + align_up(4 * (count + 1), kAlignment));
  offsets[0] = 0;
  for (uint64_t i = 0; i < count; ++i) {
    offsets[i + 1] = offsets[i] + static_cast<uint32_t>((first + i) % 5);
    for (uint32_t at = offsets[i]; at < offsets[i + 1]; ++at) copies[at] = static_cast<int64_t>(first + i);
  }
  rows[1] = FieldRows();
  rows[1].data = reinterpret_cast<const uint8_t*>(copies);
  rows[1].stride_bytes = 8;
  rows[1].offsets32 = offsets;
  rows[1].elements = offsets[count];
}

std::vector<int64_t> row_numbers(const Batch& batch) {
  const auto* numbers = reinterpret_cast<const int64_t*>(batch.fields[0].values->data());
  return std::vector<int64_t>(numbers, numbers + batch.rows);
}

bool take(Epoch& epoch, Batch* batch) {
  for (;;) {
    const Epoch::Status status = epoch.try_next(batch);
    if (status == Epoch::Status::finished) return false;
    if (status == Epoch::Status::ready) return true;
    if (status == Epoch::Status::waiting) epoch.wait(0.05);
  }
}

std::vector<int64_t> drain(Epoch& epoch, uint64_t* batches) {
  std::vector<int64_t> numbers;
  Batch batch;
  while (take(epoch, &batch)) {
    if (batches) ++*batches;
    const std::vector<int64_t> rows = row_numbers(batch);
    numbers.insert(numbers.end(), rows.begin(), rows.end());
  }
  return numbers;
}

}  // namespace fastload::test
