// ShardWriter -> ShardReader, and what either refuses.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "check.h"
#include "fixtures.h"
#include "image.h"
#include "row_reader.h"

namespace fastload::test {
namespace {

const WriteCodec kCodecs[] = {WriteCodec::raw, WriteCodec::lz4, WriteCodec::lz4hc};

// Every value of the file, through decode() and view() alone.
void check_content(const ShardReader& reader, const Table& table) {
  const Layout& layout = reader.layout();
  LoadScratch scratch;
  uint64_t first = 0;
  for (uint64_t b = 0; b < layout.block_rows.size(); first += layout.block_rows[b++])
    for (size_t f = 0; f < layout.fields.size(); ++f) {
      const FieldSpec& spec = layout.fields[f];
      Buffer raw(layout.chunk(b, f).raw_bytes);
      reader.decode(b, f, raw.data(), scratch);
      const FieldRows view = reader.view(b, f, raw.data());
      for (uint64_t row = 0; row < layout.block_rows[b]; ++row) {
        const uint64_t begin = spec.is_ragged() ? view.begin(row) : row,
                       end = spec.is_ragged() ? view.begin(row + 1) : row + 1;
        const auto* from = reinterpret_cast<const char*>(view.data) + begin * view.stride_bytes;
        CHECK(std::string(from, (end - begin) * view.stride_bytes) == table.value(f, first + row));
        CHECK_EQ(view.is_valid(row), table.is_valid(f, first + row));
      }
    }
  CHECK_EQ(first, table.rows);
}

Table some_table(uint64_t rows = 500) {
  return make_table(
      {field("a", Dtype::int64), variable(field("t", Dtype::int32)), nullable(field("x", Dtype::float32, {4}))}, rows,
      8);
}

}  // namespace

TEST(every_kind_of_field_comes_back) {
  const TemporaryFolder folder;
  const Table table = make_table(every_field(), 700, 11);
  for (const WriteCodec codec : kCodecs)
    for (const unsigned threads : {0u, 2u}) {
      const std::string path = write_shard(folder, "a" + std::to_string(threads), table, {codec, 20000, threads}, 97);
      const ShardReader reader(path);
      CHECK(reader.layout().block_rows.size() > 5);
      CHECK(reader.layout().fields == table.fields());
      check_content(reader, table);
    }
}

TEST(the_file_does_not_depend_on_threads_or_portions) {
  const TemporaryFolder folder;
  const Table table = make_table(every_field(), 700, 3);
  const std::vector<uint8_t> expected = read_file(write_shard(folder, "0", table, {WriteCodec::lz4, 9000, 0}));
  CHECK(read_file(write_shard(folder, "1", table, {WriteCodec::lz4, 9000, 1})) == expected);
  CHECK(read_file(write_shard(folder, "2", table, {WriteCodec::lz4, 9000, 3}, 1)) == expected);
  CHECK(read_file(write_shard(folder, "3", table, {WriteCodec::lz4, 9000, 2}, 350)) == expected);
}

TEST(one_row_and_empty_runs_are_shards_too) {
  const TemporaryFolder folder;
  for (const uint64_t rows : {1, 2}) {
    const Table table = make_table(every_field(), rows, 5);
    check_content(ShardReader(write_shard(folder, "a" + std::to_string(rows), table, {WriteCodec::lz4, 1, 0})), table);
  }
  Table empty = make_table({variable(field("t", Dtype::int64)), field("s", Dtype::string)}, 30, 1);
  for (TestColumn& column : empty.columns) {
    column.values.clear();
    column.offsets.assign(31, 0);
  }
  check_content(ShardReader(write_shard(folder, "empty", empty, {WriteCodec::lz4, 200, 1})), empty);
}

TEST(integers_compress_and_noise_stays_raw) {
  const TemporaryFolder folder;
  const Table table = make_table({field("small", Dtype::int32), field("noise", Dtype::int64)}, 20000, 1);
  const ShardReader reader(write_shard(folder, "a", table, {WriteCodec::lz4, 1 << 16, 1}));
  for (uint64_t b = 0; b < reader.layout().block_rows.size(); ++b) {
    const ChunkEntry &small = reader.layout().chunk(b, 0), &noise = reader.layout().chunk(b, 1);
    CHECK(small.codec == Codec::lz4 && small.stored_bytes * 2 < small.raw_bytes);
    CHECK(noise.codec == Codec::raw && noise.filter == Filter::none && noise.stored_bytes == noise.raw_bytes);
  }
}

TEST(blocks_keep_their_size) {
  const TemporaryFolder folder;
  const ShardReader reader(write_shard(folder, "a", some_table(3000), {WriteCodec::raw, 4096, 0}, 777));
  for (uint64_t b = 0; b < reader.layout().block_rows.size(); ++b) {
    uint64_t bytes = 0;
    for (uint64_t f = 0; f < 3; ++f) bytes += reader.layout().chunk(b, f).raw_bytes;
    CHECK(bytes <= 4096 + 3 * 2 * 64 + reader.layout().block_rows[b] / 8);  // padding and validity come on top
  }
}

TEST(temporary_files_go_with_their_writer) {
  const TemporaryFolder folder;
  const Table table = some_table();
  {
    const auto writer = ShardWriter::create(folder.file("a.tmp"), table.fields(), FileId{}, {WriteCodec::lz4, 1000, 2});
    writer->append(table.from(0), table.rows);
    CHECK_EQ(folder.names().size(), size_t{1});
    CHECK_ERROR(Cause::file_io, ({"create", "a.tmp"}),
                ShardWriter::create(folder.file("a.tmp"), table.fields(), FileId{}, WriterOptions{}));
  }
  CHECK(folder.names().empty());
}

TEST(a_finished_writer_takes_no_more) {
  const TemporaryFolder folder;
  const Table table = some_table();
  const auto writer = ShardWriter::create(folder.file("a.tmp"), table.fields(), FileId{}, WriterOptions{});
  writer->append(table.from(0), 10);
  CHECK_EQ(writer->finish({}, folder.file("a")).rows, uint64_t{10});
  CHECK_ERROR(Cause::closed, {"finished"}, writer->append(table.from(0), 1));
  CHECK_ERROR(Cause::closed, {"finished"}, writer->finish({}, folder.file("b")));
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

// A row of 2^27 bytes is the most; what is larger is named, and the writer is of no use afterwards: a shard with a part
// of a row in it must never be published.
TEST(a_row_too_large_spoils_the_writer) {
  const TemporaryFolder folder;
  const std::vector<FieldSpec> fields = {field("a", Dtype::int32), variable(field("t", Dtype::uint8))};
  const std::vector<uint8_t> values(kMaxRawChunkBytes / 2 + 100);
  const std::vector<int32_t> a = {1, 2};
  const std::vector<int64_t> offsets = {0, 10, static_cast<int64_t>(values.size())};
  const auto* a_bytes = reinterpret_cast<const uint8_t*>(a.data());
  for (const unsigned threads : {0u, 1u}) {
    const auto writer = ShardWriter::create(folder.file("a.tmp"), fields, FileId{}, {WriteCodec::raw, 1000, threads});
    CHECK_ERROR(Cause::limit, ({"'t'", "row 1", "too large"}),
                writer->append({{a_bytes, nullptr, nullptr}, {values.data(), offsets.data(), nullptr}}, 2));
    CHECK_ERROR(Cause::closed, {"failed"},
                writer->append({{a_bytes, nullptr, nullptr}, {values.data(), offsets.data(), nullptr}}, 1));
    CHECK_ERROR(Cause::closed, {"failed"}, writer->finish({}, folder.file("a")));
    CHECK(folder.names() == std::vector<std::string>{"a.tmp"});
  }
}

TEST(offsets_that_descend_are_refused) {
  const TemporaryFolder folder;
  const std::vector<uint8_t> values(100);
  for (const std::vector<int64_t>& offsets : {std::vector<int64_t>{0, 50, 40, 60}, {0, 5, -5, 60}, {10, 0, 0, 0}}) {
    const auto writer = ShardWriter::create(folder.file("a.tmp"), {variable(field("t", Dtype::uint8))}, FileId{},
                                            {WriteCodec::raw, 1000, 0});
    CHECK_ERROR(Cause::schema, ({"'t'", "ascend"}), writer->append({{values.data(), offsets.data(), nullptr}}, 3));
  }
}

// block_bytes up to the limit of a chunk may be asked for, and many small rows must then not run into it.
TEST(the_largest_blocks_hold_small_rows_of_any_kind) {
  const TemporaryFolder folder;
  Table table;
  table.rows = 150000;
  table.columns.resize(2);
  table.columns[0].field = variable(field("t", Dtype::uint8));
  table.columns[0].values.assign(table.rows * 1000, 7);
  table.columns[0].offsets.resize(table.rows + 1);
  for (uint64_t i = 0; i <= table.rows; ++i) table.columns[0].offsets[i] = static_cast<int64_t>(i * 1000);
  table.columns[1].field = nullable(field("x", Dtype::uint8, {1000}));
  table.columns[1].values.assign(table.rows * 1000, 3);
  table.columns[1].valid.assign(table.rows, 1);
  for (size_t f = 0; f < 2; ++f) {
    const auto writer = ShardWriter::create(folder.file("a.tmp"), {table.columns[f].field}, FileId{},
                                            {WriteCodec::lz4, kMaxRawChunkBytes, 0});
    for (uint64_t first = 0; first < table.rows; first += 50000) writer->append({table.from(first)[f]}, 50000);
    CHECK_EQ(writer->finish({}, folder.file("a")).rows, table.rows);
    CHECK_EQ(ShardReader(folder.file("a")).layout().rows, table.rows);
  }
}

TEST(a_full_disk_is_named_and_leaves_nothing) {
  const TemporaryFolder folder;
  const Table table = make_numbered_table(40000, 16);
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 100000;
  for (const unsigned threads : {0u, 2u}) {
    const auto writer =
        ShardWriter::create(folder.file("a.tmp"), table.fields(), FileId{}, {WriteCodec::raw, 4096, threads});
    setrlimit(RLIMIT_FSIZE, &small);
    std::string message;
    try {
      writer->append(table.from(0), table.rows);
      writer->finish({}, folder.file("a"));
    } catch (const Error& error) {
      message = error.what();
    }
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK(message.find("cannot write") != std::string::npos);
    CHECK_ERROR(Cause::closed, {"failed"}, writer->finish({}, folder.file("a")));
  }
  CHECK(folder.names().empty());
}

// A child of fork() has no threads of its own, and the file is its parent's.
TEST(a_forked_child_leaves_the_writer_alone) {
  const TemporaryFolder folder;
  const Table table = some_table();
  auto writer =
      ShardWriter::create(folder.file("a.tmp"), table.fields(), FileId{}, WriterOptions{WriteCodec::lz4, 1000, 2});
  writer->append(table.from(0), table.rows);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    int result = 1;
    try {
      writer->append(table.from(0), 1);
    } catch (const Error& error) {
      result = error.cause() == Cause::closed ? 0 : 2;
    }
    writer.reset();
    _exit(result);
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
  writer->finish({}, folder.file("a"));
  check_content(ShardReader(folder.file("a")), table);
}

TEST(any_changed_bit_of_a_chunk_is_seen) {
  const TemporaryFolder folder;
  const Table table = some_table(60);
  for (const WriteCodec codec : {WriteCodec::raw, WriteCodec::lz4}) {
    const std::string path = write_shard(folder, "a", table, {codec, 1000, 0});
    const Image whole{read_file(path)};
    for (uint64_t at = kHeaderBytes; at < whole.footer().begin; at += 3) {
      Image image = whole;
      image.bytes[at] ^= static_cast<uint8_t>(1 << at % 8);
      write_file(path, image.bytes);
      const ShardReader reader(path);
      CHECK_ERROR(Cause::checksum, ({path, "block", "field"}), check_content(reader, table));
      CHECK_ERROR(Cause::checksum, {path}, {
        const auto rows = RowReader::create(open_source({path}), 1 << 20);
        for (uint64_t row = 0; row < table.rows; ++row) rows->read(&row, 1, padded(true));
      });
    }
  }
}

// Chunks whose checksum holds, but that promise what they do not keep.
TEST(the_parts_of_a_chunk_are_checked) {
  const TemporaryFolder folder;
  FieldSpec categories = field("class", Dtype::int32);
  categories.categories = true;
  const Table table =
      make_table({nullable(variable(field("t", Dtype::int32))), categories, field("z", Dtype::int64)}, 60, 2);
  const std::string path = write_shard(folder, "a", table, {WriteCodec::raw, 1 << 20, 0});
  const Image whole{read_file(path)};
  const uint64_t t = whole.get<uint64_t>(whole.entries()[0]), codes = whole.get<uint64_t>(whole.entries()[1]);
  const uint64_t offsets = t + 64;  // after the validity of 60 rows
  const auto check = [&](const std::string& words, uint64_t at, auto value) {
    Image image = whole;
    image.set(at, value);
    image.repair_checksums();
    write_file(path, image.bytes);
    CHECK_ERROR(Cause::format, ({path, "block 0", words}), check_content(ShardReader(path), table));
    const uint64_t row = 0;
    CHECK_ERROR(Cause::format, ({path, words}),
                RowReader::create(open_source({path}), 1 << 20)->read(&row, 1, padded(true)));
  };
  check("offsets", offsets, uint32_t{1});
  check("offsets", offsets + 4 * 60, whole.get<uint32_t>(offsets + 4 * 60) - 1);
  check("offsets", offsets + 4 * 60, UINT32_MAX);
  check("offsets", offsets + 4 * 30, UINT32_MAX);
  check("offsets", offsets + 4 * 30, uint32_t{0});
  check("dictionary", codes + 4 * 17, int32_t{kTestCategories});
  check("dictionary", codes + 4 * 17, int32_t{-1});
  check("not zero", t + 63, uint8_t{1});                         // padding after the validity bits ...
  check("not zero", t + 7, uint8_t(whole.bytes[t + 7] | 0x80));  // ... the last of them, which are no rows ...
  check("not zero", offsets + 4 * 61, uint8_t{1});               // ... and after the offsets
}

TEST(a_code_without_a_dictionary_is_refused) {
  const TemporaryFolder folder;
  FieldSpec categories = field("class", Dtype::int32);
  categories.categories = true;
  const std::vector<int32_t> zeros(10, 0);
  const std::vector<uint8_t> none(10, 0);
  for (const bool all_null : {false, true}) {
    categories.nullable = all_null;
    const auto writer = ShardWriter::create(folder.file("a.tmp"), {categories}, FileId{}, WriterOptions{});
    writer->append({{reinterpret_cast<const uint8_t*>(zeros.data()), nullptr, all_null ? none.data() : nullptr}}, 10);
    writer->finish({}, folder.file("a"));
    Image image{read_file(folder.file("a"))};
    image.set<uint32_t>(image.head(SectionType::class_counts), 99);  // they would give it away
    image.repair_checksums();
    write_file(folder.file("a"), image.bytes);
    const uint64_t row = 3;
    const auto reader = RowReader::create(open_source({folder.file("a")}), 1 << 20);
    if (all_null)
      CHECK_EQ(int{reader->read(&row, 1, padded(true)).fields[0].valid->data()[0]}, 0);
    else
      CHECK_ERROR(Cause::format, {"dictionary"}, reader->read(&row, 1, padded(true)));
  }
}

// LZ4 packs at most 255 to 1: what claims more is refused before memory is taken for it.
TEST(a_decompression_bomb_is_refused_at_opening) {
  const TemporaryFolder folder;
  Table table = make_table({field("x", Dtype::uint8)}, 1 << 16, 1);
  std::fill(table.columns[0].values.begin(), table.columns[0].values.end(), uint8_t{0});
  const std::string path = write_shard(folder, "a", table, {WriteCodec::lz4, 1 << 20, 0});
  check_content(ShardReader(path), table);
  Image image{read_file(path)};
  const uint64_t entry = image.entries().at(0);
  image.set(entry + 12, uint32_t{kMaxRawChunkBytes});
  image.set(entry - 8, uint32_t{kMaxRawChunkBytes});  // rows, to agree
  image.repair_sizes();
  image.repair_checksums();
  write_file(path, image.bytes);
  CHECK_ERROR(Cause::format, {"cannot decode to"}, ShardReader{path});
}

TEST(shards_of_one_source_have_one_schema) {
  const TemporaryFolder folder;
  const std::string a = write_shard(folder, "a", make_table({field("x", Dtype::int32)}, 10, 1), WriterOptions{});
  const std::string b = write_shard(folder, "b", make_table({field("x", Dtype::uint32)}, 10, 1), WriterOptions{});
  CHECK_ERROR(Cause::schema, ({"b'", "another schema"}), open_source({a, b}));
}

}  // namespace fastload::test
