#include "prefetcher.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "errors.h"
#include "thread.h"

namespace fastload {
namespace {

constexpr uint64_t kReadAheadBytes = uint64_t{32} << 20;        // stored bytes asked for before they are decoded
constexpr uint64_t kSequentialWindowBytes = uint64_t{4} << 20;  // of a lane: without shuffling, small windows flow best
constexpr uint64_t kSequentialArenas = 4;
constexpr uint64_t kAlways = UINT64_MAX;
// Waking a consumer for every batch costs more than a small batch: while the next one is this near, it sleeps on.
constexpr uint64_t kWakeBatches = 8;
constexpr double kSoon_s = 100e-6;
constexpr double kWakeRoom = 0.25;  // of what may wait

uint64_t physical_memory_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
}

}  // namespace

// What is known of one batch while it is made.
struct BatchSlot {
  std::unique_ptr<BatchBuilder> builder;
  uint64_t parts_left = 0;
  uint64_t size_bytes = 0;
  bool done = false;
  uint64_t digest = 0;
  std::shared_ptr<Buffer> row_numbers;
  std::vector<uint32_t> bad_rows;
  std::exception_ptr error;
  std::exception_ptr refusal;  // of a row by a kernel: there is no batch
  Batch batch;
};

struct EpochWork {
  EpochOptions options;
  std::shared_ptr<const Order> order;
  BlockStore* store = nullptr;            // null until the epoch may begin
  std::unique_ptr<BlockStore> own_store;  // rotating
  std::shared_ptr<EpochWork> after;       // drained before this one begins
  uint64_t batches = 0, end = 0;          // positions below `end` are delivered

  uint64_t next_load = 0;  // of the order's loads
  uint64_t next_read_ahead = 0, read_ahead_bytes = 0;
  uint64_t loaded_until = 0;   // all loads before this one are done
  uint64_t next_position = 0;  // first row of the next part to gather
  uint64_t windows_over = 0;   // windows whose rows have all been gathered
  std::vector<uint64_t> window_rows_left;
  uint64_t running = 0;  // jobs that use `store`

  uint64_t next_delivery = 0;   // batch the consumer gets next
  std::deque<BatchSlot> slots;  // of batches next_delivery, next_delivery + 1, ...
  uint64_t waiting_batches = 0, waiting_bytes = 0;
  uint64_t done_batches = 0;  // of the waiting ones, finished
  std::condition_variable ready;
  bool consumer_sleeps = false;
  EpochCosts costs;

  uint64_t failed_window = kAlways;  // nothing is gathered from here on
  std::exception_ptr error;
  bool cancelled = false;

  // Its memory may be had: nothing more will be decoded into it, and nobody is at it.
  bool needs_no_memory() const {
    const bool has_failed =
        error && order->window_at(next_position) >= failed_window;  // and nothing before that is left
    return (windows_over == window_rows_left.size() || cancelled || has_failed) && running == 0;
  }
  bool has_news() const {
    return (!slots.empty() && slots.front().done) || next_delivery >= batches || cancelled || must_throw();
  }
  bool keeps_waiting() const { return consumer_sleeps && has_news(); }
  bool must_throw() const { return error && order->window_at(batch_end(next_delivery) - 1) >= failed_window; }
  uint64_t batch_begin(uint64_t batch) const { return batch * options.batch_rows; }
  uint64_t batch_end(uint64_t batch) const { return std::min(end, batch_begin(batch + 1)); }
};

struct Engine::Job {
  std::shared_ptr<EpochWork> epoch;
  bool is_load = false;
  uint64_t window = 0;
  // load
  uint64_t load = 0;
  uint64_t read_ahead_from = 0, read_ahead_to = 0;
  // gather
  uint64_t batch = 0, position = 0, rows = 0, part = 0;
  BatchSlot* slot = nullptr;
  bool meets_bad_blocks = false;  // perhaps
};

