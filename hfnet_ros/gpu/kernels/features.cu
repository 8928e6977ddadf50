// Keypoints and descriptors from the dense outputs of a network; see hfnet_ros/gpu/features.py.
//
// Fixed when compiling: RADIUS, ITERATIONS, THREADS, REGION_W, TILE_H of the suppression, WITH_RELIABILITY,
// BICUBIC, CHANNELS, CENTER_RADIUS, and whether tensors are float16: HALF_HEATMAP, HALF_LOGITS, HALF_RELIABILITY,
// HALF_MAP.
// The CPU code of hfnet_ros/features is the reference.
#include "half.cuh"

typedef unsigned long long sort_key;

#define WHOLE_WARP 0xffffffffu
#define WARPS (THREADS / 32)

// Pixels beside a tile on which its result depends, and the region with them.
#define HALO (RADIUS * (2 * ITERATIONS - 1))
#define TILE_W (REGION_W - 2 * HALO)
#define REGION_H (TILE_H + 2 * HALO)
#define REGION_WORDS (REGION_W / 32)
#define PITCH (REGION_W + 1)  // odd, so that a warp that goes down a column meets every bank
#define RUN (RADIUS < 4 ? 2 * RADIUS : 8)  // neighbouring maxima that one thread computes together

#define CELL 8

template <bool IS_HALF>
__device__ __forceinline__ float load(const void* tensor, size_t index) {
  if (IS_HALF) return half_to_float(static_cast<const half_bits*>(tensor)[index]);
  return static_cast<const float*>(tensor)[index];
}

// Maxima of RUN windows of 2 RADIUS + 1 values, of which each begins one value after the one before.
__device__ __forceinline__ void window_maxima(const float (&values)[RUN + 2 * RADIUS], float (&maxima)[RUN]) {
  float left = values[RUN - 1];
#pragma unroll
  for (int i = RUN; i <= 2 * RADIUS; ++i) left = fmaxf(left, values[i]);
#pragma unroll
  for (int i = RUN - 1; i >= 0; --i) {
    maxima[i] = left;
    if (i > 0) left = fmaxf(left, values[i - 1]);
  }
  float right = values[2 * RADIUS];
#pragma unroll
  for (int i = 1; i < RUN; ++i) {
    right = fmaxf(right, values[2 * RADIUS + i]);
    maxima[i] = fmaxf(maxima[i], right);
  }
}

struct Region {
  float scores[REGION_H * PITCH];
  float row_maxima[REGION_H * PITCH];
  unsigned kept[REGION_H * REGION_WORDS];
  unsigned covered[REGION_H * REGION_WORDS];
  unsigned row_covered[REGION_H * REGION_WORDS];
  unsigned num_peaks;
};

__device__ __forceinline__ void load_region(Region& region, const void* scores, int width, int height,
                                            float threshold, int left, int top) {
  for (int i = threadIdx.x; i < REGION_H * REGION_W; i += THREADS) {
    const int column = i % REGION_W, row = i / REGION_W, x = left + column, y = top + row;
    float score = 0.0f;
    if (x >= 0 && x < width && y >= 0 && y < height) score = load<HALF_HEATMAP>(scores, size_t(y) * width + x);
    region.scores[row * PITCH + column] = score > threshold ? score : 0.0f;  // false for NaN
  }
  for (int i = threadIdx.x; i < REGION_H * REGION_WORDS; i += THREADS) region.kept[i] = 0;
  if (threadIdx.x == 0) region.num_peaks = 0;
}

