// The engine: orders, threads, memory, errors, and every way to leave it early.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "byte_order.h"
#include "check.h"
#include "fixtures.h"

namespace fastload::test {
namespace {

using std::chrono::milliseconds;

std::shared_ptr<Engine> make_engine(std::shared_ptr<const Source> source, unsigned threads,
                                    uint64_t memory_bytes = 1 << 30, uint64_t prefetch_bytes = 1 << 20,
                                    uint64_t prefetch_batches = 0) {
  return Engine::create(std::move(source), {threads, memory_bytes, prefetch_bytes, prefetch_batches});
}

EpochOptions options(uint64_t batch_rows, bool shuffle, uint64_t epoch = 0, bool drop_last = false, bool pad = true) {
  EpochOptions options;
  options.batch_rows = batch_rows;
  options.order.shuffle = shuffle;
  options.order.seed = 5;
  options.order.epoch = epoch;
  options.drop_last = drop_last;
  options.padding = padded(pad);
  return options;
}

std::vector<int64_t> first_rows(uint64_t count) {
  std::vector<int64_t> rows(count);
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

bool is_every_row_once(std::vector<int64_t> rows, uint64_t count) {
  std::sort(rows.begin(), rows.end());
  return rows == first_rows(count);
}

size_t threads_now() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

// A count that a test can wait for.
bool comes_true(const std::function<bool()>& condition) {
  for (int i = 0; i < 4000 && !condition(); ++i) std::this_thread::sleep_for(milliseconds(5));
  return condition();
}

}  // namespace

TEST(every_row_comes_once_in_an_order_that_does_not_know_the_threads) {
  const TemporaryFolder folder;
  const Table table = make_numbered_table(3000, 8);
  for (const WriteCodec codec : {WriteCodec::raw, WriteCodec::lz4}) {
    const auto source = open_source({write_shard(folder, "a", table, {codec, 2000, 0})});
    for (const uint64_t memory_bytes : {uint64_t{10000}, uint64_t{1} << 30})
      for (const uint64_t batch_rows : {uint64_t{1}, uint64_t{64}, uint64_t{777}, uint64_t{5000}})
        for (const bool shuffle : {false, true}) {
          std::vector<int64_t> expected;
          for (const unsigned threads : {0u, 1u, 2u, 4u}) {
            const auto engine = make_engine(source, threads, memory_bytes);
            const auto epoch = engine->start(options(batch_rows, shuffle));
            CHECK_EQ(epoch->batches(), (table.rows + batch_rows - 1) / batch_rows);
            std::vector<int64_t> rows;
            Batch batch;
            while (take(*epoch, &batch)) {
              CHECK_EQ(batch.rows, std::min(batch_rows, table.rows - rows.size()));
              for (const int64_t row : row_numbers(batch)) {
                check_row(batch, rows.size() % batch_rows, table, static_cast<uint64_t>(row));
                rows.push_back(row);
              }
            }
            if (threads == 0) expected = rows;
            CHECK(rows == expected);
          }
          CHECK(is_every_row_once(expected, table.rows));
          CHECK_EQ(expected == first_rows(table.rows), !shuffle);
        }
  }
}

TEST(every_kind_of_field_survives_batches_that_straddle_windows) {
  const TemporaryFolder folder;
  std::vector<FieldSpec> fields = {field("row", Dtype::int64)};
  for (const FieldSpec& spec : every_field()) fields.push_back(spec);
  Table table = make_table(fields, 500, 31);
  for (uint64_t row = 0; row < table.rows; ++row) store_le(table.columns[0].values.data() + 8 * row, row);
  for (const WriteCodec codec : {WriteCodec::raw, WriteCodec::lz4}) {
    const auto source = open_source({write_shard(folder, "a", table, {codec, 9000, 0})});
    uint64_t largest = 0;
    for (uint32_t b = 0; b < source->block_rows().size(); ++b) largest = std::max(largest, source->decoded_bytes(b));
    for (const unsigned threads : {0u, 3u})
      for (const bool pad : {false, true}) {
        const auto engine = make_engine(source, threads, std::max<uint64_t>(largest, 30000));
        const auto epoch = engine->start(options(90, true, 3, false, pad));
        CHECK(codec == WriteCodec::raw || epoch->order().windows().size() > 3);
        uint64_t seen = 0;
        Batch batch;
        while (take(*epoch, &batch)) {
          const std::vector<int64_t> rows = row_numbers(batch);
          for (size_t i = 0; i < rows.size(); ++i) check_row(batch, i, table, static_cast<uint64_t>(rows[i]));
          seen += rows.size();
        }
        CHECK_EQ(seen, table.rows);
      }
  }
}

TEST(arrays_of_more_rows_than_a_block_are_one_source) {
  constexpr uint64_t kRows = (1 << 24) + 1000;
  std::vector<int64_t> numbers(kRows);
  std::iota(numbers.begin(), numbers.end(), int64_t{0});
  FieldRows rows;
  rows.data = reinterpret_cast<const uint8_t*>(numbers.data());
  rows.stride_bytes = 8;
  const auto source =
      std::make_shared<MemorySource>(std::vector<MemorySource::Column>{{field("row", Dtype::int64), rows}}, kRows);
  CHECK_EQ(source->block_rows().size(), size_t{2});
  const auto engine = make_engine(source, 2);
  CHECK(is_every_row_once(drain(*engine->start(options(1 << 17, true))), kRows));
}

TEST(drop_last_drops_the_last) {
  const auto source = std::make_shared<MadeSource>(10, 10);
  for (const unsigned threads : {0u, 2u})
    for (const uint64_t memory_bytes : {uint64_t{200}, uint64_t{1} << 20}) {
      const auto engine = make_engine(source, threads, memory_bytes);
      CHECK_EQ(drain(*engine->start(options(30, true, 0, true))).size(), size_t{90});
      CHECK_EQ(drain(*engine->start(options(100, true, 0, true))).size(), size_t{100});
      CHECK_EQ(drain(*engine->start(options(101, true, 0, true))).size(), size_t{0});
    }
}

TEST(a_batch_of_more_rows_than_there_are_holds_them_all) {
  const auto source = std::make_shared<MadeSource>(3, 10);
  for (const uint64_t batch_rows : {uint64_t{31}, uint64_t{1} << 62, UINT64_MAX - 5, UINT64_MAX}) {
    const auto engine = make_engine(source, 1);
    CHECK(is_every_row_once(drain(*engine->start(options(batch_rows, true))), 30));
    CHECK(drain(*engine->start(options(batch_rows, true, 0, true))).empty());
  }
}

// However small the windows are, and whoever shares a block with the one before.
TEST(ranks_get_their_share_whatever_the_threads) {
  const auto source = std::make_shared<MadeSource>(30, 10, true);
  const uint64_t block_bytes = source->decoded_bytes(0);
  for (const uint64_t lanes : {1, 3, 4})
    for (const bool shuffle : {false, true})
      for (const uint64_t memory_bytes : {8 * block_bytes, uint64_t{1} << 20})
        for (const uint64_t world_size : {1, 2, 3, 7}) {
          std::vector<int64_t> expected;
          for (const unsigned threads : {0u, 1u, 3u}) {
            const auto engine = make_engine(source, threads, memory_bytes);
            EpochOptions chosen = options(11, shuffle);
            chosen.row_numbers = true;
            chosen.order.lanes = lanes;
            chosen.order.world_size = world_size;
            std::vector<std::vector<int64_t>> ranks(world_size);
            uint64_t digest = 0;
            for (uint64_t rank = 0; rank < world_size; ++rank) {
              chosen.order.rank = rank;
              const auto epoch = engine->start(chosen);
              Batch batch;
              while (take(*epoch, &batch)) {
                const std::vector<int64_t> rows = row_numbers(batch);
                const auto* said = reinterpret_cast<const int64_t*>(batch.row_numbers->data());
                CHECK(std::equal(rows.begin(), rows.end(), said));
                ranks[rank].insert(ranks[rank].end(), rows.begin(), rows.end());
              }
              CHECK_EQ(ranks[rank].size(), (300 + world_size - 1) / world_size);
              digest += epoch->costs().digest;
            }
            std::vector<int64_t> rows;
            for (size_t position = 0; position < 300; ++position)
              rows.push_back(ranks[position % world_size][position / world_size]);
            CHECK(is_every_row_once(rows, 300));
            for (const int64_t row : rows) digest -= row_digest(static_cast<uint64_t>(row));
            CHECK_EQ(digest, uint64_t{0});
            if (threads == 0) expected = rows;
            CHECK(rows == expected);
          }
        }
}

TEST(lanes_that_do_not_fit_the_memory_are_refused) {
  const auto source = std::make_shared<MadeSource>(40, 10, true);
  EpochOptions chosen = options(11, true);
  chosen.order.lanes = 20;
  const auto engine = make_engine(source, 1, 3 * source->decoded_bytes(0));
  CHECK_ERROR(Cause::argument, {"20 lanes are open at a time"}, engine->start(chosen));
}

TEST(impossible_options_are_named) {
  const auto source = std::make_shared<MadeSource>(2, 10);
  CHECK_ERROR(Cause::argument, {"batch_size"}, make_engine(source, 1)->start(options(0, false)));
  CHECK_ERROR(Cause::argument, {"memory_bytes must hold"}, make_engine(source, 1, source->decoded_bytes(0) - 1));
}

// Chunks stored raw are served from the map and need no budget.
TEST(raw_data_need_no_memory) {
  const TemporaryFolder folder;
  const Table table = make_numbered_table(500);
  const auto source = open_source({write_shard(folder, "a", table, {WriteCodec::raw, 1000, 0})});
  for (const uint64_t memory_bytes : {0, 1, 3, 4})
    for (const bool shuffle : {false, true}) {
      const auto engine = make_engine(source, 1, memory_bytes);
      CHECK(engine->holds_everything());
      CHECK(is_every_row_once(drain(*engine->start(options(10, shuffle))), 500));
    }
}

TEST(data_within_the_budget_are_decoded_once) {
  const auto source = std::make_shared<MadeSource>(20, 10);
  const auto engine = make_engine(source, 2, 1 << 20);
  CHECK(engine->holds_everything());
  std::vector<int64_t> before;
  for (uint64_t e = 0; e < 4; ++e) {
    const std::vector<int64_t> rows = drain(*engine->start(options(7, true, e)));
    CHECK(is_every_row_once(rows, 200));
    CHECK(rows != before);
    before = rows;
  }
  CHECK_EQ(source->loads.load(), uint64_t{20});
}

TEST(decoded_windows_keep_to_the_budget) {
  const auto source = std::make_shared<MadeSource>(64, 16);
  const uint64_t block_bytes = source->decoded_bytes(0), memory_bytes = 10 * block_bytes;
  const auto engine = make_engine(source, 2, memory_bytes);
  const auto pool = std::make_shared<BufferPool>(memory_bytes);
  CHECK(!engine->holds_everything());
  for (const bool shuffle : {false, true}) {
    const auto order = engine->order(options(1, shuffle).order);
    for (const uint64_t arenas : {1, 4}) {
      const auto store = BlockStore::rotating(*source, *order, arenas, memory_bytes, *pool);
      CHECK(store->size_bytes() <= memory_bytes);
      CHECK(store->arenas() >= 1 && store->arenas() <= arenas);
    }
  }
  CHECK(BlockStore::resident(*source)->size_bytes() >= 64 * block_bytes);
}

TEST(epochs_alive_at_once_do_not_disturb_each_other) {
  for (const unsigned threads : {0u, 1u, 4u})
    for (const uint64_t memory_bytes : {uint64_t{1000}, uint64_t{1} << 20}) {
      const auto engine = make_engine(std::make_shared<MadeSource>(30, 10, true), threads, memory_bytes, 2000);
      std::vector<std::shared_ptr<Epoch>> epochs;
      std::vector<std::vector<int64_t>> rows(3);
      for (uint64_t e = 0; e < 3; ++e) epochs.push_back(engine->start(options(7, e != 1, e)));
      for (bool any = true; any;) {
        any = false;
        for (size_t e = 0; e < 3; ++e) {
          Batch batch;
          if (!take(*epochs[e], &batch)) continue;
          any = true;
          for (const int64_t row : row_numbers(batch)) rows[e].push_back(row);
        }
      }
      for (const auto& r : rows) CHECK(is_every_row_once(r, 300));
      CHECK(rows[1] == first_rows(300));
    }
}

// One engine, two consumers, each with an epoch and a thread of its own.
TEST(consumers_in_two_threads_get_their_own_rows) {
  for (const unsigned threads : {0u, 2u}) {
    const auto source = std::make_shared<MadeSource>(100, 500, true);
    const auto engine = make_engine(source, threads);
    for (uint64_t round = 0; round < 3; ++round) {  // while blocks are decoded, and when all are there
      std::vector<std::vector<int64_t>> rows(2);
      std::vector<std::thread> consumers;
      for (uint64_t e = 0; e < 2; ++e)
        consumers.emplace_back([&, e] { rows[e] = drain(*engine->start(options(900, true, e))); });
      for (std::thread& consumer : consumers) consumer.join();
      for (uint64_t e = 0; e < 2; ++e) {
        CHECK(is_every_row_once(rows[e], 50000));
        CHECK(rows[e] == drain(*make_engine(source, 0)->start(options(900, true, e))));
      }
    }
  }
}

TEST(an_epoch_after_another_is_prepared_while_that_one_drains) {
  for (const uint64_t memory_bytes : {uint64_t{1000}, uint64_t{1} << 20}) {
    const auto source = std::make_shared<MadeSource>(20, 10);
    const auto engine = make_engine(source, 2, memory_bytes);
    auto first = engine->start(options(10, true, 0));
    const auto second = engine->start(options(10, true, 1), first.get());
    const auto third = engine->start(options(10, true, 2), second.get());
    CHECK(is_every_row_once(drain(*first), 200));
    if (memory_bytes == 1000) CHECK(comes_true([&] { return source->loads >= 40; }));  // before anybody asked for them
    CHECK(is_every_row_once(drain(*second), 200));
    first.reset();
    CHECK(is_every_row_once(drain(*third), 200));
  }
}

// Whoever asks for the next epoch without having finished the one before must get it.
TEST(an_epoch_after_an_unfinished_one_comes_when_asked_for) {
  for (const unsigned threads : {0u, 2u})
    for (const uint64_t memory_bytes : {uint64_t{1000}, uint64_t{1} << 20}) {
      const auto engine = make_engine(std::make_shared<MadeSource>(100, 10), threads, memory_bytes, 300);
      const auto first = engine->start(options(10, true, 0));
      const auto second = engine->start(options(10, true, 1), first.get());
      const auto third = engine->start(options(10, true, 2), second.get());
      Batch batch;
      CHECK(take(*first, &batch));
      CHECK(is_every_row_once(drain(*third), 1000));
      CHECK(is_every_row_once(drain(*second), 1000));
      CHECK_EQ(drain(*first).size(), size_t{990});
    }
}

TEST(an_epoch_after_an_empty_one_is_prepared) {
  const auto source = std::make_shared<MadeSource>(4, 10);
  const auto engine = make_engine(source, 1, 2 * source->decoded_bytes(0));
  const auto first = engine->start(options(100, true, 0, true));  // no full batch
  const auto second = engine->start(options(10, true, 1), first.get());
  CHECK(comes_true([&] { return source->loads > 0; }));
  CHECK(is_every_row_once(drain(*second), 40));
}

// The epoch after takes over memory in which a thread may still be decoding for the one that was dropped. The arenas
// are large enough to be unmapped when freed, so that a write after that is a fault in any build.
TEST(memory_of_a_dropped_epoch_is_not_given_away_under_its_threads) {
  for (int round = 0; round < 6; ++round) {
    auto source = std::make_shared<MadeSource>(12, 10, false, uint64_t{12} << 20);
    std::atomic<int> busy{0};
    source->before_load = [&](uint32_t) {
      ++busy;
      std::this_thread::sleep_for(milliseconds(30));
    };
    const auto engine = make_engine(source, 2, uint64_t{40} << 20);
    CHECK(!engine->holds_everything());
    auto first = engine->start(options(5, true, 0));
    CHECK(comes_true([&] { return busy > round % 3; }));
    const auto second = engine->start(options(5, true, 1), first.get());
    first.reset();
    CHECK(is_every_row_once(drain(*second), 120));
  }
}

// The same when the first epoch ends by an error while its other blocks are still on their way.
TEST(memory_of_a_failed_epoch_is_not_given_away_under_its_threads) {
  auto source = std::make_shared<MadeSource>(12, 10, false, uint64_t{12} << 20);
  std::atomic<int> loads{0};
  source->before_load = [&](uint32_t) {
    if (loads++ == 0) fail(Cause::checksum, "the first block asked for");
    std::this_thread::sleep_for(milliseconds(30));
  };
  const auto engine = make_engine(source, 3, uint64_t{40} << 20);
  const auto first = engine->start(options(5, true, 0));
  const auto second = engine->start(options(5, true, 1), first.get());
  CHECK_ERROR(Cause::checksum, {"first block"}, drain(*first));
  CHECK(is_every_row_once(drain(*second), 120));
}

TEST(epochs_dropped_anywhere_leave_the_engine_whole) {
  std::mt19937 random(3);
  for (const uint64_t memory_bytes : {uint64_t{1500}, uint64_t{1} << 20}) {
    auto source = std::make_shared<MadeSource>(40, 10, true);
    const auto engine = make_engine(source, 3, memory_bytes, 1500);
    std::shared_ptr<Epoch> before;
    for (uint64_t e = 0; e < 150; ++e) {
      auto epoch = engine->start(options(1 + random() % 60, random() % 2, e), random() % 2 ? before.get() : nullptr);
      Batch batch;
      for (uint32_t i = random() % 8; i > 0; --i) take(*epoch, &batch);
      before = random() % 3 ? epoch : nullptr;
    }
    CHECK(is_every_row_once(drain(*engine->start(options(11, true, 0), before.get())), 400));
  }
}

TEST(an_engine_goes_while_its_threads_are_busy) {
  const size_t threads_before = threads_now();
  for (int i = 0; i < 60; ++i) {
    auto source = std::make_shared<MadeSource>(50, 10, true);
    source->before_load = [i](uint32_t) { std::this_thread::sleep_for(std::chrono::microseconds(i * 20)); };
    auto engine = make_engine(source, 1 + i % 4, i % 2 ? 2000 : 1 << 20, 5000);
    auto epoch = engine->start(options(7, true));
    Batch batch;
    for (int n = 0; n < i % 5; ++n) take(*epoch, &batch);
    if (i % 3 == 0) engine.reset();  // the epoch holds it
    if (i % 3 == 0) CHECK(take(*epoch, &batch));
    epoch.reset();
  }
  CHECK_EQ(threads_now(), threads_before);
}

TEST(batches_outlive_the_engine) {
  std::vector<Batch> batches;
  {
    const auto engine = make_engine(std::make_shared<MadeSource>(20, 10, true), 2, 1000, 1000);
    for (uint64_t e = 0; e < 3; ++e) {
      const auto epoch = engine->start(options(7, false, e));
      Batch batch;
      while (take(*epoch, &batch)) batches.push_back(std::move(batch));
    }
  }
  std::vector<int64_t> rows;
  for (const Batch& batch : batches) {
    const std::vector<int64_t> part = row_numbers(batch);
    const auto* lengths = reinterpret_cast<const int64_t*>(batch.fields[1].lengths->data());
    const auto* copies = reinterpret_cast<const int64_t*>(batch.fields[1].values->data());
    for (size_t i = 0; i < part.size(); ++i) {
      CHECK_EQ(lengths[i], part[i] % 5);
      for (uint64_t k = 0; k < batch.fields[1].width; ++k)
        CHECK_EQ(copies[i * batch.fields[1].width + k], static_cast<int64_t>(k) < lengths[i] ? part[i] : 0);
    }
    for (const auto* buffer : {&batch.fields[0].values, &batch.fields[1].values})
      CHECK_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % kAlignment, uintptr_t{0});
    rows.insert(rows.end(), part.begin(), part.end());
  }
  CHECK_EQ(rows.size(), size_t{600});
}

// Rows of damaged blocks throw where they would come, each batch once; all others are delivered.
TEST(an_error_comes_at_each_batch_that_needs_the_block) {
  for (const unsigned threads : {0u, 1u, 4u})
    for (const uint64_t memory_blocks : {8, 100})  // sequential windows of two blocks; all at once
      for (const bool skips : {false, true}) {
        auto source = std::make_shared<MadeSource>(40, 10, true);
        std::atomic<bool> broken{true};
        source->before_load = [&](uint32_t block) {
          if (block == 23 && broken) fail(Cause::checksum, "block 23 is damaged");
          if (block == 30 && broken) fail(Cause::format, "block 30 is damaged");
        };
        const auto engine = make_engine(source, threads, memory_blocks * source->decoded_bytes(0));
        EpochOptions chosen = options(7, false);
        chosen.skips = skips;
        const auto epoch = engine->start(chosen);
        std::set<int64_t> rows;
        std::vector<Cause> causes;
        uint64_t digest = 0;
        for (uint64_t position = 0; position < 400; position += 7) {
          Batch batch;
          try {
            CHECK(take(*epoch, &batch));
          } catch (const Error& error) {
            CHECK(!skips);
            causes.push_back(error.cause());
            continue;
          }
          const std::vector<int64_t> found = row_numbers(batch);
          for (size_t i = 0; i < found.size(); ++i) {
            const auto row = static_cast<int64_t>(position + i);
            const bool is_bad = std::count(batch.bad_rows.begin(), batch.bad_rows.end(), i) > 0;
            CHECK_EQ(is_bad, row / 10 == 23 || row / 10 == 30);
            CHECK_EQ(found[i], is_bad ? 0 : row);
            if (is_bad) CHECK(batch.error);
            if (!is_bad) rows.insert(row);
            if (!is_bad) digest += row_digest(static_cast<uint64_t>(row));
          }
        }
        CHECK_EQ(epoch->costs().digest, digest);
        if (skips) CHECK_EQ(rows.size(), size_t{380});
        if (!skips) CHECK_EQ(causes.size(), size_t{6});  // batches that begin at 224, 231, 238, and at 294, 301, 308
        Batch batch;
        CHECK(!take(*epoch, &batch));
        broken = false;
        CHECK(drain(*engine->start(options(7, false))) == first_rows(400));  // the engine is as good as new
      }
}

TEST(a_block_that_fails_once_may_be_read_again) {
  for (const bool retries : {false, true}) {
    auto source = std::make_shared<MadeSource>(20, 10);
    std::atomic<int> left{1};
    source->before_load = [&](uint32_t block) {
      if (block == 7 && left-- > 0) fail(Cause::checksum, "once");
    };
    EpochOptions chosen = options(5, true);
    chosen.retries = retries;
    const auto engine = make_engine(source, 2);
    uint64_t failures = 0, rows = 0;
    const auto epoch = engine->start(chosen);
    for (;;) {
      Batch batch;
      try {
        if (!take(*epoch, &batch)) break;
        rows += batch.rows;
      } catch (const Error&) {
        ++failures;
      }
    }
    CHECK_EQ(failures > 0, !retries);
    CHECK_EQ(rows + 5 * failures, uint64_t{200});
  }
}

// A batch that cannot be allocated is an error at that batch, not a consumer that waits for ever.
TEST(a_batch_that_does_not_fit_into_memory_is_an_error) {
  class Endless : public MadeSource {  // 2^20 rows of 2^27 bytes a block, each block a window of its own
   public:
    Endless() : MadeSource(3, 1 << 20) { fields_ = {field("x", Dtype::uint8, {1 << 27})}; }
    uint64_t raw_bytes(uint32_t) const override { return 1 << 27; }
    uint64_t decoded_bytes(uint32_t) const override { return 0; }
    void load(uint32_t, uint8_t*, LoadScratch&, FieldRows* rows) const override { rows[0] = FieldRows(); }
  };
  for (const unsigned threads : {0u, 2u}) {
    const auto engine = make_engine(std::make_shared<Endless>(), threads);
    const auto epoch = engine->start(options(1 << 20, false));
    bool refused = false;
    try {
      Batch batch;
      take(*epoch, &batch);
    } catch (const std::bad_alloc&) {
      refused = true;
    }
    CHECK(refused);
  }
}

TEST(prefetch_is_bounded) {
  const auto source = std::make_shared<MadeSource>(400, 16);
  const uint64_t block_bytes = source->decoded_bytes(0);
  for (const uint64_t prefetch_batches : {0, 3}) {
    source->loads = 0;
    const auto engine = make_engine(source, 2, 8 * block_bytes, 40 * 8, prefetch_batches);  // windows of two blocks
    const auto epoch = engine->start(options(8, false));
    Batch batch;
    CHECK(take(*epoch, &batch));
    std::this_thread::sleep_for(milliseconds(100));
    const uint64_t loads = source->loads;
    std::this_thread::sleep_for(milliseconds(100));
    CHECK_EQ(source->loads.load(), loads);  // everything sleeps
    CHECK(loads <= 2 * 4 + 2 + 5);          // four arenas of two blocks, and what the waiting batches have used up
    CHECK_EQ(1 + drain(*epoch).size() / 8, size_t{800});
  }
}

TEST(more_may_wait_for_a_consumer_that_comes_in_bursts) {
  const auto engine = make_engine(std::make_shared<MadeSource>(400, 16), 2, 1 << 20, 40 * 8);
  const auto ready_after_a_while = [&](Epoch& epoch) {
    Batch batch;
    const uint64_t before = epoch.costs().ready_batches;
    std::this_thread::sleep_for(milliseconds(100));
    CHECK(take(epoch, &batch));
    return epoch.costs().ready_batches - before;
  };
  const auto many_become_ready = [&](Epoch& epoch) {
    for (int i = 0; i < 100; ++i)
      if (ready_after_a_while(epoch) >= 100) return true;
    return false;
  };
  const auto epoch = engine->start(options(8, false));
  Batch batch;
  CHECK(take(*epoch, &batch));
  for (int i = 0; i < 3; ++i) CHECK(ready_after_a_while(*epoch) <= 8);
  engine->expect_bursts();
  CHECK(many_become_ready(*epoch));
  const auto another = engine->start(options(8, false));
  CHECK(many_become_ready(*another));  // and so it stays
}

TEST(each_thread_may_have_one_batch_however_large) {
  const auto source = std::make_shared<MadeSource>(8, 16);
  const auto engine = make_engine(source, 3, 1 << 20, 1);
  const auto epoch = engine->start(options(16, false));
  Batch batch;
  CHECK(take(*epoch, &batch));  // one of eight
  std::this_thread::sleep_for(milliseconds(100));
  for (int i = 0; i < 3; ++i) CHECK(epoch->try_next(&batch) == Epoch::Status::ready);  // the threads sleep on these
  CHECK_EQ(drain(*epoch).size(), size_t{4 * 16});
}

TEST(waiting_ends_with_news_or_time) {
  auto source = std::make_shared<MadeSource>(2, 10);
  std::atomic<bool> held{true};
  source->before_load = [&](uint32_t) {
    while (held) std::this_thread::sleep_for(milliseconds(1));
  };
  const auto engine = make_engine(source, 1);
  const auto epoch = engine->start(options(5, false));
  Batch batch;
  CHECK(epoch->try_next(&batch) == Epoch::Status::waiting);
  epoch->wait(0.02);
  CHECK(epoch->try_next(&batch) == Epoch::Status::waiting);
  CHECK(epoch->waited_s() >= 0.015);
  held = false;
  CHECK(drain(*epoch) == first_rows(20));
  epoch->wait(30);  // finished is news: returns at once
  CHECK(epoch->waited_s() < 20);
}

// Time waited may be asked for by another thread than the one that waits.
TEST(time_waited_is_read_while_it_grows) {
  const auto engine = make_engine(std::make_shared<MadeSource>(200, 20), 1, 2000, 1000);
  const auto epoch = engine->start(options(3, true));
  std::atomic<bool> done{false};
  std::thread reader([&] {
    double before = 0;
    while (!done) {
      const double now = epoch->waited_s();
      if (now < before) break;
      before = now;
    }
  });
  const std::vector<int64_t> rows = drain(*epoch);
  done = true;
  reader.join();
  CHECK(is_every_row_once(rows, 4000));
}

TEST(a_closed_pass_gives_no_more_and_knows_what_it_has_cost) {
  for (unsigned threads : {0, 2}) {
    const auto engine = make_engine(std::make_shared<MadeSource>(40, 10), threads, 2000, 1000);
    const auto epoch = engine->start(options(7, true));
    const auto after = engine->start(options(7, true, 1), epoch.get());
    Batch batch;
    CHECK(take(*epoch, &batch));
    std::thread waiting([&] { epoch->wait(30); });
    epoch->close();
    waiting.join();
    const EpochCosts costs = epoch->costs();
    CHECK(costs.blocks_loaded > 0);
    CHECK(epoch->is_ready());
    CHECK(epoch->try_next(&batch) == Epoch::Status::finished);
    epoch->close();
    epoch->wait(30);
    CHECK_EQ(epoch->costs().bytes_delivered, costs.bytes_delivered);
    CHECK_EQ(epoch->order().rows(), uint64_t{400});
    CHECK(is_every_row_once(drain(*after), 400));
    CHECK(is_every_row_once(drain(*engine->start(options(7, true), epoch.get())), 400));
  }
}

// Of the data or a window of them, which may be a second's work: the caller can look for Ctrl-C in between.
TEST(without_threads_each_block_is_a_step) {
  const auto engine = make_engine(std::make_shared<MadeSource>(12, 10), 0);
  const auto epoch = engine->start(options(7, true));
  Batch batch;
  for (int block = 0; block < 12; ++block) CHECK(epoch->try_next(&batch) == Epoch::Status::working);
  CHECK(epoch->try_next(&batch) == Epoch::Status::ready);
}

TEST(a_signal_that_the_program_waits_for_does_not_go_to_the_threads) {
  const auto engine = make_engine(std::make_shared<MadeSource>(4, 10), 2);
  drain(*engine->start(options(7, true)));  // the threads have begun
  std::this_thread::sleep_for(milliseconds(20));
  sigset_t awaited, before;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &awaited, &before);
  CHECK(!sigismember(&before, SIGTERM));  // restored after the threads were made
  kill(getpid(), SIGTERM);                // would end the process
  const timespec limit{10, 0};
  CHECK_EQ(sigtimedwait(&awaited, nullptr, &limit), SIGTERM);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(a_forked_child_is_told_and_does_not_hang) {
  const auto source = std::make_shared<MadeSource>(40, 10, true);
  auto engine = make_engine(source, 2, 2000, 1000);
  auto epoch = engine->start(options(7, true));
  Batch batch;
  CHECK(take(*epoch, &batch));
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      int told = 0;
      for (int what = 0; what < 2; ++what) try {
          what ? void(engine->start(options(7, true))) : void(epoch->try_next(&batch));
        } catch (const Error& error) {
          told += error.cause() == Cause::closed;
        }
      batch = Batch();  // memory of the parent's pool
      told += epoch->costs().blocks_loaded > 0;
      epoch->close();
      told += epoch->costs().blocks_loaded > 0;
      epoch.reset();
      engine.reset();
      _exit(told == 4 ? 0 : 1);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    take(*epoch, &batch);
  }
}

