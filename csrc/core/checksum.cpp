#include "checksum.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

namespace fastload {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // reflected

using Table = std::array<uint32_t, 256>;

constexpr std::array<Table, 8> make_tables() {
  std::array<Table, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k)
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t previous = tables[k - 1][byte];
      tables[k][byte] = (previous >> 8) ^ tables[0][previous & 0xFF];
    }
  return tables;
}

constexpr std::array<Table, 8> kTables = make_tables();

// The state after `state` has been fed kStreamBytes zero bytes, as four table look-ups: feeding zeros is linear
// over GF(2), so each of the four bytes of the state can be advanced on its own and the results XORed.
constexpr size_t kStreamBytes = 2048;

constexpr std::array<Table, 4> make_shift_tables() {
  std::array<Table, 4> tables{};
  std::array<uint32_t, 32> images{};
  for (int bit = 0; bit < 32; ++bit) {
    uint32_t state = 1u << bit;
    for (size_t i = 0; i < kStreamBytes; ++i) state = (state >> 8) ^ kTables[0][state & 0xFF];
    images[bit] = state;
  }
  for (int byte = 0; byte < 4; ++byte)
    for (uint32_t value = 0; value < 256; ++value)
      for (int bit = 0; bit < 8; ++bit)
        if (value >> bit & 1) tables[byte][value] ^= images[8 * byte + bit];
  return tables;
}

constexpr std::array<Table, 4> kShiftTables = make_shift_tables();

uint32_t shift_stream(uint32_t state) {
  const auto& tables = kShiftTables;
  return tables[0][state & 0xFF] ^ tables[1][state >> 8 & 0xFF] ^ tables[2][state >> 16 & 0xFF] ^
         tables[3][state >> 24];
}

#if defined(__x86_64__)
#define FASTLOAD_HARDWARE_CRC __attribute__((target("sse4.2")))
FASTLOAD_HARDWARE_CRC inline uint64_t step(uint64_t state, uint64_t word) { return _mm_crc32_u64(state, word); }
FASTLOAD_HARDWARE_CRC inline uint32_t step_byte(uint32_t state, uint8_t byte) { return _mm_crc32_u8(state, byte); }
bool has_hardware_crc() { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__linux__)
#define FASTLOAD_HARDWARE_CRC __attribute__((target("+crc")))
FASTLOAD_HARDWARE_CRC inline uint64_t step(uint64_t state, uint64_t word) {
  return __crc32cd(static_cast<uint32_t>(state), word);
}
FASTLOAD_HARDWARE_CRC inline uint32_t step_byte(uint32_t state, uint8_t byte) { return __crc32cb(state, byte); }
bool has_hardware_crc() { return getauxval(AT_HWCAP) & (1 << 7); }  // HWCAP_CRC32
#endif

#ifdef FASTLOAD_HARDWARE_CRC
// One crc instruction has a latency of three cycles and a throughput of one: three streams keep it busy.
FASTLOAD_HARDWARE_CRC uint32_t crc32c_hardware(const uint8_t* data, size_t size_bytes, uint32_t crc) {
  uint64_t state = ~crc;
  const auto word = [data](size_t offset) {
    uint64_t value;
    std::memcpy(&value, data + offset, 8);
    return value;
  };
  size_t at = 0;
  while (size_bytes - at >= 3 * kStreamBytes) {
    uint64_t second = 0, third = 0;
    for (size_t line = at; line < at + kStreamBytes; line += 64) {
      // Three short streams are too much for the hardware's prefetcher. Beyond the data's end nothing is touched.
      for (size_t stream = 3; stream < 6; ++stream) __builtin_prefetch(data + line + stream * kStreamBytes);
      for (size_t i = line; i < line + 64; i += 8) {
        state = step(state, word(i));
        second = step(second, word(i + kStreamBytes));
        third = step(third, word(i + 2 * kStreamBytes));
      }
    }
    state = shift_stream(static_cast<uint32_t>(state)) ^ second;
    state = shift_stream(static_cast<uint32_t>(state)) ^ third;
    at += 3 * kStreamBytes;
  }
  for (; size_bytes - at >= 8; at += 8) state = step(state, word(at));
  for (; at < size_bytes; ++at) state = step_byte(static_cast<uint32_t>(state), data[at]);
  return ~static_cast<uint32_t>(state);
}
#endif

}  // namespace

uint32_t crc32c_portable(const void* data, size_t size_bytes, uint32_t crc) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  uint32_t state = ~crc;
  for (; size_bytes >= 8; size_bytes -= 8, bytes += 8) {
    uint32_t low, high;
    std::memcpy(&low, bytes, 4);
    std::memcpy(&high, bytes + 4, 4);
    low ^= state;
    state = kTables[7][low & 0xFF] ^ kTables[6][low >> 8 & 0xFF] ^ kTables[5][low >> 16 & 0xFF] ^
            kTables[4][low >> 24] ^ kTables[3][high & 0xFF] ^ kTables[2][high >> 8 & 0xFF] ^
            kTables[1][high >> 16 & 0xFF] ^ kTables[0][high >> 24];
  }
  for (; size_bytes > 0; --size_bytes, ++bytes) state = (state >> 8) ^ kTables[0][(state ^ *bytes) & 0xFF];
  return ~state;
}

uint32_t crc32c(const void* data, size_t size_bytes, uint32_t crc) {
#ifdef FASTLOAD_HARDWARE_CRC
  static const bool hardware = has_hardware_crc();
  if (hardware) return crc32c_hardware(static_cast<const uint8_t*>(data), size_bytes, crc);
#endif
  return crc32c_portable(data, size_bytes, crc);
}

}  // namespace fastload
