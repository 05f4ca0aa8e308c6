#include "permutation.h"

#include <cmath>

namespace fastload {
namespace {

constexpr size_t kLanes = 64;  // values that go through the rounds side by side
constexpr uint32_t kMultiplier = 0x9E3779B1;

// value += pseudo-random number below `size`, modulo `size` (< 2^31): multiply, fold, scale.
inline __attribute__((always_inline)) uint32_t step(uint32_t value, uint32_t other, uint32_t key, uint32_t size) {
  const uint64_t product = uint64_t{other ^ key} * kMultiplier;
  const uint32_t hash = static_cast<uint32_t>(product) ^ static_cast<uint32_t>(product >> 32);
  const uint32_t sum = value + static_cast<uint32_t>(uint64_t{hash} * size >> 32);
  return sum >= size ? sum - size : sum;
}

// Written so that compilers turn the inner loops into vector instructions.
template <size_t kCount>
inline __attribute__((always_inline)) void run_rounds(uint32_t* __restrict left, uint32_t* __restrict right,
                                                      const uint32_t* keys, int rounds, uint32_t left_size,
                                                      uint32_t right_size) {
  for (int round = 0; round < rounds; round += 2) {
    for (size_t i = 0; i < kCount; ++i) left[i] = step(left[i], right[i], keys[round], left_size);
    for (size_t i = 0; i < kCount; ++i) right[i] = step(right[i], left[i], keys[round + 1], right_size);
  }
}

using Rounds = void (*)(uint32_t*, uint32_t*, const uint32_t*, int, uint32_t, uint32_t);

void run_lanes(uint32_t* left, uint32_t* right, const uint32_t* keys, int rounds, uint32_t left_size,
               uint32_t right_size) {
  run_rounds<kLanes>(left, right, keys, rounds, left_size, right_size);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void run_lanes_avx2(uint32_t* left, uint32_t* right, const uint32_t* keys, int rounds,
                                                    uint32_t left_size, uint32_t right_size) {
  run_rounds<kLanes>(left, right, keys, rounds, left_size, right_size);
}

Rounds choose_rounds() { return __builtin_cpu_supports("avx2") ? run_lanes_avx2 : run_lanes; }
#else
Rounds choose_rounds() { return run_lanes; }
#endif

}  // namespace

uint64_t mix64(uint64_t value) {
  value += 0x9E3779B97F4A7C15ull;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
  return value ^ (value >> 31);
}

Permutation::Permutation(uint64_t size, uint64_t key) : size_(size) {
  uint64_t left = static_cast<uint64_t>(std::sqrt(static_cast<double>(size)));
  while (left * left < size) ++left;
  left_size_ = static_cast<uint32_t>(left > 0 ? left : 1);
  right_size_ = static_cast<uint32_t>((size + left_size_ - 1) / left_size_);
  for (auto& round_key : keys_) {
    key = mix64(key);
    round_key = static_cast<uint32_t>(key >> 32);
  }
}

// One value that fell outside: round again until it is inside.
void Permutation::walk(uint32_t* left, uint32_t* right) const {
  do {
    run_rounds<1>(left, right, keys_.data(), kRounds, left_size_, right_size_);
  } while (uint64_t{*left} * right_size_ + *right >= size_);
}

void Permutation::apply(uint64_t first, uint64_t step, size_t count, uint64_t* images) const {
  static const Rounds run = choose_rounds();
  if (count == 0) return;
  uint32_t left[kLanes], right[kLanes];
  auto next_left = static_cast<uint32_t>(first / right_size_), next_right = static_cast<uint32_t>(first % right_size_);
  const auto left_step = static_cast<uint32_t>(step / right_size_ % left_size_);
  const auto right_step = static_cast<uint32_t>(step % right_size_);
  for (size_t done = 0; done < count; done += kLanes) {
    for (size_t i = 0; i < kLanes; ++i) {  // lanes beyond `count` are computed and dropped
      left[i] = next_left;
      right[i] = next_right;
      next_left += left_step;
      next_right += right_step;
      if (next_right >= right_size_) {
        next_right -= right_size_;
        ++next_left;
      }
      if (next_left >= left_size_) next_left -= left_size_;
    }
    run(left, right, keys_.data(), kRounds, left_size_, right_size_);
    const size_t wanted = count - done < kLanes ? count - done : kLanes;
    for (size_t i = 0; i < wanted; ++i) {
      uint64_t image = uint64_t{left[i]} * right_size_ + right[i];
      if (image >= size_) {
        walk(&left[i], &right[i]);
        image = uint64_t{left[i]} * right_size_ + right[i];
      }
      images[done + i] = image;
    }
  }
}

}  // namespace fastload
