#include "layout.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "buffer.h"
#include "byte_order.h"
#include "checksum.h"
#include "errors.h"

namespace fastload {
namespace {

constexpr uint8_t kVariable = 1, kNullable = 2, kCategories = 4;
constexpr uint32_t kCritical = 1;

class Writer {
 public:
  template <class T>
  void put(T value) {
    const size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    store_le(bytes.data() + at, value);
  }
  void put_bytes(const void* data, size_t size) {
    const auto* from = static_cast<const uint8_t*>(data);
    bytes.insert(bytes.end(), from, from + size);
  }
  void pad(uint64_t alignment) { bytes.resize(align_up(bytes.size(), alignment)); }

  std::vector<uint8_t> bytes;
};

// Reads numbers from a byte range and refuses to leave it.
class Cursor {
 public:
  Cursor(const uint8_t* data, uint64_t size, std::string what) : data_(data), size_(size), what_(std::move(what)) {}

  template <class T>
  T get() {
    const uint8_t* from = take(sizeof(T));
    return load_le<T>(from);
  }
  const uint8_t* take(uint64_t bytes) {
    if (bytes > size_ - at_) fail(Cause::format, what_ + " ends before its contents do");
    const uint8_t* from = data_ + at_;
    at_ += bytes;
    return from;
  }
  void zero(uint64_t bytes) {
    const uint8_t* from = take(bytes);
    if (std::any_of(from, from + bytes, [](uint8_t b) { return b != 0; }))
      fail(Cause::format, what_ + " has a reserved or padding byte that is not zero");
  }
  void pad(uint64_t alignment) { zero(align_up(at_, alignment) - at_); }
  void end() const {
    if (at_ != size_) fail(Cause::format, what_ + " is longer than its contents");
  }
  uint64_t left() const { return size_ - at_; }

 private:
  const uint8_t* data_;
  uint64_t size_, at_ = 0;
  std::string what_;
};

// Well-formed UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF.
bool is_utf8(const uint8_t* text, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes;) {
    const uint8_t lead = text[at++];
    if (lead < 0x80) continue;
    const uint64_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead < 0xC2 || lead > 0xF4 || more > bytes - at) return false;
    const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;  // of the byte after the first
    const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (text[at] < low || text[at] > high) return false;
    for (uint64_t i = 1; i < more; ++i)
      if (text[at + i] >> 6 != 2) return false;
    at += more;
  }
  return true;
}

std::string quoted(const std::string& name) { return "'" + name + "'"; }

std::vector<uint8_t> schema_section(const Layout& layout) {
  Writer out;
  out.put(static_cast<uint32_t>(layout.fields.size()));
  out.put(uint32_t{0});
  for (const FieldSpec& field : layout.fields) {
    out.put(static_cast<uint16_t>(field.name.size()));
    out.put(static_cast<uint8_t>(field.dtype));
    out.put(static_cast<uint8_t>((field.variable ? kVariable : 0) | (field.nullable ? kNullable : 0) |
                                 (field.categories ? kCategories : 0)));
    out.put(static_cast<uint8_t>(field.shape.size()));
    out.put(uint8_t{0});
    out.put(uint16_t{0});
    out.put(field.key_group);
    out.put(uint32_t{0});
    for (uint64_t size : field.shape) out.put(size);
    out.put_bytes(field.name.data(), field.name.size());
    out.pad(8);
  }
  return out.bytes;
}

void check_field_count(uint64_t count, const std::string& name) {
  if (count < 1 || count > kMaxFields)
    fail(Cause::limit,
         quoted(name) + ": a shard has 1 to " + std::to_string(kMaxFields) + " fields, found " + std::to_string(count));
}

void check_field_sizes(size_t index, uint8_t dtype, size_t dimensions, size_t name_bytes, const std::string& name) {
  const std::string where = quoted(name) + ": field " + std::to_string(index);
  if (dtype >= kDtypes) fail(Cause::format, where + " has unknown dtype " + std::to_string(dtype));
  if (dimensions > kMaxDimensions || name_bytes < 1 || name_bytes > kMaxNameBytes)
    fail(Cause::limit, where + " has " + std::to_string(dimensions) + " dimensions and a name of " +
                           std::to_string(name_bytes) + " bytes");
}

