// Pixels on CUDA devices: uint8 [rows, height, width, channels] -> [rows, channels, out_height, out_width].
//
// The integers and numbers are those of fastload/kernels/calls.py; what is drawn is what fastload/kernels/cpu.py draws.
// A thread makes four places of a row of a window, in every channel, and stores 16 bytes at once where they lie so.
// Compiled by NVRTC, by nvcc, and, with tests/kernels/cuda_shim.h before it, by any C++ compiler.

using Word = unsigned long long;

struct Window {
  int top, left;
  bool flips_x, flips_y;
};

struct Erased {
  int top, left, height, width;  // width 0: nothing is
};

__device__ inline Word mix64(Word z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
__device__ inline Word draw(Word key, int slot) { return mix64(key + Word(slot + 1) * 0x9E3779B97F4A7C15ull); }
__device__ inline int below(Word word, long long count) { return int(((word >> 32) * Word(count)) >> 32); }
__device__ inline bool happens(Word word, long long threshold) { return (word >> 32) < Word(threshold); }
__device__ inline float unit(Word word, float ulp) { return float(int(word >> 40)) * ulp; }
__device__ inline float lerp_of(float a, float b, float t) { return a + t * (b - a); }

__device__ inline Window window_of(const long long* integers, const Word* keys, long long row) {
  Window window = {int(integers[7]), int(integers[9]), false, false};
  if (integers[11]) {
    const Word key = keys[row];
    window.flips_x = happens(draw(key, 0), integers[5]);
    window.flips_y = happens(draw(key, 1), integers[6]);
    window.top += below(draw(key, 2), integers[8]);
    window.left += below(draw(key, 3), integers[10]);
  }
  return window;
}

__device__ inline Erased erased_of(const long long* integers, const Word* keys, long long row) {
  if (!integers[11] || !happens(draw(keys[row], 6), integers[12])) return {0, 0, 0, 0};
  const long long* const shape = integers + 14 + 2 * below(draw(keys[row], 7), integers[13]);
  const int height = int(shape[0]), width = int(shape[1]);
  return {below(draw(keys[row], 8), integers[3] - height + 1), below(draw(keys[row], 9), integers[4] - width + 1), height,
          width};
}

__device__ inline bool holds(const Erased& erased, int y, int x) {
  return y >= erased.top && y < erased.top + erased.height && x >= erased.left && x < erased.left + erased.width;
}

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T of[4];
};

// out[0 .. count - 1], count up to 4; in one store where the four are there and aligned.
template <class T>
__device__ inline void store(T* out, const Four<T>& four, int count) {
  if (count == 4 && reinterpret_cast<size_t>(out) % sizeof(Four<T>) == 0) {
    *reinterpret_cast<Four<T>*>(out) = four;
  } else {
    for (int i = 0; i < count; ++i) out[i] = four.of[i];
  }
}

// Every four places of every window: body(row, y, x, count).
template <class Body>
__device__ inline void for_fours(long long rows, int out_height, int out_width, Body body) {
  const int across = (out_width + 3) / 4, in_image = across * out_height;
  for (long long row = blockIdx.x; row < rows; row += gridDim.x)
    for (int i = int(threadIdx.x); i < in_image; i += int(blockDim.x)) {
      const int y = i / across, x = (i - y * across) * 4;
      body(row, y, x, out_width - x < 4 ? out_width - x : 4);
    }
}

template <class T>
__global__ void fastload_copy_pixels(const unsigned char* values, const Word* keys, long long rows,
                                     const long long* integers, const T* numbers, T* out) {
  const int height = int(integers[0]), width = int(integers[1]), channels = int(integers[2]);
  const int out_height = int(integers[3]), out_width = int(integers[4]);
  const T *const outside = numbers + channels * 256, *const erased_value = outside + channels;
  for_fours(rows, out_height, out_width, [&](long long row, int y, int x, int count) {
    const Window window = window_of(integers, keys, row);
    const Erased erased = erased_of(integers, keys, row);
    const int source_y = window.top + (window.flips_y ? out_height - 1 - y : y);
    const bool there_y = source_y >= 0 && source_y < height;
    const unsigned char* const line = values + (row * height + (there_y ? source_y : 0)) * width * channels;
    for (int c = 0; c < channels; ++c) {
      Four<T> four;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int place = x + i, source_x = window.left + (window.flips_x ? out_width - 1 - place : place);
        const bool there = there_y && source_x >= 0 && source_x < width;
        const T value = there ? numbers[c * 256 + line[source_x * channels + c]] : outside[c];
        four.of[i] = holds(erased, y, place) ? erased_value[c] : value;
      }
      store(out + ((row * channels + c) * out_height + y) * out_width + x, four, count);
    }
  });
}

__global__ void fastload_warp_pixels(const unsigned char* values, const Word* keys, long long rows,
                                     const long long* integers, const float* numbers, float* out) {
  const int height = int(integers[0]), width = int(integers[1]), channels = int(integers[2]);
  const int out_height = int(integers[3]), out_width = int(integers[4]);
  const float *const mean = numbers, *const factor = mean + channels, *const outside = factor + channels;
  const float *const erased_value = outside + channels, *const drawn = erased_value + channels;
  const float middle_x = float(out_width - 1) / 2.0f, middle_y = float(out_height - 1) / 2.0f;
  for_fours(rows, out_height, out_width, [&](long long row, int y, int x, int count) {
    const Window window = window_of(integers, keys, row);
    const Erased erased = erased_of(integers, keys, row);
    const float angle = lerp_of(drawn[0], drawn[1], unit(draw(keys[row], 4), drawn[4]));
    const float size = lerp_of(drawn[2], drawn[3], unit(draw(keys[row], 5), drawn[4]));
    // Of half-turns: no angle is so large that it needs a table in local memory.
    const float turn = angle * 0.318309886f, along = __fdividef(cospif(turn), size), aside = __fdividef(sinpif(turn), size);
    const float v = (float(y) - middle_y) * (window.flips_y ? -1.0f : 1.0f);
    const unsigned char* const image = values + row * height * width * channels;
    float across[4], down[4];
    int whole_x[4], whole_y[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float u = (float(x + i) - middle_x) * (window.flips_x ? -1.0f : 1.0f);
      const float from_x = fminf(fmaxf((along * u + aside * v) + (middle_x + float(window.left)), -1.0f), float(width));
      const float from_y = fminf(fmaxf((along * v - aside * u) + (middle_y + float(window.top)), -1.0f), float(height));
      whole_x[i] = int(floorf(from_x));
      whole_y[i] = int(floorf(from_y));
      across[i] = from_x - float(whole_x[i]);
      down[i] = from_y - float(whole_y[i]);
    }
    for (int c = 0; c < channels; ++c) {
      const auto level = [&](int at_y, int at_x) {
        const bool there = at_y >= 0 && at_y < height && at_x >= 0 && at_x < width;
        return there ? float(image[(at_y * width + at_x) * channels + c]) : outside[c];
      };
      Four<float> four;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at_y = whole_y[i], at_x = whole_x[i];
        const float above = lerp_of(level(at_y, at_x), level(at_y, at_x + 1), across[i]);
        const float under = lerp_of(level(at_y + 1, at_x), level(at_y + 1, at_x + 1), across[i]);
        const float value = (lerp_of(above, under, down[i]) - mean[c]) * factor[c];
        four.of[i] = holds(erased, y, x + i) ? erased_value[c] : value;
      }
      store(out + ((row * channels + c) * out_height + y) * out_width + x, four, count);
    }
  });
}