std::shared_ptr<Engine> Engine::create(std::shared_ptr<const Source> source, const EngineOptions& options) {
  std::shared_ptr<Engine> engine(new Engine(std::move(source), options), [](Engine* owned) {
    if (!owned->is_forked()) delete owned;
  });
  Engine* const self = engine.get();
  engine->threads_.reserve(options.threads);
  for (unsigned i = 0; i < options.threads; ++i)
    engine->threads_.push_back(start_thread("fastload", [self] { self->work(); }));
  return engine;
}

Engine::Engine(std::shared_ptr<const Source> source, const EngineOptions& options)
    : source_(std::move(source)),
      options_(options),
      index_(std::make_shared<const BlockIndex>(source_->block_rows())),
      as_they_are_(BatchColumns::as_they_are(source_->fields())),
      owner_process_(getpid()),
      pool_(std::make_shared<BufferPool>(options.prefetch_bytes, source_->fields().size() * (options.threads + 2))),
      arenas_(std::make_shared<BufferPool>(options.memory_bytes)),
      prefetch_bytes_(options.prefetch_bytes) {
  const auto blocks = static_cast<uint32_t>(source_->block_rows().size());
  uint64_t raw_bytes = 0, decoded_bytes = 0, largest = 0;
  for (uint32_t block = 0; block < blocks; ++block) {
    raw_bytes += source_->raw_bytes(block);
    decoded_bytes += source_->decoded_bytes(block);
    largest = std::max(largest, source_->decoded_bytes(block));
    window_costs_.push_back(source_->raw_bytes(block));
  }
  if (largest > options_.memory_bytes)
    fail(Cause::argument, "memory_bytes must hold the largest decoded block, which has " + std::to_string(largest) +
                              " bytes; got " + std::to_string(options_.memory_bytes));
  in_map_ = decoded_bytes < raw_bytes;
  // Rows all over a map that memory cannot hold would be read from the disk one page a row.
  const bool map_fits = raw_bytes - std::min(raw_bytes, decoded_bytes) <= physical_memory_bytes() / 4 * 3;
  if (decoded_bytes <= options_.memory_bytes && map_fits) resident_ = BlockStore::resident(*source_);
}

Engine::~Engine() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Engine::is_forked() const { return getpid() != owner_process_; }

std::shared_ptr<const Order> Engine::order(const OrderOptions& options) const {
  OrderOptions order = options;
  if (!options.shuffle)
    order.window_bytes = std::min(kSequentialWindowBytes * std::max<uint64_t>(1, options.lanes),
                                  options_.memory_bytes / kSequentialArenas);
  else if (!resident_)
    order.window_bytes = options_.memory_bytes;
  return std::make_shared<const Order>(index_, window_costs_, order);
}

std::shared_ptr<Epoch> Engine::start(const EpochOptions& options, const Epoch* after) {
  if (options.batch_rows == 0) fail(Cause::argument, "batch_size must be at least 1, got 0");
  if (is_forked()) fail(Cause::closed, "this engine belongs to the parent process; open the data set again after fork");
  source_->check_whole();
  auto epoch = std::make_shared<EpochWork>();
  epoch->options = options;
  if (!options.columns) epoch->options.columns = as_they_are_;
  epoch->order = order(options.order);
  const uint64_t rows = epoch->order->rows();
  const uint64_t batch_rows = std::min(options.batch_rows, rows + 1);  // so that no sum of rows can overflow
  epoch->options.batch_rows = batch_rows;
  epoch->batches = options.drop_last ? rows / batch_rows : (rows + batch_rows - 1) / batch_rows;
  epoch->end = std::min(rows, epoch->batches * batch_rows);
  for (const Window& window : epoch->order->windows()) {
    if (!resident_ && window.cost_bytes > options_.memory_bytes)
      fail(Cause::argument, std::to_string(options.order.lanes) + " lanes are open at a time, and their blocks have " +
                                std::to_string(window.cost_bytes) + " bytes; memory_bytes is " +
                                std::to_string(options_.memory_bytes) + ": raise it, or take fewer lanes");
    const uint64_t begin = std::min(window.first_position, epoch->end);
    epoch->window_rows_left.push_back(std::min(window.first_position + window.rows, epoch->end) - begin);
  }
  if (epoch->end == 0) epoch->windows_over = epoch->window_rows_left.size();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (after) epoch->after = after->work_;
    const bool alone =
        std::all_of(epochs_.begin(), epochs_.end(), [](auto& other) { return other->needs_no_memory(); });
    if (resident_ && alone) resident_->forget_bad_blocks();
    epochs_.push_back(epoch);
    wake_all();
  }
  return std::make_shared<Epoch>(shared_from_this(), epoch);
}

