// A similarity and a position in one integer: the largest key is the best, of equal ones the first.
// The largest of some does not depend on the order in which they are compared.

typedef unsigned int Order;      // a similarity, made to order
typedef unsigned long long Key;  // its order above the inverted position

constexpr Key NONE = 0;

__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

// Larger for larger numbers; 0 for NaN alone. Sums that begin at +0 are never -0.
__device__ __forceinline__ Order ordered(float value) {
  if (value != value) return 0u;
  const unsigned bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float number(Order order) {
  return __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
}

__device__ __forceinline__ Key make_key(float similarity, int position) {
  return static_cast<Key>(ordered(similarity)) << 32 | ~static_cast<unsigned>(position);
}

__device__ __forceinline__ int position_of(Key key) { return static_cast<int>(~static_cast<unsigned>(key)); }

__device__ __forceinline__ float similarity_of(Key key) { return number(static_cast<Order>(key >> 32)); }
