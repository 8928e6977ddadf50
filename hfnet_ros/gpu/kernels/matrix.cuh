// Matrix instructions and asynchronous copies of a warp, in PTX.

typedef unsigned int matrix_pair;  // two float16

#ifdef __CUDACC__

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 750
#error "the matrix instructions used here need compute capability 7.5"
#endif

// Four 8 x 8 matrices: lane i names row i % 8 of matrix i / 8, and gets two numbers of each.
__device__ __forceinline__ void load_matrices(matrix_pair (&a)[4], const half_bits* row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}

// sums[16, 8] = start[16, 8] + a[16, 16] b[16, 8], spread over the warp as PTX says of mma.m16n8k16.
__device__ __forceinline__ void multiply_add(
    float (&sums)[4], const matrix_pair (&a)[4], const matrix_pair (&b)[2], const float (&start)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  float first[4];
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
      : "=f"(first[0]), "=f"(first[1]), "=f"(first[2]), "=f"(first[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]), "f"(start[0]), "f"(start[1]), "f"(start[2]), "f"(start[3]));
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
      : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])
      : "r"(a[2]), "r"(a[3]), "r"(b[1]), "f"(first[0]), "f"(first[1]), "f"(first[2]), "f"(first[3]));
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(start[0]), "f"(start[1]),
        "f"(start[2]), "f"(start[3]));
#endif
}

// 16 bytes to shared memory, zeros where there are none to copy; they are there after wait_for_copies.
__device__ __forceinline__ void copy_16_bytes(half_bits* to, const half_bits* from, bool is_there) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  *reinterpret_cast<uint4*>(to) = is_there ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(from), "r"(is_there ? 16 : 0)
               : "memory");
#endif
}

__device__ __forceinline__ void end_copy_group() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait for all but the PENDING newest groups that this thread ended.
template <int PENDING>
__device__ __forceinline__ void wait_for_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

#endif  // without a CUDA compiler (tests) whoever compiles this brings them