std::vector<FieldSpec> read_schema(Cursor in, const std::string& name) {
  const uint32_t count = in.get<uint32_t>();
  in.zero(4);
  check_field_count(count, name);
  std::vector<FieldSpec> fields;
  for (uint32_t i = 0; i < count; ++i) {
    FieldSpec field;
    const uint16_t name_bytes = in.get<uint16_t>();
    const uint8_t dtype = in.get<uint8_t>(), flags = in.get<uint8_t>(), dimensions = in.get<uint8_t>();
    in.zero(3);
    field.key_group = in.get<uint32_t>();
    in.zero(4);
    if (flags > 7)
      fail(Cause::format,
           quoted(name) + ": field " + std::to_string(i) + " has unknown flags " + std::to_string(flags));
    check_field_sizes(i, dtype, dimensions, name_bytes, name);
    field.dtype = static_cast<Dtype>(dtype);
    field.variable = flags & kVariable;
    field.nullable = flags & kNullable;
    field.categories = flags & kCategories;
    for (uint8_t d = 0; d < dimensions; ++d) field.shape.push_back(in.get<uint64_t>());
    const uint8_t* text = in.take(name_bytes);
    if (!is_utf8(text, name_bytes))
      fail(Cause::format, quoted(name) + ": the name of field " + std::to_string(i) + " is not UTF-8");
    field.name.assign(reinterpret_cast<const char*>(text), name_bytes);
    in.pad(8);
    fields.push_back(std::move(field));
  }
  in.end();
  check_fields(fields, name);
  return fields;
}

std::vector<uint8_t> blocks_section(const Layout& layout) {
  Writer out;
  out.put(static_cast<uint64_t>(layout.block_rows.size()));
  out.put(static_cast<uint32_t>(layout.fields.size()));
  out.put(uint32_t{0});
  for (size_t block = 0; block < layout.block_rows.size(); ++block) {
    out.put(layout.block_rows[block]);
    out.put(uint32_t{0});
    for (size_t field = 0; field < layout.fields.size(); ++field) {
      const ChunkEntry& chunk = layout.chunk(block, field);
      out.put(chunk.offset);
      out.put(chunk.stored_bytes);
      out.put(chunk.raw_bytes);
      out.put(chunk.crc32c);
      out.put(static_cast<uint8_t>(chunk.codec));
      out.put(static_cast<uint8_t>(chunk.filter));
      out.put(uint16_t{0});
    }
  }
  return out.bytes;
}

// What must hold of one chunk before anybody decodes it; returns where the next one starts.
uint64_t check_chunk(const ChunkEntry& chunk, const FieldSpec& field, uint64_t rows, uint64_t expected_offset,
                     uint64_t footer_offset, const std::string& where) {
  if (chunk.offset != expected_offset)
    fail(Cause::format, where + " starts at " + std::to_string(chunk.offset) + ", but the one before it ends at " +
                            std::to_string(expected_offset));
  if (chunk.raw_bytes > kMaxRawChunkBytes || chunk.stored_bytes > kMaxRawChunkBytes)
    fail(Cause::limit, where + " declares " + std::to_string(chunk.raw_bytes) + " raw bytes and " +
                           std::to_string(chunk.stored_bytes) + " stored bytes, the limit is " +
                           std::to_string(kMaxRawChunkBytes));
  if (static_cast<uint8_t>(chunk.codec) > 1 || static_cast<uint8_t>(chunk.filter) > 1)
    fail(Cause::format, where + " has an unknown codec or filter");
  if (chunk.codec == Codec::raw && (chunk.filter != Filter::none || chunk.stored_bytes != chunk.raw_bytes))
    fail(Cause::format, where + " is raw, yet filtered or of another stored size");
  if (chunk.codec == Codec::lz4 && chunk.raw_bytes > kMaxLz4Ratio * chunk.stored_bytes)
    fail(Cause::format, where + ": " + std::to_string(chunk.stored_bytes) + " bytes of LZ4 cannot decode to " +
                            std::to_string(chunk.raw_bytes));
  uint64_t data_bytes = 0, raw_bytes = 0;
  const uint64_t before = field.validity_bytes(rows) + field.offsets_bytes(rows);
  const bool fits = checked_mul(rows, field.row_bytes(), &data_bytes) && checked_add(before, data_bytes, &raw_bytes);
  if (!field.is_ragged() && (!fits || chunk.raw_bytes != raw_bytes))
    fail(Cause::format, where + " declares " + std::to_string(chunk.raw_bytes) + " raw bytes for " +
                            std::to_string(rows) + " rows of " + std::to_string(field.row_bytes()));
  if (field.is_ragged() && (chunk.raw_bytes < before || (chunk.raw_bytes - before) % field.element_bytes() != 0))
    fail(Cause::format, where + " declares " + std::to_string(chunk.raw_bytes) + " raw bytes, which cannot hold " +
                            std::to_string(rows) + " rows and whole elements");
  const uint64_t end = align_up(chunk.offset + chunk.stored_bytes, kAlignment);  // offset <= footer_offset < 2^63
  if (end > footer_offset)
    fail(Cause::format, where + " ends at " + std::to_string(end) + ", inside or after the footer at " +
                            std::to_string(footer_offset));
  return end;
}

