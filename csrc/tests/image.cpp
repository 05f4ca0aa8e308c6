#include "image.h"

#include <algorithm>

#include "checksum.h"

namespace fastload::test {

Image::Range Image::footer() const {
  const uint64_t begin = get<uint64_t>(tail() + 8), size = get<uint64_t>(tail() + 16);
  if (begin < kHeaderBytes || begin > tail()) return {tail(), 0};
  return {begin, std::min(size, tail() - begin)};
}

std::vector<uint64_t> Image::heads() const {
  std::vector<uint64_t> heads;
  const Range all = footer();
  for (uint64_t at = all.begin; at + kSectionHeadBytes <= all.end();) {
    const uint64_t payload_bytes = get<uint64_t>(at + 16);
    if (payload_bytes > all.end() - at - kSectionHeadBytes) break;
    heads.push_back(at);
    at += align_up(kSectionHeadBytes + payload_bytes, 64);
  }
  return heads;
}

uint64_t Image::head(SectionType type) const {
  for (const uint64_t at : heads())
    if (get<uint32_t>(at) == static_cast<uint32_t>(type)) return at;
  return 0;
}

Image::Range Image::payload(SectionType type) const {
  const uint64_t at = head(type);
  return at ? Range{at + kSectionHeadBytes, get<uint64_t>(at + 16)} : Range{};
}

std::vector<uint64_t> Image::entries() const {
  std::vector<uint64_t> entries;
  const Range table = payload(SectionType::blocks);
  if (table.bytes < 16) return entries;
  const uint64_t fields = get<uint32_t>(table.begin + 8), block_bytes = 8 + fields * kChunkEntryBytes;
  for (uint64_t block = table.begin + 16; block + block_bytes <= table.end(); block += block_bytes)
    for (uint64_t field = 0; field < fields; ++field) entries.push_back(block + 8 + field * kChunkEntryBytes);
  return entries;
}

Image::Range Image::chunk(uint64_t entry) const {
  const uint64_t begin = get<uint64_t>(entry), stored_bytes = get<uint32_t>(entry + 8), end = footer().begin;
  return begin <= end && stored_bytes <= end - begin ? Range{begin, stored_bytes} : Range{};
}

void Image::repair_checksums() {
  if (!is_whole()) return;
  for (const uint64_t entry : entries()) {
    const Range stored = chunk(entry);
    if (stored.bytes) set(entry + 16, crc32c(bytes.data() + stored.begin, stored.bytes));
  }
  for (const uint64_t at : heads()) set(at + 12, crc32c(bytes.data() + at + kSectionHeadBytes, get<uint64_t>(at + 16)));
  const Range all = footer();
  set(tail() + 56, crc32c(bytes.data() + all.begin, all.bytes));
  set(tail() + 60, crc32c(bytes.data() + tail(), kTailBytes - 4));
  set(kHeaderBytes - 4, crc32c(bytes.data(), kHeaderBytes - 4));
}

void Image::repair_sizes() {
  if (!is_whole()) return;
  set(tail() + 24, static_cast<uint64_t>(bytes.size()));
  const uint64_t footer_bytes = get<uint64_t>(tail() + 16);
  if (footer_bytes <= tail() - kHeaderBytes) set(tail() + 8, tail() - footer_bytes);
  std::copy_n(bytes.begin() + 32, 16, bytes.begin() + static_cast<std::ptrdiff_t>(tail() + 40));
  const Range table = payload(SectionType::blocks);
  if (table.bytes < 16) return;
  const uint64_t block_bytes = 8 + uint64_t{get<uint32_t>(table.begin + 8)} * kChunkEntryBytes;
  uint64_t rows = 0;
  for (uint64_t block = table.begin + 16; block + block_bytes <= table.end(); block += block_bytes)
    rows += get<uint32_t>(block);
  set(tail() + 32, rows);
}

}  // namespace fastload::test
