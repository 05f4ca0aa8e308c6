#include "row_reader.h"

#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "check.h"
#include "fixtures.h"

namespace fastload::test {

TEST(any_rows_in_any_order_agree_with_the_table) {
  const TemporaryFolder folder;
  const Table table = make_table(every_field(), 600, 21);
  std::mt19937_64 random(1);
  for (const WriteCodec codec : {WriteCodec::raw, WriteCodec::lz4}) {
    const auto source = open_source({write_shard(folder, "a", table, {codec, 12000, 0})});
    for (const uint64_t memory_bytes : {uint64_t{1}, uint64_t{60000}, uint64_t{1} << 30}) {
      const auto reader = RowReader::create(source, memory_bytes);
      for (const bool pad : {false, true})
        for (const size_t count : {0, 1, 2, 37, 300}) {
          std::vector<uint64_t> rows(count);
          for (uint64_t& row : rows) row = random() % table.rows;
          const Batch batch = reader->read(rows.data(), count, padded(pad));
          CHECK_EQ(batch.rows, uint64_t{count});
          for (size_t i = 0; i < count; ++i) check_row(batch, i, table, rows[i]);
        }
    }
  }
}

TEST(rows_of_many_shards_are_numbered_through) {
  const TemporaryFolder folder;
  const Table table = make_numbered_table(1000);
  std::vector<std::string> paths;
  for (uint64_t first = 0; first < 1000; first += 250) {
    const std::string name = std::to_string(first);
    const auto writer =
        ShardWriter::create(folder.file(name + ".tmp"), table.fields(), FileId{}, {WriteCodec::lz4, 700, 0});
    writer->append(table.from(first), 250);
    writer->finish({}, folder.file(name));
    paths.push_back(folder.file(name));
  }
  const auto reader = RowReader::create(open_source(paths), 1 << 20);
  std::vector<uint64_t> rows(1000);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = i * 7 % 1000;
  const Batch batch = reader->read(rows.data(), rows.size(), padded(true));
  for (size_t i = 0; i < rows.size(); ++i) check_row(batch, i, table, rows[i]);
}

TEST(a_row_beyond_the_end_is_refused) {
  const auto reader = RowReader::create(std::make_shared<MadeSource>(3, 10), 1 << 20);
  for (const uint64_t row : {uint64_t{30}, UINT64_MAX})
    CHECK_ERROR(Cause::row_index, {"there are 30 rows"}, reader->read(&row, 1, padded(true)));
}

// Blocks are held one after the other where all together would not fit.
TEST(rows_all_over_the_data_keep_to_the_budget) {
  const auto source = std::make_shared<MadeSource>(10, 100);
  std::vector<uint64_t> rows;
  for (int round = 0; round < 2; ++round)
    for (uint64_t block = 0; block < 10; ++block) rows.push_back(block * 100 + static_cast<uint64_t>(round));
  const auto large = RowReader::create(source, 10 * source->decoded_bytes(0));
  CHECK_EQ(large->read(rows.data(), rows.size(), padded(true)).rows, uint64_t{20});
  CHECK_EQ(source->loads.load(), uint64_t{10});
  source->loads = 0;
  const auto small = RowReader::create(source, 2 * source->decoded_bytes(0));
  const Batch batch = small->read(rows.data(), rows.size(), padded(true));
  for (size_t i = 0; i < rows.size(); ++i) CHECK_EQ(row_numbers(batch)[i], static_cast<int64_t>(rows[i]));
  CHECK_EQ(source->loads.load(), uint64_t{20});  // all ten were never there at once
}

TEST(arrays_in_memory_are_gathered_where_they_lie) {
  const Table table = make_table(
      {field("x", Dtype::float64, {3}), nullable(field("y", Dtype::int16)), variable(field("t", Dtype::int32))}, 500,
      6);
  std::vector<uint8_t> bitmap(63);
  for (uint64_t row = 0; row < 500; ++row)
    bitmap[row / 8] |= static_cast<uint8_t>(table.columns[1].valid[row] << row % 8);
  Table expected = table;  // in memory nothing is cleared: null rows hold what they held
  expected.columns[1].field.nullable = false;
  std::vector<MemorySource::Column> columns;
  for (size_t f = 0; f < 3; ++f) {
    FieldRows rows;
    rows.data = table.columns[f].values.data();
    rows.stride_bytes = table.columns[f].field.row_bytes();
    if (f == 1) rows.validity = bitmap.data();
    if (f == 2) {
      rows.offsets64 = table.columns[f].offsets.data();
      rows.elements = table.columns[f].values.size() / 4;
    }
    columns.push_back({table.columns[f].field, rows});
  }
  const auto reader = RowReader::create(std::make_shared<MemorySource>(columns, 500), 1 << 20);
  std::vector<uint64_t> rows(500);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = i * 13 % 500;
  const Batch batch = reader->read(rows.data(), rows.size(), padded(true));
  for (size_t i = 0; i < rows.size(); ++i) {
    check_row(batch, i, expected, rows[i]);
    CHECK_EQ(batch.fields[1].valid->data()[i] != 0, table.columns[1].valid[rows[i]] != 0);
  }
}

TEST(a_batch_too_large_for_any_memory_is_no_small_batch) {
  const auto pool = std::make_shared<BufferPool>(1 << 20);
  const std::vector<FieldSpec> fields = {field("x", Dtype::uint8, {1 << 27})};
  bool refused = false;
  try {
    BatchBuilder(BatchColumns::as_they_are(fields), 0, uint64_t{1} << 37, 1, padded(true), *pool);  // 2^64 bytes
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  CHECK(refused);
}

TEST(concurrent_readers_share_a_small_cache) {
  const auto source = std::make_shared<MadeSource>(40, 50, true);
  const auto reader = RowReader::create(source, 5 * source->decoded_bytes(0));
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<uint64_t>(t));
      for (int i = 0; i < 300; ++i) {
        std::vector<uint64_t> rows(1 + random() % 20);
        for (uint64_t& row : rows) row = random() % 2000;
        const std::vector<int64_t> found = row_numbers(reader->read(rows.data(), rows.size(), padded(i % 2)));
        for (size_t k = 0; k < rows.size(); ++k) wrong += found[k] != static_cast<int64_t>(rows[k]);
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), uint64_t{0});
}