void read_blocks(Cursor in, Layout& layout, const std::string& name) {
  const uint64_t blocks = in.get<uint64_t>();
  const uint32_t fields = in.get<uint32_t>();
  in.zero(4);
  if (fields != layout.fields.size())
    fail(Cause::format, quoted(name) + ": the block table has " + std::to_string(fields) + " fields, the schema " +
                            std::to_string(layout.fields.size()));
  uint64_t table_bytes = 0;
  if (!checked_mul(blocks, 8 + kChunkEntryBytes * uint64_t{fields}, &table_bytes) || table_bytes != in.left())
    fail(Cause::format, quoted(name) + ": a table of " + std::to_string(blocks) + " blocks does not fit its section");
  layout.block_rows.reserve(blocks);
  layout.chunks.reserve(blocks * fields);
  uint64_t offset = kHeaderBytes, rows_so_far = 0;
  for (uint64_t block = 0; block < blocks; ++block) {
    const uint32_t rows = in.get<uint32_t>();
    in.zero(4);
    if (rows < 1 || rows > kMaxBlockRows)
      fail(Cause::limit, quoted(name) + ": block " + std::to_string(block) + " declares " + std::to_string(rows) +
                             " rows, allowed are 1 to " + std::to_string(kMaxBlockRows));
    rows_so_far += rows;
    layout.block_rows.push_back(rows);
    for (uint32_t f = 0; f < fields; ++f) {
      ChunkEntry chunk;
      chunk.offset = in.get<uint64_t>();
      chunk.stored_bytes = in.get<uint32_t>();
      chunk.raw_bytes = in.get<uint32_t>();
      chunk.crc32c = in.get<uint32_t>();
      chunk.codec = static_cast<Codec>(in.get<uint8_t>());
      chunk.filter = static_cast<Filter>(in.get<uint8_t>());
      const uint8_t flags = in.get<uint8_t>();
      in.zero(1);
      const std::string where =
          quoted(name) + ": block " + std::to_string(block) + ", field '" + layout.fields[f].name + "'";
      if (flags & 1) fail(Cause::sealed, where + " is sealed; this build opens no sealed chunks");
      if (flags) fail(Cause::format, where + " has unknown flags");
      offset = check_chunk(chunk, layout.fields[f], rows, offset, layout.footer_offset, where);
      layout.chunks.push_back(chunk);
    }
  }
  in.end();
  if (offset != layout.footer_offset)
    fail(Cause::format, quoted(name) + ": the last chunk ends at " + std::to_string(offset) +
                            ", the footer starts at " + std::to_string(layout.footer_offset));
  if (rows_so_far != layout.rows)
    fail(Cause::format, quoted(name) + ": the blocks hold " + std::to_string(rows_so_far) + " rows, the tail says " +
                            std::to_string(layout.rows));
}

std::vector<uint8_t> dictionaries_section(const Layout& layout) {
  Writer out;
  out.put(static_cast<uint32_t>(layout.dictionaries.size()));
  out.put(uint32_t{0});
  for (const Dictionary& dictionary : layout.dictionaries) {
    uint64_t text_bytes = 0;
    for (const std::string& entry : dictionary.entries) text_bytes += entry.size();
    out.put(dictionary.field);
    out.put(static_cast<uint32_t>(dictionary.entries.size()));
    out.put(text_bytes);
    uint32_t offset = 0;
    out.put(offset);
    for (const std::string& entry : dictionary.entries) out.put(offset += static_cast<uint32_t>(entry.size()));
    for (const std::string& entry : dictionary.entries) out.put_bytes(entry.data(), entry.size());
    out.pad(8);
  }
  return out.bytes;
}

