// Byte-shuffle: byte k of every element side by side, so that a codec finds runs in numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastload {

// shuffled[k * n + i] = plain[i * element_bytes + k] for the n whole elements; bytes after them stay where they are.
void byte_shuffle(const uint8_t* plain, uint8_t* shuffled, size_t size_bytes, size_t element_bytes);
void byte_unshuffle(const uint8_t* shuffled, uint8_t* plain, size_t size_bytes, size_t element_bytes);

}  // namespace fastload
