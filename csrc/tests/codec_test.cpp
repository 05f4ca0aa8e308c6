#include <random>

#include "check.h"
#include "codec_lz4.h"
#include "filter.h"

namespace fastload::test {
namespace {

std::vector<uint8_t> random_bytes(size_t size, uint64_t range, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() % range);
  return bytes;
}

}  // namespace

// The definition in filter.h, word for word. Element sizes are those the format knows, and odd ones beside them.
TEST(byte_shuffle_is_what_its_header_says) {
  for (const size_t element_bytes : {1, 2, 3, 4, 7, 8, 16})
    for (const size_t size :
         {0, 1, 2, 3, 7, 8, 15, 16, 31, 64, 100, 255, 256, 257, 511, 512, 1000, 4095, 4096, 10007}) {
      const std::vector<uint8_t> plain = random_bytes(size, 256, size);
      const size_t elements = size / element_bytes;
      std::vector<uint8_t> expected = plain, shuffled(size), back(size);
      for (size_t i = 0; i < elements; ++i)
        for (size_t k = 0; k < element_bytes; ++k) expected[k * elements + i] = plain[i * element_bytes + k];
      byte_shuffle(plain.data(), shuffled.data(), size, element_bytes);
      CHECK(shuffled == expected);
      byte_unshuffle(shuffled.data(), back.data(), size, element_bytes);
      CHECK(back == plain);
    }
}

TEST(lz4_gives_back_what_it_got) {
  for (const size_t size : {1, 12, 13, 100, 65535, 65536, 300000})
    for (const uint64_t range : {1, 4, 256})
      for (const int level : {0, 9}) {
        const std::vector<uint8_t> raw = random_bytes(size, range, size + range);
        std::vector<uint8_t> stored(lz4_bound(size)), back(size);
        const size_t stored_bytes = lz4_compress(raw.data(), size, stored.data(), stored.size(), level);
        CHECK(stored_bytes > 0);
        CHECK(lz4_decompress(stored.data(), stored_bytes, back.data(), size));
        CHECK(back == raw);
        // Of any other size it is refused, and nothing is written beyond the end (the sanitizer watches).
        CHECK(!lz4_decompress(stored.data(), stored_bytes, std::vector<uint8_t>(size + 1).data(), size + 1));
        CHECK(!lz4_decompress(stored.data(), stored_bytes, std::vector<uint8_t>(size).data(), size - 1));
        CHECK(!lz4_decompress(stored.data(), stored_bytes - 1, back.data(), size));
      }
}

TEST(lz4_says_when_it_does_not_fit) {
  const std::vector<uint8_t> raw = random_bytes(1000, 256, 3);
  std::vector<uint8_t> stored(500);
  CHECK_EQ(lz4_compress(raw.data(), raw.size(), stored.data(), stored.size(), 0), size_t{0});
}

TEST(lz4_refuses_noise) {
  std::vector<uint8_t> raw(4096);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const std::vector<uint8_t> noise = random_bytes(1 + seed % 300, 256, seed);
    lz4_decompress(noise.data(), noise.size(), raw.data(), raw.size());  // true or false, within its bounds
  }
}

}  // namespace fastload::test
