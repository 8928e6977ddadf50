// Matrix instructions and asynchronous copies of kernels/matrix.cuh for host_cuda.h.
//
// Who holds which number of a matrix is written here as the PTX manual says of ldmatrix.x4 and of
// mma.m16n8k16 (float16, float32 sums). A copy is done when its thread waits for its group, never
// earlier, and its source must then still be there.
#pragma once

typedef unsigned matrix_pair;

namespace host {

inline float number_of_half(unsigned half) {
  static std::vector<float> table;
  if (table.empty()) {
    for (unsigned i = 0; i < 65536; ++i) table.push_back(half_to_float((unsigned short)i));
  }
  return table[half & 0xffff];
}

// Two numbers that one register holds.
struct Pair {
  float low, high;
};

inline Pair unpacked(uint64_t value) { return {number_of_half(value), number_of_half(value >> 16)}; }

}  // namespace host

static inline void load_matrices(matrix_pair (&a)[4], const unsigned short* row) {
  if (uintptr_t(row) % 16) host::fail("ldmatrix of a row that does not begin at 16 bytes");
  const uint64_t* rows;
  host::exchange(20, 0xffffffffu, uintptr_t(row), 0, &rows);
  const int lane = host::lane();
  for (int matrix = 0; matrix < 4; ++matrix) {
    const unsigned short* from = reinterpret_cast<const unsigned short*>(rows[8 * matrix + lane / 4]);
    a[matrix] = from[2 * (lane % 4)] | unsigned(from[2 * (lane % 4) + 1]) << 16;
  }
}

static inline void multiply_add(
    float (&sums)[4], const matrix_pair (&a)[4], const matrix_pair (&b)[2], const float (&start)[4]) {
  const int group = host::lane() / 4, member = host::lane() % 4;
  float left[2][16], right[2][16];  // rows group and group + 8 of a; columns 2 member and 2 member + 1 of b
  for (int half = 0; half < 2; ++half) {
    // Registers 2 half and 2 half + 1 hold k = 8 half and on, of the upper and of the lower eight rows.
    const uint64_t* all;
    host::exchange(21, 0xffffffffu, a[2 * half] | uint64_t(a[2 * half + 1]) << 32, 0, &all);
    for (int i = 0; i < 4; ++i) {
      const host::Pair upper = host::unpacked(all[4 * group + i]), lower = host::unpacked(all[4 * group + i] >> 32);
      left[0][8 * half + 2 * i] = upper.low, left[0][8 * half + 2 * i + 1] = upper.high;
      left[1][8 * half + 2 * i] = lower.low, left[1][8 * half + 2 * i + 1] = lower.high;
    }
  }
  const uint64_t* all;
  host::exchange(22, 0xffffffffu, b[0] | uint64_t(b[1]) << 32, 0, &all);
  for (int column = 0; column < 2; ++column) {
    for (int i = 0; i < 4; ++i) {
      const uint64_t both = all[4 * (2 * member + column) + i];
      for (int half = 0; half < 2; ++half) {
        const host::Pair pair = host::unpacked(both >> 32 * half);
        right[column][8 * half + 2 * i] = pair.low, right[column][8 * half + 2 * i + 1] = pair.high;
      }
    }
  }
  for (int i = 0; i < 4; ++i) {
    double sum = 0.0;
    for (int k = 0; k < 16; ++k) sum += double(left[i / 2][k]) * right[i % 2][k];
    sums[i] = start[i] + float(sum);
  }
}

static inline void copy_16_bytes(unsigned short* to, const unsigned short* from, bool is_there) {
  if (uintptr_t(to) % 16 || (is_there && uintptr_t(from) % 16)) host::fail("cp.async that is not aligned");
  host::current->copies.push_back({to, is_there ? from : nullptr, host::current->copy_group});
}

static inline void end_copy_group() { ++host::current->copy_group; }

template <int PENDING>
static void wait_for_copies() {
  std::vector<host::Copy> kept;
  for (const host::Copy& copy : host::current->copies) {
    if (copy.group + PENDING >= host::current->copy_group) {
      kept.push_back(copy);
    } else if (copy.from) {
      memcpy(copy.to, copy.from, 16);
    } else {
      memset(copy.to, 0, 16);
    }
  }
  host::current->copies = kept;
}