void read_dictionaries(Cursor in, Layout& layout, const std::string& name) {
  const uint32_t count = in.get<uint32_t>();
  in.zero(4);
  std::set<uint32_t> seen;
  for (uint32_t i = 0; i < count; ++i) {
    Dictionary dictionary;
    dictionary.field = in.get<uint32_t>();
    const uint32_t entries = in.get<uint32_t>();
    const uint64_t text_bytes = in.get<uint64_t>();
    const std::string where = quoted(name) + ": dictionary " + std::to_string(i);
    if (dictionary.field >= layout.fields.size() || !layout.fields[dictionary.field].categories ||
        !seen.insert(dictionary.field).second)
      fail(Cause::format, where + " belongs to no categories field, or to one that has a dictionary already");
    const uint8_t* offsets = in.take(4 * (uint64_t{entries} + 1));
    const auto* text = reinterpret_cast<const char*>(in.take(text_bytes));
    uint32_t from = load_le<uint32_t>(offsets);
    if (from != 0) fail(Cause::format, where + " does not start at 0");
    for (uint32_t entry = 0; entry < entries; ++entry) {
      const uint32_t to = load_le<uint32_t>(offsets + 4 * (uint64_t{entry} + 1));
      if (to < from || to > text_bytes) fail(Cause::format, where + " has offsets that do not ascend within its text");
      if (!is_utf8(reinterpret_cast<const uint8_t*>(text) + from, to - from))
        fail(Cause::format, where + " has an entry that is not UTF-8");
      dictionary.entries.emplace_back(text + from, to - from);
      from = to;
    }
    if (from != text_bytes) fail(Cause::format, where + " has text that no entry covers");
    in.pad(8);
    layout.dictionaries.push_back(std::move(dictionary));
  }
  in.end();
}

std::vector<uint8_t> statistics_section(const Layout& layout) {
  Writer out;
  out.put_bytes(layout.statistics.data(), layout.statistics.size() * sizeof(StatRecord));
  return out.bytes;
}

void read_statistics(Cursor in, Layout& layout, const std::string& name) {
  const uint64_t records = layout.block_rows.size() * stat_columns(layout.fields);  // both bounded by the footer
  if (in.left() != records * sizeof(StatRecord))
    fail(Cause::format, quoted(name) + ": the statistics hold " + std::to_string(in.left()) + " bytes for " +
                            std::to_string(records) + " records of 64");
  layout.statistics.resize(records);
  if (records)
    std::memcpy(layout.statistics.data(), in.take(records * sizeof(StatRecord)), records * sizeof(StatRecord));
}

std::vector<uint8_t> class_counts_section(const Layout& layout) {
  Writer out;
  out.put(static_cast<uint32_t>(layout.class_counts.size()));
  out.put(uint32_t{0});
  for (const ClassCounts& counts : layout.class_counts) {
    out.put(counts.field);
    out.put(static_cast<uint32_t>(counts.values.size()));
    for (int64_t value : counts.values) out.put(value);
    for (uint64_t rows : counts.rows) out.put(rows);
  }
  return out.bytes;
}

void read_class_counts(Cursor in, Layout& layout, const std::string& name) {
  const uint32_t count = in.get<uint32_t>();
  in.zero(4);
  for (uint32_t i = 0; i < count; ++i) {
    ClassCounts counts;
    counts.field = in.get<uint32_t>();
    const uint32_t classes = in.get<uint32_t>();
    if (counts.field >= layout.fields.size() || classes > kMaxClasses)
      fail(Cause::format, quoted(name) + ": class counts " + std::to_string(i) + " name no field or too many classes");
    for (uint32_t c = 0; c < classes; ++c) counts.values.push_back(in.get<int64_t>());
    for (uint32_t c = 0; c < classes; ++c) counts.rows.push_back(in.get<uint64_t>());
    const auto dictionary = std::find_if(layout.dictionaries.begin(), layout.dictionaries.end(),
                                         [&](const Dictionary& d) { return d.field == counts.field; });
    const auto entries = static_cast<int64_t>(dictionary == layout.dictionaries.end() ? 0 : dictionary->entries.size());
    for (int64_t value : counts.values)
      if (layout.fields[counts.field].categories && (value < 0 || value >= entries))
        fail(Cause::format,
             quoted(name) + ": class counts " + std::to_string(i) + " hold a code outside the dictionary");
    layout.class_counts.push_back(std::move(counts));
  }
  in.end();
}

