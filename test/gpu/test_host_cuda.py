"""The emulation itself: what it computes, and that it finds what a GPU would only punish."""

import numpy as np
import pytest
from host_cuda import HostModule, host_kernels

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.source import read_source

SUM = """
extern "C" __global__ void __launch_bounds__(256) block_sum(const float* values, float* sums, int count) {
  __shared__ float parts[8];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float value = i < count ? values[i] : 0.0f;
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < 8; ++i) value += parts[i];
    atomicAdd(sums, value);
  }
}
"""


def run(memory, source, name, block, arguments, grid=(1, 1, 1), shared_bytes=0, seed=0):
    HostModule(memory, source, seed=seed).launch(name, grid, block, arguments, shared_bytes)
    memory.synchronize()


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_barriers_exchanges_and_atomics_work_together(memory, seed):
    values = np.arange(1000, dtype=np.float32)
    address, total = memory.put(values), memory.put(np.zeros(1, np.float32))
    run(memory, SUM, "block_sum", (256, 1, 1), [address, total, np.int32(1000)], (4, 1, 1), seed=seed)
    assert memory.view(total, (1,), np.float32)[0] == 499500.0


def test_ballots_and_dynamic_shared_memory(memory):
    source = """
extern "C" __global__ void turn(const int* values, int* out, unsigned* ballots) {
  extern __shared__ int turned[];
  turned[blockDim.x - 1 - threadIdx.x] = values[threadIdx.x];
  unsigned odd = __ballot_sync(0xffffffffu, values[threadIdx.x] % 2);
  if (threadIdx.x % 32 == 0) ballots[threadIdx.x / 32] = odd;
  __syncthreads();
  out[threadIdx.x] = turned[threadIdx.x];
}
"""
    values = np.arange(40, dtype=np.int32)
    address, out = memory.put(values), memory.allocate(160)
    ballots = memory.allocate(8)
    run(memory, source, "turn", (40, 1, 1), [address, out, ballots], shared_bytes=160)
    np.testing.assert_array_equal(memory.view(out, (40,), np.int32), values[::-1])
    np.testing.assert_array_equal(memory.view(ballots, (2,), np.uint32), [0xAAAAAAAA, 0xAA])


FAULTS = {
    "reads beyond the end": ("out[0] = in[64 + threadIdx.x];", "not the kernel's"),
    "reads before the start": ("out[0] = in[-1024];", "not the kernel's"),
    "writes beyond the end": ("out[1000] = 1.0f;", "not the kernel's"),
    "barrier in a branch": ("if (threadIdx.x < 5) __syncthreads();", "barrier that not all"),
    "exchange after the end": ("if (threadIdx.x) __shfl_sync(0xffffffffu, 1, 0);", "exchange that not all"),
    "exchange with a part": ("__ballot_sync(0xffffu, 1);", "mask"),
    "exchanges that differ": (
        "if (threadIdx.x) __shfl_sync(0xffffffffu, 1, 0); else __ballot_sync(0xffffffffu, 1);",
        "different exchanges",
    ),
    "index beyond a shared array": (
        "__shared__ float a[4]; a[threadIdx.x] = 1.0f; out[0] = a[0];",
        "undefined behaviour",
    ),
    "misaligned vector": ("out[0] = ((const float4*)(in + 1))->x;", "undefined behaviour"),
    "dynamic shared memory too short": (
        "extern __shared__ float d[]; d[threadIdx.x + 8] = 1.0f; out[0] = d[0];",
        "not the kernel's",
    ),
}


