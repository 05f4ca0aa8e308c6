#include "checksum.h"

#include <random>

#include "check.h"

namespace fastload::test {

// RFC 3720, appendix B.4: the vectors of 32 bytes, and the read command of 48; and the usual check value.
TEST(crc32c_gives_the_values_of_the_rfc) {
  std::vector<uint8_t> zeros(32, 0), ones(32, 0xFF), up(32), down(32);
  for (uint8_t i = 0; i < 32; ++i) {
    up[i] = i;
    down[i] = static_cast<uint8_t>(31 - i);
  }
  const std::vector<uint8_t> command = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                        0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                        0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
  for (const Crc32c function : crc32c_ways()) {
    CHECK_EQ(function(zeros.data(), 32, 0), 0x8A9136AAu);
    CHECK_EQ(function(ones.data(), 32, 0), 0x62A8AB43u);
    CHECK_EQ(function(up.data(), 32, 0), 0x46DD794Eu);
    CHECK_EQ(function(down.data(), 32, 0), 0x113FDB5Cu);
    CHECK_EQ(function(command.data(), command.size(), 0), 0xD9963A56u);
    CHECK_EQ(function("123456789", 9, 0), 0xE3069283u);
    CHECK_EQ(function(nullptr, 0, 0), 0u);
  }
}

TEST(crc32c_of_every_length_is_that_of_the_tables) {
  std::mt19937_64 random(1);
  std::vector<uint8_t> data(20100);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  uint32_t grown = 0;  // byte by byte: a third way to the same number
  for (size_t size = 0; size <= 20000; ++size) {
    for (const Crc32c function : crc32c_ways()) CHECK_EQ(function(data.data(), size, 0), grown);
    grown = crc32c_portable(data.data() + size, 1, grown);
  }
  for (size_t shift = 0; shift < 64; ++shift)
    for (const size_t size : {0, 1, 7, 8, 9, 63, 255, 256, 257, 384, 2048, 6143, 6144, 6145, 12288, 12301, 20000})
      for (const Crc32c function : crc32c_ways())
        CHECK_EQ(function(data.data() + shift, size, 77), crc32c_portable(data.data() + shift, size, 77));
}

TEST(crc32c_goes_on_where_it_stopped) {
  std::vector<uint8_t> data(15000);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * i >> 3);
  const uint32_t whole = crc32c(data.data(), data.size());
  for (const size_t cut : {1, 13, 2048, 6144, 9999, 14999})
    CHECK_EQ(crc32c(data.data() + cut, data.size() - cut, crc32c(data.data(), cut)), whole);
}

TEST(crc32c_sees_every_single_flipped_bit) {
  std::vector<uint8_t> data(7000, 0x5A);
  const uint32_t whole = crc32c(data.data(), data.size());
  for (size_t bit = 0; bit < 8 * data.size(); bit += 5) {
    data[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    CHECK(crc32c(data.data(), data.size()) != whole);
    data[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
}

}  // namespace fastload::test
