// Mutual nearest neighbours between an image's descriptors and landmarks that stay on the GPU.
//
// On one stream:
//   round_keypoints   rows of the image to float16, and every result cleared;
//   nearest_landmark  for each keypoint the most similar of the landmarks listed;
//   nearest_keypoint  for each landmark so chosen the most similar keypoint;
//   find_rivals       for each keypoint the best similarity among landmarks elsewhere (ratio test only);
//   conclude          per keypoint the position of its landmark in the list, or -1.
//
// Rows have DESCRIPTOR_SIZE float16 numbers (zeros appended), sums are float32. One set of rows is held
// in registers ("fixed"), the other passes by in tiles ("moving"); similarities never leave the
// registers, only each fixed row's best does. For mutual neighbours the best keypoint of the chosen
// landmarks is needed, not of all: comparing these few again costs less than a maximum per landmark.
//
// Results do not depend on the order in which blocks run (keys.cuh). A descriptor with NaN in it matches
// nothing and disturbs nothing.
#include "half.cuh"
#include "keys.cuh"
#include "matrix.cuh"

#ifndef DESCRIPTOR_SIZE
#define DESCRIPTOR_SIZE 64  // a multiple of 16, up to 256
#endif
#ifndef FIXED_PER_WARP
#define FIXED_PER_WARP 64  // a multiple of 8; DESCRIPTOR_SIZE times it is 8192 at most, in registers
#endif

constexpr int D = DESCRIPTOR_SIZE;
constexpr int COLUMNS = FIXED_PER_WARP / 8;  // of mma.m16n8k16
constexpr int STEPS = D / 16;
constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr int TILE = D <= 128 ? 64 : 32;  // moving rows
constexpr int STAGES = D <= 64 ? 3 : 2;   // tiles on their way or in use; static shared memory is 48 KiB
constexpr int BLOCKS_PER_SM = D <= 128 ? 3 : 2;

static_assert(D % 16 == 0 && D <= 256 && FIXED_PER_WARP % 8 == 0 && D * FIXED_PER_WARP <= 8192, "too large");

// Rows of a table in the order of a list; in that of the table without one.
struct Rows {
  const half_bits* table;
  const int* list;
  int count;

  __device__ __forceinline__ int row(int position) const { return list ? list[position] : position; }
};

// Moving rows in shared memory. They lie 16 bytes further apart than they are long, so that the eight
// that ldmatrix reads at once are in different banks.
struct alignas(16) Tiles {
  half_bits rows[STAGES][TILE][D + 8];

  __device__ __forceinline__ void start_copy(int stage, const Rows& moving, int first, int end) {
    constexpr int CHUNKS = D / 8;
#pragma unroll
    for (int i = threadIdx.x; i < TILE * CHUNKS; i += THREADS) {
      const int tile_row = i / CHUNKS, chunk = i % CHUNKS, position = first + tile_row;
      const bool is_there = position < end;
      const long long row = is_there ? moving.row(position) : 0;
      copy_16_bytes(&rows[stage][tile_row][8 * chunk], moving.table + row * D + 8 * chunk, is_there);
    }
  }
};

// A warp's fixed rows, as the right-hand operand of mma.m16n8k16.
struct Fixed {
  matrix_pair parts[COLUMNS][STEPS][2];

  // row_at(i) is the row in the table of the i-th, or -1 for zeros.
  template <typename RowAt>
  __device__ __forceinline__ void load(const half_bits* table, RowAt row_at) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int column = 0; column < COLUMNS; ++column) {
      const long long row = row_at(8 * column + lane / 4);
      const half_bits* from = table + row * D + 2 * (lane % 4);
#pragma unroll
      for (int step = 0; step < STEPS; ++step) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          parts[column][step][half] =
              row < 0 ? 0u : *reinterpret_cast<const matrix_pair*>(from + 16 * step + 8 * half);
        }
      }
    }
  }
};