// Keep what is the highest of its square; right for pixels at least `margin` from the region's border.
__device__ __forceinline__ void keep_highest(Region& region, int margin) {
  float values[RUN + 2 * RADIUS], maxima[RUN];
  const int first_row = margin - RADIUS, num_rows = REGION_H - 2 * first_row;
  const int num_columns = REGION_W - 2 * margin, runs = (num_columns + RUN - 1) / RUN;
  for (int i = threadIdx.x; i < runs * num_rows; i += THREADS) {
    // The last run overlaps the one before instead of leaving the region.
    const int row = first_row + i % num_rows, x = margin + min(i / num_rows * RUN, num_columns - RUN);
    const float* source = region.scores + row * PITCH + x - RADIUS;
#pragma unroll
    for (int j = 0; j < RUN + 2 * RADIUS; ++j) values[j] = source[j];
    window_maxima(values, maxima);
#pragma unroll
    for (int j = 0; j < RUN; ++j) region.row_maxima[row * PITCH + x + j] = maxima[j];
  }
  __syncthreads();
  const int num_outputs = REGION_H - 2 * margin, lane = threadIdx.x % 32;
  const int tasks = (num_outputs + RUN - 1) / RUN * REGION_WORDS;
  for (int i = threadIdx.x / 32; i < tasks; i += WARPS) {
    const int word = i % REGION_WORDS, x = word * 32 + lane;
    const int y = margin + min(i / REGION_WORDS * RUN, num_outputs - RUN);
    const bool inside = x >= margin && x < REGION_W - margin;
#pragma unroll
    for (int j = 0; j < RUN + 2 * RADIUS; ++j)
      values[j] = inside ? region.row_maxima[(y - RADIUS + j) * PITCH + x] : 0.0f;
    window_maxima(values, maxima);
#pragma unroll
    for (int j = 0; j < RUN; ++j) {
      const float score = inside ? region.scores[(y + j) * PITCH + x] : 0.0f;
      const unsigned peaks = __ballot_sync(WHOLE_WARP, score > 0.0f && score == maxima[j]);
      // Where runs overlap, one warp does both or both store the same.
      if (lane == 0) region.covered[(y + j) * REGION_WORDS + word] = peaks;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < REGION_H * REGION_WORDS; i += THREADS) {
    const int row = i / REGION_WORDS;
    if (row >= margin && row < REGION_H - margin) region.kept[i] |= region.covered[i];
  }
  __syncthreads();
}

// Take out of the scores all squares around what is kept.
__device__ __forceinline__ void cover(Region& region) {
  for (int i = threadIdx.x; i < REGION_H * REGION_WORDS; i += THREADS) {
    const int word = i % REGION_WORDS;
    const sort_key before = word > 0 ? region.kept[i - 1] : 0, here = region.kept[i];
    const sort_key after = word < REGION_WORDS - 1 ? region.kept[i + 1] : 0;
    const sort_key low = here << 32 | before, high = after << 32 | here;
    unsigned bits = region.kept[i];
#pragma unroll
    for (int shift = 1; shift <= RADIUS; ++shift) bits |= unsigned(low >> (32 - shift)) | unsigned(high >> shift);
    region.row_covered[i] = bits;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < REGION_H * REGION_WORDS; i += THREADS) {
    const int row = i / REGION_WORDS, word = i % REGION_WORDS;
    unsigned bits = 0;
    for (int y = max(row - RADIUS, 0); y <= min(row + RADIUS, REGION_H - 1); ++y)
      bits |= region.row_covered[y * REGION_WORDS + word];
    region.covered[i] = bits;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < REGION_H * REGION_W; i += THREADS) {
    const int column = i % REGION_W, row = i / REGION_W;
    if (region.covered[row * REGION_WORDS + column / 32] >> (column % 32) & 1)
      region.scores[row * PITCH + column] = 0.0f;
  }
  __syncthreads();
}

// Sample a map of one channel bilinearly at pixel (x, y), as sample_bilinear of features/keypoints.py
// does: weights in float64, products and sums in float32, zero outside.
__device__ __forceinline__ float sample_reliability(const void* map, int map_w, int map_h, double scale_x,
                                                    double scale_y, int x, int y) {
  const double u = __dadd_rn(__dmul_rn(x, scale_x), -0.5), v = __dadd_rn(__dmul_rn(y, scale_y), -0.5);
  const double floor_u = floor(u), floor_v = floor(v), fraction_u = u - floor_u, fraction_v = v - floor_v;
  float sum = 0.0f;
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) {
    const int column = int(floor_u) + tap % 2, row = int(floor_v) + tap / 2;
    const double weight_u = tap % 2 ? fraction_u : 1.0 - fraction_u;
    const double weight_v = tap / 2 ? fraction_v : 1.0 - fraction_v;
    if (column < 0 || column >= map_w || row < 0 || row >= map_h) continue;
    const float value = load<HALF_RELIABILITY>(map, size_t(row) * map_w + column);
    sum = __fadd_rn(sum, __fmul_rn(float(__dmul_rn(weight_v, weight_u)), value));
  }
  return sum;
}

