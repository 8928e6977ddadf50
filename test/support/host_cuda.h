// CUDA's device language for g++, so that kernels run where no GPU is.
//
// Blocks run one after the other. The threads of a block are fibers; each runs until it waits at a
// barrier or at an exchange within its warp, and a warp runs as far ahead of the others as it may. A barrier that not all threads reach, two different
// exchanges of one warp, and memory that may not be touched end the launch with an error.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
// All of a block's shared variables lie in one section, so that they can be spoiled before each block.
#define __shared__ static __attribute__((section("block_shared")))

extern "C" char __start_block_shared __attribute__((weak));
extern "C" char __stop_block_shared __attribute__((weak));

struct uint3 { unsigned x, y, z; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(4) ushort2 { unsigned short x, y; };
struct alignas(8) ushort4 { unsigned short x, y, z, w; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static uint3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

namespace host {

enum State { READY, AT_BARRIER, AT_EXCHANGE, DONE };

// Of 16 bytes to shared memory; zeros without a source.
struct Copy {
  void* to;
  const void* from;
  unsigned group;
};

struct Fiber {
  std::vector<Copy> copies;
  unsigned copy_group = 0;
  jmp_buf jump;
  ucontext_t entry;
  bool started = false;
  State state = READY;
  unsigned index = 0, exchanges = 0;
  int operation = 0;
  uint3 thread{};
};

struct Warp {
  uint64_t slots[2][32];
};

static const size_t kStack = 256 * 1024;
static std::vector<Fiber> fibers;
static std::vector<Warp> warps;
static std::vector<unsigned> order;
static char* stacks = nullptr;
static size_t stack_bytes = 0;
static char *dynamic_start = nullptr, *dynamic_shared_ = nullptr;
static size_t dynamic_bytes = 0;
static Fiber* current = nullptr;
static jmp_buf scheduler;
static sigjmp_buf launch_failed;
static void (*body)(void**) = nullptr;
static void** parameters = nullptr;
static char failure[512];

static std::string where() {
  char text[160];
  snprintf(text, sizeof text, "block (%u, %u, %u), thread (%u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z,
           threadIdx.x, threadIdx.y, threadIdx.z);
  return text;
}

[[noreturn]] static void fail(const std::string& what) {
  snprintf(failure, sizeof failure, "%s in %s", what.c_str(), where().c_str());
  siglongjmp(launch_failed, 1);
}

static void on_signal(int number, siginfo_t* info, void*) {
  char text[100];
  if (number == SIGILL || number == SIGTRAP)
    snprintf(text, sizeof text, "undefined behaviour (index out of bounds, misaligned, overflow)");
  else
    snprintf(text, sizeof text, "access of memory that is not the kernel's at %p", info->si_addr);
  fail(text);
}

__attribute__((noinline)) static void yield(State state) {
  Fiber* self = current;
  self->state = state;
  if (!_setjmp(self->jump)) _longjmp(scheduler, 1);
}

static void fiber_main() {
  for (;;) {
    body(parameters);
    yield(DONE);
  }
}

__attribute__((noinline)) static void resume(Fiber* fiber) {
  current = fiber;
  threadIdx = fiber->thread;
  if (_setjmp(scheduler)) return;
  if (current->started) _longjmp(current->jump, 1);
  current->started = true;
  setcontext(&current->entry);
}

static void make_fibers(unsigned count) {
  if (fibers.size() == count && fibers[0].started) return;
  if (stack_bytes < count * kStack) {
    if (stacks) munmap(stacks, stack_bytes);
    stack_bytes = count * kStack;
    stacks = static_cast<char*>(mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  fibers.assign(count, Fiber());
  warps.assign((count + 31) / 32, Warp());
  for (unsigned i = 0; i < count; ++i) {
    Fiber& fiber = fibers[i];
    fiber.index = i;
    fiber.thread = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = stacks + i * kStack;
    fiber.entry.uc_stack.ss_size = kStack;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, fiber_main, 0);
  }
}

// Let a warp go on if all of its threads wait for each other; false if not.
static bool release_warp(size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i)
    if (fibers[i].state != AT_EXCHANGE) return false;
  for (size_t i = begin; i < end; ++i) {
    current = &fibers[i];
    threadIdx = current->thread;
    if (current->operation != fibers[begin].operation) fail("the threads of a warp do different exchanges");
    current->state = READY;
  }
  return true;
}

// Run a warp until it waits for others. `place` is where its threads stand in the order.
static void run_warp(size_t place) {
  const size_t begin = order[place] / 32 * 32, end = std::min(fibers.size(), begin + 32);
  do {
    for (size_t i = 0; i < end - begin; ++i)
      if (fibers[order[place + i]].state == READY) resume(&fibers[order[place + i]]);
  } while (release_warp(begin, end));
}

static void run_block() {
  if (&__start_block_shared) memset(&__start_block_shared, 0xCD, &__stop_block_shared - &__start_block_shared);
  if (dynamic_bytes) memset(dynamic_shared_, 0xCD, dynamic_bytes);
  for (Fiber& fiber : fibers) fiber.state = READY;
  for (;;) {
    for (size_t place = 0; place < fibers.size(); place += std::min<size_t>(32, fibers.size() - order[place] / 32 * 32))
      run_warp(place);
    unsigned done = 0, at_barrier = 0;
    for (const Fiber& fiber : fibers) {
      done += fiber.state == DONE;
      at_barrier += fiber.state == AT_BARRIER;
    }
    if (done == fibers.size()) return;
    if (at_barrier < fibers.size())
      for (const Fiber& fiber : fibers)
        if (fiber.state != DONE) {
          threadIdx = fiber.thread;
          fail(fiber.state == AT_BARRIER ? "a barrier that not all threads of the block reach"
                                         : "an exchange that not all threads of the warp reach");
        }
    for (Fiber& fiber : fibers) fiber.state = READY;
  }
}

// A page that nobody may touch follows the dynamic shared memory.
static void make_dynamic(size_t bytes) {
  const size_t page = 4096, room = (bytes + page - 1) / page * page;
  dynamic_start = static_cast<char*>(
      mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(dynamic_start + room, page, PROT_NONE);
  dynamic_bytes = bytes;
  dynamic_shared_ = dynamic_start + (room - bytes) / 16 * 16;
}

static void free_dynamic() {
  munmap(dynamic_start, (dynamic_bytes + 4095) / 4096 * 4096 + 4096);
  dynamic_start = dynamic_shared_ = nullptr;
  dynamic_bytes = 0;
}

// Leave an order as it is (0), turn it round (1), or shuffle it.
static void arrange(std::vector<unsigned>& values, unsigned seed) {
  if (seed == 1) std::reverse(values.begin(), values.end());
  if (seed < 2) return;
  uint64_t random = seed;
  for (size_t i = values.size(); i > 1; --i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    std::swap(values[i - 1], values[(random >> 33) % i]);
  }
}

static const int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};

static const char* launch(void (*kernel)(void**), void** values, const unsigned* dims, size_t shared, int seed) {
  struct sigaction action {}, before[5];
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  for (int i = 0; i < 5; ++i) sigaction(kSignals[i], &action, &before[i]);
  failure[0] = 0;
  body = kernel;
  parameters = values;
  gridDim = {dims[0], dims[1], dims[2]};
  blockDim = {dims[3], dims[4], dims[5]};
  const unsigned count = dims[3] * dims[4] * dims[5];
  make_dynamic(shared);
  if (!sigsetjmp(launch_failed, 0)) {
    blockIdx = {0, 0, 0};
    if (count == 0 || count > 1024 || dims[0] * dims[1] * dims[2] == 0) fail("an impossible grid or block");
    if (shared > 227 * 1024) fail("more shared memory than any GPU has");
    fibers.clear();
    make_fibers(count);
    std::vector<unsigned> blocks(dims[0] * dims[1] * dims[2]);
    for (unsigned i = 0; i < blocks.size(); ++i) blocks[i] = i;
    arrange(blocks, seed);
    std::vector<unsigned> warp_order(warps.size());
    for (unsigned i = 0; i < warps.size(); ++i) warp_order[i] = i;
    arrange(warp_order, seed);
    order.clear();
    for (unsigned warp : warp_order) {
      std::vector<unsigned> threads;
      for (unsigned i = warp * 32; i < std::min(count, warp * 32 + 32); ++i) threads.push_back(i);
      arrange(threads, seed + warp * (seed > 1));
      order.insert(order.end(), threads.begin(), threads.end());
    }
    for (unsigned block : blocks) {
      blockIdx = {block % dims[0], block / dims[0] % dims[1], block / (dims[0] * dims[1])};
      run_block();
    }
  }
  fibers.clear();
  free_dynamic();
  for (int i = 0; i < 5; ++i) sigaction(kSignals[i], &before[i], nullptr);
  return failure[0] ? failure : nullptr;
}

// Give a value to the warp and take that of a lane.
static uint64_t exchange(int operation, unsigned mask, uint64_t value, unsigned source, const uint64_t** all = nullptr) {
  Fiber* self = current;
  const unsigned lane = self->index % 32, warp = self->index / 32;
  const unsigned lanes = std::min<unsigned>(32, fibers.size() - warp * 32);
  const unsigned expected = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
  if ((mask & expected) != expected) fail("an exchange with a mask that is not the whole warp");
  uint64_t* slots = warps[warp].slots[self->exchanges++ & 1];
  if (lane == 0)
    for (unsigned i = lanes; i < 32; ++i) slots[i] = 0;
  slots[lane] = value;
  self->operation = operation;
  yield(AT_EXCHANGE);
  if (all) *all = slots;
  return source < lanes ? slots[source] : value;
}

template <class T>
uint64_t bits_of(T value) {
  static_assert(sizeof(T) <= 8, "exchanges are of 8 bytes at most");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
T shuffle(int operation, unsigned mask, T value, int source, int lane, int width, bool inside) {
  return from_bits<T>(exchange(operation, mask, bits_of(value), inside ? lane / width * width + source : lane));
}

// Type of a parameter as the caller must give it: kind and size.
template <class T>
std::string kind_of() {
  const char* kind = std::is_pointer<T>::value          ? "p"
                     : std::is_floating_point<T>::value ? "f"
                     : std::is_signed<T>::value         ? "i"
                     : std::is_unsigned<T>::value       ? "u"
                                                        : "V";
  return kind + std::to_string(sizeof(T)) + " ";
}

template <class... A>
std::string kinds_of(void (*)(A...)) {
  return (std::string() + ... + kind_of<A>());
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_const_t<A>*>(values[I])...);
}

template <class... A>
void call(void (*kernel)(A...), void** values) {
  call(kernel, values, std::index_sequence_for<A...>());
}

inline int lane() { return current->index % 32; }

}  // namespace host

#define HOST_KERNEL(name)                                                                                      \
  extern "C" const char* name##__kinds() {                                                                     \
    static const std::string kinds = host::kinds_of(name);                                                     \
    return kinds.c_str();                                                                                      \
  }                                                                                                            \
  extern "C" const char* name##__launch(void** values, const unsigned* dims, size_t shared, int seed) {        \
    return host::launch([](void** all) { host::call(name, all); }, values, dims, shared, seed);                \
  }

