#include "checksum.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
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
FASTLOAD_HARDWARE_CRC uint32_t crc32c_streams(const void* bytes, size_t size_bytes, uint32_t crc) {
  const auto* data = static_cast<const uint8_t*>(bytes);
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

#if defined(__x86_64__)
#define FASTLOAD_FOLDING __attribute__((target("avx2,sse4.2,vpclmulqdq")))
bool has_folding() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq"); }

// x^n modulo the polynomial, reflected, as carry-less multiplication of reflected operands wants it: one bit up.
constexpr uint64_t folding_constant(unsigned n) {
  uint32_t power = uint32_t{1} << 31;  // x^0
  for (unsigned i = 0; i < n; ++i) power = (power >> 1) ^ (power & 1 ? kPolynomial : 0);
  return uint64_t{power} << 1;
}

constexpr size_t kFoldBytes = 128;

// Moves what is held 128 bytes on, where it meets the bytes that lie there.
FASTLOAD_FOLDING inline __m256i fold(__m256i held, __m256i constants, __m256i next) {
  const __m256i low = _mm256_clmulepi64_epi128(held, constants, 0x00);
  const __m256i high = _mm256_clmulepi64_epi128(held, constants, 0x11);
  return _mm256_xor_si256(_mm256_xor_si256(low, high), next);
}

// Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction (Intel, 2009): the data shrink
// to 128 bytes of the same remainder, at the speed of memory.
FASTLOAD_FOLDING uint32_t crc32c_folding(const void* bytes, size_t size_bytes, uint32_t crc) {
  if (size_bytes < 2 * kFoldBytes) return crc32c_streams(bytes, size_bytes, crc);
  constexpr auto kLow = static_cast<long long>(folding_constant(8 * kFoldBytes + 32));
  constexpr auto kHigh = static_cast<long long>(folding_constant(8 * kFoldBytes - 32));
  const __m256i constants = _mm256_set_epi64x(kHigh, kLow, kHigh, kLow);
  const auto* parts = static_cast<const __m256i*>(bytes);
  __m256i a =
      _mm256_xor_si256(_mm256_loadu_si256(parts), _mm256_set_epi32(0, 0, 0, 0, 0, 0, 0, static_cast<int>(~crc)));
  __m256i b = _mm256_loadu_si256(parts + 1), c = _mm256_loadu_si256(parts + 2), d = _mm256_loadu_si256(parts + 3);
  size_t at = kFoldBytes;
  for (; size_bytes - at >= kFoldBytes; at += kFoldBytes) {
    parts += 4;
    a = fold(a, constants, _mm256_loadu_si256(parts));
    b = fold(b, constants, _mm256_loadu_si256(parts + 1));
    c = fold(c, constants, _mm256_loadu_si256(parts + 2));
    d = fold(d, constants, _mm256_loadu_si256(parts + 3));
  }
  alignas(32) uint8_t held[kFoldBytes];
  auto* out = reinterpret_cast<__m256i*>(held);
  _mm256_store_si256(out, a);
  _mm256_store_si256(out + 1, b);
  _mm256_store_si256(out + 2, c);
  _mm256_store_si256(out + 3, d);
  crc = crc32c_streams(held, kFoldBytes, ~uint32_t{0});
  return crc32c_streams(static_cast<const uint8_t*>(bytes) + at, size_bytes - at, crc);
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

std::vector<Crc32c> crc32c_ways() {
  std::vector<Crc32c> ways;
#ifdef FASTLOAD_FOLDING
  if (has_folding()) ways.push_back(&crc32c_folding);
#endif
#ifdef FASTLOAD_HARDWARE_CRC
  if (has_hardware_crc()) ways.push_back(&crc32c_streams);
#endif
  ways.push_back(&crc32c_portable);
  return ways;
}

uint32_t crc32c(const void* data, size_t size_bytes, uint32_t crc) {
  static const Crc32c fastest = crc32c_ways().front();
  return fastest(data, size_bytes, crc);
}

}  // namespace fastload