void Engine::wake(unsigned most) {
  for (; most > 0 && idle_ > 0; --most) {
    --idle_;
    ++woken_;
    work_.notify_one();
  }
}

// Sleepers are woken for a good stretch of work, not once a batch, and the fewer the more batches wait: a thread too
// many would only take the processor from the consumer.
void Engine::wake_for_room(const EpochWork& epoch) {
  if (epoch.next_position >= epoch.end) return;
  const double room = 1 - fullness(epoch);
  const auto wanted = static_cast<unsigned>(std::ceil(room * options_.threads));
  if (room >= kWakeRoom && options_.threads - idle_ < wanted) wake(1);
}

void Engine::expect_bursts() {
  std::lock_guard<std::mutex> lock(mutex_);
  prefetch_bytes_ = std::max(options_.prefetch_bytes, options_.burst_bytes);
  pool_->retain(prefetch_bytes_);
  wake_all();
}

void Engine::work() {
  Scratch scratch;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    Job job;
    bool found = false;
    for (size_t i = 0; i < epochs_.size() && !found; ++i) {
      job.epoch = epochs_[i];
      found = pick(*epochs_[i], job);
    }
    if (!found || job.is_load)  // before sleep and before long work: whoever sleeps on batches that are there is woken
      for (const auto& epoch : epochs_)
        if (epoch->keeps_waiting()) epoch->ready.notify_all();
    if (!found) {
      job.epoch.reset();
      ++idle_;
      work_.wait(lock, [this] { return woken_ > 0 || stopping_; });
      if (woken_ > 0) --woken_;
      continue;
    }
    lock.unlock();
    run(job, scratch);
    job.epoch.reset();  // perhaps the last reference: its memory goes outside the lock
    lock.lock();
  }
}

bool Engine::pick(EpochWork& epoch, Job& job) {
  const uint64_t position = epoch.next_position;
  if (epoch.cancelled || position >= epoch.end) return false;
  try {
    // gathering once more: blocks that were there before count as loaded when their turn to load comes
    if (!may_begin(epoch) || !(pick_gather(epoch, job) || pick_load(epoch, job) || pick_gather(epoch, job)))
      return false;
    ++epoch.running;
    return true;
  } catch (...) {  // no memory
    fail_window(epoch, epoch.order->window_at(position), std::current_exception());
    return false;
  }
}

// Gives the epoch its memory: the engine's, or arenas of its own once the epoch before it needs its arenas no more.
bool Engine::may_begin(EpochWork& epoch) {
  if (epoch.store) return true;
  if (epoch.after && !epoch.after->needs_no_memory()) return false;
  if (epoch.after) epoch.after->own_store.reset();
  epoch.after.reset();
  if (!resident_)
    epoch.own_store = BlockStore::rotating(*source_, *epoch.order, epoch.options.order.shuffle ? 1 : kSequentialArenas,
                                           options_.memory_bytes, *arenas_);
  epoch.store = resident_ ? resident_.get() : epoch.own_store.get();
  return true;
}

void Engine::fail_window(EpochWork& epoch, uint64_t window, std::exception_ptr error) {
  if (window >= epoch.failed_window) return;
  epoch.failed_window = window;
  epoch.error = std::move(error);
  epoch.ready.notify_all();
}

