// One shard: opened, checked, and its chunks decoded; and a data set of shards as a Source.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "layout.h"
#include "mapped_file.h"
#include "source.h"

namespace fastload {

// Thread-safe after construction. Holds one map and one descriptor.
class ShardReader {
 public:
  explicit ShardReader(const std::string& path);

  const Layout& layout() const { return layout_; }
  const MappedFile& file() const { return file_; }
  // Throws if the file no longer has the size it was opened with: what was read since then may be zeros.
  void check_whole() const;

  // Verifies a chunk and writes its raw bytes to `raw` (raw_bytes long).
  void decode(uint64_t block, uint64_t field, uint8_t* raw, LoadScratch& scratch) const;
  // A raw chunk where it lies in the map. Verified on the first call after opening.
  const uint8_t* in_place(uint64_t block, uint64_t field, LoadScratch& scratch) const;
  // Splits the raw bytes of a chunk into its parts and checks what the parts promise.
  FieldRows view(uint64_t block, uint64_t field, const uint8_t* raw) const;

 private:
  std::string where(uint64_t block, uint64_t field) const;
  template <class Body>
  void read_map(uint64_t block, uint64_t field, LoadScratch& scratch, Body&& body) const;

  MappedFile file_;
  Layout layout_;
  std::vector<uint32_t> dictionary_entries_;            // per field, 0 without a dictionary
  mutable std::vector<std::atomic<uint8_t>> verified_;  // raw chunks whose checksum was seen to hold
};

class ShardSource : public Source {
 public:
  // field_indices : the fields to read, in the order wanted. All shards have one schema (checked).
  ShardSource(std::vector<std::shared_ptr<const ShardReader>> shards, std::vector<uint32_t> field_indices);

  uint64_t raw_bytes(uint32_t block) const override;
  uint64_t decoded_bytes(uint32_t block) const override;
  uint64_t stored_bytes(uint32_t block) const override;
  void will_need(uint32_t block) const override;
  void load(uint32_t block, uint8_t* memory, LoadScratch& scratch, FieldRows* rows) const override;
  void check_whole() const override;

 private:
  struct Place {
    uint32_t shard, block;
  };
  const ChunkEntry& chunk(Place place, uint32_t field) const {
    return shards_[place.shard]->layout().chunk(place.block, field);
  }

  std::vector<std::shared_ptr<const ShardReader>> shards_;
  std::vector<uint32_t> field_indices_;
  std::vector<Place> places_;
};

}  // namespace fastload
