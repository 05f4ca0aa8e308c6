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
// Less than one value in sqrt(size) walks. Not a cipher: the rounds are made to run eight values at a time; ten of them
// leave no correlation between neighbours that a chi-square test of a million rows could find (six do not suffice).
class Permutation {
 public:
  Permutation() = default;
  Permutation(uint64_t size, uint64_t key);  // size < 2^62

  uint64_t size() const { return size_; }
  // images[i] = permutation(first + i * step), all of them below `size`.
  void apply(uint64_t first, uint64_t step, size_t count, uint64_t* images) const;

 private:
  void walk(uint32_t* left, uint32_t* right) const;

  static constexpr int kRounds = 10;

  uint64_t size_ = 0;
  uint32_t left_size_ = 1, right_size_ = 1;
  std::array<uint32_t, kRounds> keys_{};
};

}  // namespace fastload