bool Engine::is_loaded(EpochWork& epoch, uint64_t window) {
  const Window& wanted = epoch.order->windows()[window];
  const uint64_t end = wanted.first_load + wanted.loads;
  while (epoch.loaded_until < std::min(end, epoch.next_load) &&
         epoch.store->is_there(epoch.order->block_of_load(epoch.loaded_until)))
    ++epoch.loaded_until;
  return epoch.loaded_until >= end;
}

// What waits, as a share of what may; from 1 on there is no room. Every thread may have one batch, however large.
double Engine::fullness(const EpochWork& epoch) const {
  const auto batches = static_cast<double>(epoch.waiting_batches);
  if (options_.prefetch_batches) return batches / static_cast<double>(options_.prefetch_batches);
  return std::min(batches / std::max(1u, options_.threads),
                  static_cast<double>(epoch.waiting_bytes) / static_cast<double>(prefetch_bytes_));
}

bool Engine::pick_gather(EpochWork& epoch, Job& job) {
  const uint64_t batch = epoch.next_position / epoch.options.batch_rows;
  const bool starts_batch = epoch.next_position == epoch.batch_begin(batch);
  if (starts_batch) {
    if (options_.threads == 0 && batch > epoch.next_delivery) return false;
    if (fullness(epoch) >= 1) return false;
  }
  const uint64_t window_index = epoch.order->window_at(epoch.next_position);
  if (window_index >= epoch.failed_window || !is_loaded(epoch, window_index)) return false;
  const Window& window = epoch.order->windows()[window_index];
  if (starts_batch) {
    const uint64_t last_window = epoch.order->window_at(epoch.batch_end(batch) - 1);
    epoch.slots.emplace_back();
    BatchSlot& slot = epoch.slots.back();
    slot.parts_left = last_window - window_index + 1;
    for (const BatchColumn& column : epoch.options.columns->columns)
      slot.size_bytes += (epoch.batch_end(batch) - epoch.batch_begin(batch)) * column.field.row_bytes();
    epoch.waiting_batches += 1;
    epoch.waiting_bytes += slot.size_bytes;
  }
  job.is_load = false;
  job.meets_bad_blocks = epoch.store->has_bad_blocks();
  job.window = window_index;
  job.batch = batch;
  job.slot = &epoch.slots[batch - epoch.next_delivery];  // deque: stays put while others come and go at the ends
  job.position = epoch.next_position;
  job.part = window_index - epoch.order->window_at(epoch.batch_begin(batch));
  const uint64_t end = std::min(epoch.batch_end(batch), window.first_position + window.rows);
  job.rows = end - epoch.next_position;
  epoch.next_position = end;
  if (!job.slot->builder) {
    const uint64_t rows = epoch.batch_end(batch) - epoch.batch_begin(batch);
    job.slot->builder = std::make_unique<BatchBuilder>(epoch.options.columns, epoch.options.draw_key, rows,
                                                       job.slot->parts_left, epoch.options.padding, *pool_);
    if (epoch.options.row_numbers) job.slot->row_numbers = pool_->take(rows * sizeof(int64_t));
  }
  return true;
}

bool Engine::pick_load(EpochWork& epoch, Job& job) {
  const Order& order = *epoch.order;
  while (epoch.next_load < order.loads()) {
    const uint32_t block = order.block_of_load(epoch.next_load);
    const uint64_t window = order.window_of_load(epoch.next_load);
    if (window >= epoch.failed_window) return false;
    const uint64_t gathered = order.window_at(epoch.next_position);
    if (epoch.own_store && window >= epoch.windows_over + epoch.own_store->arenas()) return false;
    if (window > gathered + (options_.threads == 0 ? 0 : kSequentialArenas)) return false;
    if (epoch.store->is_there(block)) {
      if (epoch.own_store) return false;  // an earlier window still holds it; once that is over, it is loaded anew
      ++epoch.next_load;
      continue;
    }
    if (epoch.store->state(block) == BlockState::loading)
      return false;  // by another epoch; it tells us when it is done
    epoch.store->set_state(block, BlockState::loading);
    job.is_load = true;
    job.window = window;
    job.load = epoch.next_load;
    epoch.next_read_ahead = std::max(epoch.next_read_ahead, epoch.next_load);
    job.read_ahead_from = epoch.next_read_ahead;
    while (epoch.next_read_ahead < order.loads() && epoch.read_ahead_bytes < kReadAheadBytes)
      epoch.read_ahead_bytes += source_->stored_bytes(order.block_of_load(epoch.next_read_ahead++));
    job.read_ahead_to = epoch.next_read_ahead;
    epoch.read_ahead_bytes -= std::min(epoch.read_ahead_bytes, source_->stored_bytes(block));
    ++epoch.next_load;
    return true;
  }
  return false;
}