// One decodes, the others wait; when that fails, each of them tries and fails, and nobody waits for ever.
TEST(a_block_is_decoded_once_and_its_error_reaches_everybody) {
  auto source = std::make_shared<MadeSource>(4, 10);
  std::atomic<bool> broken{true};
  source->before_load = [&](uint32_t block) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (block == 2 && broken) fail(Cause::checksum, "block 2 is damaged");
  };
  BlockCache cache(*source, 1 << 20);
  const auto ask_all = [&](uint32_t block) {
    std::atomic<int> errors{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        try {
          cache.get(block);
        } catch (const Error&) {
          ++errors;
        }
      });
    for (std::thread& thread : threads) thread.join();
    return errors.load();
  };
  CHECK_EQ(ask_all(1), 0);
  CHECK_EQ(source->loads.load(), uint64_t{1});
  CHECK_EQ(ask_all(2), 4);
  broken = false;
  CHECK_EQ(ask_all(2), 0);
  CHECK_EQ(source->loads.load(), uint64_t{6});
}

// At the fork one thread decodes and another waits for it; the child has neither, and must be able to let go.
TEST(a_forked_child_drops_a_reader_in_use) {
  auto source = std::make_shared<MadeSource>(2, 10);
  std::atomic<bool> held{true};
  source->before_load = [&](uint32_t) {
    while (held) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  auto reader = RowReader::create(source, 1 << 20);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      const uint64_t row = 3;
      reader->read(&row, 1, padded(true));
    });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const pid_t child = fork();
  if (child == 0) {
    alarm(10);
    reader.reset();
    _exit(0);
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  held = false;
  for (std::thread& thread : threads) thread.join();
  CHECK(WIFEXITED(status));
}

TEST(blocks_in_use_outlive_the_cache) {
  std::shared_ptr<const CachedBlock> held;
  const auto source = std::make_shared<MadeSource>(8, 10);
  {
    BlockCache cache(*source, 1);
    held = cache.get(3);
    for (uint32_t block = 0; block < 8; ++block) cache.get(block);
  }
  CHECK_EQ(reinterpret_cast<const int64_t*>(held->views[0].data)[4], int64_t{34});
}

}  // namespace fastload::test
