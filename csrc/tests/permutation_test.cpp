#include "permutation.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace fastload::test {
namespace {

std::vector<uint64_t> images_of(uint64_t size, uint64_t key) {
  std::vector<uint64_t> images(size);
  Permutation(size, key).apply(0, 1, size, images.data());
  return images;
}

void check_bijection(uint64_t size, uint64_t key) {
  std::vector<uint8_t> seen(size);
  for (const uint64_t image : images_of(size, key)) {
    CHECK(image < size);
    CHECK(!seen[image]);
    seen[image] = 1;
  }
}

// Pearson's sum over cells that are expected to be equally full.
double chi_square(const std::vector<uint64_t>& cells) {
  double total = 0, sum = 0;
  for (const uint64_t n : cells) total += static_cast<double>(n);
  const double expected = total / static_cast<double>(cells.size());
  for (const uint64_t n : cells)
    sum += (static_cast<double>(n) - expected) * (static_cast<double>(n) - expected) / expected;
  return sum;
}

// Five standard deviations above the mean of a chi-square: about one in a million for few degrees of freedom.
double highest(double degrees) { return degrees + 5 * std::sqrt(2 * degrees) + 6; }

}  // namespace

TEST(every_size_up_to_2000_is_a_bijection) {
  for (uint64_t size = 0; size <= 2000; ++size) check_bijection(size, size * 7919 + 1);
}

TEST(large_sizes_are_bijections) {
  for (const uint64_t size : {65535u, 65536u, 65537u, 1000003u, 2097151u}) check_bijection(size, 42);
}

// Far too large to list: images of a range must lie inside and differ.
TEST(sizes_beyond_memory_have_distinct_images) {
  for (const uint64_t size : {uint64_t{1} << 32, (uint64_t{1} << 40) - 87, (uint64_t{1} << 62) - 1}) {
    const Permutation permutation(size, 5);
    for (const uint64_t first : {uint64_t{0}, size / 3, size - 20000}) {
      std::vector<uint64_t> images(20000);
      permutation.apply(first, 1, images.size(), images.data());
      std::sort(images.begin(), images.end());
      CHECK(std::adjacent_find(images.begin(), images.end()) == images.end());
      CHECK(images.back() < size);
    }
  }
}

TEST(any_range_gives_the_images_of_the_whole) {
  for (const uint64_t size : {1u, 2u, 10u, 97u, 1000u}) {
    const std::vector<uint64_t> whole = images_of(size, 3);
    const Permutation permutation(size, 3);
    for (uint64_t first = 0; first < size; first += 1 + size / 17) {
      std::vector<uint64_t> part(std::min<uint64_t>(13, size - first));
      permutation.apply(first, 1, part.size(), part.data());
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(first)));
    }
  }
}

TEST(keys_give_different_orders) {
  CHECK(images_of(100, 1) == images_of(100, 1));
  for (uint64_t key = 2; key < 50; ++key) CHECK(images_of(100, key) != images_of(100, 1));
}

// Over many keys, each position goes to each image equally often.
TEST(each_position_is_spread_over_all_images) {
  constexpr uint64_t kKeys = 20000;
  for (uint64_t size = 2; size <= 12; ++size) {
    std::vector<std::vector<uint64_t>> cells(size, std::vector<uint64_t>(size));
    for (uint64_t key = 0; key < kKeys; ++key) {
      const std::vector<uint64_t> images = images_of(size, mix64(key));
      for (uint64_t i = 0; i < size; ++i) ++cells[i][images[i]];
    }
    for (uint64_t i = 0; i < size; ++i) {
      const double found = chi_square(cells[i]);
      if (found > highest(static_cast<double>(size - 1)))
        fail_check(__FILE__, __LINE__,
                   "size " + std::to_string(size) + ", position " + std::to_string(i) + ": " + std::to_string(found));
    }
  }
}

// In one large shuffle: sixteenths of the positions spread evenly over sixteenths of the images, and neighbours part.
TEST(one_large_shuffle_is_even) {
  constexpr uint64_t kSize = 1 << 18, kParts = 16;
  for (uint64_t key = 0; key < 8; ++key) {
    const std::vector<uint64_t> images = images_of(kSize, mix64(key + 1000));
    std::vector<uint64_t> cells(kParts * kParts);
    double distance = 0;
    for (uint64_t i = 0; i < kSize; ++i) {
      ++cells[i * kParts / kSize * kParts + images[i] * kParts / kSize];
      if (i) distance += std::fabs(static_cast<double>(images[i]) - static_cast<double>(images[i - 1]));
    }
    CHECK(chi_square(cells) < highest((kParts - 1) * (kParts - 1)));
    const double mean = distance / (kSize - 1) / kSize;  // a third, for independent draws
    CHECK(std::fabs(mean - 1.0 / 3) < 0.01);
  }
}

}  // namespace fastload::test