void put_section(Writer& out, SectionType type, bool critical, const std::vector<uint8_t>& payload) {
  out.put(static_cast<uint32_t>(type));
  out.put(uint32_t{0});
  out.put(critical ? kCritical : uint32_t{0});
  out.put(crc32c(payload.data(), payload.size()));
  out.put(static_cast<uint64_t>(payload.size()));
  out.put(uint64_t{0});
  out.put_bytes(payload.data(), payload.size());
  out.pad(kAlignment);
}

struct Section {
  const uint8_t* payload;
  uint64_t payload_bytes;
};

// Finds the sections of a footer; unknown critical ones are refused.
std::array<Section, 7> read_sections(const uint8_t* footer, uint64_t footer_bytes, const std::string& name) {
  std::array<Section, 7> sections{};
  Cursor in(footer, footer_bytes, quoted(name) + ": the footer");
  while (in.left() > 0) {
    const uint32_t type = in.get<uint32_t>(), key_group = in.get<uint32_t>(), flags = in.get<uint32_t>(),
                   checksum = in.get<uint32_t>();
    const uint64_t payload_bytes = in.get<uint64_t>();
    in.zero(8);
    const std::string where = quoted(name) + ": footer section of type " + std::to_string(type);
    if (flags & 2 || key_group != 0) fail(Cause::sealed, where + " is sealed; this build opens no sealed sections");
    if (flags > 1) fail(Cause::format, where + " has unknown flags");
    const uint8_t* payload = in.take(payload_bytes);
    in.pad(kAlignment);
    if (crc32c(payload, payload_bytes) != checksum) fail(Cause::checksum, where + " has changed since it was written");
    if (type >= 1 && type <= 5) {
      if (sections[type].payload) fail(Cause::format, where + " stands twice");
      sections[type] = {payload, payload_bytes};
    } else if (flags & kCritical) {
      fail(Cause::version, where + " is critical and unknown to this build; a newer fastload wrote it");
    }
  }
  return sections;
}

void check_header(const uint8_t* file, const std::string& name) {
  if (crc32c(file, kHeaderBytes - 4) != load_le<uint32_t>(file + kHeaderBytes - 4))
    fail(Cause::checksum, quoted(name) + ": the header has changed since it was written");
  const uint16_t version = load_le<uint16_t>(file + 8);
  if (version != kVersion)
    fail(Cause::version, quoted(name) + " is of format version " + std::to_string(version) + ", this build reads " +
                             std::to_string(kVersion));
  if (file[10] != 0)
    fail(Cause::sealed,
         quoted(name) + " is sealed (suite " + std::to_string(file[10]) + "); this build opens no sealed files");
  Cursor rest(file, kHeaderBytes, quoted(name) + ": the header");
  rest.take(11);
  rest.zero(1);
  if (rest.get<uint32_t>() != kHeaderBytes || rest.get<uint32_t>() != 0)
    fail(Cause::format, quoted(name) + ": a plain header has 128 bytes and no key groups");
  rest.zero(12);
  rest.take(16);
  rest.zero(32 + 44);
}

}  // namespace

uint64_t FieldSpec::element_bytes() const {
  switch (dtype) {
    case Dtype::int16:
    case Dtype::uint16:
    case Dtype::float16:
    case Dtype::bfloat16:
      return 2;
    case Dtype::int32:
    case Dtype::uint32:
    case Dtype::float32:
      return 4;
    case Dtype::int64:
    case Dtype::uint64:
    case Dtype::float64:
      return 8;
    default:
      return 1;
  }
}

uint64_t FieldSpec::row_bytes() const {
  uint64_t bytes = element_bytes();
  for (uint64_t size : shape) bytes *= size;  // check_fields() has bounded the product
  return bytes;
}

