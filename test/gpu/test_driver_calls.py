"""The driver calls of a launch as C receives them: types and sizes that a fake in Python does not see."""

import ctypes
import subprocess

import numpy as np
import pytest
from host_cuda import need_compiler

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.module import CudaKernelModule
from hfnet_ros.inference import driver

LIBCUDA = r"""
#include <stddef.h>
#include <string.h>
typedef unsigned long long u64;
extern "C" {
struct Seen {
  u64 image_start, module, function, attribute, limit, stream, shared, grid[3], block[3], address;
  float number; int extra_is_null, unloaded;
} seen;
int cuInit(unsigned) { return 0; }
int cuModuleLoadData(void** module, const void* image) {
  memcpy(&seen.image_start, image, 8);
  *module = (void*)0x7f0000000011;
  return 0;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  seen.module = (u64)module;
  *function = (void*)0x7f0000000022;
  return strcmp(name, "fill") ? 500 : 0;
}
int cuFuncSetAttribute(void* function, int which, int value) {
  seen.attribute = which, seen.limit = value;
  return function == (void*)0x7f0000000022 ? 0 : 1;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** parameters, void** extra) {
  u64 grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
  memcpy(seen.grid, grid, 24), memcpy(seen.block, block, 24);
  seen.function = (u64)function, seen.shared = shared, seen.stream = (u64)stream;
  memcpy(&seen.address, parameters[0], 8), memcpy(&seen.number, parameters[1], 4);
  seen.extra_is_null = extra == NULL;
  return 0;
}
int cuModuleUnload(void* module) { seen.unloaded = module == (void*)0x7f0000000011; return 0; }
int cuGetErrorName(int, const char** name) { *name = "CUDA_ERROR_NOT_FOUND"; return 0; }
}
"""


class Seen(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("image_start", "module", "function", "attribute", "limit")),
        ("stream", ctypes.c_uint64),
        ("shared", ctypes.c_uint64),
        ("grid", ctypes.c_uint64 * 3),
        ("block", ctypes.c_uint64 * 3),
        ("address", ctypes.c_uint64),
        ("number", ctypes.c_float),
        ("extra_is_null", ctypes.c_int),
        ("unloaded", ctypes.c_int),
    )


@pytest.fixture
def library(tmp_path, monkeypatch):
    (tmp_path / "libcuda.cpp").write_text(LIBCUDA)
    path = tmp_path / "libcuda.so"
    command = [need_compiler(), "-shared", "-fPIC", "-w", str(tmp_path / "libcuda.cpp"), "-o", str(path)]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(path))
    monkeypatch.setattr(driver, "_open_library", lambda: loaded)
    return loaded


def test_handles_sizes_and_arguments_arrive(library):
    image = b"\x7fELF\x00\x01\x02\x03 and more"
    stream = 0x7F0000000033
    kernels = CudaKernelModule(driver.CudaDriver(), image, stream, "fill.cu")
    arguments = [0x7F0000000044, np.float32(2.5)]
    launch = kernels.prepare("fill", (70000, 2, 1), (32, 4, 1), arguments, 65536)
    del arguments
    launch()
    seen = Seen.in_dll(library, "seen")
    assert seen.image_start == int.from_bytes(image[:8], "little")
    assert (seen.module, seen.function) == (0x7F0000000011, 0x7F0000000022)
    assert (seen.attribute, seen.limit, seen.shared) == (8, 65536, 65536)
    assert (list(seen.grid), list(seen.block)) == ([70000, 2, 1], [32, 4, 1])
    assert (seen.stream, seen.address, seen.number) == (stream, 0x7F0000000044, 2.5)
    assert seen.extra_is_null
    kernels.close()
    assert seen.unloaded


def test_what_the_driver_refuses_is_an_error(library):
    kernels = CudaKernelModule(driver.CudaDriver(), b"image", 0, "fill.cu")
    with pytest.raises(EngineError, match="cuModuleGetFunction failed with CUDA_ERROR_NOT_FOUND"):
        kernels.launch("empty", (1, 1, 1), (1, 1, 1), [])
    kernels.close()
