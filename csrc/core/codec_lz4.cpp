#include "codec_lz4.h"

extern "C" {
int LZ4_compressBound(int input_size);
int LZ4_compress_default(const char* source, char* target, int source_size, int target_capacity);
int LZ4_compress_HC(const char* source, char* target, int source_size, int target_capacity, int level);
int LZ4_decompress_safe(const char* source, char* target, int compressed_size, int target_capacity);
}

namespace fastload {

size_t lz4_bound(size_t raw_bytes) { return static_cast<size_t>(LZ4_compressBound(static_cast<int>(raw_bytes))); }

size_t lz4_compress(const uint8_t* raw, size_t raw_bytes, uint8_t* stored, size_t capacity_bytes, int level) {
  const auto* source = reinterpret_cast<const char*>(raw);
  auto* target = reinterpret_cast<char*>(stored);
  const int source_size = static_cast<int>(raw_bytes), capacity = static_cast<int>(capacity_bytes);
  const int size = level > 0 ? LZ4_compress_HC(source, target, source_size, capacity, level)
                             : LZ4_compress_default(source, target, source_size, capacity);
  return size > 0 ? static_cast<size_t>(size) : 0;
}

bool lz4_decompress(const uint8_t* stored, size_t stored_bytes, uint8_t* raw, size_t raw_bytes) {
  const int size = LZ4_decompress_safe(reinterpret_cast<const char*>(stored), reinterpret_cast<char*>(raw),
                                       static_cast<int>(stored_bytes), static_cast<int>(raw_bytes));
  return size >= 0 && static_cast<size_t>(size) == raw_bytes;
}

}  // namespace fastload
