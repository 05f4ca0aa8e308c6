// CRC32C (Castagnoli; RFC 3720, appendix B.4). Detects every single flipped bit and every burst up to 32 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastload {

// CRC32C of `size_bytes` bytes, going on from `crc` (0 at the start), in the fastest way this processor has.
uint32_t crc32c(const void* data, size_t size_bytes, uint32_t crc = 0);

// With tables, on every processor: the reference that the others are tested against.
uint32_t crc32c_portable(const void* data, size_t size_bytes, uint32_t crc = 0);

// All ways this processor has, the fastest first: carry-less multiplication (VPCLMULQDQ), three interleaved streams of
// the crc32 instruction, tables.
using Crc32c = uint32_t (*)(const void* data, size_t size_bytes, uint32_t crc);
std::vector<Crc32c> crc32c_ways();

}  // namespace fastload