// Non-maximum suppression, and the score of what is kept.
//
// One block does a tile of TILE_W x TILE_H px. `keys` takes the survivors in any order: the score's bits
// above those of the reversed pixel index, so that a higher key is a better keypoint and no two are equal.
extern "C" __global__ void __launch_bounds__(THREADS)
suppress(const void* scores, int width, int height, float threshold, const void* reliability, double scale_x,
         double scale_y, sort_key* keys, unsigned* num_keys) {
  extern __shared__ float shared_floats[];
  Region& region = *reinterpret_cast<Region*>(shared_floats);
  const int left = int(blockIdx.x) * TILE_W - HALO, top = int(blockIdx.y) * TILE_H - HALO;
  load_region(region, scores, width, height, threshold, left, top);
  __syncthreads();
#pragma unroll
  for (int iteration = 0; iteration < ITERATIONS; ++iteration) {
    if (iteration > 0) cover(region);
    keep_highest(region, (2 * iteration + 1) * RADIUS);
  }
  // A list of the peaks first: they are few, and with it the threads share them evenly.
  unsigned* peaks = reinterpret_cast<unsigned*>(region.row_maxima);
  for (int i = threadIdx.x; i < TILE_H * REGION_WORDS; i += THREADS) {
    const int row = HALO + i / REGION_WORDS, first = i % REGION_WORDS * 32;
    unsigned bits = region.kept[row * REGION_WORDS + first / 32];
    while (bits) {
      const int column = first + __ffs(bits) - 1;
      bits &= bits - 1;
      if (column < HALO || column >= REGION_W - HALO) continue;
      peaks[atomicAdd(&region.num_peaks, 1u)] = (top + row) * width + left + column;
    }
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  const unsigned num_peaks = region.num_peaks;
  for (unsigned i = threadIdx.x - lane; i < num_peaks; i += THREADS) {
    unsigned pixel = 0;
    float score = 0.0f;
    if (i + lane < num_peaks) {
      pixel = peaks[i + lane];
      score = load<HALF_HEATMAP>(scores, pixel);
      if (WITH_RELIABILITY) {
        const int x = pixel % width, y = pixel / width;
        // The published sampler reads outside the heat map there.
        const bool inside = x < width - 1 && y < height - 1;
        const float factor = inside ? sample_reliability(reliability, width / CELL, height / CELL, scale_x, scale_y, x, y)
                                    : 0.0f;
        score = __fmul_rn(score, factor);
      }
    }
    const unsigned good = __ballot_sync(WHOLE_WARP, score > 0.0f);
    unsigned base = 0;
    if (lane == 0 && good) base = atomicAdd(num_keys, unsigned(__popc(good)));
    base = __shfl_sync(WHOLE_WARP, base, 0);
    if (score > 0.0f)
      keys[base + __popc(good & ((1u << lane) - 1))] = sort_key(__float_as_uint(score)) << 32 | (0xffffffffu - pixel);
  }
}

#define DIGIT_BITS 11
#define DIGITS (1 << DIGIT_BITS)
#define SELECT_THREADS 1024

// Count the keys of which the bits above `shift + DIGIT_BITS` are those of `prefix`, by their next digit.
__device__ __forceinline__ void count_digits(const sort_key* keys, unsigned num_keys, sort_key prefix, int shift,
                                             int prefix_shift, unsigned* histogram) {
  for (int i = threadIdx.x; i < DIGITS; i += SELECT_THREADS) histogram[i] = 0;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (unsigned i = threadIdx.x - lane; i < num_keys; i += SELECT_THREADS) {
    const sort_key key = i + lane < num_keys ? keys[i + lane] : 0;
    const bool counts = i + lane < num_keys && (prefix_shift > 63 || key >> prefix_shift == prefix);
    const unsigned digit = unsigned(key >> shift) & (DIGITS - 1);
    const unsigned counting = __ballot_sync(WHOLE_WARP, counts);
    // Many equal digits, as of a flat image, would queue up at one counter.
    const unsigned first = __shfl_sync(WHOLE_WARP, digit, counting ? __ffs(counting) - 1 : 0);
    if (__all_sync(WHOLE_WARP, !counts || digit == first)) {
      if (lane == 0 && counting) atomicAdd(&histogram[first], unsigned(__popc(counting)));
    } else if (counts) {
      atomicAdd(&histogram[digit], 1u);
    }
  }
  __syncthreads();
}

// Return the `count`-th highest of more than `count` different keys, or a lower bound of just these.
__device__ __forceinline__ sort_key find_limit(const sort_key* keys, unsigned num_keys, unsigned count,
                                               unsigned* histogram) {
  __shared__ unsigned found_digit, found_above, found_size;
  sort_key prefix = 0;
  unsigned wanted = count;
  int prefix_shift = 64;
  while (prefix_shift > 0) {
    const int shift = max(prefix_shift - DIGIT_BITS, 0);
    count_digits(keys, num_keys, prefix, shift, prefix_shift, histogram);
    if (threadIdx.x < 32) {
      // Lane 0 has the highest digits.
      const int lane = threadIdx.x, top = DIGITS - 1 - lane * (DIGITS / 32);
      unsigned sum = 0;
      for (int i = 0; i < DIGITS / 32; ++i) sum += histogram[top - i];
      unsigned above = sum;
      for (int offset = 1; offset < 32; offset *= 2) {
        const unsigned other = __shfl_up_sync(WHOLE_WARP, above, offset);
        if (lane >= offset) above += other;
      }
      above -= sum;
      if (above < wanted && wanted <= above + sum) {
        int digit = top;
        while (above + histogram[digit] < wanted) above += histogram[digit--];
        found_digit = digit;
        found_above = above;
        found_size = histogram[digit];
      }
    }
    __syncthreads();
    // The last digit takes bits of the one before again, which are the same.
    prefix = prefix << (prefix_shift - shift) | found_digit;
    wanted -= found_above;
    prefix_shift = shift;
    if (found_size == wanted) break;
  }
  return prefix << prefix_shift;
}

// Sort `size` keys, a power of two, highest first. A warp's pairs of a step of at most 32 lie in 64 keys
// that no other warp touches, so that the warp alone must wait for itself.
__device__ __forceinline__ void sort_descending(sort_key* keys, unsigned size) {
  for (unsigned length = 2; length <= size; length *= 2) {
    for (unsigned step = length / 2; step > 0; step /= 2) {
      for (unsigned pair = threadIdx.x; pair < size / 2; pair += SELECT_THREADS) {
        const unsigned low = pair / step * step * 2 + pair % step, high = low + step;
        const sort_key a = keys[low], b = keys[high];
        if ((a < b) == ((low & length) == 0)) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      if (step > 32 || (step == 1 && length >= 64))
        __syncthreads();
      else
        __syncwarp();
    }
  }
  __syncthreads();
}

// The best `count` of the candidates, best first; one block. `room` keys of shared memory, a power of two
// of at least `count` and DIGITS / 2. Leaves `num_keys` at zero for the next image.
extern "C" __global__ void __launch_bounds__(SELECT_THREADS)
select_top(const sort_key* keys, unsigned* num_keys, unsigned count, unsigned room, unsigned* pixels, float* scores,
           int* num_points) {
  extern __shared__ sort_key sorted[];
  __shared__ unsigned num_sorted;
  const unsigned found = *num_keys;
  sort_key limit = 0;
  if (found > count) limit = find_limit(keys, found, count, reinterpret_cast<unsigned*>(sorted));
  const unsigned kept = min(found, count);
  unsigned size = 1;
  while (size < kept) size *= 2;
  if (threadIdx.x == 0) num_sorted = 0;
  __syncthreads();
  for (unsigned i = threadIdx.x; i < size; i += SELECT_THREADS) sorted[i] = 0;
  __syncthreads();
  for (unsigned i = threadIdx.x; i < found; i += SELECT_THREADS) {
    const sort_key key = keys[i];
    if (key >= limit) {
      const unsigned slot = atomicAdd(&num_sorted, 1u);
      if (slot < room) sorted[slot] = key;
    }
  }
  __syncthreads();
  sort_descending(sorted, size);
  for (unsigned i = threadIdx.x; i < kept; i += SELECT_THREADS) {
    pixels[i] = 0xffffffffu - unsigned(sorted[i]);
    scores[i] = __uint_as_float(unsigned(sorted[i] >> 32));
  }
  if (threadIdx.x == 0) {
    *num_points = int(kept);
    *num_keys = 0;
  }
}

// Where a pixel lies on a map: (pixel * factor + offset) / divisor, exact in integers.
struct Axis {
  int factor, offset, divisor;
};

__device__ __forceinline__ int split(const Axis& axis, int pixel, float& fraction) {
  const int numerator = pixel * axis.factor + axis.offset + axis.divisor;  // not negative
  const int floor = numerator / axis.divisor;
  fraction = float(numerator - floor * axis.divisor) / float(axis.divisor);
  return floor - 1;
}

__device__ __forceinline__ float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, offset);
  return value;
}