// Let moving rows first to end pass by the fixed ones: see(slot, i, similarity, position) for each pair
// that this lane holds, where slot numbers the lane's fixed rows, i the warp's.
template <typename See>
__device__ __forceinline__ void compare(
    Tiles& tiles, const Fixed& fixed, const Rows& moving, int first, int end, See see) {
  const int lane = threadIdx.x % 32;
  const int num_tiles = (end - first + TILE - 1) / TILE;
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    if (stage < num_tiles) tiles.start_copy(stage, moving, first + stage * TILE, end);
    end_copy_group();
  }
  for (int tile = 0; tile < num_tiles; ++tile) {
    wait_for_copies<STAGES - 2>();
    __syncthreads();  // this tile is there for all, and the one before is read by all
    const int next = tile + STAGES - 1;
    if (next < num_tiles) tiles.start_copy(next % STAGES, moving, first + next * TILE, end);
    end_copy_group();
    const half_bits(*rows)[D + 8] = tiles.rows[tile % STAGES];
#pragma unroll
    for (int group = 0; group < TILE; group += 16) {
      const int upper = first + tile * TILE + group + lane / 4, lower = upper + 8;
      // Sums that begin at minus infinity stay there: rows beyond the end are never best.
      const float upper_start = upper < end ? 0.0f : minus_infinity();
      const float lower_start = lower < end ? 0.0f : minus_infinity();
      const float start[4] = {upper_start, upper_start, lower_start, lower_start};
      float sums[COLUMNS][4];
#pragma unroll
      for (int step = 0; step < STEPS; ++step) {
        matrix_pair part[4];
        load_matrices(part, &rows[group + lane % 16][16 * step + 8 * (lane / 16)]);
#pragma unroll
        for (int column = 0; column < COLUMNS; ++column) {
          if (step == 0) {
            multiply_add(sums[column], part, fixed.parts[column][step], start);
          } else {
            multiply_add(sums[column], part, fixed.parts[column][step], sums[column]);
          }
        }
      }
#pragma unroll
      for (int slot = 0; slot < 2 * COLUMNS; ++slot) {
        const int column = slot / 2, side = slot % 2, i = 8 * column + 2 * (lane % 4) + side;
        see(slot, i, sums[column][side], upper);
        see(slot, i, sums[column][2 + side], lower);
      }
    }
  }
}

// Largest of the eight lanes that hold the same fixed row.
template <typename Number>
__device__ __forceinline__ Number largest_of_lanes(Number mine) {
#pragma unroll
  for (int distance = 4; distance < 32; distance *= 2) {
    const Number other = __shfl_xor_sync(0xffffffffu, mine, distance);
    mine = other > mine ? other : mine;
  }
  return mine;
}

// Best moving row of every fixed one; of all `chosen` landmarks where these are the fixed rows.
__device__ __forceinline__ void find_nearest(
    Tiles& tiles, const Rows& fixed_rows, const Key* chosen, const Rows& moving, int rows_per_block,
    Key* nearest) {
  const int first = blockIdx.y * rows_per_block, end = min(first + rows_per_block, moving.count);
  const int base = (blockIdx.x * WARPS + threadIdx.x / 32) * FIXED_PER_WARP, lane = threadIdx.x % 32;
  Fixed fixed;
  fixed.load(fixed_rows.table, [&](int i) {
    if (base + i >= fixed_rows.count) return -1;
    if (!chosen) return fixed_rows.row(base + i);
    return chosen[base + i] == NONE ? -1 : fixed_rows.row(position_of(chosen[base + i]));
  });
  float best[2 * COLUMNS];
  int position[2 * COLUMNS];
#pragma unroll
  for (int slot = 0; slot < 2 * COLUMNS; ++slot) {
    best[slot] = minus_infinity();
    position[slot] = -1;
  }
  compare(tiles, fixed, moving, first, end, [&](int slot, int, float similarity, int at) {
    if (similarity > best[slot]) {
      best[slot] = similarity;
      position[slot] = at;
    }
  });
#pragma unroll
  for (int slot = 0; slot < 2 * COLUMNS; ++slot) {
    const Key mine = position[slot] < 0 ? NONE : make_key(best[slot], position[slot]);
    const Key largest = largest_of_lanes(mine);
    const int i = base + 8 * (slot / 2) + 2 * (lane % 4) + slot % 2;
    if (lane < 4 && i < fixed_rows.count && largest != NONE) atomicMax(nearest + i, largest);
  }
}

__device__ __forceinline__ void clear_results(int i, int count, Key* nearest, Key* back, Order* rivals) {
  if (i >= count) return;
  nearest[i] = back[i] = NONE;
  rivals[i] = 0u;
}