FAULTY = SUM + "".join(
    f'extern "C" __global__ void fault{number}(const float* in, float* out) {{ {body} }}\n'
    for number, (body, _) in enumerate(FAULTS.values())
)


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_errors(memory, name):
    arguments = [memory.put(np.zeros(64, np.float32)), memory.allocate(4)]
    kernel = f"fault{list(FAULTS).index(name)}"
    with pytest.raises(EngineError, match=FAULTS[name][1]):
        run(memory, FAULTY, kernel, (32, 1, 1), arguments, shared_bytes=64)
    # The emulation goes on after that.
    values, total = memory.put(np.ones(256, np.float32)), memory.put(np.zeros(1, np.float32))
    run(memory, FAULTY, "block_sum", (256, 1, 1), [values, total, np.int32(256)])
    assert memory.view(total, (1,), np.float32)[0] == 256.0


def test_a_write_into_the_rest_of_a_page_is_found(memory):
    source = 'extern "C" __global__ void before(float* out) { out[-1] = 1.0f; }'
    with pytest.raises(AssertionError, match="beside a buffer"):
        run(memory, source, "before", (1, 1, 1), [memory.allocate(64)])


def test_wrong_arguments_are_found(memory):
    with pytest.raises(EngineError, match="given p8 p8 i8, expected p8 p8 i4"):
        run(memory, SUM, "block_sum", (256, 1, 1), [1, 2, np.int64(3)])
    with pytest.raises(EngineError, match="no kernel 'sum'"):
        run(memory, SUM, "sum", (256, 1, 1), [])


def test_nothing_happens_before_somebody_waits(memory):
    total = memory.put(np.zeros(1, np.float32))
    values = memory.put(np.ones(256, np.float32))
    HostModule(memory, SUM).launch("block_sum", (1, 1, 1), (256, 1, 1), [values, total, np.int32(256)])
    assert memory.view(total, (1,), np.float32)[0] == 0.0
    memory.synchronize()
    assert memory.view(total, (1,), np.float32)[0] == 256.0


def test_float16_conversions_are_those_of_numpy(memory):
    source = (
        read_source("half.cuh")
        + """
extern "C" __global__ void convert(const half_bits* halves, float* floats, half_bits* back) {
  int i = blockIdx.x * 256 + threadIdx.x;
  floats[i] = half_to_float(halves[i]);
  back[i] = float_to_half(floats[i]);
}
extern "C" __global__ void narrow(const float* floats, half_bits* halves) {
  halves[threadIdx.x] = float_to_half(floats[threadIdx.x]);
}
"""
    )
    bits = np.arange(65536, dtype=np.uint16)
    floats, back = memory.allocate(4 * 65536), memory.allocate(2 * 65536)
    run(memory, source, "convert", (256, 1, 1), [memory.put(bits), floats, back], (256, 1, 1))
    with np.errstate(invalid="ignore"):
        expected = bits.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(memory.view(floats, (65536,), np.float32), expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(memory.view(back, (65536,), np.uint16)[numbers], bits[numbers])
    rng = np.random.default_rng(0)
    wide = np.concatenate(
        [rng.normal(size=200) * 10.0 ** rng.integers(-9, 6, 200), [65519.0, 65520.0, 2.0**-25, 1e-40]]
    ).astype(np.float32)
    narrowed = memory.allocate(2 * len(wide))
    run(memory, source, "narrow", (len(wide), 1, 1), [memory.put(wide), narrowed])
    with np.errstate(over="ignore"):
        expected = wide.astype(np.float16)
    np.testing.assert_array_equal(memory.view(narrowed, (len(wide),), np.float16), expected)


def test_shared_memory_is_not_zero_at_the_start(memory):
    source = """
extern "C" __global__ void peek(unsigned* out) {
  __shared__ unsigned values[2];
  if (threadIdx.x == 0) { out[blockIdx.x] = values[0]; values[0] = 1; }
}
"""
    out = memory.allocate(8)
    run(memory, source, "peek", (32, 1, 1), [out], (2, 1, 1))
    np.testing.assert_array_equal(memory.view(out, (2,), np.uint32), [0xCDCDCDCD] * 2)


def test_a_source_that_does_not_compile_is_an_error():
    with pytest.raises(EngineError, match="refuses"):
        host_kernels('extern "C" __global__ void broken() { nonsense; }')