// Centre of gravity of the scores around a peak, as center_on_scores of features/hfnet.py; for a whole warp.
__device__ __forceinline__ float2 center(const void* scores, int width, int height, int peak_x, int peak_y) {
  const int side = 2 * CENTER_RADIUS + 1;
  float total = 0.0f, sum_x = 0.0f, sum_y = 0.0f;
  for (int i = threadIdx.x % 32; i < side * side; i += 32) {
    const int dx = i % side - CENTER_RADIUS, dy = i / side - CENTER_RADIUS, x = peak_x + dx, y = peak_y + dy;
    if (x < 0 || x >= width || y < 0 || y >= height) continue;
    const float score = load<HALF_HEATMAP>(scores, size_t(y) * width + x);
    if (score != score) continue;
    total += score;
    sum_x += score * float(dx);
    sum_y += score * float(dy);
  }
  total = warp_sum(total);
  return make_float2(float(peak_x) + warp_sum(sum_x) / total, float(peak_y) + warp_sum(sum_y) / total);
}

// Weight of the tap at `offset` from the floor; the cubic kernel has a = -0.75.
__device__ __forceinline__ float tap_weight(float fraction, int offset) {
#if BICUBIC
  const float distance = fabsf(fraction - float(offset)), a = -0.75f;
  if (distance <= 1.0f) return ((a + 2.0f) * distance - (a + 3.0f)) * distance * distance + 1.0f;
  return a * (((distance - 5.0f) * distance + 8.0f) * distance - 4.0f);
#else
  return offset ? fraction : 1.0f - fraction;
#endif
}