// Barriers and exchanges

static inline void __syncthreads() { host::yield(host::AT_BARRIER); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __syncwarp(unsigned mask = 0xffffffffu) { host::exchange(1, mask, 0, 0); }
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* all;
  host::exchange(2, mask, predicate != 0, 0, &all);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= unsigned(all[i]) << i;
  return bits;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return host::shuffle(3, mask, value, source & (width - 1), host::lane(), width, true);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = host::lane(), source = (lane % width) ^ bits;
  return host::shuffle(4, mask, value, source, lane, width, source < width);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = host::lane(), source = lane % width + int(delta);
  return host::shuffle(5, mask, value, source, lane, width, source < width);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = host::lane(), source = lane % width - int(delta);
  return host::shuffle(6, mask, value, source, lane, width, source >= 0);
}
template <class T>
static T host_reduce(int operation, unsigned mask, T value, T (*combine)(T, T)) {
  const uint64_t* all;
  host::exchange(operation, mask, host::bits_of(value), 0, &all);
  const unsigned lanes = std::min<unsigned>(32, host::fibers.size() - host::current->index / 32 * 32);
  T result = host::from_bits<T>(all[0]);
  for (unsigned i = 1; i < lanes; ++i) result = combine(result, host::from_bits<T>(all[i]));
  return result;
}
static inline int __syncthreads_count(int predicate) {
  __shared__ int count;
  __syncthreads();
  if (host::current == &host::fibers[0]) count = 0;
  __syncthreads();
  count += predicate != 0;
  __syncthreads();
  return count;
}
static inline int __syncthreads_or(int predicate) { return __syncthreads_count(predicate) > 0; }
static inline int __syncthreads_and(int predicate) { return __syncthreads_count(!predicate) == 0; }

