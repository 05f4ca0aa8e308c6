#include "shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>

#include "buffer.h"
#include "byte_order.h"
#include "checksum.h"
#include "codec_lz4.h"
#include "errors.h"
#include "filter.h"
#include "statistics.h"
#include "thread.h"

namespace fastload {
namespace {

constexpr uint64_t kSampleBytes = uint64_t{256} << 10;  // of the first block, to choose the filter by
// Shuffled numbers have longer runs and decode in two thirds of the time: worth a few bytes more.
constexpr double kShuffleMayCost = 1.1;
// Large aligned writes let the page cache use 2 MiB pages, which a reader's map then takes as they are: its first touch
// costs a tenth, and rows all over the file are found with far fewer misses of the TLB.
constexpr uint64_t kWriteBytes = uint64_t{4} << 20;
constexpr int kHighLevel = 9;

[[noreturn]] void fail_write(const std::string& path, const char* what) {
  const Cause cause = errno == ENOSPC || errno == EDQUOT ? Cause::disk_full : Cause::file_io;
  fail(cause,
       std::string("cannot ") + what + " '" + path + "': " + std::strerror(errno) +
           (cause == Cause::disk_full ? "; free some space and write again (nothing half-written is left)" : ""));
}

uint64_t compressed_size(const uint8_t* raw, uint64_t raw_bytes) {
  std::vector<uint8_t> stored(lz4_bound(raw_bytes));
  return lz4_compress(raw, raw_bytes, stored.data(), stored.size(), 0);
}

// What a null row holds, so that equal data give equal files.
void clear_row(const FieldSpec& field, uint8_t* row) {
  const uint64_t bytes = field.row_bytes();
  const auto fill = [&](auto nan) {
    for (uint64_t at = 0; at < bytes; at += sizeof nan) std::memcpy(row + at, &nan, sizeof nan);
  };
  switch (field.dtype) {
    case Dtype::float16:
      return fill(uint16_t{0x7E00});
    case Dtype::bfloat16:
      return fill(uint16_t{0x7FC0});
    case Dtype::float32:
      return fill(std::numeric_limits<float>::quiet_NaN());
    case Dtype::float64:
      return fill(std::numeric_limits<double>::quiet_NaN());
    default:
      std::memset(row, 0, bytes);
  }
}

}  // namespace

// Rows as they come, one set of columns.
struct ShardWriter::Block {
  uint64_t rows = 0, bytes = 0;
  struct Column {
    std::vector<uint8_t> values;
    std::vector<uint32_t> offsets{0};
    std::vector<uint8_t> valid;
  };
  std::vector<Column> columns;
};

struct ShardWriter::EncodedBlock {
  enum class State { waiting, encoding, done } state = State::waiting;
  std::unique_ptr<Block> block;
  uint64_t rows = 0;
  std::vector<EncodedChunk> chunks;
  std::vector<StatRecord> statistics;
  std::vector<ClassCounts> classes;      // of this block, one per field
  std::vector<uint8_t> classes_counted;  // per field
  std::exception_ptr error;
};

std::shared_ptr<ShardWriter> ShardWriter::create(const std::string& temporary_path, std::vector<FieldSpec> fields,
                                                 const FileId& file_id, const WriterOptions& options) {
  return std::shared_ptr<ShardWriter>(new ShardWriter(temporary_path, std::move(fields), file_id, options),
                                      [](ShardWriter* owned) {
                                        if (getpid() == owned->owner_process_) delete owned;
                                      });
}

ShardWriter::ShardWriter(const std::string& temporary_path, std::vector<FieldSpec> fields, const FileId& file_id,
                         const WriterOptions& options)
    : temporary_path_(temporary_path), options_(options), owner_process_(getpid()) {
  check_fields(fields, temporary_path);
  if (options_.block_bytes < 1 || options_.block_bytes > kMaxRawChunkBytes)
    fail(Cause::argument, "block_bytes must be 1 to " + std::to_string(kMaxRawChunkBytes) + ", got " +
                              std::to_string(options_.block_bytes));
  layout_.fields = std::move(fields);
  layout_.file_id = file_id;
  for (const FieldSpec& field : layout_.fields) {
    fixed_row_bytes_ += field.is_ragged() ? 4 : field.row_bytes();
    const bool integer = field.stat_kind() != StatKind::floating && !field.is_ragged() && field.shape.empty();
    countable_.push_back(integer);
  }
  has_classes_ = countable_;
  filters_.resize(layout_.fields.size(), Filter::none);
  filling_ = std::make_unique<Block>();
  filling_->columns.resize(layout_.fields.size());
  descriptor_ = open(temporary_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_write(temporary_path, "create");
  try {
    const std::vector<uint8_t> header = write_header(file_id);
    pending_ = Buffer(kWriteBytes);
    put(header.data(), header.size());
    threads_.reserve(options_.threads);
    for (unsigned i = 0; i < options_.threads; ++i)
      threads_.push_back(start_thread("fastload-write", [this] { work(); }));
  } catch (...) {
    stop_threads();
    close(descriptor_);
    unlink(temporary_path_.c_str());
    throw;
  }
}

ShardWriter::~ShardWriter() {
  stop_threads();
  if (descriptor_ >= 0) close(descriptor_);
  if (!finished_) unlink(temporary_path_.c_str());
}

void ShardWriter::stop_threads() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

uint64_t ShardWriter::rows_that_fit(const std::vector<ColumnRows>& columns, uint64_t first, uint64_t rows) const {
  const bool any_ragged =
      std::any_of(layout_.fields.begin(), layout_.fields.end(), [](auto& f) { return f.is_ragged(); });
  const uint64_t most_rows = std::min<uint64_t>(rows, kMaxBlockRows - filling_->rows);
  // Half a chunk's limit leaves room for the validity and offsets that a chunk holds besides.
  const uint64_t block_bytes = std::min(options_.block_bytes, kMaxRawChunkBytes / 2);
  if (!any_ragged) {
    const uint64_t block_rows = std::max<uint64_t>(1, block_bytes / fixed_row_bytes_);
    return std::min(most_rows, block_rows > filling_->rows ? block_rows - filling_->rows : 0);
  }
  uint64_t bytes = filling_->bytes, fit = 0;
  for (; fit < most_rows; ++fit) {
    uint64_t row_bytes = fixed_row_bytes_;
    for (size_t f = 0; f < layout_.fields.size(); ++f) {
      if (!layout_.fields[f].is_ragged()) continue;
      const int64_t begin = columns[f].offsets[first + fit], end = columns[f].offsets[first + fit + 1];
      if (begin < 0 || end < begin)
        fail(Cause::schema, "field '" + layout_.fields[f].name + "': offsets must ascend from 0, row " +
                                std::to_string(rows_ + first + fit) + " goes from " + std::to_string(begin) + " to " +
                                std::to_string(end));
      row_bytes += static_cast<uint64_t>(end - begin) * layout_.fields[f].element_bytes();
    }
    if (bytes + row_bytes > block_bytes && filling_->rows + fit > 0) break;
    bytes += row_bytes;
  }
  return fit;
}

void ShardWriter::check_usable() const {
  if (finished_) fail(Cause::closed, "'" + temporary_path_ + "' is finished; nothing can be added to it");
  if (failed_) fail(Cause::closed, "'" + temporary_path_ + "' has failed before; write the shard anew");
  if (getpid() != owner_process_)
    fail(Cause::closed, "'" + temporary_path_ + "' belongs to the parent process; a forked child cannot write to it");
}

void ShardWriter::append(const std::vector<ColumnRows>& columns, uint64_t rows) {
  check_usable();
  failed_ = true;
  append_rows(columns, rows);
  failed_ = false;
}

void ShardWriter::append_rows(const std::vector<ColumnRows>& columns, uint64_t rows) {
  for (uint64_t first = 0; first < rows;) {
    const uint64_t fit = rows_that_fit(columns, first, rows - first);
    for (size_t f = 0; fit > 0 && f < layout_.fields.size(); ++f) {
      const FieldSpec& field = layout_.fields[f];
      Block::Column& column = filling_->columns[f];
      if (field.is_ragged()) {
        const int64_t *offsets = columns[f].offsets + first, begin = offsets[0];
        const uint64_t bytes = static_cast<uint64_t>(offsets[fit] - begin) * field.element_bytes();
        if (column.values.size() + bytes > kMaxRawChunkBytes / 2)
          fail(Cause::limit, "field '" + field.name + "': row " + std::to_string(rows_ + first) +
                                 " is too large: " + std::to_string(bytes) + " bytes, the limit is " +
                                 std::to_string(kMaxRawChunkBytes / 2));
        const uint8_t* from = columns[f].values + static_cast<uint64_t>(begin) * field.element_bytes();
        column.values.insert(column.values.end(), from, from + bytes);
        const auto so_far = static_cast<int64_t>(column.offsets.back());
        for (uint64_t i = 1; i <= fit; ++i)
          column.offsets.push_back(static_cast<uint32_t>(so_far + offsets[i] - begin));
        filling_->bytes += bytes;
      } else {
        const uint64_t row_bytes = field.row_bytes();
        const uint8_t* from = columns[f].values + first * row_bytes;
        if (column.values.capacity() == 0)
          column.values.reserve(std::max(fit * row_bytes, options_.block_bytes / fixed_row_bytes_ * row_bytes));
        column.values.insert(column.values.end(), from, from + fit * row_bytes);
      }
      if (field.nullable) {
        if (columns[f].valid)
          column.valid.insert(column.valid.end(), columns[f].valid + first, columns[f].valid + first + fit);
        else
          column.valid.insert(column.valid.end(), fit, uint8_t{1});
        if (columns[f].valid && !field.is_ragged())
          for (uint64_t i = 0; i < fit; ++i)
            if (!columns[f].valid[first + i])
              clear_row(field, column.values.data() + (filling_->rows + i) * field.row_bytes());
      }
    }
    filling_->rows += fit;
    filling_->bytes += fit * fixed_row_bytes_;
    first += fit;
    if (first < rows) submit();  // what comes next did not fit
  }
  rows_ += rows;
}

void ShardWriter::submit() {
  auto encoded = std::make_shared<EncodedBlock>();
  encoded->rows = filling_->rows;
  encoded->block = std::move(filling_);
  filling_ = std::make_unique<Block>();
  filling_->columns.resize(layout_.fields.size());
  footer_estimate_ += 8 + layout_.fields.size() * kChunkEntryBytes + stat_columns(layout_.fields) * sizeof(StatRecord);
  if (threads_.empty() || !filters_chosen_) {  // the first block chooses the filters, before others are encoded
    encode(*encoded->block, *encoded);
    encoded->block.reset();
    encoded->state = EncodedBlock::State::done;
    filters_chosen_ = true;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(encoded);
  }
  changed_.notify_all();
  write_finished(false);
}

void ShardWriter::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    const auto next =
        std::find_if(queue_.begin(), queue_.end(), [](auto& e) { return e->state == EncodedBlock::State::waiting; });
    if (next == queue_.end()) {
      changed_.wait(lock);
      continue;
    }
    const std::shared_ptr<EncodedBlock> encoded = *next;
    encoded->state = EncodedBlock::State::encoding;
    lock.unlock();
    try {
      encode(*encoded->block, *encoded);
    } catch (...) {
      encoded->error = std::current_exception();
    }
    encoded->block.reset();
    lock.lock();
    encoded->state = EncodedBlock::State::done;
    changed_.notify_all();
  }
}

