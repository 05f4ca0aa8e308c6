// LZ4 blocks (raw block format, no frame). The library comes with the blosc2 wheel or from the system; its header does
// not, so the stable C prototypes are declared in codec_lz4.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastload {

size_t lz4_bound(size_t raw_bytes);
// Returns the compressed size, 0 if it does not fit `capacity_bytes`. level 0 is LZ4, above it LZ4HC of that level.
size_t lz4_compress(const uint8_t* raw, size_t raw_bytes, uint8_t* stored, size_t capacity_bytes, int level);
// True if `stored` decodes to exactly `raw_bytes` bytes. Never writes outside `raw`.
bool lz4_decompress(const uint8_t* stored, size_t stored_bytes, uint8_t* raw, size_t raw_bytes);

}  // namespace fastload