// One thread per number of the padded rows.
extern "C" __global__ void __launch_bounds__(256) round_keypoints(
    const float* descriptors, int count, int size, half_bits* rounded, Key* nearest, Key* back,
    Order* rivals) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  clear_results(i, count, nearest, back, rivals);
  if (i >= count * D) return;
  const int row = i / D, column = i % D;
  rounded[i] = column < size ? float_to_half(descriptors[row * size + column]) : half_bits(0);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM) nearest_landmark(
    const half_bits* keypoints, int num_keypoints, const half_bits* table, const int* list, int num_landmarks,
    int rows_per_block, Key* nearest) {
  __shared__ Tiles tiles;
  find_nearest(tiles, Rows{keypoints, nullptr, num_keypoints}, nullptr, Rows{table, list, num_landmarks},
               rows_per_block, nearest);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM) nearest_keypoint(
    const half_bits* keypoints, int num_keypoints, const half_bits* table, const int* list, const Key* nearest,
    int rows_per_block, Key* back) {
  __shared__ Tiles tiles;
  find_nearest(tiles, Rows{table, list, num_keypoints}, nearest, Rows{keypoints, nullptr, num_keypoints},
               rows_per_block, back);
}

// points: x, y, z and nothing of every row of the table. Landmarks within the limit of a keypoint's own
// one are the same place.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM) find_rivals(
    const half_bits* keypoints, int num_keypoints, const half_bits* table, const int* list, int num_landmarks,
    const Key* nearest, int rows_per_block, const float4* points, float squared_limit, Order* rivals) {
  __shared__ Tiles tiles;
  __shared__ float own[WARPS * FIXED_PER_WARP][3];
  const Rows landmarks{table, list, num_landmarks};
  const int first = blockIdx.y * rows_per_block, end = min(first + rows_per_block, num_landmarks);
  const int warp_base = threadIdx.x / 32 * FIXED_PER_WARP, lane = threadIdx.x % 32;
  const int base = blockIdx.x * WARPS * FIXED_PER_WARP + warp_base;
  for (int i = threadIdx.x; i < WARPS * FIXED_PER_WARP; i += THREADS) {
    const int keypoint = blockIdx.x * WARPS * FIXED_PER_WARP + i;
    const Key key = keypoint < num_keypoints ? nearest[keypoint] : NONE;
    const float4 point =
        key == NONE ? make_float4(0.0f, 0.0f, 0.0f, 0.0f) : points[landmarks.row(position_of(key))];
    own[i][0] = point.x;
    own[i][1] = point.y;
    own[i][2] = point.z;
  }
  __syncthreads();
  Fixed fixed;
  fixed.load(keypoints, [&](int i) { return base + i < num_keypoints ? base + i : -1; });
  float best[2 * COLUMNS];
#pragma unroll
  for (int slot = 0; slot < 2 * COLUMNS; ++slot) best[slot] = minus_infinity();
  compare(tiles, fixed, landmarks, first, end, [&](int slot, int i, float similarity, int at) {
    if (similarity > best[slot]) {  // seldom, once the first few have passed
      const float4 point = points[landmarks.row(at)];
      const float* mine = own[warp_base + i];
      const float x = point.x - mine[0], y = point.y - mine[1], z = point.z - mine[2];
      if (x * x + y * y + z * z > squared_limit) best[slot] = similarity;
    }
  });
#pragma unroll
  for (int slot = 0; slot < 2 * COLUMNS; ++slot) {
    const Order largest = largest_of_lanes(best[slot] == minus_infinity() ? 0u : ordered(best[slot]));
    const int i = base + 8 * (slot / 2) + 2 * (lane % 4) + slot % 2;
    if (lane < 4 && i < num_keypoints && largest != 0u) atomicMax(rivals + i, largest);
  }
}

// One thread per keypoint: is it its landmark's nearest, and similar and clear enough?
extern "C" __global__ void __launch_bounds__(256) conclude(
    const Key* nearest, const Key* back, const Order* rivals, int count, float min_similarity,
    float squared_ratio, int* landmarks, float* similarities) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Key key = nearest[i];
  const float similarity = key == NONE ? minus_infinity() : similarity_of(key);
  bool is_match = key != NONE && similarity >= min_similarity && back[i] != NONE && position_of(back[i]) == i;
  if (is_match && rivals[i] != 0u) {
    // Distances are d^2 = 2 (1 - cos).
    is_match = 1.0f - similarity < squared_ratio * (1.0f - number(rivals[i]));
  }
  landmarks[i] = is_match ? position_of(key) : -1;
  similarities[i] = similarity;
}