void Engine::run(const Job& job, Scratch& scratch) {
  if (job.is_load)
    load(job, scratch);
  else
    gather(job, scratch);
}

void Engine::load(const Job& job, Scratch& scratch) {
  EpochWork& epoch = *job.epoch;
  std::exception_ptr error;
  const uint32_t block = epoch.order->block_of_load(job.load);
  scratch.load.times = StageTimes();
  for (uint64_t i = job.read_ahead_from; i < job.read_ahead_to; ++i) source_->will_need(epoch.order->block_of_load(i));
  for (int tries = epoch.options.retries ? 2 : 1; tries > 0; --tries) {
    try {
      epoch.store->load(block, job.load, scratch.load);
      error = nullptr;
      break;
    } catch (...) {
      error = std::current_exception();
    }
  }
  std::lock_guard<std::mutex> lock(mutex_);
  try {
    if (!error)
      epoch.store->set_state(block, BlockState::ready);
    else
      epoch.store->set_bad(block, error);
  } catch (...) {  // no memory
    epoch.store->set_state(block, BlockState::empty);
    fail_window(epoch, job.window, std::current_exception());
  }
  epoch.costs.times += scratch.load.times;
  epoch.costs.blocks_loaded += 1;
  epoch.costs.stored_bytes += source_->stored_bytes(block);
  --epoch.running;
  wake_all();
}

void Engine::gather(const Job& job, Scratch& scratch) {
  const double started_s = wall_s();
  EpochWork& epoch = *job.epoch;
  BatchSlot& slot = *job.slot;
  std::exception_ptr error, refusal;
  double kernels_s = 0;
  uint64_t digest = 0;
  Batch noted;  // its bad rows
  try {
    scratch.refs.resize(job.rows);
    scratch.numbers.resize(job.rows);
    epoch.order->locate(job.window, job.position, job.rows, scratch.refs.data());
    digest = note_rows(job, scratch.refs.data(), scratch.numbers.data());
    if (job.meets_bad_blocks) note_bad_rows(job, scratch.refs.data(), noted, digest);
    kernels_s = slot.builder->fill({&source_->fields(), epoch.store->views(), scratch.refs.data(), job.rows, in_map_,
                                    scratch.numbers.data(), source_->synthesis()},
                                   job.part, job.position - epoch.batch_begin(job.batch));
  } catch (const RefusedRow&) {
    refusal = std::current_exception();
  } catch (...) {
    error = std::current_exception();
  }
  const double gathered_s = wall_s() - started_s;
  std::unique_lock<std::mutex> lock(mutex_);
  --epoch.running;
  epoch.costs.times.gather_s += gathered_s - kernels_s;
  epoch.costs.times.kernels_s += kernels_s;
  slot.digest += digest;
  slot.bad_rows.insert(slot.bad_rows.end(), noted.bad_rows.begin(), noted.bad_rows.end());
  if (noted.error && !slot.error) slot.error = noted.error;
  if (refusal && !slot.refusal) slot.refusal = std::move(refusal);
  const bool has_failed = error != nullptr;
  if (has_failed) fail_window(epoch, job.window, std::move(error));
  const bool is_over = (epoch.window_rows_left[job.window] -= job.rows) == 0;
  if (is_over) {
    while (epoch.windows_over < epoch.window_rows_left.size() && epoch.window_rows_left[epoch.windows_over] == 0) {
      if (epoch.own_store) epoch.own_store->release(*epoch.order, epoch.order->windows()[epoch.windows_over]);
      ++epoch.windows_over;
    }
  }
  if (epoch.needs_no_memory()) epoch.own_store.reset();
  if (is_over || epoch.needs_no_memory()) wake_all();  // for its next window, or for an epoch after this one
  if (has_failed || --slot.parts_left > 0) return;
  const bool is_refused = slot.refusal != nullptr;
  lock.unlock();
  Batch batch;
  try {
    if (!is_refused) batch = slot.builder->finish();
  } catch (...) {
    error = std::current_exception();
  }
  const uint64_t size_bytes = batch.size_bytes();
  lock.lock();
  if (error) {
    fail_window(epoch, job.window, std::move(error));
  } else {
    slot.batch = std::move(batch);
    slot.batch.row_numbers = std::move(slot.row_numbers);
    slot.batch.bad_rows = std::move(slot.bad_rows);
    slot.batch.error = std::move(slot.error);
    slot.builder.reset();
    epoch.waiting_bytes += size_bytes - slot.size_bytes;
    slot.size_bytes = size_bytes;
    slot.done = true;
    ++epoch.done_batches;
  }
  const bool wakes = (epoch.done_batches >= kWakeBatches || wall_s() - started_s > kSoon_s) && epoch.keeps_waiting();
  lock.unlock();  // first, or the consumer would wake only to wait for the lock
  if (wakes) epoch.ready.notify_all();
}

