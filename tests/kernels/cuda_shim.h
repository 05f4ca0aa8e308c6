// Enough of CUDA C++ to run kernels without synchronisation on a CPU: put before the source (-include).
#pragma once
#include <cmath>
#include <cstddef>

#define __global__
#define __device__

inline float cospif(float x) { return std::cos(x * 3.14159265358979323846f); }
inline float sinpif(float x) { return std::sin(x * 3.14159265358979323846f); }
inline float __fdividef(float a, float b) { return a / b; }

struct Dimensions {
  unsigned x = 1, y = 1, z = 1;
};
static thread_local Dimensions threadIdx, blockIdx, blockDim, gridDim;

// kernel<<<blocks, threads>>>(arguments ...), one thread after the other.
template <class Kernel, class... Arguments>
void launch(unsigned blocks, unsigned threads, Kernel kernel, Arguments... arguments) {
  gridDim.x = blocks;
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel(arguments...);
}