// A thread may hold the pool's lock at the moment of the fork; the child frees batches all the same.
TEST(a_forked_child_frees_batches_whatever_the_threads_did) {
  const auto pool = std::make_shared<BufferPool>(1 << 20);
  std::shared_ptr<Buffer> held = pool->take(100);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) pool->take(1000);
  });
  int hung = 0;
  for (int i = 0; i < 300; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(5);
      held.reset();
      pool->take(50);
      _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    hung += !WIFEXITED(status);
    if (hung) break;
  }
  stop = true;
  busy.join();
  CHECK_EQ(hung, 0);
}

// Cut at a page or inside one: an epoch that ends well has read whole files.
TEST(a_shard_cut_short_during_an_epoch_is_an_error) {
  const TemporaryFolder folder;
  const Table table = make_numbered_table(20000, 16);
  for (const uint64_t kept : {uint64_t{300000}, uint64_t{0}})
    for (const unsigned threads : {0u, 2u})
      for (const bool shuffle : {false, true}) {
        const std::string path = write_shard(folder, "a", table, {WriteCodec::raw, 16384, 0});
        const uint64_t size = std::filesystem::file_size(path), footer = ShardReader(path).layout().footer_offset;
        const auto engine = make_engine(open_source({path}), threads, 1 << 20, 10000);
        drain(*engine->start(options(100, shuffle)));  // every chunk verified
        const auto epoch = engine->start(options(100, shuffle));
        Batch batch;
        CHECK(take(*epoch, &batch));
        // Only part of the last page of the blocks is lost: it reads as zeros from now on.
        std::filesystem::resize_file(path, kept ? kept : footer - 64);
        CHECK(std::filesystem::file_size(path) < size);
        CHECK_ERROR(Cause::map_lost, {"cut short"}, drain(*epoch));
      }
}

