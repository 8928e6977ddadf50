// The keyframes most similar to an image, from global descriptors that stay on the GPU.
//
//   compare_keyframes  a key of each keyframe: its similarity and its number;
//   keep_largest       the largest keys of every 1024, in order; again until one block is left.
#include "half.cuh"
#include "keys.cuh"

constexpr int KEYS = 1024;  // of a block of keep_largest, two per thread
constexpr int WARPS = 8;    // of a block of compare_keyframes, one per keyframe

// Rows of `size` numbers, a multiple of 8; the query has as many. Dynamic shared memory: 4 size bytes.
extern "C" __global__ void __launch_bounds__(256) compare_keyframes(
    const half_bits* table, const float* query, int count, int size, Key* keys) {
  extern __shared__ float wanted[];
  for (int i = threadIdx.x; i < size; i += blockDim.x) wanted[i] = query[i];
  __syncthreads();
  const int lane = threadIdx.x % 32, row = blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= count) return;
  float sum = 0.0f;
  for (int i = 8 * lane; i < size; i += 256) {
    const uint4 eight = *reinterpret_cast<const uint4*>(table + static_cast<long long>(row) * size + i);
    const float4 low = *reinterpret_cast<const float4*>(wanted + i);
    const float4 high = *reinterpret_cast<const float4*>(wanted + i + 4);
    sum += half_to_float(half_bits(eight.x)) * low.x + half_to_float(half_bits(eight.x >> 16)) * low.y;
    sum += half_to_float(half_bits(eight.y)) * low.z + half_to_float(half_bits(eight.y >> 16)) * low.w;
    sum += half_to_float(half_bits(eight.z)) * high.x + half_to_float(half_bits(eight.z >> 16)) * high.y;
    sum += half_to_float(half_bits(eight.w)) * high.z + half_to_float(half_bits(eight.w >> 16)) * high.w;
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  if (lane == 0) keys[row] = make_key(sum, row);
}

// Block b puts the `kept` largest of keys 1024 b and on to `largest` from kept b on, the largest first;
// zeros where there are too few. Bitonic sort, the largest at the front.
extern "C" __global__ void __launch_bounds__(512) keep_largest(
    const Key* keys, int count, int kept, Key* largest) {
  __shared__ Key sorted[KEYS];
  const int base = blockIdx.x * KEYS;
  for (int i = threadIdx.x; i < KEYS; i += KEYS / 2) sorted[i] = base + i < count ? keys[base + i] : NONE;
  for (int length = 2; length <= KEYS; length *= 2) {
    for (int distance = length / 2; distance > 0; distance /= 2) {
      __syncthreads();
      const int i = 2 * threadIdx.x - threadIdx.x % distance, other = i + distance;
      const Key a = sorted[i], b = sorted[other];
      const bool falling = (i & length) == 0;
      if (falling ? a < b : a > b) {
        sorted[i] = b;
        sorted[other] = a;
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kept; i += KEYS / 2) largest[blockIdx.x * kept + i] = sorted[i];
}
