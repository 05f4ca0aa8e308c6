// CRC32C (Castagnoli; RFC 3720, appendix B.4). Detects every single flipped bit and every burst up to 32 bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastload {

// CRC32C of `size_bytes` bytes, going on from `crc` (0 at the start). The processor's instruction where there
// is one, in three interleaved streams; tables elsewhere.
uint32_t crc32c(const void* data, size_t size_bytes, uint32_t crc = 0);

// The table form, always there: the reference the fast one is tested against.
uint32_t crc32c_portable(const void* data, size_t size_bytes, uint32_t crc = 0);

}  // namespace fastload
