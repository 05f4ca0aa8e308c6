// Where rows come from: block files, or arrays in memory. The engine knows only this interface.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "buffer.h"
#include "layout.h"
#include "stage_times.h"

namespace fastload {

class Synthesis;

// The rows of one field in one block, ready to be copied from.
struct FieldRows {
  const uint8_t* data = nullptr;        // first row, or first element of a ragged field
  uint64_t stride_bytes = 0;            // from one row to the next; of an element in a ragged field
  const uint32_t* offsets32 = nullptr;  // ragged: element offsets, one more than rows (files)
  const int64_t* offsets64 = nullptr;   // the same in memory
  const uint8_t* validity = nullptr;    // bit i = row i is present; null when all are
  uint64_t elements = 0;                // ragged: elements there are, whatever the offsets say

  uint64_t begin(uint64_t row) const { return offsets32 ? offsets32[row] : static_cast<uint64_t>(offsets64[row]); }
  const void* offset_address(uint64_t row) const {
    return offsets32 ? static_cast<const void*>(offsets32 + row) : offsets64 + row;
  }
  bool is_valid(uint64_t row) const { return !validity || (validity[row / 8] >> (row % 8) & 1); }
};

// What a thread brings along to load blocks: memory that grows as needed, and a place to note where its time went.
struct LoadScratch {
  Buffer memory;
  StageTimes times;
  LoadClock clock;
};

// Thread-safe: load() of different blocks may run at once.
class Source {
 public:
  virtual ~Source() = default;

  const std::vector<FieldSpec>& fields() const { return fields_; }
  const std::vector<uint32_t>& block_rows() const { return block_rows_; }
  uint64_t rows() const;

  // Bytes of the block's chunks when decoded, and how many of them need memory of their own: chunks stored raw are
  // served from the map.
  virtual uint64_t raw_bytes(uint32_t block) const = 0;
  virtual uint64_t decoded_bytes(uint32_t block) const = 0;
  // Bytes of the block on disk, for read-ahead; 0 in memory.
  virtual uint64_t stored_bytes(uint32_t block) const = 0;
  // Asks for the block's bytes to be read soon; returns at once.
  virtual void will_need(uint32_t block) const = 0;
  // Verifies and decodes one block into `memory` (64-byte aligned, decoded_bytes() long) and fills fields()[i] ->
  // rows[i]. Throws Error naming file, block and field.
  virtual void load(uint32_t block, uint8_t* memory, LoadScratch& scratch, FieldRows* rows) const = 0;
  // Throws if the files changed size under their maps.
  virtual void check_whole() const = 0;
  // How the last rows are made, where they are: blocks then hold what they are made of.
  virtual const Synthesis* synthesis() const { return nullptr; }

 protected:
  std::vector<FieldSpec> fields_;
  std::vector<uint32_t> block_rows_;
};

// Arrays in memory, gathered without a copy. The caller keeps them alive and unchanged.
class MemorySource : public Source {
 public:
  struct Column {
    FieldSpec field;
    FieldRows rows;
  };
  MemorySource(std::vector<Column> columns, uint64_t rows);

  uint64_t raw_bytes(uint32_t) const override { return 0; }
  uint64_t decoded_bytes(uint32_t) const override { return 0; }
  uint64_t stored_bytes(uint32_t) const override { return 0; }
  void will_need(uint32_t) const override {}
  void load(uint32_t block, uint8_t* memory, LoadScratch& scratch, FieldRows* rows) const override;
  void check_whole() const override {}

 private:
  std::vector<Column> columns_;
};

}  // namespace fastload