// Atomics: only one fiber runs at a time

template <class T, class U>
T atomicAdd(T* address, U value) { T old = *address; *address = old + T(value); return old; }
template <class T, class U>
T atomicMax(T* address, U value) { T old = *address; *address = std::max(old, T(value)); return old; }
template <class T, class U>
T atomicMin(T* address, U value) { T old = *address; *address = std::min(old, T(value)); return old; }
template <class T, class U>
T atomicOr(T* address, U value) { T old = *address; *address = old | T(value); return old; }
template <class T, class U>
T atomicAnd(T* address, U value) { T old = *address; *address = old & T(value); return old; }
template <class T, class U>
T atomicExch(T* address, U value) { T old = *address; *address = T(value); return old; }
template <class T, class U, class V>
T atomicCAS(T* address, U compare, V value) {
  T old = *address;
  if (old == T(compare)) *address = T(value);
  return old;
}

// Arithmetic

template <class T, class U>
auto max(T a, U b) { typedef std::common_type_t<T, U> C; return C(a) > C(b) ? C(a) : C(b); }
template <class T, class U>
auto min(T a, U b) { typedef std::common_type_t<T, U> C; return C(a) < C(b) ? C(a) : C(b); }
template <class T>
T __ldg(const T* address) { return *address; }
static inline unsigned __float_as_uint(float value) { return host::from_bits<unsigned>(host::bits_of(value)); }
static inline int __float_as_int(float value) { return host::from_bits<int>(host::bits_of(value)); }
static inline float __uint_as_float(unsigned value) { return host::from_bits<float>(host::bits_of(value)); }
static inline float __int_as_float(int value) { return host::from_bits<float>(host::bits_of(value)); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
// The C library has functions of these names, with the same meaning as expf and so on.
#define __expf(a) expf(a)
#define __logf(a) logf(a)
static inline float __fdividef(float a, float b) { return a / b; }
static inline float rsqrtf(float a) { return 1.0f / sqrtf(a); }
static inline int __popc(unsigned value) { return __builtin_popcount(value); }
static inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
static inline int __clz(int value) { return value ? __builtin_clz(unsigned(value)) : 32; }
static inline int __clzll(long long value) { return value ? __builtin_clzll((unsigned long long)value) : 64; }
static inline int __ffs(int value) { return __builtin_ffs(value); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
static inline unsigned __brev(unsigned value) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= (value >> i & 1u) << (31 - i);
  return result;
}

// float16, by its definition: 1 sign, 5 exponent, 10 mantissa bits, rounded to nearest even

static inline float half_to_float(unsigned short half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const float sign = half & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent ? ldexpf(float(1024 + mantissa), exponent - 25) : ldexpf(float(mantissa), -24));
}

static inline unsigned short float_to_half(float value) {
  const unsigned short sign = __float_as_uint(value) >> 16 & 0x8000;
  if (value != value) return sign | 0x7e00;
  const float magnitude = fabsf(value);
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // half way to what would follow 65504
  const int exponent = magnitude < 6.103515625e-05f ? -14 : ilogbf(magnitude);
  // In units of the last place; nearbyintf rounds to even.
  const int units = int(nearbyintf(ldexpf(magnitude, 10 - exponent)));
  return sign | (unsigned short)(units + ((exponent + 14) << 10));
}

#include "host_matrix.h"