#define TAPS (BICUBIC ? 4 : 2)
#define PER_LANE ((CHANNELS + 31) / 32)

// Points and descriptors (at unit length) of the keypoints; a warp does one, a lane every 32nd channel.
//
// Descriptors belong to the peak's pixel, while the point may lie between pixels. `map` is [map_h, map_w] cells of CHANNELS values at `cell_stride`, `channel_stride`.
extern "C" __global__ void __launch_bounds__(THREADS)
describe(const void* scores, int width, int height, const void* map, int map_w, int map_h, int cell_stride,
         int channel_stride, int factor_x, int offset_x, int divisor_x, int factor_y, int offset_y, int divisor_y,
         const unsigned* pixels, const int* num_points, float2* points, float* descriptors) {
  const int keypoint = int(blockIdx.x) * WARPS + int(threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (keypoint >= *num_points) return;
  const int peak_x = int(pixels[keypoint] % width), peak_y = int(pixels[keypoint] / width);
  const float2 point = CENTER_RADIUS > 0 ? center(scores, width, height, peak_x, peak_y)
                                         : make_float2(float(peak_x), float(peak_y));
  if (lane == 0) points[keypoint] = point;
  float fraction_x, fraction_y;
  const int x = split({factor_x, offset_x, divisor_x}, peak_x, fraction_x) - (TAPS / 2 - 1);
  const int y = split({factor_y, offset_y, divisor_y}, peak_y, fraction_y) - (TAPS / 2 - 1);
  float values[PER_LANE];
#pragma unroll
  for (int i = 0; i < PER_LANE; ++i) values[i] = 0.0f;
#pragma unroll
  for (int tap = 0; tap < TAPS * TAPS; ++tap) {
    const int column = x + tap % TAPS, row = y + tap / TAPS;
    if (column < 0 || column >= map_w || row < 0 || row >= map_h) continue;  // the same for the whole warp
    const float weight = tap_weight(fraction_x, tap % TAPS - (TAPS / 2 - 1)) *
                         tap_weight(fraction_y, tap / TAPS - (TAPS / 2 - 1));
    const size_t cell = size_t(row * map_w + column) * cell_stride;
#pragma unroll
    for (int i = 0; i < PER_LANE; ++i) {
      const int channel = i * 32 + lane;
      if (channel < CHANNELS) values[i] += weight * load<HALF_MAP>(map, cell + size_t(channel) * channel_stride);
    }
  }
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < PER_LANE; ++i) squares += values[i] * values[i];
  const float length = fmaxf(sqrtf(warp_sum(squares)), 1e-12f);
#pragma unroll
  for (int i = 0; i < PER_LANE; ++i) {
    const int channel = i * 32 + lane;
    if (channel >= CHANNELS) continue;
    descriptors[size_t(keypoint) * CHANNELS + channel] = values[i] / length;
  }
}

// Probability of a keypoint per pixel, [8 map_h, 8 map_w] float32, of 65 logits per cell, [65, map_h, map_w]:
// softmax, without the last one, which means "none"; one thread per cell.
extern "C" __global__ void __launch_bounds__(THREADS)
heatmap_from_logits(const void* logits, int map_w, int map_h, float* heatmap) {
  const int cells = map_w * map_h, cell = int(blockIdx.x) * THREADS + int(threadIdx.x);
  if (cell >= cells) return;
  float values[CELL * CELL + 1];
#pragma unroll
  for (int i = 0; i <= CELL * CELL; ++i) values[i] = load<HALF_LOGITS>(logits, size_t(i) * cells + cell);
  float highest = values[0];
#pragma unroll
  for (int i = 1; i <= CELL * CELL; ++i) highest = fmaxf(highest, values[i]);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i <= CELL * CELL; ++i) {
    values[i] = expf(values[i] - highest);
    sum += values[i];
  }
  const int x = cell % map_w * CELL, y = cell / map_w * CELL;
#pragma unroll
  for (int i = 0; i < CELL * CELL; ++i)
    heatmap[size_t(y + i / CELL) * (map_w * CELL) + x + i % CELL] = values[i] / sum;
}