void ShardWriter::encode(const Block& block, EncodedBlock& encoded) {
  encoded.statistics.resize(stat_columns(layout_.fields));
  encoded.classes.resize(layout_.fields.size());
  encoded.classes_counted.resize(layout_.fields.size());
  StatRecord* records = encoded.statistics.data();
  std::vector<uint8_t> raw;
  for (size_t f = 0; f < layout_.fields.size(); ++f) {
    const FieldSpec& field = layout_.fields[f];
    const Block::Column& column = block.columns[f];
    const uint8_t* valid = field.nullable ? column.valid.data() : nullptr;
    summarize(field, block.rows, column.values.data(), column.offsets.data(), valid, records);
    records += field.stat_columns();
    if (countable_[f])
      encoded.classes_counted[f] = count_classes(field, block.rows, column.values.data(), valid, encoded.classes[f]);
    if (!field.nullable && !field.is_ragged()) {
      encoded.chunks.push_back(encode_chunk(f, column.values.data(), column.values.size()));
      continue;
    }
    const uint64_t offsets_at = field.validity_bytes(block.rows),
                   data_at = offsets_at + field.offsets_bytes(block.rows);
    raw.assign(data_at + column.values.size(), 0);
    if (field.nullable)
      for (uint64_t row = 0; row < block.rows; ++row)
        raw[row / 8] |= static_cast<uint8_t>((valid[row] != 0) << (row % 8));
    if (field.is_ragged()) std::memcpy(raw.data() + offsets_at, column.offsets.data(), 4 * (block.rows + 1));
    if (!column.values.empty()) std::memcpy(raw.data() + data_at, column.values.data(), column.values.size());
    encoded.chunks.push_back(encode_chunk(f, raw.data(), raw.size()));
  }
}