StatKind FieldSpec::stat_kind() const {
  switch (dtype) {
    case Dtype::int8:
    case Dtype::int16:
    case Dtype::int32:
    case Dtype::int64:
      return StatKind::signed_integer;
    case Dtype::float16:
    case Dtype::bfloat16:
    case Dtype::float32:
    case Dtype::float64:
      return StatKind::floating;
    default:
      return StatKind::unsigned_integer;
  }
}

uint64_t FieldSpec::value_columns() const {
  if (is_text()) return 0;
  if (shape.size() == 1 && shape[0] <= kMaxStatColumns) return shape[0];
  if (shape.size() == 3 && shape[2] <= 4) return shape[2];
  return 1;
}

uint64_t FieldSpec::validity_bytes(uint64_t rows) const { return nullable ? align_up((rows + 7) / 8, kAlignment) : 0; }

uint64_t FieldSpec::offsets_bytes(uint64_t rows) const {
  return is_ragged() ? align_up(4 * (rows + 1), kAlignment) : 0;
}

bool FieldSpec::operator==(const FieldSpec& other) const {
  return name == other.name && dtype == other.dtype && variable == other.variable && nullable == other.nullable &&
         categories == other.categories && shape == other.shape && key_group == other.key_group;
}

uint64_t stat_columns(const std::vector<FieldSpec>& fields) {
  uint64_t columns = 0;
  for (const FieldSpec& field : fields) columns += field.stat_columns();
  return columns;
}

void check_fields(const std::vector<FieldSpec>& fields, const std::string& name) {
  check_field_count(fields.size(), name);
  std::set<std::string> names;
  for (const FieldSpec& field : fields) {
    check_field_sizes(static_cast<size_t>(&field - fields.data()), static_cast<uint8_t>(field.dtype),
                      field.shape.size(), field.name.size(), name);
    const std::string where = quoted(name) + ": field '" + field.name + "'";
    if (!names.insert(field.name).second) fail(Cause::format, where + " stands twice in the schema");
    if (field.is_ragged() && !field.shape.empty()) fail(Cause::format, where + " is ragged and has a fixed shape");
    if (field.is_text() && (field.variable || field.categories)) fail(Cause::format, where + " is text and flagged");
    if (field.categories && (field.dtype != Dtype::int32 || !field.shape.empty() || field.variable))
      fail(Cause::format, where + " has categories but is no scalar int32");
    if (field.key_group != 0) fail(Cause::sealed, where + " belongs to a key group; this build opens no sealed fields");
    uint64_t row_bytes = field.element_bytes();
    for (uint64_t size : field.shape)
      if (size < 1 || !checked_mul(row_bytes, size, &row_bytes) || row_bytes > kMaxRawChunkBytes / 2)
        fail(Cause::limit, where + " has a row of no bytes or of more than half a chunk's limit");
  }
}

std::vector<uint8_t> write_header(const FileId& file_id) {
  Writer out;
  out.put_bytes(kHeaderMagic.data(), kHeaderMagic.size());
  out.put(kVersion);
  out.put(uint16_t{0});
  out.put(static_cast<uint32_t>(kHeaderBytes));
  out.bytes.resize(32);
  out.put_bytes(file_id.data(), file_id.size());
  out.bytes.resize(kHeaderBytes - 4);
  out.put(crc32c(out.bytes.data(), out.bytes.size()));
  return out.bytes;
}

std::vector<uint8_t> write_footer(Layout& layout) {
  Writer out;
  put_section(out, SectionType::schema, true, schema_section(layout));
  put_section(out, SectionType::blocks, true, blocks_section(layout));
  put_section(out, SectionType::dictionaries, true, dictionaries_section(layout));
  put_section(out, SectionType::statistics, false, statistics_section(layout));
  put_section(out, SectionType::class_counts, false, class_counts_section(layout));
  const uint64_t footer_bytes = out.bytes.size();
  if (footer_bytes > kMaxFooterBytes)
    fail(Cause::limit, "the footer would have " + std::to_string(footer_bytes) + " bytes, the limit is " +
                           std::to_string(kMaxFooterBytes) + "; use larger blocks or fewer categories");
  layout.footer_crc32c = crc32c(out.bytes.data(), footer_bytes);
  layout.file_bytes = layout.footer_offset + footer_bytes + kTailBytes;
  out.put_bytes(kTailMagic.data(), kTailMagic.size());
  out.put(layout.footer_offset);
  out.put(footer_bytes);
  out.put(layout.file_bytes);
  out.put(layout.rows);
  out.put_bytes(layout.file_id.data(), layout.file_id.size());
  out.put(layout.footer_crc32c);
  out.put(crc32c(out.bytes.data() + footer_bytes, kTailBytes - 4));
  return out.bytes;
}

