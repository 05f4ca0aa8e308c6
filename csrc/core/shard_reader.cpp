#include "shard_reader.h"

#include <algorithm>
#include <cstring>

#include "byte_order.h"
#include "checksum.h"
#include "codec_lz4.h"
#include "errors.h"
#include "filter.h"

namespace fastload {
namespace {

bool is_zero(const uint8_t* from, uint64_t bytes) {
  return std::all_of(from, from + bytes, [](uint8_t b) { return b == 0; });
}

[[noreturn]] void fail_lost(const std::string& where) {
  fail(Cause::map_lost, where +
                            ": the file was cut short, or its storage failed, while it was mapped; restore the "
                            "file and open the data set again");
}

}  // namespace

ShardReader::ShardReader(const std::string& path) : file_(path) {
  const auto read = [this, &path](uint64_t offset, uint64_t size_bytes) {
    std::vector<uint8_t> bytes(size_bytes);
    const auto copy = [&] { std::memcpy(bytes.data(), file_.data() + offset, size_bytes); };
    if (size_bytes && !guarded(copy)) fail_lost("'" + path + "'");
    return bytes;
  };
  layout_ = read_layout(read, file_.size_bytes(), path);
  dictionary_entries_.resize(layout_.fields.size());
  for (const Dictionary& dictionary : layout_.dictionaries)
    dictionary_entries_[dictionary.field] = static_cast<uint32_t>(dictionary.entries.size());
  verified_ = std::vector<std::atomic<uint8_t>>(layout_.chunks.size());
}

void ShardReader::check_whole() const {
  if (!file_.is_whole()) fail_lost("'" + file_.path() + "'");
}

std::string ShardReader::where(uint64_t block, uint64_t field) const {
  return "'" + file_.path() + "', block " + std::to_string(block) + ", field '" + layout_.fields[field].name + "'";
}

// Runs `body(stored bytes)` -> ok under the SIGBUS guard, after the checksum and the padding were seen to hold.
template <class Body>
void ShardReader::read_map(uint64_t block, uint64_t field, LoadScratch& scratch, Body&& body) const {
  const ChunkEntry& chunk = layout_.chunk(block, field);
  const uint8_t* stored = file_.data() + chunk.offset;
  const uint64_t padding = align_up(chunk.stored_bytes, kAlignment) - chunk.stored_bytes;
  bool intact = false, clean = false, decoded = false;
  scratch.clock.begin_chunk();
  const auto verify = [&] {
    intact = crc32c(stored, chunk.stored_bytes) == chunk.crc32c;
    clean = is_zero(stored + chunk.stored_bytes, padding);
  };
  if (!guarded(verify)) fail_lost(where(block, field));
  scratch.clock.is_verified(scratch.times);
  if (intact && clean && !guarded([&] { decoded = body(stored, chunk); })) fail_lost(where(block, field));
  scratch.clock.is_decoded(scratch.times);
  if (!decoded) check_whole();  // the rest of the last page of a file cut short reads as zeros
  if (!intact)
    fail(Cause::checksum, where(block, field) +
                              ": the stored bytes have changed since they were written (CRC32C "
                              "differs); restore this shard from a copy");
  if (!clean) fail(Cause::checksum, where(block, field) + ": the padding after the chunk is not zero");
  if (!decoded) fail(Cause::format, where(block, field) + ": does not decode to the size the block table declares");
}

void ShardReader::decode(uint64_t block, uint64_t field, uint8_t* raw, LoadScratch& scratch) const {
  const ChunkEntry& entry = layout_.chunk(block, field);
  const uint64_t element_bytes = layout_.fields[field].element_bytes();
  if (entry.filter != Filter::none && scratch.memory.size_bytes() < entry.raw_bytes)
    scratch.memory = Buffer(entry.raw_bytes);
  uint8_t* shuffled = scratch.memory.data();
  read_map(block, field, scratch, [&](const uint8_t* stored, const ChunkEntry& chunk) {
    if (chunk.codec == Codec::raw) {
      std::memcpy(raw, stored, chunk.raw_bytes);
      return true;
    }
    if (chunk.filter == Filter::none) return lz4_decompress(stored, chunk.stored_bytes, raw, chunk.raw_bytes);
    return lz4_decompress(stored, chunk.stored_bytes, shuffled, chunk.raw_bytes);
  });
  if (entry.filter == Filter::none) return;
  const double began_s = wall_s();
  byte_unshuffle(shuffled, raw, entry.raw_bytes, element_bytes);
  scratch.times.decode_s += wall_s() - began_s;
}

const uint8_t* ShardReader::in_place(uint64_t block, uint64_t field, LoadScratch& scratch) const {
  std::atomic<uint8_t>& verified = verified_[block * layout_.fields.size() + field];
  if (!verified.load(std::memory_order_acquire)) {
    read_map(block, field, scratch, [](const uint8_t*, const ChunkEntry&) { return true; });
    verified.store(1, std::memory_order_release);
  }
  return file_.data() + layout_.chunk(block, field).offset;
}

FieldRows ShardReader::view(uint64_t block, uint64_t field, const uint8_t* raw) const {
  const FieldSpec& spec = layout_.fields[field];
  const uint64_t rows = layout_.block_rows[block], raw_bytes = layout_.chunk(block, field).raw_bytes;
  const uint64_t offsets_at = spec.validity_bytes(rows), data_at = offsets_at + spec.offsets_bytes(rows);
  FieldRows view;
  view.data = raw + data_at;
  view.stride_bytes = spec.row_bytes();
  if (spec.nullable) view.validity = raw;
  if (spec.is_ragged()) view.elements = (raw_bytes - data_at) / spec.element_bytes();
  // The bytes are what was written; this is about writers that were wrong, or meant harm.
  const char* broken = nullptr;
  if (!guarded([&] {
        const uint64_t bitmap_bytes = spec.nullable ? (rows + 7) / 8 : 0;
        const bool bits_end = rows % 8 == 0 || bitmap_bytes == 0 || raw[bitmap_bytes - 1] >> rows % 8 == 0;
        if (!bits_end || !is_zero(raw + bitmap_bytes, offsets_at - bitmap_bytes))
          broken = ": the validity of rows beyond the last is not zero";
        if (spec.is_ragged()) {
          const auto* offsets = reinterpret_cast<const uint32_t*>(raw + offsets_at);
          bool ascending = offsets[0] == 0 && offsets[rows] == view.elements;
          for (uint64_t row = 0; row < rows; ++row) ascending &= offsets[row] <= offsets[row + 1];
          if (!ascending) broken = ": the row offsets do not ascend to the data's end";
          const uint64_t offsets_end = offsets_at + 4 * (rows + 1);
          if (!is_zero(raw + offsets_end, data_at - offsets_end))
            broken = ": the padding after the row offsets is not zero";
          view.offsets32 = offsets;
        } else if (spec.categories) {
          const auto* codes = reinterpret_cast<const uint32_t*>(raw + data_at);
          uint32_t largest = 0;
          for (uint64_t row = 0; row < rows; ++row) largest = std::max(largest, codes[row]);
          bool inside = largest < std::max(1u, dictionary_entries_[field]);  // null rows hold 0, whatever there is
          for (uint64_t row = 0; dictionary_entries_[field] == 0 && row < rows; ++row) inside &= !view.is_valid(row);
          if (!inside) broken = ": a code lies outside the dictionary";
        }
      }))
    fail_lost(where(block, field));
  if (broken) {
    check_whole();
    fail(Cause::format, where(block, field) + broken);
  }
  return view;
}

ShardSource::ShardSource(std::vector<std::shared_ptr<const ShardReader>> shards, std::vector<uint32_t> field_indices)
    : shards_(std::move(shards)), field_indices_(std::move(field_indices)) {
  for (uint32_t index : field_indices_) fields_.push_back(shards_.at(0)->layout().fields.at(index));
  for (uint32_t s = 0; s < shards_.size(); ++s) {
    const Layout& layout = shards_[s]->layout();
    if (!(layout.fields == shards_[0]->layout().fields))
      fail(Cause::schema,
           "'" + shards_[s]->file().path() + "' has another schema than '" + shards_[0]->file().path() + "'");
    for (uint32_t b = 0; b < layout.block_rows.size(); ++b) {
      places_.push_back({s, b});
      block_rows_.push_back(layout.block_rows[b]);
    }
  }
}

uint64_t ShardSource::raw_bytes(uint32_t block) const {
  uint64_t bytes = 0;
  for (uint32_t field : field_indices_) bytes += chunk(places_[block], field).raw_bytes;
  return bytes;
}

uint64_t ShardSource::decoded_bytes(uint32_t block) const {
  uint64_t bytes = 0;
  for (uint32_t field : field_indices_) {
    const ChunkEntry& entry = chunk(places_[block], field);
    if (entry.codec != Codec::raw) bytes += align_up(entry.raw_bytes, kAlignment);
  }
  return bytes;
}

uint64_t ShardSource::stored_bytes(uint32_t block) const {
  uint64_t bytes = 0;
  for (uint32_t field : field_indices_) bytes += chunk(places_[block], field).stored_bytes;
  return bytes;
}

void ShardSource::will_need(uint32_t block) const {
  const Place place = places_[block];
  const ShardReader& shard = *shards_[place.shard];
  uint64_t from = 0, to = 0;  // neighbouring chunks in one call
  for (uint32_t field : field_indices_) {
    const ChunkEntry& entry = chunk(place, field);
    if (from == to || entry.offset > to + 4096 || entry.offset < from) {
      if (to > from) shard.file().will_need(from, to - from);
      from = entry.offset;
    }
    to = entry.offset + entry.stored_bytes;
  }
  if (to > from) shard.file().will_need(from, to - from);
}

void ShardSource::load(uint32_t block, uint8_t* memory, LoadScratch& scratch, FieldRows* rows) const {
  const Place place = places_[block];
  const ShardReader& shard = *shards_[place.shard];
  scratch.clock.begin_block();
  for (size_t i = 0; i < field_indices_.size(); ++i) {
    const uint32_t field = field_indices_[i];
    const ChunkEntry& entry = chunk(place, field);
    const uint8_t* raw = memory;
    if (entry.codec == Codec::raw) {
      raw = shard.in_place(place.block, field, scratch);
    } else {
      shard.decode(place.block, field, memory, scratch);
      memory += align_up(entry.raw_bytes, kAlignment);
    }
    rows[i] = shard.view(place.block, field, raw);
  }
}

void ShardSource::check_whole() const {
  for (const auto& shard : shards_) shard->check_whole();
}

}  // namespace fastload