ShardWriter::EncodedChunk ShardWriter::encode_chunk(size_t field, const uint8_t* raw, uint64_t raw_bytes) {
  if (raw_bytes > kMaxRawChunkBytes)
    fail(Cause::limit, "field '" + layout_.fields[field].name + "': a chunk of " + std::to_string(raw_bytes) +
                           " bytes; the limit is " + std::to_string(kMaxRawChunkBytes) + "; use smaller blocks");
  const uint64_t element_bytes = layout_.fields[field].element_bytes();
  EncodedChunk chunk;
  chunk.entry.raw_bytes = static_cast<uint32_t>(raw_bytes);
  uint64_t stored_bytes = 0;
  if (options_.codec != WriteCodec::raw && raw_bytes > 0) {
    std::vector<uint8_t> shuffled;
    if (element_bytes > 1 && (filters_[field] == Filter::byte_shuffle || !filters_chosen_)) {
      shuffled.resize(raw_bytes);
      const uint64_t sample = std::min(raw_bytes, kSampleBytes);
      if (!filters_chosen_) {
        byte_shuffle(raw, shuffled.data(), sample, element_bytes);
        const auto plain_bytes = static_cast<double>(compressed_size(raw, sample));
        const auto shuffled_bytes = static_cast<double>(compressed_size(shuffled.data(), sample));
        filters_[field] = shuffled_bytes < plain_bytes * kShuffleMayCost ? Filter::byte_shuffle : Filter::none;
      }
      if (filters_[field] == Filter::byte_shuffle) byte_shuffle(raw, shuffled.data(), raw_bytes, element_bytes);
    }
    chunk.entry.filter = filters_[field];
    chunk.bytes.resize(lz4_bound(raw_bytes));
    stored_bytes =
        lz4_compress(chunk.entry.filter == Filter::none ? raw : shuffled.data(), raw_bytes, chunk.bytes.data(),
                     chunk.bytes.size(), options_.codec == WriteCodec::lz4hc ? kHighLevel : 0);
  }
  if (stored_bytes > 0 && stored_bytes * 20 < raw_bytes * 19) {
    chunk.entry.codec = Codec::lz4;
    chunk.bytes.resize(stored_bytes);
  } else {
    chunk.entry.codec = Codec::raw;
    chunk.entry.filter = Filter::none;
    chunk.bytes.assign(raw, raw + raw_bytes);
  }
  chunk.entry.stored_bytes = static_cast<uint32_t>(chunk.bytes.size());
  chunk.entry.crc32c = crc32c(chunk.bytes.data(), chunk.bytes.size());
  return chunk;
}

