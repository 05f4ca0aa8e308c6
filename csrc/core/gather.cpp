#include "gather.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "byte_order.h"
#include "errors.h"
#include "mapped_file.h"

namespace fastload {
namespace {

constexpr size_t kPrefetchRows = 16;  // how far ahead of the copy the caches are told
constexpr size_t kChunkRows = 1024;   // rows whose addresses are found before any is touched
constexpr uint64_t kCacheLine = 64;
constexpr uint64_t kPrefetchBytes = 512;  // beyond that the hardware's own prefetcher follows

// Into the second-level cache: it has more misses under way at once than the first (measured: 24 ns a row of 256 bytes
// against 35 ns, and 56 ns without).
inline void prefetch(const void* address) { __builtin_prefetch(address, 0, 2); }

inline void prefetch_row(const uint8_t* row, uint64_t row_bytes) {
  const uint64_t bytes = std::min(row_bytes, kPrefetchBytes);
  for (uint64_t at = 0; at < bytes; at += kCacheLine) prefetch(row + at);
  prefetch(row + bytes - 1);
}

// Rows from anywhere, one after the other into `out`. kRowBytes 0: row_bytes is known at run time only.
template <uint64_t kRowBytes>
void copy_scattered(const uint8_t* const* rows, size_t count, uint64_t row_bytes, uint8_t* out) {
  if (kRowBytes) row_bytes = kRowBytes;
  const size_t told = count > kPrefetchRows ? count - kPrefetchRows : 0;
  for (size_t i = 0; i < told; ++i) {
    prefetch_row(rows[i + kPrefetchRows], row_bytes);
    std::memcpy(out + i * row_bytes, rows[i], row_bytes);
  }
  for (size_t i = told; i < count; ++i) std::memcpy(out + i * row_bytes, rows[i], row_bytes);
}

// views : of one field; that of block b at views[b * fields].
void copy_rows(const FieldRows* views, size_t fields, uint64_t row_bytes, const RowRef* refs, size_t count,
               uint8_t* out) {
  const uint8_t* rows[kChunkRows];
  for (size_t done = 0; done < count; done += kChunkRows) {
    const size_t n = std::min(kChunkRows, count - done);
    for (size_t i = 0; i < n; ++i) {
      const FieldRows& view = views[refs[done + i].block * fields];
      rows[i] = view.data + refs[done + i].row * view.stride_bytes;
    }
    uint8_t* to = out + done * row_bytes;
    switch (row_bytes) {
      case 1:
        copy_scattered<1>(rows, n, 1, to);
        break;
      case 2:
        copy_scattered<2>(rows, n, 2, to);
        break;
      case 4:
        copy_scattered<4>(rows, n, 4, to);
        break;
      case 8:
        copy_scattered<8>(rows, n, 8, to);
        break;
      default:
        copy_scattered<0>(rows, n, row_bytes, to);
    }
  }
}

// a * b bytes of a batch. More than there can be is refused as any memory that is not to be had.
uint64_t batch_bytes(uint64_t a, uint64_t b) {
  uint64_t bytes;
  if (!checked_mul(a, b, &bytes)) throw std::bad_alloc();
  return bytes;
}

// Writes `count` elements of one value; returns where the next byte goes.
uint8_t* fill_up(uint8_t* to, uint64_t count, uint64_t element_bytes, uint64_t value_bits) {
  const uint64_t bytes = count * element_bytes;
  if (value_bits == 0) {
    if (bytes) std::memset(to, 0, bytes);
  } else {
    for (uint64_t at = 0; at < bytes; at += element_bytes) std::memcpy(to + at, &value_bits, element_bytes);
  }
  return to + bytes;
}

[[noreturn]] void fail_lost() {
  fail(Cause::map_lost,
       "a mapped file was cut short, or its storage failed, while rows were read from it; restore "
       "the file and open the data set again");
}

}  // namespace

uint64_t Batch::size_bytes() const {
  uint64_t bytes = 0;
  for (const FieldBatch& field : fields)
    for (const auto* buffer : {&field.values, &field.lengths, &field.offsets, &field.valid})
      if (*buffer) bytes += (*buffer)->size_bytes();
  return bytes;
}

RefusedRow::RefusedRow(const BatchColumn& column, const Kernel& kernel, uint64_t row)
    : Error(Cause::refused, "field '" + column.field.name + "', row " + std::to_string(row) + ": " + kernel.refusal) {}

BatchBuilder::BatchBuilder(std::shared_ptr<const BatchColumns> columns, uint64_t draw_key, uint64_t rows,
                           uint64_t parts, const std::vector<Padding>& padding, BufferPool& pool)
    : columns_(std::move(columns)), draw_key_(draw_key), padding_(padding), pool_(pool), parts_(parts) {
  batch_.rows = rows;
  batch_.fields.resize(columns_->columns.size());
  for (size_t c = 0; c < columns_->columns.size(); ++c) {
    const FieldSpec& field = columns_->columns[c].field;
    if (!field.is_ragged()) batch_.fields[c].values = pool.take(batch_bytes(rows, field.row_bytes()));
    if (field.nullable) batch_.fields[c].valid = pool.take(rows);
  }
}

double BatchBuilder::fill(const GatherTask& given, uint64_t part_index, uint64_t first_row) {
  GatherTask task = given;
  // Rows that are made are their bases first: of the fields that lie between two rows, the values follow.
  std::vector<Made> made;
  std::vector<RowRef> refs;
  if (task.synthesis) {
    refs.assign(task.refs, task.refs + task.count);
    made.reserve(task.count);
    for (size_t i = 0; i < task.count; ++i) {
      if (!task.synthesis->makes(task.numbers[i])) continue;
      made.push_back({i, task.synthesis->parents(task.numbers[i], row_key(draw_key_, task.numbers[i]))});
      refs[i].row = static_cast<uint32_t>(made.back().parents.base);
    }
    task.refs = refs.data();
  }
  const std::vector<BatchColumn>& columns = columns_->columns;
  const size_t fields = task.fields->size();
  Part& part = parts_[part_index];
  part.first_row = first_row;
  part.runs.resize(columns.size());
  part.kept.resize(columns.size());
  bool sound = true;
  for (size_t c = 0; c < columns.size(); ++c) part.runs[c].resize(columns[c].field.is_ragged() ? task.count : 0);
  std::vector<uint64_t> keys(columns_->draws ? task.count : 0);
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = row_key(draw_key_, task.numbers[i]);
  const auto work = [&] {
    for (size_t c = 0; c < columns.size(); ++c) {
      const FieldSpec& field = columns[c].field;
      const FieldRows* views = task.views + columns[c].source;
      if (field.nullable) {
        uint8_t* valid = batch_.fields[c].valid->data() + first_row;
        for (size_t i = 0; i < task.count; ++i)
          valid[i] = views[task.refs[i].block * fields].is_valid(task.refs[i].row);
      }
      if (!field.is_ragged()) {
        const uint64_t row_bytes = field.row_bytes();
        uint8_t* const out = batch_.fields[c].values->data() + first_row * row_bytes;
        if (columns[c].kernels.empty()) copy_rows(views, fields, row_bytes, task.refs, task.count, out);
        continue;
      }
      Run* runs = part.runs[c].data();
      for (size_t i = 0; i < task.count; ++i) {
        if (i + kPrefetchRows < task.count) {
          const RowRef ahead = task.refs[i + kPrefetchRows];
          prefetch(views[ahead.block * fields].offset_address(ahead.row));
        }
        const FieldRows& view = views[task.refs[i].block * fields];
        const uint64_t begin = view.begin(task.refs[i].row), end = view.begin(task.refs[i].row + 1);
        if (begin > end || end > view.elements) {
          sound = false;
          return;
        }
        runs[i] = {view.data + begin * field.element_bytes(), end - begin};
        prefetch_row(runs[i].data, std::max<uint64_t>(1, runs[i].elements * field.element_bytes()));
      }
    }
  };
  const bool lost = task.guard ? !guarded(work) : (work(), false);
  if (lost || !sound) fail_lost();
  double kernels_s = 0;
  for (size_t c = 0; c < columns.size(); ++c) {
    if (!columns[c].kernels.empty())
      kernels_s += transform(task, made, columns[c], first_row, keys.data(), batch_.fields[c]);
    else if (!columns[c].field.is_ragged())
      synthesize(task, made, columns[c].source, 0, task.count,
                 batch_.fields[c].values->data() + first_row * columns[c].field.row_bytes());
  }
  for (size_t c = 0; c < columns.size(); ++c) {
    if (!columns[c].field.is_ragged() || (parts_.size() == 1 && !task.guard)) continue;
    const uint64_t element_bytes = columns[c].field.element_bytes();
    // The views may go before the other parts are there (or the map may fail): keep a copy of these rows.
    uint64_t bytes = 0;
    for (const Run& run : part.runs[c]) bytes += run.elements * element_bytes;
    part.kept[c].resize(bytes);
    uint8_t* to = part.kept[c].data();
    const auto keep = [&] {
      for (Run& run : part.runs[c]) {
        const uint64_t run_bytes = run.elements * element_bytes;
        if (run_bytes) std::memcpy(to, run.data, run_bytes);
        run.data = to;
        to += run_bytes;
      }
    };
    if (!guarded(keep)) fail_lost();
  }
  if (parts_.size() == 1)  // now, while the views are there
    for (size_t c = 0; c < columns.size(); ++c)
      if (columns[c].field.is_ragged()) lay_out(c, parts_);
  return kernels_s;
}

// A few rows at a time, so that they go through the kernels without leaving the caches.
double BatchBuilder::transform(const GatherTask& task, const std::vector<Made>& made, const BatchColumn& column,
                               uint64_t first_row, const uint64_t* keys, FieldBatch& to) {
  const size_t fields = task.fields->size();
  const FieldSpec& source = (*task.fields)[column.source];
  const uint64_t in_row_bytes = source.row_bytes();
  const FieldRows* views = task.views + column.source;
  const KernelScratch scratch(column.kernels, in_row_bytes, &pool_);
  double kernels_s = 0;
  std::vector<uint8_t> valid_rows(source.nullable && !to.valid ? task.count : 0);
  const uint8_t* valid = to.valid ? to.valid->data() + first_row : nullptr;
  if (!valid_rows.empty()) {
    const auto look = [&] {
      for (size_t i = 0; i < task.count; ++i)
        valid_rows[i] = views[task.refs[i].block * fields].is_valid(task.refs[i].row);
    };
    if (task.guard ? !guarded(look) : (look(), false)) fail_lost();
    valid = valid_rows.data();
  }
  uint8_t* const out = to.values->data() + first_row * column.field.row_bytes();
  for (size_t done = 0; done < task.count; done += scratch.rows()) {
    const size_t rows = std::min<size_t>(scratch.rows(), task.count - done);
    const auto copy = [&] { copy_rows(views, fields, in_row_bytes, task.refs + done, rows, scratch.in()); };
    if (task.guard ? !guarded(copy) : (copy(), false)) fail_lost();
    synthesize(task, made, column.source, done, done + rows, scratch.in());
    const size_t ahead = std::min(task.count, done + rows + kPrefetchRows);
    for (size_t i = done + rows; i < ahead; ++i) {
      const FieldRows& view = views[task.refs[i].block * fields];
      prefetch_row(view.data + task.refs[i].row * view.stride_bytes, in_row_bytes);
    }
    const Kernel* refused_by = nullptr;
    const double began_s = wall_s();
    const int64_t refused =
        scratch.run(scratch.in(), valid ? valid + done : nullptr, keys + (columns_->draws ? done : 0), rows,
                    out + done * column.field.row_bytes(), &refused_by);
    if (refused) throw RefusedRow(column, *refused_by, task.numbers[done + static_cast<size_t>(refused) - 1]);
    kernels_s += wall_s() - began_s;
  }
  return kernels_s;
}

void BatchBuilder::synthesize(const GatherTask& task, const std::vector<Made>& made, uint32_t source, size_t begin,
                              size_t end, uint8_t* out) {
  if (made.empty()) return;
  constexpr int64_t kAhead = kPrefetchRows;
  for (const Synthesis::Field& field : task.synthesis->fields()) {
    if (field.field != source) continue;
    const FieldSpec& spec = (*task.fields)[source];
    const auto row_bytes = static_cast<int64_t>(spec.row_bytes());
    const auto columns = row_bytes / static_cast<int64_t>(spec.element_bytes());
    const auto by_place = [](const Made& one, size_t place) { return one.place < place; };
    auto at = std::lower_bound(made.begin(), made.end(), begin, by_place);
    const auto last = std::lower_bound(at, made.end(), end, by_place);
    const FieldRows& rows = task.views[task.refs[made.front().place].block * task.fields->size() + source];
    for (; at != last; ++at) {
      if (last - at > kAhead) prefetch_row(rows.data + (at + kAhead)->parents.neighbor * row_bytes, spec.row_bytes());
      field.function(rows.data, &at->parents.base, &at->parents.neighbor, &at->parents.part, 1, columns,
                     out + (at->place - begin) * spec.row_bytes());
    }
  }
}

Batch BatchBuilder::finish() {
  if (parts_.size() > 1)
    for (size_t c = 0; c < columns_->columns.size(); ++c)
      if (columns_->columns[c].field.is_ragged()) lay_out(c, parts_);
  return std::move(batch_);
}

// Lengths first, then memory of the right size, then the values.
void BatchBuilder::lay_out(size_t c, const std::vector<Part>& parts) {
  const FieldSpec& field = columns_->columns[c].field;
  FieldBatch& out = batch_.fields[c];
  const uint64_t element_bytes = field.element_bytes();
  const bool pad = !padding_.empty() && !field.is_text();
  const Padding padding = pad ? padding_[columns_->columns[c].source] : Padding();
  uint64_t longest = 0, total = 0;
  for (const Part& part : parts)
    for (const Run& run : part.runs[c]) {
      longest = std::max(longest, run.elements);
      total += run.elements;
    }
  if (padding.length > 0 && longest > padding.length && !padding.truncate)
    fail(Cause::argument, "field '" + field.name + "': a row of " + std::to_string(longest) +
                              " elements does not fit the fixed length of " + std::to_string(padding.length) +
                              "; allow more, or truncate");
  const uint64_t multiple = std::max<uint64_t>(1, padding.multiple);
  const uint64_t padded = padding.length ? padding.length : (longest + multiple - 1) / multiple * multiple;
  out.width = pad ? padded : total;
  out.values = pool_.take(batch_bytes(pad ? batch_bytes(batch_.rows, padded) : total, element_bytes));
  auto& marks = pad ? out.lengths : out.offsets;
  marks = pool_.take((batch_.rows + 1) * sizeof(int64_t));
  auto* mark = reinterpret_cast<int64_t*>(marks->data());
  std::vector<const Part*> ordered;
  for (const Part& part : parts) ordered.push_back(&part);
  std::sort(ordered.begin(), ordered.end(), [](auto* a, auto* b) { return a->first_row < b->first_row; });
  uint8_t* to = out.values->data();
  int64_t offset = 0;
  for (const Part* part : ordered)
    for (const Run& run : part->runs[c]) {
      const uint64_t elements = pad ? std::min(run.elements, padded) : run.elements;
      const uint64_t missing = pad ? padded - elements : 0;
      if (padding.left) to = fill_up(to, missing, element_bytes, padding.value_bits);
      if (elements) std::memcpy(to, run.data, elements * element_bytes);
      to += elements * element_bytes;
      if (!padding.left) to = fill_up(to, missing, element_bytes, padding.value_bits);
      batch_.elements += pad ? elements : 0;
      batch_.places += pad ? padded : 0;
      *mark++ = pad ? static_cast<int64_t>(elements) : offset;
      offset += static_cast<int64_t>(run.elements);
    }
  if (!pad) *mark = offset;
}

}  // namespace fastload
