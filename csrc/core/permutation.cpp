#include "permutation.h"

#include <cmath>

namespace fastload {
namespace {

// A pseudo-random number below `size` (< 2^32), from a key and a value: multiply, fold, scale.
inline uint64_t draw(uint64_t value, uint64_t key, uint64_t size) {
  uint64_t hash = (value ^ key) * 0x9E3779B97F4A7C15ull;
  hash ^= hash >> 32;
  return (hash & 0xFFFFFFFFull) * size >> 32;
}

inline uint64_t add_modulo(uint64_t a, uint64_t b, uint64_t size) {
  const uint64_t sum = a + b;
  return sum >= size ? sum - size : sum;
}

}  // namespace

uint64_t mix64(uint64_t value) {
  value += 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

Permutation::Permutation(uint64_t size, uint64_t key) : size_(size) {
  left_size_ = static_cast<uint64_t>(std::sqrt(static_cast<double>(size)));
  while (left_size_ * left_size_ < size) ++left_size_;
  if (left_size_ == 0) left_size_ = 1;
  right_size_ = (size + left_size_ - 1) / left_size_;
  for (auto& round_key : keys_) round_key = key = mix64(key);
}

void Permutation::apply(uint64_t first, size_t count, uint64_t* images) const {
  uint64_t next_left = count ? first / right_size_ : 0, next_right = count ? first % right_size_ : 0;
  for (size_t i = 0; i < count; ++i) {
    uint64_t left = next_left, right = next_right, image;
    if (++next_right == right_size_) {
      next_right = 0;
      ++next_left;
    }
    do {
      for (int round = 0; round < kRounds; round += 2) {
        left = add_modulo(left, draw(right, keys_[round], left_size_), left_size_);
        right = add_modulo(right, draw(left, keys_[round + 1], right_size_), right_size_);
      }
      image = left * right_size_ + right;
    } while (image >= size_);
    images[i] = image;
  }
}

}  // namespace fastload