// Writes down the numbers of the rows, for the batch, too, where asked for, and gives their digest.
uint64_t Engine::note_rows(const Job& job, const RowRef* refs, uint64_t* numbers) const {
  const Order& order = *job.epoch->order;
  uint64_t digest = 0;
  for (uint64_t i = 0; i < job.rows; ++i) {
    numbers[i] = order.row_number(refs[i]);
    digest += row_digest(numbers[i]);
  }
  if (job.slot->row_numbers) {
    const uint64_t first = job.position - job.epoch->batch_begin(job.batch);
    std::memcpy(job.slot->row_numbers->data() + first * sizeof(int64_t), numbers, job.rows * sizeof(int64_t));
  }
  if (order.is_repeated(job.position + job.rows - 1)) digest -= row_digest(order.row_number(refs[job.rows - 1]));
  return digest;
}

void Engine::note_bad_rows(const Job& job, const RowRef* refs, Batch& noted, uint64_t& digest) const {
  const EpochWork& epoch = *job.epoch;
  for (uint64_t i = 0; i < job.rows; ++i) {
    if (epoch.store->state(refs[i].block) != BlockState::bad) continue;
    noted.bad_rows.push_back(static_cast<uint32_t>(job.position + i - epoch.batch_begin(job.batch)));
    if (!epoch.order->is_repeated(job.position + i)) digest -= row_digest(epoch.order->row_number(refs[i]));
    if (noted.error) continue;
    std::lock_guard<std::mutex> lock(mutex_);
    noted.error = epoch.store->error(refs[i].block);
  }
}

Epoch::Epoch(std::shared_ptr<Engine> engine, std::shared_ptr<EpochWork> work)
    : engine_(std::move(engine)),
      order_(work->order),
      fields_(work->options.columns->fields()),
      batches_(work->batches),
      work_(std::move(work)) {}

Epoch::~Epoch() { close(); }

void Epoch::close() {
  std::shared_ptr<EpochWork> work;  // perhaps the last reference: its memory goes outside the lock
  if (engine_->is_forked()) {
    if (work_) costs_ = work_->costs;
    new std::shared_ptr<EpochWork>(std::move(work_));  // its condition variable may have sleepers that are not here
    return;
  }
  std::lock_guard<std::mutex> lock(engine_->mutex_);
  if (!work_) return;
  work = std::move(work_);
  costs_ = work->costs;
  work->cancelled = true;
  auto& epochs = engine_->epochs_;
  epochs.erase(std::remove(epochs.begin(), epochs.end(), work), epochs.end());
  work->ready.notify_all();
  engine_->wake_all();  // an epoch after this one may begin
}

