#include "mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "check.h"
#include "fixtures.h"
#include "row_reader.h"

namespace fastload::test {
namespace {

// Runs `body` in a child and says how it ended.
template <class Body>
int status_of_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    body();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

}  // namespace

TEST(a_lost_page_ends_the_guarded_body_and_no_more) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), std::vector<uint8_t>(1 << 20, 7));
  const MappedFile file(folder.file("a"));
  uint64_t sum = 0;
  const auto read_all = [&] {
    for (uint64_t i = 0; i < file.size_bytes(); i += 4096) sum += file.data()[i];
  };
  CHECK(guarded(read_all));
  CHECK_EQ(sum, uint64_t{7 * 256});
  CHECK(file.is_whole());
  CHECK_EQ(truncate(folder.file("a").c_str(), 8192), 0);
  CHECK(!file.is_whole());
  for (int i = 0; i < 100; ++i) CHECK(!guarded(read_all));  // again and again: the signal stays deliverable
  CHECK(guarded([&] { CHECK(guarded([] {})); }));
  bool inner = true, after = false;
  CHECK(guarded([&] {
    inner = guarded(read_all);  // a guard inside a guard ends only the inner one
    after = true;
  }));
  CHECK(!inner && after);
}

TEST(guards_of_threads_do_not_meet) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), std::vector<uint8_t>(1 << 16));
  const MappedFile file(folder.file("a"));
  CHECK_EQ(truncate(folder.file("a").c_str(), 0), 0);
  std::atomic<int> lost{0}, kept{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        volatile uint8_t byte = 0;
        if (t % 2)
          lost += !guarded([&] { byte = file.data()[4096]; });
        else
          kept += guarded([&] { byte = 1; });
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(lost.load(), 1000);
  CHECK_EQ(kept.load(), 1000);
}

#if !defined(__SANITIZE_THREAD__)  // its runtime keeps signals for later: these two are about how a process dies
TEST(a_fault_outside_a_guard_still_kills) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), std::vector<uint8_t>(8192));
  const int status = status_of_child([&] {
    signal(SIGBUS, SIG_DFL);
    const MappedFile file(folder.file("a"));
    if (truncate(folder.file("a").c_str(), 0) != 0) _exit(3);
    volatile uint8_t byte = file.data()[0];
    _exit(byte);
  });
  CHECK(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGBUS);
}

// Python's faulthandler, enabled between two maps, calls the handler it found, which is ours; ours must not call it
// again.
TEST(handlers_that_call_each_other_come_to_an_end) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), std::vector<uint8_t>(8192));
  const int status = status_of_child([&] {
    signal(SIGBUS, SIG_DFL);
    const MappedFile first(folder.file("a"));
    static struct sigaction found;
    struct sigaction theirs = {};
    theirs.sa_handler = [](int number) {
      sigaction(number, &found, nullptr);
      raise(number);
    };
    theirs.sa_flags = SA_NODEFER;
    sigaction(SIGBUS, &theirs, &found);
    const MappedFile second(folder.file("a"));
    if (truncate(folder.file("a").c_str(), 0) != 0) _exit(3);
    volatile uint8_t byte = second.data()[0];
    _exit(byte);
  });
  CHECK(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGBUS);
}
#endif

TEST(what_is_no_file_is_refused_at_once) {
  const TemporaryFolder folder;
  CHECK_ERROR(Cause::file_io, ({"nothing", "No such file"}), MappedFile(folder.file("nothing")));
  CHECK_ERROR(Cause::file_io, {"not a regular file"}, MappedFile(folder.file(".")));
  CHECK_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
  CHECK_ERROR(Cause::file_io, {"not a regular file"}, MappedFile(folder.file("pipe")));  // nobody will ever write to it
  write_file(folder.file("empty"), {});
  CHECK_EQ(MappedFile(folder.file("empty")).size_bytes(), uint64_t{0});
}

TEST(no_descriptor_is_left_behind) {
  const TemporaryFolder folder;
  write_file(folder.file("a"), std::vector<uint8_t>(100));
  const int before = open("/dev/null", O_RDONLY);
  close(before);
  for (int i = 0; i < 20; ++i) {
    MappedFile file(folder.file("a"));
    CHECK_ERROR(Cause::file_io, {"not a regular file"}, MappedFile(folder.file(".")));
    CHECK_ERROR(Cause::format, {"magic"}, ShardReader(folder.file("a")));
  }
  const int after = open("/dev/null", O_RDONLY);
  close(after);
  CHECK_EQ(before, after);
}

// A shard cut short under its readers: an error with the file's name, from the chunk or from the look at its size.
TEST(a_shard_cut_short_is_an_error) {
  const TemporaryFolder folder;
  const Table table = make_numbered_table(20000, 8);
  for (const WriteCodec codec : {WriteCodec::raw, WriteCodec::lz4}) {
    const std::string path = write_shard(folder, "a", table, {codec, 16384, 0});
    const auto source = open_source({path});
    const auto reader = RowReader::create(source, 1 << 16);
    const std::vector<uint64_t> rows = {0, 19999};
    reader->read(rows.data(), rows.size(), padded(true));
    CHECK_EQ(truncate(path.c_str(), 5000), 0);
    CHECK_ERROR(Cause::map_lost, {"cut short"}, reader->read(rows.data(), rows.size(), padded(true)));
    const uint64_t row = 10000;
    CHECK_ERROR(Cause::map_lost, ({path, "cut short"}),
                RowReader::create(source, 1 << 16)->read(&row, 1, padded(true)));
    CHECK_ERROR(Cause::map_lost, ({path, "cut short"}), Engine::create(source, EngineOptions{})->start(EpochOptions{}));
  }
}

}  // namespace fastload::test
