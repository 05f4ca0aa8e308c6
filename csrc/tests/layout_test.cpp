#include "layout.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "check.h"
#include "checksum.h"
#include "fixtures.h"
#include "image.h"

namespace fastload::test {
namespace {

Layout read_image(const Image& image) {
  const auto read = [&](uint64_t offset, uint64_t size_bytes) {
    CHECK(offset <= image.bytes.size() && size_bytes <= image.bytes.size() - offset);
    const auto from = image.bytes.begin() + static_cast<std::ptrdiff_t>(offset);
    return std::vector<uint8_t>(from, from + static_cast<std::ptrdiff_t>(size_bytes));
  };
  return read_layout(read, image.bytes.size(), "test.flb");
}

// Field 0 "row" int64; 1 "text" string, nullable; 2 "class" categories; 3 "x" float32[2]. Three blocks.
Image make_image(WriteCodec codec = WriteCodec::raw) {
  FieldSpec categories = field("class", Dtype::int32);
  categories.categories = true;
  const Table table = make_table(
      {field("row", Dtype::int64), nullable(field("text", Dtype::string)), categories, field("x", Dtype::float32, {2})},
      90, 1);
  const TemporaryFolder folder;
  return {read_file(write_shard(folder, "a.flb", table, {codec, 1000, 0}))};
}

using Change = std::function<void(Image&)>;

// The change, with checksums that hold again, is refused for its own reason.
void check_refused(Cause cause, const std::string& words, const Change& change) {
  Image image = make_image();
  change(image);
  image.repair_checksums();
  CHECK_ERROR(cause, ({"test.flb", words}), read_image(image));
}

template <class T>
Change put(uint64_t at, T value) {
  return [=](Image& image) { image.set(at, value); };
}
template <class T>
Change put_tail(uint64_t at, T value) {
  return [=](Image& image) { image.set(image.tail() + at, value); };
}
template <class T>
Change put_head(SectionType type, uint64_t at, T value) {
  return [=](Image& image) { image.set(image.head(type) + at, value); };
}
template <class T>
Change put_payload(SectionType type, uint64_t at, T value) {
  return [=](Image& image) { image.set(image.payload(type).begin + at, value); };
}
// In the record of field `index` of the schema: 20 bytes, shape, name, padding to 8.
template <class T>
Change put_field(size_t index, uint64_t at, T value) {
  return [=](Image& image) {
    uint64_t record = image.payload(SectionType::schema).begin + 8;
    for (size_t i = 0; i < index; ++i)
      record += align_up(16 + 8 * uint64_t{image.get<uint8_t>(record + 4)} + image.get<uint16_t>(record), 8);
    image.set(record + at, value);
  };
}
// In the entry of field `f` of block `b`.
template <class T>
Change put_entry(size_t b, size_t f, uint64_t at, T value) {
  return [=](Image& image) { image.set(image.entries().at(b * 4 + f) + at, value); };
}

}  // namespace

TEST(what_is_written_is_read) {
  Layout layout;
  layout.file_id = {1, 2, 3};
  layout.fields = every_field();
  layout.rows = 12;
  layout.block_rows = {5, 7};
  uint64_t offset = kHeaderBytes;
  for (const uint32_t rows : layout.block_rows)
    for (const FieldSpec& spec : layout.fields) {
      ChunkEntry chunk;
      chunk.offset = offset;
      chunk.raw_bytes = static_cast<uint32_t>(spec.validity_bytes(rows) + spec.offsets_bytes(rows) +
                                              (spec.is_ragged() ? 3 : rows) * spec.row_bytes());
      const bool packed = layout.chunks.size() % 3 == 0;
      chunk.stored_bytes = packed ? (chunk.raw_bytes + 1) / 2 : chunk.raw_bytes;
      chunk.codec = packed ? Codec::lz4 : Codec::raw;
      chunk.filter = packed && spec.element_bytes() > 1 ? Filter::byte_shuffle : Filter::none;
      chunk.crc32c = static_cast<uint32_t>(offset * 77);
      layout.chunks.push_back(chunk);
      offset = align_up(offset + chunk.stored_bytes, 64);
    }
  layout.footer_offset = offset;
  const auto categories = static_cast<uint32_t>(layout.fields.size() - 2);
  layout.dictionaries = {{categories, {"", "b", "\xC3\xA9", "b", std::string(300, 'c')}}, {categories + 1, {}}};
  layout.statistics.resize(2 * stat_columns(layout.fields));
  for (size_t i = 0; i < layout.statistics.size(); ++i)
    layout.statistics[i] = {i, i + 1, i + 2, i + 3, i * 1000, ~i, 0.5 * static_cast<double>(i), 1e9};
  layout.class_counts = {{categories, {0, 4}, {1, 2}}, {0, {-3, 0, INT64_MAX}, {1, UINT64_MAX, 3}}, {1, {}, {}}};

  Image image{write_header(layout.file_id)};
  image.bytes.resize(layout.footer_offset);
  const std::vector<uint8_t> footer = write_footer(layout);
  image.bytes.insert(image.bytes.end(), footer.begin(), footer.end());
  CHECK_EQ(layout.file_bytes, image.bytes.size());

  const Layout back = read_image(image);
  CHECK(back.file_id == layout.file_id);
  CHECK(back.fields == layout.fields);
  CHECK(back.block_rows == layout.block_rows);
  CHECK_EQ(back.rows, layout.rows);
  CHECK_EQ(back.file_bytes, layout.file_bytes);
  CHECK_EQ(back.footer_offset, layout.footer_offset);
  CHECK_EQ(back.footer_crc32c, layout.footer_crc32c);
  CHECK_EQ(back.chunks.size(), layout.chunks.size());
  for (size_t i = 0; i < back.chunks.size(); ++i) {
    const ChunkEntry &a = back.chunks[i], &b = layout.chunks[i];
    CHECK(a.offset == b.offset && a.stored_bytes == b.stored_bytes && a.raw_bytes == b.raw_bytes &&
          a.crc32c == b.crc32c && a.codec == b.codec && a.filter == b.filter);
  }
  CHECK_EQ(back.dictionaries.size(), size_t{2});
  for (size_t i = 0; i < 2; ++i)
    CHECK(back.dictionaries[i].field == layout.dictionaries[i].field &&
          back.dictionaries[i].entries == layout.dictionaries[i].entries);
  CHECK_EQ(back.statistics.size(), layout.statistics.size());
  CHECK(std::memcmp(back.statistics.data(), layout.statistics.data(), 64 * back.statistics.size()) == 0);
  CHECK_EQ(back.class_counts.size(), size_t{3});
  for (size_t i = 0; i < 3; ++i)
    CHECK(back.class_counts[i].field == layout.class_counts[i].field &&
          back.class_counts[i].values == layout.class_counts[i].values &&
          back.class_counts[i].rows == layout.class_counts[i].rows);
}

TEST(an_unchanged_image_opens) {
  Image image = make_image();
  const std::vector<uint8_t> before = image.bytes;
  CHECK_EQ(read_image(image).block_rows.size(), size_t{3});
  image.repair_sizes();
  image.repair_checksums();
  CHECK(image.bytes == before);  // repairing what is whole changes nothing: the damage below is only what it says
}

TEST(the_header_is_checked) {
  check_refused(Cause::format, "magic", put<uint8_t>(3, 'X'));
  check_refused(Cause::version, "version 2", put<uint16_t>(8, 2));
  check_refused(Cause::sealed, "sealed", put<uint8_t>(10, 1));
  check_refused(Cause::format, "not zero", put<uint8_t>(11, 1));
  check_refused(Cause::format, "128 bytes", put<uint32_t>(12, 256));
  check_refused(Cause::format, "no key groups", put<uint32_t>(16, 1));
  for (const uint64_t at : {20, 31, 48, 79, 80, 123}) check_refused(Cause::format, "not zero", put<uint8_t>(at, 1));
  for (uint64_t at = 8; at < kHeaderBytes; ++at) {
    Image image = make_image();
    image.bytes[at] ^= 1;
    CHECK_ERROR(Cause::checksum, {"the header has changed"}, read_image(image));
  }
}

TEST(the_tail_is_checked) {
  check_refused(Cause::truncated, "valid tail", put_tail<uint8_t>(0, 0));
  check_refused(Cause::format, "does not lie between",
                [](Image& image) { image.set(image.tail() + 8, image.footer().begin + 64); });
  check_refused(Cause::format, "does not lie between", put_tail<uint64_t>(8, UINT64_MAX));
  check_refused(Cause::format, "does not lie between", [](Image& image) {  // a footer that begins in the header
    image.set(image.tail() + 8, uint64_t{64});
    image.set(image.tail() + 16, image.tail() - 64);
  });
  check_refused(Cause::limit, "footer of", put_tail<uint64_t>(16, kMaxFooterBytes + 1));
  check_refused(Cause::truncated, "its tail says", put_tail<uint64_t>(24, 12345));
  check_refused(Cause::limit, "rows", put_tail<uint64_t>(32, kMaxShardRows + 1));
  check_refused(Cause::format, "the tail says 91", put_tail<uint64_t>(32, 91));
  check_refused(Cause::format, "different files", put_tail<uint8_t>(40, 0xEE));
  for (uint64_t at = 0; at < kTailBytes; ++at) {
    Image image = make_image();
    image.bytes[image.tail() + at] ^= 1;
    CHECK_ERROR(Cause::truncated, {"valid tail"}, read_image(image));
  }
}

TEST(any_other_length_is_refused) {
  const Image whole = make_image();
  for (size_t size = 0; size < whole.bytes.size(); ++size) {
    Image image = whole;
    image.bytes.resize(size);
    CHECK_ERROR(size < 8 ? Cause::format : Cause::truncated, {"test.flb"}, read_image(image));
  }
  for (const size_t more : {1, 64, 4096}) {
    Image image = whole;
    image.bytes.resize(whole.bytes.size() + more);
    CHECK_ERROR(Cause::truncated, {"test.flb"}, read_image(image));
  }
}

TEST(every_byte_of_the_footer_counts) {
  const Image whole = make_image();
  for (uint64_t at = whole.footer().begin; at < whole.tail(); ++at) {
    Image image = whole;
    image.bytes[at] ^= 0x10;
    CHECK_ERROR(Cause::checksum, {"the footer has changed"}, read_image(image));
  }
}

TEST(sections_are_checked) {
  check_refused(Cause::format, "no schema", [](Image& image) {  // a footer of no bytes
    image.set(image.tail() + 8, image.tail());
    image.set(image.tail() + 16, uint64_t{0});
  });
  check_refused(Cause::format, "twice", put_head<uint32_t>(SectionType::statistics, 0, 1));
  check_refused(Cause::format, "no schema", [](Image& image) {
    image.set<uint32_t>(image.head(SectionType::schema) + 8, 0);
    image.set<uint32_t>(image.head(SectionType::schema), 6);
  });
  check_refused(Cause::version, "critical and unknown", put_head<uint32_t>(SectionType::blocks, 0, 99));
  check_refused(Cause::sealed, "sealed", put_head<uint32_t>(SectionType::schema, 4, 1));
  check_refused(Cause::sealed, "sealed", put_head<uint32_t>(SectionType::schema, 8, 3));
  check_refused(Cause::format, "unknown flags", put_head<uint32_t>(SectionType::schema, 8, 5));
  check_refused(Cause::format, "not zero", put_head<uint64_t>(SectionType::schema, 24, 1));
  check_refused(Cause::format, "ends before", put_head<uint64_t>(SectionType::class_counts, 16, UINT64_MAX));
  check_refused(Cause::format, "not zero",
                [](Image& image) { image.bytes[image.payload(SectionType::schema).end()] = 1; });
  Image image = make_image();
  image.bytes[image.payload(SectionType::schema).begin] ^= 1;
  image.set(image.tail() + 56, crc32c(image.bytes.data() + image.footer().begin, image.footer().bytes));
  image.set(image.tail() + 60, crc32c(image.bytes.data() + image.tail(), 60));
  CHECK_ERROR(Cause::checksum, {"section of type 1"}, read_image(image));
}

TEST(unknown_sections_that_are_not_critical_are_skipped) {
  Image image = make_image();
  image.set<uint32_t>(image.head(SectionType::statistics), 99);
  image.repair_checksums();
  const Layout layout = read_image(image);
  CHECK(layout.statistics.empty());
  CHECK_EQ(layout.rows, uint64_t{90});
}

TEST(the_schema_is_checked) {
  const SectionType schema = SectionType::schema;
  check_refused(Cause::limit, "found 0", put_payload<uint32_t>(schema, 0, 0));
  check_refused(Cause::limit, "found 4097", put_payload<uint32_t>(schema, 0, 4097));
  check_refused(Cause::format, "ends before", put_payload<uint32_t>(schema, 0, 5));
  check_refused(Cause::format, "longer than", put_payload<uint32_t>(schema, 0, 3));
  check_refused(Cause::format, "not zero", put_payload<uint32_t>(schema, 4, 1));
  check_refused(Cause::limit, "name of 0", put_field<uint16_t>(0, 0, 0));
  check_refused(Cause::limit, "name of 256", put_field<uint16_t>(0, 0, 256));
  check_refused(Cause::format, "unknown dtype", put_field<uint8_t>(0, 2, kDtypes));
  check_refused(Cause::format, "flags 8", put_field<uint8_t>(0, 3, 8));
  check_refused(Cause::limit, "9 dimensions", put_field<uint8_t>(0, 4, 9));
  check_refused(Cause::format, "not zero", put_field<uint8_t>(0, 5, 1));
  check_refused(Cause::format, "not zero", put_field<uint16_t>(0, 6, 1));
  check_refused(Cause::sealed, "key group", put_field<uint32_t>(0, 8, 1));
  check_refused(Cause::format, "not zero", put_field<uint32_t>(0, 12, 1));
  check_refused(Cause::format, "text and flagged", put_field<uint8_t>(1, 3, 1));
  check_refused(Cause::format, "no scalar int32", put_field<uint8_t>(0, 3, 4));
  check_refused(Cause::format, "ragged and has a fixed shape", put_field<uint8_t>(3, 3, 1));
  check_refused(Cause::limit, "no bytes", put_field<uint64_t>(3, 16, 0));
  check_refused(Cause::limit, "half a chunk", put_field<uint64_t>(3, 16, uint64_t{1} << 26));
  check_refused(Cause::limit, "half a chunk", put_field<uint64_t>(3, 16, uint64_t{1} << 62));  // * 4 is 0 modulo 2^64
  check_refused(Cause::format, "twice", [](Image& image) {
    put_field<uint16_t>(0, 0, 1)(image);  // "r", and "x" renamed to it
    put_field<uint16_t>(0, 17, 0)(image);
    put_field<uint8_t>(3, 24, 'r')(image);
  });
}

TEST(the_block_table_is_checked) {
  const SectionType blocks = SectionType::blocks;
  check_refused(Cause::format, "does not fit", put_payload<uint64_t>(blocks, 0, 4));
  check_refused(Cause::format, "does not fit", put_payload<uint64_t>(blocks, 0, 2));
  check_refused(Cause::format, "does not fit", put_payload<uint64_t>(blocks, 0, UINT64_MAX / 100));
  check_refused(Cause::format, "5 fields", put_payload<uint32_t>(blocks, 8, 5));
  check_refused(Cause::format, "not zero", put_payload<uint32_t>(blocks, 12, 1));
  check_refused(Cause::limit, "declares 0 rows", put_payload<uint32_t>(blocks, 16, 0));
  check_refused(Cause::limit, "rows, allowed",
                put_payload<uint32_t>(blocks, 16, static_cast<uint32_t>(kMaxBlockRows) + 1));
  check_refused(Cause::format, "for 7 rows", put_payload<uint32_t>(blocks, 16, 7));
  check_refused(Cause::format, "not zero", put_payload<uint32_t>(blocks, 20, 1));
  check_refused(Cause::format, "but the one before it ends at 128", put_entry<uint64_t>(0, 0, 0, 192));  // a gap
  check_refused(Cause::format, "but the one before", put_entry<uint64_t>(1, 2, 0, 128));                 // an overlap
  check_refused(Cause::format, "but the one before", put_entry<uint64_t>(2, 3, 0, UINT64_MAX - 63));
  check_refused(Cause::format, "another stored size", put_entry<uint32_t>(0, 0, 8, 1));
  check_refused(Cause::limit, "the limit is", put_entry<uint32_t>(0, 0, 12, UINT32_MAX));
  check_refused(Cause::format, "raw bytes for", [](Image& image) {
    put_entry<uint32_t>(0, 0, 12, 8)(image);
    put_entry<uint32_t>(0, 0, 8, 8)(image);
  });
  check_refused(Cause::format, "cannot hold", [](Image& image) {
    put_entry<uint32_t>(0, 1, 12, 8)(image);
    put_entry<uint32_t>(0, 1, 8, 8)(image);
  });
  check_refused(Cause::format, "unknown codec", put_entry<uint8_t>(0, 0, 20, 2));
  check_refused(Cause::format, "unknown codec or filter", put_entry<uint8_t>(0, 0, 21, 2));
  check_refused(Cause::format, "is raw, yet filtered", put_entry<uint8_t>(0, 0, 21, 1));
  check_refused(Cause::sealed, "sealed", put_entry<uint8_t>(0, 0, 22, 1));
  check_refused(Cause::format, "unknown flags", put_entry<uint8_t>(0, 0, 22, 2));
  check_refused(Cause::format, "not zero", put_entry<uint8_t>(0, 0, 23, 1));
  check_refused(Cause::format, "inside or after the footer", [](Image& image) {  // LZ4 may have any stored size
    put_entry<uint8_t>(2, 3, 20, 1)(image);
    put_entry<uint32_t>(2, 3, 8, 100000)(image);
  });
  check_refused(Cause::format, "the footer starts at", [](Image& image) {
    put_entry<uint8_t>(2, 3, 20, 1)(image);
    put_entry<uint32_t>(2, 3, 8, 1)(image);
  });
}

// LZ4 takes sizes as int: more stored bytes than the limit of a chunk are refused before they reach it.
TEST(no_chunk_stores_more_than_the_limit) {
  Layout layout;
  layout.fields = {field("x", Dtype::uint8)};
  layout.rows = 100;
  layout.block_rows = {100};
  ChunkEntry chunk;
  chunk.offset = kHeaderBytes;
  chunk.raw_bytes = 100;
  chunk.stored_bytes = 3u << 30;
  chunk.codec = Codec::lz4;
  layout.chunks = {chunk};
  layout.statistics.resize(1);
  layout.footer_offset = kHeaderBytes + chunk.stored_bytes;
  const std::vector<uint8_t> header = write_header(layout.file_id), footer = write_footer(layout);
  const auto read = [&](uint64_t offset, uint64_t size_bytes) {  // of a file with a hole of 3 GiB
    const std::vector<uint8_t>& part = offset < kHeaderBytes ? header : footer;
    const auto from =
        part.begin() + static_cast<std::ptrdiff_t>(offset < kHeaderBytes ? offset : offset - layout.footer_offset);
    return std::vector<uint8_t>(from, from + static_cast<std::ptrdiff_t>(size_bytes));
  };
  CHECK_ERROR(Cause::limit, {"stored bytes, the limit"}, read_layout(read, layout.file_bytes, "test.flb"));
}

TEST(dictionaries_are_checked) {
  const SectionType dictionaries = SectionType::dictionaries;  // one of 7 entries: "", "x", "xx", ... 21 bytes of text
  check_refused(Cause::format, "ends before", put_payload<uint32_t>(dictionaries, 0, 2));
  check_refused(Cause::format, "longer than", put_payload<uint32_t>(dictionaries, 0, 0));
  check_refused(Cause::format, "not zero", put_payload<uint32_t>(dictionaries, 4, 1));
  check_refused(Cause::format, "no categories field", put_payload<uint32_t>(dictionaries, 8, 0));
  check_refused(Cause::format, "no categories field", put_payload<uint32_t>(dictionaries, 8, 4000));
  check_refused(Cause::format, "ends before", put_payload<uint32_t>(dictionaries, 12, UINT32_MAX));
  check_refused(Cause::format, "ends before", put_payload<uint64_t>(dictionaries, 16, UINT64_MAX));
  check_refused(Cause::format, "start at 0", put_payload<uint32_t>(dictionaries, 24, 1));
  check_refused(Cause::format, "ascend", put_payload<uint32_t>(dictionaries, 24 + 4 * 5, 2));
  check_refused(Cause::format, "ascend", put_payload<uint32_t>(dictionaries, 24 + 4 * 7, 22));
  check_refused(Cause::format, "no entry covers", put_payload<uint32_t>(dictionaries, 24 + 4 * 7, 20));
  check_refused(Cause::format, "longer than", put_head<uint64_t>(dictionaries, 16, 96));  // with its padding
}

TEST(statistics_and_class_counts_are_checked) {
  check_refused(Cause::format, "records of 64",
                put_head<uint64_t>(SectionType::statistics, 16, 64 * 3 * 5 + 32));  // with its padding
  check_refused(Cause::format, "name no field", put_payload<uint32_t>(SectionType::class_counts, 8, 4));
  check_refused(Cause::format, "too many classes",
                put_payload<uint32_t>(SectionType::class_counts, 12, kMaxClasses + 1));
  check_refused(Cause::format, "ends before", put_payload<uint32_t>(SectionType::class_counts, 0, 100));
  check_refused(Cause::format, "not zero", put_payload<uint32_t>(SectionType::class_counts, 4, 1));
}

// What would not be read again is not written.
TEST(impossible_fields_are_refused_before_anything_is_written) {
  const TemporaryFolder folder;
  const auto check = [&](Cause cause, const std::string& words, std::vector<FieldSpec> fields) {
    CHECK_ERROR(cause, {words}, ShardWriter::create(folder.file("a.tmp"), fields, FileId{}, WriterOptions{}));
    CHECK(folder.names().empty());
  };
  check(Cause::limit, "found 0", {});
  std::vector<FieldSpec> many;
  for (uint32_t i = 0; i <= kMaxFields; ++i) many.push_back(field("f" + std::to_string(i), Dtype::int8));
  check(Cause::limit, "found 4097", many);
  check(Cause::limit, "name of 0", {field("", Dtype::int8)});
  check(Cause::limit, "name of 256", {field(std::string(256, 'n'), Dtype::int8)});
  check(Cause::limit, "9 dimensions", {field("x", Dtype::int8, std::vector<uint64_t>(9, 1))});
  check(Cause::format, "unknown dtype", {field("x", static_cast<Dtype>(kDtypes))});
  check(Cause::format, "twice", {field("x", Dtype::int8), field("x", Dtype::int16)});
  check(Cause::format, "fixed shape", {variable(field("x", Dtype::int8, {2}))});
  check(Cause::format, "text and flagged", {variable(field("x", Dtype::string))});
  check(Cause::limit, "no bytes", {field("x", Dtype::int8, {3, 0})});
  check(Cause::limit, "half a chunk", {field("x", Dtype::float64, {1 << 12, 1 << 13})});
}

}  // namespace fastload::test