Epoch::Status Epoch::try_next(Batch* batch) {
  if (engine_->is_forked())
    fail(Cause::closed, "this iterator belongs to the parent process; make a new one after fork");
  std::shared_ptr<EpochWork> work;  // held: another thread may close this
  std::unique_lock<std::mutex> lock(engine_->mutex_);
  if (!work_) return Status::finished;
  work = work_;
  EpochWork& epoch = *work;
  for (;;) {
    if (epoch.next_delivery >= epoch.batches) return Status::finished;
    if (!epoch.slots.empty() && epoch.slots.front().done) {
      if (engine_->in_map_ && epoch.next_delivery + 1 == epoch.batches) {
        lock.unlock();
        engine_->source_->check_whole();
        lock.lock();
      }
      BatchSlot& slot = epoch.slots.front();
      *batch = std::move(slot.batch);
      const std::exception_ptr refusal = slot.refusal;
      const bool throws = refusal || (batch->error && !epoch.options.skips);
      epoch.waiting_batches -= 1;
      epoch.done_batches -= 1;
      epoch.waiting_bytes -= slot.size_bytes;
      if (!throws) {
        epoch.costs.elements += batch->elements;
        epoch.costs.places += batch->places;
        epoch.costs.ready_batches += epoch.done_batches + 1;
        const bool has_repeated = epoch.order->is_repeated(epoch.batch_end(epoch.next_delivery) - 1);
        epoch.costs.rows += batch->rows - has_repeated - batch->bad_rows.size();
        epoch.costs.digest += slot.digest;
        epoch.costs.bytes_delivered += slot.size_bytes;
      }
      epoch.slots.pop_front();
      ++epoch.next_delivery;
      engine_->wake_for_room(epoch);
      if (throws) std::rethrow_exception(refusal ? refusal : batch->error);
      return Status::ready;
    }
    if (epoch.must_throw()) std::rethrow_exception(epoch.error);
    if (epoch.after && !epoch.after->needs_no_memory()) {  // whoever asks must not wait for another epoch's consumer
      epoch.after.reset();
      engine_->wake_all();
    }
    if (engine_->options_.threads > 0) return Status::waiting;
    Engine::Job job;
    job.epoch = work;
    if (!engine_->pick(epoch, job)) return Status::waiting;
    lock.unlock();
    engine_->run(job, scratch_);
    if (job.is_load) return Status::working;
    lock.lock();
  }
}

bool Epoch::is_ready() const {
  if (engine_->is_forked()) return true;  // to say so
  std::lock_guard<std::mutex> lock(engine_->mutex_);
  return !work_ || work_->has_news();
}

void Epoch::wait(double timeout_s) {
  const auto before = std::chrono::steady_clock::now();
  std::shared_ptr<EpochWork> work;  // held: another thread may close this
  std::unique_lock<std::mutex> lock(engine_->mutex_);
  if (!work_) return;
  work = work_;
  EpochWork& epoch = *work;
  epoch.consumer_sleeps = true;
  epoch.ready.wait_for(lock, std::chrono::duration<double>(timeout_s), [&] { return epoch.has_news(); });
  epoch.consumer_sleeps = false;
  const auto waited = std::chrono::steady_clock::now() - before;
  waited_s_ = waited_s_ + std::chrono::duration<double>(waited).count();  // only the consumer writes
}

const Order& Epoch::order() const { return *order_; }
std::shared_ptr<const Order> Epoch::shared_order() const { return order_; }
uint64_t Epoch::batches() const { return batches_; }
EpochCosts Epoch::costs() const {
  std::unique_lock<std::mutex> lock(engine_->mutex_, std::defer_lock);
  if (!engine_->is_forked()) lock.lock();  // a thread that is not here may hold it; they are as they were at the fork
  return work_ ? work_->costs : costs_;
}

}  // namespace fastload
