// Writes one shard: rows in, blocks out, in bounded memory.
//
// append() copies rows into the block being filled; a full block goes to the threads, which encode it (statistics,
// filter, compression, checksum), and finished blocks are written in order. At most threads + 2 blocks are in memory.
// The file has a temporary name until finish() has synced it; a writer that goes away without finish() removes it.
// After an error it takes no more: part of a row may be in it. A forked child can neither write nor remove its parent's
// file.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "buffer.h"
#include "layout.h"

namespace fastload {

enum class WriteCodec { raw, lz4, lz4hc };

struct WriterOptions {
  WriteCodec codec = WriteCodec::lz4;
  uint64_t block_bytes = uint64_t{1} << 20;  // raw bytes of a block, all fields together
  unsigned threads = 1;                      // 0: encode in the caller's thread
};

// Rows of one field as the caller holds them.
struct ColumnRows {
  const uint8_t* values = nullptr;   // rows x row_bytes, or all elements
  const int64_t* offsets = nullptr;  // rows + 1, ragged only
  const uint8_t* valid = nullptr;    // one byte a row; null when all rows are present
};

class ShardWriter {
 public:
  // temporary_path is created, and must not exist. file_id : 16 random bytes. In a forked child, where the threads are
  // not, the last reference leaves the writer in memory.
  static std::shared_ptr<ShardWriter> create(const std::string& temporary_path, std::vector<FieldSpec> fields,
                                             const FileId& file_id, const WriterOptions& options);
  ~ShardWriter();

  // One entry of `columns` per field. Rows are copied. Throws if a value cannot be stored, leaving the writer unusable.
  void append(const std::vector<ColumnRows>& columns, uint64_t rows);
  // Bytes in the file and waiting to be: what the shard has grown to.
  uint64_t size_bytes() const { return written_bytes_ + footer_estimate_; }
  uint64_t footer_estimate_bytes() const { return footer_estimate_; }
  uint64_t rows() const { return rows_; }
  // Writes the last block, footer and tail, syncs, and renames to `final_path`.
  Layout finish(std::vector<Dictionary> dictionaries, const std::string& final_path);

 private:
  struct Block;
  struct EncodedChunk {
    std::vector<uint8_t> bytes;
    ChunkEntry entry;
  };
  struct EncodedBlock;

  ShardWriter(const std::string& temporary_path, std::vector<FieldSpec> fields, const FileId& file_id,
              const WriterOptions& options);
  void check_usable() const;
  void append_rows(const std::vector<ColumnRows>& columns, uint64_t rows);
  Layout write_rest(std::vector<Dictionary> dictionaries, const std::string& final_path);
  uint64_t rows_that_fit(const std::vector<ColumnRows>& columns, uint64_t first, uint64_t rows) const;
  void submit();
  void work();
  void encode(const Block& block, EncodedBlock& encoded);
  EncodedChunk encode_chunk(size_t field, const uint8_t* raw, uint64_t raw_bytes);
  void write_finished(bool all);
  void write_block(EncodedBlock& encoded);
  void put(const void* data, uint64_t size_bytes);
  void flush();
  void stop_threads();

  const std::string temporary_path_;
  const WriterOptions options_;
  const int owner_process_;
  int descriptor_ = -1;
  bool finished_ = false, failed_ = false;
  Layout layout_;
  uint64_t fixed_row_bytes_ = 0, rows_ = 0, written_bytes_ = 0, footer_estimate_ = 0, flushed_bytes_ = 0;
  Buffer pending_;                    // bytes flushed_bytes_ .. written_bytes_ of the file
  std::vector<Filter> filters_;       // per field, chosen on the first block
  std::vector<uint8_t> countable_;    // per field, whether its values can be classes
  std::vector<uint8_t> has_classes_;  // per field, whether there are few enough so far
  bool filters_chosen_ = false;
  std::unique_ptr<Block> filling_;

  std::mutex mutex_;  // guards the queue and the states in it
  std::condition_variable changed_;
  std::deque<std::shared_ptr<EncodedBlock>> queue_;  // in file order, until written
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fastload
