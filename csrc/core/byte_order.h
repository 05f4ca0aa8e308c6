// Little-endian numbers in files, whatever their alignment.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastload {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fastload hands out stored bytes without swapping them: it needs a little-endian machine"
#endif

template <class T>
T load_le(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
void store_le(uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

constexpr uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

// a * b and a + b, false when the result does not fit: for every number that comes from a file.
inline bool checked_mul(uint64_t a, uint64_t b, uint64_t* result) { return !__builtin_mul_overflow(a, b, result); }
inline bool checked_add(uint64_t a, uint64_t b, uint64_t* result) { return !__builtin_add_overflow(a, b, result); }

}  // namespace fastload
