#include "row_reader.h"

#include <algorithm>
#include <unordered_map>

#include "errors.h"

namespace fastload {

RowReader::RowReader(std::shared_ptr<const Source> source, uint64_t memory_bytes)
    : source_(std::move(source)), cache_(*source_, memory_bytes), pool_(std::make_shared<BufferPool>(uint64_t{16} << 20)) {
  starts_.push_back(0);
  for (uint32_t rows : source_->block_rows()) starts_.push_back(starts_.back() + rows);
}

Batch RowReader::read(const uint64_t* rows, size_t count, bool pad) {
  const size_t fields = source_->fields().size();
  std::vector<RowRef> refs(count);
  std::unordered_map<uint32_t, uint32_t> local;           // block -> its number in this call
  std::vector<std::shared_ptr<const CachedBlock>> blocks;  // held until the rows are copied
  BlockViews views;
  for (size_t i = 0; i < count; ++i) {
    if (rows[i] >= starts_.back())
      fail(Cause::row_index, "row " + std::to_string(rows[i]) + " was asked for; there are " +
                                 std::to_string(starts_.back()) + " rows");
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), rows[i]);
    const auto block = static_cast<uint32_t>(after - starts_.begin() - 1);
    const auto [place, is_new] = local.try_emplace(block, static_cast<uint32_t>(blocks.size()));
    if (is_new) {
      blocks.push_back(cache_.get(block));
      views.insert(views.end(), blocks.back()->views.begin(), blocks.back()->views.begin() + static_cast<std::ptrdiff_t>(fields));
    }
    refs[i] = {place->second, static_cast<uint32_t>(rows[i] - starts_[block])};
  }
  BatchBuilder builder(source_->fields(), count, 1, pad, *pool_);
  builder.fill({&source_->fields(), views.data(), refs.data(), count, true}, 0, 0);
  source_->check_whole();
  return builder.finish();
}

}  // namespace fastload
