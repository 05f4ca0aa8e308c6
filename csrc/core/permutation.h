// A keyed bijection of 0 .. size-1, computed on the fly: a shuffle that needs no index list.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fastload {

// The mixing step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): derives keys from seeds.
uint64_t mix64(uint64_t value);

// A generalized Feistel network over Z_a x Z_b with a * b just above `size` (Black and Rogaway, "Ciphers with
// Arbitrary Finite Domains", CT-RSA 2002), followed by cycle walking: a value outside the range goes round again.
// Less than one value in sqrt(size) walks. Not a cipher: the round function is made for speed.
class Permutation {
 public:
  Permutation() = default;
  Permutation(uint64_t size, uint64_t key);  // size < 2^62

  uint64_t size() const { return size_; }
  // images[i] = permutation(first + i); first + count <= size.
  void apply(uint64_t first, size_t count, uint64_t* images) const;

 private:
  static constexpr int kRounds = 6;

  uint64_t size_ = 0, left_size_ = 1, right_size_ = 1;
  std::array<uint64_t, kRounds> keys_{};
};

}  // namespace fastload
