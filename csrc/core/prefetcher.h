// The engine: threads that decode blocks and fill batches ahead of the consumer, in an order fixed beforehand.
//
// An epoch is two lists worked off in order: blocks to load (decode) and parts of batches to gather. A part lies in one
// window of the order; it may be gathered once all blocks of that window are loaded. A thread never waits while it
// holds work: it only takes what can be done now, so no two threads can wait for each other. Gathering goes first, so
// that memory for decoded blocks is freed as early as possible.
//
//   load next block    if its window has a place: always when resident, else when an earlier window is over
//   gather next part   if its window is loaded and the finished batches waiting stay within prefetch_bytes
//
// Who owns what: Engine owns the threads, which stop when the last reference to it goes (an Epoch holds one). Threads
// sleep on `work_` when nothing can be done; the consumer sleeps in Epoch::wait(). An exception in a thread is kept and
// thrown at each batch that needs the failing block; the others are delivered. A file cut short while it is
// mapped can read as zeros up to the end of a page: an epoch looks at the files' sizes before its last batch. A forked
// child has no threads: there the engine is refused and, as its locks may be held by nobody, left in memory.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "block_store.h"
#include "gather.h"
#include "order.h"
#include "source.h"

namespace fastload {

struct EngineOptions {
  unsigned threads = 1;               // 0: work is done in the consumer's thread, inside next()
  uint64_t memory_bytes = 1 << 30;    // decoded blocks
  uint64_t prefetch_bytes = 8 << 20;  // finished batches that wait; besides, one per thread
  uint64_t prefetch_batches = 0;      // if not 0, at most so many batches wait, whatever their size
  uint64_t burst_bytes = 64 << 20;    // instead of prefetch_bytes once expect_bursts() was called
};

struct EpochOptions {
  uint64_t batch_rows = 1;
  bool drop_last = false;
  OrderOptions order;                           // window_bytes is the engine's affair
  std::vector<Padding> padding;                 // see BatchBuilder
  std::shared_ptr<const BatchColumns> columns;  // what batches are made of; null: the fields as they are
  uint64_t draw_key = 0;                        // see row_key()
  bool row_numbers = false;                     // batches say which rows they hold
  bool retries = false;                         // a block that cannot be loaded is tried once more
  bool skips = false;  // a batch with rows that could not be loaded is delivered and says which; else it throws
};

// What an epoch has cost so far.
struct EpochCosts : ReadCosts {
  uint64_t ready_batches = 0;  // that waited finished when one was asked for, summed over the batches delivered
  uint64_t rows = 0;           // delivered and good, repeated ones left out
  uint64_t digest = 0;         // of these, see row_digest()
};

// The same for any order of the rows, and for any split of them: what is delivered in parts adds up, modulo 2^64. Two
// different sets of rows have the same digest with a chance of 2^-64.
inline uint64_t row_digest(uint64_t row_number) { return mix64(row_number); }

class Epoch;
struct EpochWork;

class Engine : public std::enable_shared_from_this<Engine> {
 public:
  static std::shared_ptr<Engine> create(std::shared_ptr<const Source> source, const EngineOptions& options);
  ~Engine();

  // after : an epoch of this engine that is drained first; this one takes over its memory (may be null). Asked for a
  // batch before that, it begins at once, with memory of its own.
  std::shared_ptr<Epoch> start(const EpochOptions& options, const Epoch* after = nullptr);
  std::shared_ptr<const Order> order(const OrderOptions& options) const;
  // All blocks have a place in memory, or need none: a shuffle is a true permutation.
  bool holds_everything() const { return resident_ != nullptr; }
  const Source& source() const { return *source_; }
  // The consumer is away for milliseconds, however fast it is when it comes: more batches may wait from now on.
  void expect_bursts();
  unsigned threads() const { return options_.threads; }

 private:
  friend class Epoch;
  struct Scratch {
    LoadScratch load;
    std::vector<RowRef> refs;
    std::vector<uint64_t> numbers;
  };
  struct Job;

  Engine(std::shared_ptr<const Source> source, const EngineOptions& options);
  void work();
  bool pick(EpochWork& epoch, Job& job);
  double fullness(const EpochWork& epoch) const;
  bool pick_gather(EpochWork& epoch, Job& job);
  bool pick_load(EpochWork& epoch, Job& job);
  void run(const Job& job, Scratch& scratch);
  void load(const Job& job, Scratch& scratch);
  void gather(const Job& job, Scratch& scratch);
  uint64_t note_rows(const Job& job, const RowRef* refs, uint64_t* numbers) const;
  void note_bad_rows(const Job& job, const RowRef* refs, Batch& noted, uint64_t& digest) const;
  void fail_window(EpochWork& epoch, uint64_t window, std::exception_ptr error);
  bool may_begin(EpochWork& epoch);
  bool is_loaded(EpochWork& epoch, uint64_t window);
  void wake(unsigned most);
  void wake_all() { wake(options_.threads); }
  void wake_for_room(const EpochWork& epoch);

  bool is_forked() const;

  const std::shared_ptr<const Source> source_;
  const EngineOptions options_;
  const std::shared_ptr<const BlockIndex> index_;
  const std::shared_ptr<const BatchColumns> as_they_are_;
  const int owner_process_;
  bool in_map_ = false;                 // some rows are served from the map: the page cache holds them
  std::vector<uint64_t> window_costs_;  // per block, what it counts towards a window
  std::unique_ptr<BlockStore> resident_;
  std::shared_ptr<BufferPool> pool_;  // of batches
  std::shared_ptr<BufferPool>
      arenas_;  // what one epoch gives back serves the next: fresh pages cost more than decoding

  mutable std::mutex mutex_;  // guards everything below, and the state of every EpochWork
  std::condition_variable work_;
  uint64_t prefetch_bytes_;
  std::vector<std::shared_ptr<EpochWork>> epochs_;
  unsigned idle_ = 0;   // threads that sleep and have not been told to wake
  unsigned woken_ = 0;  // threads that were told, and sleep still
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// One pass over the data. One consumer at a time.
class Epoch {
 public:
  Epoch(std::shared_ptr<Engine> engine, std::shared_ptr<EpochWork> work);
  ~Epoch();

  enum class Status { ready, waiting, working, finished };
  // The next batch if it is there; never blocks on other threads. Without threads it does the work itself, and says
  // `working` after each block: a window of them takes long, and the caller may want to look around. Rethrows what went
  // wrong in loading the batch; the call after that gives the batch after it.
  Status try_next(Batch* batch);
  // Whether try_next() would find something without work or waiting.
  bool is_ready() const;
  // Sleeps until try_next() has something to say, or `timeout_s` passed.
  void wait(double timeout_s);

  const Order& order() const;
  std::shared_ptr<const Order> shared_order() const;
  const std::vector<FieldSpec>& fields() const { return fields_; }  // of the batches
  uint64_t batches() const;
  EpochCosts costs() const;
  double waited_s() const { return waited_s_; }  // from any thread
  // Ends the pass, from any thread: there are no more batches, their memory goes, and what it has cost stays known.
  void close();

 private:
  friend class Engine;
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<const Order> order_;
  std::vector<FieldSpec> fields_;
  uint64_t batches_;
  std::shared_ptr<EpochWork> work_;  // null once it is closed; changes under the engine's lock
  EpochCosts costs_;                 // once it is closed
  std::atomic<double> waited_s_{0};
  Engine::Scratch scratch_;  // of the consumer's thread, when there are no others
};

}  // namespace fastload
