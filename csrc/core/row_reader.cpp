#include "row_reader.h"

#include <unistd.h>

#include <algorithm>
#include <unordered_map>

#include "errors.h"

namespace fastload {

std::shared_ptr<RowReader> RowReader::create(std::shared_ptr<const Source> source, uint64_t memory_bytes) {
  return std::shared_ptr<RowReader>(new RowReader(std::move(source), memory_bytes), [](RowReader* owned) {
    if (getpid() == owned->owner_process_) delete owned;
  });
}

RowReader::RowReader(std::shared_ptr<const Source> source, uint64_t memory_bytes)
    : source_(std::move(source)),
      as_they_are_(BatchColumns::as_they_are(source_->fields())),
      index_(source_->block_rows()),
      memory_bytes_(memory_bytes),
      owner_process_(getpid()),
      cache_(*source_, memory_bytes),
      pool_(std::make_shared<BufferPool>(uint64_t{16} << 20)) {}

RowRef RowReader::locate(uint64_t row) const {
  if (row >= index_.rows())
    fail(Cause::row_index,
         "row " + std::to_string(row) + " was asked for; there are " + std::to_string(index_.rows()) + " rows");
  return index_.locate(row);
}

Batch RowReader::read(const uint64_t* rows, size_t count, const std::vector<Padding>& padding, ReadCosts* costs,
                      std::shared_ptr<const BatchColumns> columns, uint64_t draw_key) {
  // Parts of the batch whose blocks fit the budget together. Inside a part blocks are numbered as they first come.
  struct Part {
    size_t first_row = 0;
    std::vector<uint32_t> blocks;
  };
  std::vector<Part> parts(1);
  std::vector<RowRef> refs(count);
  std::unordered_map<uint32_t, uint32_t> local;  // block -> its number in this part
  uint64_t held_bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    const RowRef ref = locate(rows[i]);
    auto place = local.find(ref.block);
    if (place == local.end()) {
      const uint64_t block_bytes = source_->decoded_bytes(ref.block);
      if (held_bytes + block_bytes > memory_bytes_ && !local.empty()) {
        parts.push_back({i, {}});
        local.clear();
        held_bytes = 0;
      }
      held_bytes += block_bytes;
      place = local.emplace(ref.block, static_cast<uint32_t>(parts.back().blocks.size())).first;
      parts.back().blocks.push_back(ref.block);
    }
    refs[i] = {place->second, ref.row};
  }
  const double began_s = wall_s();
  ReadCosts spent;
  BatchBuilder builder(columns ? std::move(columns) : as_they_are_, draw_key, count, parts.size(), padding, *pool_);
  for (size_t p = 0; p < parts.size(); ++p) {
    std::vector<std::shared_ptr<const CachedBlock>> blocks;  // held until the rows are copied
    BlockViews views;
    for (const uint32_t block : parts[p].blocks) {
      blocks.push_back(cache_.get(block, &spent));
      views.insert(views.end(), blocks.back()->views.begin(), blocks.back()->views.end());
    }
    const size_t first = parts[p].first_row, end = p + 1 < parts.size() ? parts[p + 1].first_row : count;
    spent.times.kernels_s += builder.fill(
        {&source_->fields(), views.data(), refs.data() + first, end - first, true, rows + first, source_->synthesis()},
        p, first);
  }
  source_->check_whole();
  Batch batch = builder.finish();
  spent.times.gather_s = std::max(0.0, wall_s() - began_s - spent.times.loading_s() - spent.times.kernels_s);
  spent.bytes_delivered = batch.size_bytes();
  spent.elements = batch.elements;
  spent.places = batch.places;
  if (costs) *costs += spent;
  return batch;
}

}  // namespace fastload