Layout read_layout(const ReadBytes& read, uint64_t file_bytes, const std::string& name) {
  const std::vector<uint8_t> header = read(0, std::min(file_bytes, kHeaderBytes));
  if (header.size() < kHeaderMagic.size() || std::memcmp(header.data(), kHeaderMagic.data(), kHeaderMagic.size()) != 0)
    fail(Cause::format, quoted(name) + " is not a fastload shard: it does not start with the magic bytes");
  if (file_bytes < kHeaderBytes + kTailBytes)
    fail(Cause::truncated, quoted(name) + " has " + std::to_string(file_bytes) + " bytes, a shard has at least " +
                               std::to_string(kHeaderBytes + kTailBytes));
  check_header(header.data(), name);
  const std::vector<uint8_t> tail_bytes = read(file_bytes - kTailBytes, kTailBytes);
  const uint8_t* tail = tail_bytes.data();
  if (std::memcmp(tail, kTailMagic.data(), kTailMagic.size()) != 0 ||
      crc32c(tail, kTailBytes - 4) != load_le<uint32_t>(tail + kTailBytes - 4))
    fail(Cause::truncated, quoted(name) + " does not end in a valid tail: it was cut short, extended or damaged");
  Layout layout;
  layout.file_bytes = file_bytes;
  layout.footer_offset = load_le<uint64_t>(tail + 8);
  const uint64_t footer_bytes = load_le<uint64_t>(tail + 16);
  layout.rows = load_le<uint64_t>(tail + 32);
  layout.footer_crc32c = load_le<uint32_t>(tail + 56);
  std::memcpy(layout.file_id.data(), tail + 40, 16);
  if (load_le<uint64_t>(tail + 24) != file_bytes)
    fail(Cause::truncated, quoted(name) + " has " + std::to_string(file_bytes) + " bytes, its tail says " +
                               std::to_string(load_le<uint64_t>(tail + 24)));
  if (std::memcmp(layout.file_id.data(), header.data() + 32, 16) != 0)
    fail(Cause::format, quoted(name) + ": header and tail belong to different files");
  if (footer_bytes > kMaxFooterBytes || layout.rows > kMaxShardRows)
    fail(Cause::limit, quoted(name) + " declares a footer of " + std::to_string(footer_bytes) + " bytes and " +
                           std::to_string(layout.rows) + " rows");
  uint64_t footer_end = 0;
  if (!checked_add(layout.footer_offset, footer_bytes, &footer_end) || footer_end != file_bytes - kTailBytes ||
      layout.footer_offset < kHeaderBytes || layout.footer_offset % kAlignment != 0)
    fail(Cause::format, quoted(name) + ": the footer does not lie between the blocks and the tail");
  const std::vector<uint8_t> footer_copy = read(layout.footer_offset, footer_bytes);
  const uint8_t* footer = footer_copy.data();
  if (crc32c(footer, footer_bytes) != layout.footer_crc32c)
    fail(Cause::checksum, quoted(name) + ": the footer has changed since it was written");
  const auto sections = read_sections(footer, footer_bytes, name);
  const auto cursor = [&](SectionType type, const char* what) {
    const Section& section = sections[static_cast<uint32_t>(type)];
    if (!section.payload) fail(Cause::format, quoted(name) + ": the footer has no " + what);
    return Cursor(section.payload, section.payload_bytes, quoted(name) + ": the " + what);
  };
  layout.fields = read_schema(cursor(SectionType::schema, "schema"), name);
  read_blocks(cursor(SectionType::blocks, "block table"), layout, name);
  read_dictionaries(cursor(SectionType::dictionaries, "dictionaries"), layout, name);
  if (sections[static_cast<uint32_t>(SectionType::statistics)].payload)
    read_statistics(cursor(SectionType::statistics, "statistics"), layout, name);
  if (sections[static_cast<uint32_t>(SectionType::class_counts)].payload)
    read_class_counts(cursor(SectionType::class_counts, "class counts"), layout, name);
  return layout;
}

}  // namespace fastload
