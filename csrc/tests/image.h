// The bytes of a shard, for those who want to damage them and still be believed: finds the parts as layout.h draws
// them, without trusting any number, and makes the checksums hold again.
#pragma once

#include <cstdint>
#include <vector>

#include "byte_order.h"
#include "layout.h"

namespace fastload::test {

struct Image {
  std::vector<uint8_t> bytes;

  template <class T>
  T get(uint64_t at) const {
    return load_le<T>(bytes.data() + at);
  }
  template <class T>
  void set(uint64_t at, T value) {
    store_le(bytes.data() + at, value);
  }

  struct Range {
    uint64_t begin = 0, bytes = 0;
    uint64_t end() const { return begin + bytes; }
  };

  bool is_whole() const { return bytes.size() >= kHeaderBytes + kTailBytes; }
  uint64_t tail() const { return bytes.size() - kTailBytes; }
  Range footer() const;                   // as far as it lies inside the file
  std::vector<uint64_t> heads() const;    // of the sections that lie inside the footer
  uint64_t head(SectionType type) const;  // 0 if it is not there
  Range payload(SectionType type) const;  // empty if it is not there
  std::vector<uint64_t> entries() const;  // of the chunks in the block table
  Range chunk(uint64_t entry) const;      // its stored bytes, empty if they are not inside the file

  void repair_checksums();  // chunks, sections, footer, tail, header
  void repair_sizes();      // file size, place of the footer, number of rows, file id: what any change breaks first
};

}  // namespace fastload::test
