#include "filter.h"

#include <cstring>

#ifdef FASTLOAD_BLOSC2_SHUFFLE
extern "C" {  // SIMD with runtime dispatch, from the library that also brings LZ4
int32_t blosc2_shuffle(int32_t typesize, int32_t blocksize, const void* source, const void* target);
int32_t blosc2_unshuffle(int32_t typesize, int32_t blocksize, const void* source, const void* target);
}
#endif

namespace fastload {

void byte_shuffle(const uint8_t* plain, uint8_t* shuffled, size_t size_bytes, size_t element_bytes) {
#ifdef FASTLOAD_BLOSC2_SHUFFLE
  blosc2_shuffle(static_cast<int32_t>(element_bytes), static_cast<int32_t>(size_bytes), plain, shuffled);
#else
  const size_t elements = size_bytes / element_bytes;
  for (size_t k = 0; k < element_bytes; ++k)
    for (size_t i = 0; i < elements; ++i) shuffled[k * elements + i] = plain[i * element_bytes + k];
  std::memcpy(shuffled + elements * element_bytes, plain + elements * element_bytes, size_bytes % element_bytes);
#endif
}

void byte_unshuffle(const uint8_t* shuffled, uint8_t* plain, size_t size_bytes, size_t element_bytes) {
#ifdef FASTLOAD_BLOSC2_SHUFFLE
  blosc2_unshuffle(static_cast<int32_t>(element_bytes), static_cast<int32_t>(size_bytes), shuffled, plain);
#else
  const size_t elements = size_bytes / element_bytes;
  for (size_t k = 0; k < element_bytes; ++k)
    for (size_t i = 0; i < elements; ++i) plain[i * element_bytes + k] = shuffled[k * elements + i];
  std::memcpy(plain + elements * element_bytes, shuffled + elements * element_bytes, size_bytes % element_bytes);
#endif
}

}  // namespace fastload