TEST(memory_of_batches_is_recycled_only_when_nobody_holds_it) {
  const auto pool = std::make_shared<BufferPool>(10000);
  auto a = pool->take(1000);
  uint8_t* const place = a->data();
  auto b = pool->take(1000);
  CHECK(b->data() != place);
  auto shared = a;
  a.reset();
  CHECK(pool->take(1000)->data() != place);
  shared.reset();
  CHECK(pool->take(900)->data() == place);
  CHECK_EQ(pool->take(0)->size_bytes() <= 4096, true);
  auto large = pool->take(1 << 20);  // more than is kept
  large.reset();
  auto outliving = pool->take(500);
  std::weak_ptr<BufferPool> watched = pool;
  CHECK(!watched.expired());
}

TEST(buffers_larger_than_what_is_kept_are_recycled_up_to_a_number) {
  const auto pool = std::make_shared<BufferPool>(1000, 2);
  std::vector<std::shared_ptr<Buffer>> held;
  std::set<uint8_t*> places;
  for (int i = 0; i < 3; ++i) {
    held.push_back(pool->take(size_t{3} << 20));
    places.insert(held.back()->data());
  }
  uint8_t* const last = held.back()->data();
  held.clear();  // in the order of the vector: the first one is given up
  CHECK(pool->take(size_t{3} << 20)->data() == last);
  auto a = pool->take(size_t{3} << 20), b = pool->take(size_t{3} << 20);
  CHECK(places.count(a->data()) == 1 && places.count(b->data()) == 1);
}

TEST(the_pool_serves_many_threads) {
  const auto pool = std::make_shared<BufferPool>(20000);
  std::atomic<int> clashes{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      std::vector<std::shared_ptr<Buffer>> held;
      for (int i = 0; i < 3000; ++i) {
        held.push_back(pool->take(1 + random() % 3000));
        held.back()->data()[0] = static_cast<uint8_t>(t);
        if (held.size() > 5) {
          const size_t at = random() % held.size();
          clashes += held[at]->data()[0] != t;
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(clashes.load(), 0);
}

}  // namespace fastload::test