// Writes the finished blocks at the head of the queue; waits while the queue is long, or for all of it.
void ShardWriter::write_finished(bool all) {
  const size_t longest = all ? 0 : threads_.size() + 1;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (queue_.empty()) return;
    if (queue_.front()->state != EncodedBlock::State::done) {
      if (queue_.size() <= longest) return;
      changed_.wait(lock);
      continue;
    }
    const std::shared_ptr<EncodedBlock> encoded = queue_.front();
    queue_.pop_front();
    lock.unlock();
    if (encoded->error) std::rethrow_exception(encoded->error);
    write_block(*encoded);
    lock.lock();
  }
}

void ShardWriter::write_block(EncodedBlock& encoded) {
  static constexpr uint8_t kZeros[kAlignment] = {};
  layout_.block_rows.push_back(static_cast<uint32_t>(encoded.rows));
  for (EncodedChunk& chunk : encoded.chunks) {
    chunk.entry.offset = written_bytes_;
    put(chunk.bytes.data(), chunk.bytes.size());
    put(kZeros, align_up(written_bytes_, kAlignment) - written_bytes_);
    layout_.chunks.push_back(chunk.entry);
  }
  layout_.statistics.insert(layout_.statistics.end(), encoded.statistics.begin(), encoded.statistics.end());
  for (uint32_t f = 0; f < layout_.fields.size(); ++f) {
    if (!has_classes_[f]) continue;
    auto total =
        std::find_if(layout_.class_counts.begin(), layout_.class_counts.end(), [f](auto& c) { return c.field == f; });
    if (total == layout_.class_counts.end()) total = layout_.class_counts.insert(total, ClassCounts{f, {}, {}});
    if (encoded.classes_counted[f]) merge_classes(*total, encoded.classes[f]);
    if (!encoded.classes_counted[f] || total->values.size() > kMaxClasses) {
      has_classes_[f] = 0;
      layout_.class_counts.erase(total);
    }
  }
}

