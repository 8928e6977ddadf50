// float16 as 16 bits, without CUDA's headers, which compilers in memory (NVRTC) do not find.

typedef unsigned short half_bits;

#ifdef __CUDACC__
__device__ __forceinline__ float half_to_float(half_bits half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}

__device__ __forceinline__ half_bits float_to_half(float value) {
  half_bits half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}
#endif  // without a CUDA compiler (tests) whoever compiles this brings them