void ShardWriter::put(const void* data, uint64_t size_bytes) {
  const auto* from = static_cast<const uint8_t*>(data);
  while (size_bytes > 0) {
    const uint64_t pending = written_bytes_ - flushed_bytes_;
    const uint64_t portion = std::min(size_bytes, kWriteBytes - pending);
    std::memcpy(pending_.data() + pending, from, portion);
    from += portion;
    size_bytes -= portion;
    written_bytes_ += portion;
    if (pending + portion == kWriteBytes) flush();
  }
}

void ShardWriter::flush() {
  const uint8_t* from = pending_.data();
  while (flushed_bytes_ < written_bytes_) {
    const ssize_t written = write(descriptor_, from, written_bytes_ - flushed_bytes_);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_write(temporary_path_, "write");
    from += written;
#ifdef __linux__  // the disk is kept busy, so that the final sync finds little left to do
    sync_file_range(descriptor_, static_cast<off_t>(flushed_bytes_), written, SYNC_FILE_RANGE_WRITE);
#endif
    flushed_bytes_ += static_cast<uint64_t>(written);
  }
}

Layout ShardWriter::finish(std::vector<Dictionary> dictionaries, const std::string& final_path) {
  check_usable();
  failed_ = true;
  Layout layout = write_rest(std::move(dictionaries), final_path);
  failed_ = false;
  return layout;
}

Layout ShardWriter::write_rest(std::vector<Dictionary> dictionaries, const std::string& final_path) {
  if (filling_->rows > 0) submit();
  write_finished(true);
  layout_.dictionaries = std::move(dictionaries);
  layout_.rows = rows_;
  layout_.footer_offset = written_bytes_;
  const std::vector<uint8_t> footer = write_footer(layout_);
  put(footer.data(), footer.size());
  flush();
  if (fsync(descriptor_) != 0) fail_write(temporary_path_, "sync");
  if (close(descriptor_) != 0) {
    descriptor_ = -1;
    fail_write(temporary_path_, "close");
  }
  descriptor_ = -1;
  if (rename(temporary_path_.c_str(), final_path.c_str()) != 0) fail_write(temporary_path_, "rename");
  finished_ = true;
  stop_threads();
  return layout_;
}

}  // namespace fastload
