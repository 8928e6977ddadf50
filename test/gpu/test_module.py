"""Compiling, loading and launching through the driver's interface, on the simulated GPU."""

from pathlib import Path

import numpy as np
import pytest
from fake_machine import Machine
from host_cuda import install_kernels, need_compiler

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu import module, source
from hfnet_ros.gpu.module import c_value, open_module
from hfnet_ros.gpu.source import read_source
from hfnet_ros.inference.cuda_memory import open_cuda_memory

SOURCE = """
extern "C" __global__ void fill(float* out, float value, int count) {
  extern __shared__ float copies[];
  copies[threadIdx.x] = value * FACTOR;
  if (int(threadIdx.x) < count) out[threadIdx.x] = copies[threadIdx.x];
}
"""


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def machine(request, monkeypatch, tmp_path):
    need_compiler()
    made = Machine(monkeypatch, tmp_path)
    made.install_cuda(request.param)
    install_kernels(monkeypatch, made, compilers=(request.param,))
    monkeypatch.setattr(module, "read_source", lambda name: SOURCE)
    return made


@pytest.fixture
def memory(machine):
    opened = open_cuda_memory()
    yield opened
    opened.close()
    assert machine.gpu.alive() == 0


def test_a_kernel_runs_on_the_stream(machine, memory):
    kernels = open_module(memory, "fill.cu", {"FACTOR": 3})
    address, host = memory.allocate(16), memory.pinned(16)
    arguments = [address, np.float32(2.5), np.int32(4)]
    kernels.launch("fill", (1, 1, 1), (32, 1, 1), arguments, 128)
    memory.copy_to_host(host, address)
    assert machine.gpu.launched == []  # until somebody waits
    memory.synchronize()
    np.testing.assert_array_equal(host.view(np.float32), [7.5] * 4)
    kernels.close()
    kernels.close()
    assert machine.gpu.modules == {}


def test_a_prepared_launch_can_be_repeated(machine, memory):
    kernels = open_module(memory, "fill.cu", {"FACTOR": 1})
    launch = kernels.prepare(
        "fill", (1, 1, 1), (32, 1, 1), [memory.allocate(4), np.float32(1.0), np.int32(1)], 128
    )
    launch()
    launch()
    memory.synchronize()
    assert machine.gpu.launched == ["fill", "fill"]
    kernels.close()
    with pytest.raises(EngineError, match="closed"):
        launch()
    with pytest.raises(EngineError, match="closed"):
        kernels.launch("fill", (1, 1, 1), (32, 1, 1), [])


def test_a_missing_kernel_is_an_error(memory):
    kernels = open_module(memory, "fill.cu", {"FACTOR": 1})
    with pytest.raises(EngineError, match="cuModuleGetFunction"):
        kernels.launch("empty", (1, 1, 1), (32, 1, 1), [])
    kernels.close()


def test_what_the_compiler_says_is_in_the_error(memory):
    with pytest.raises(EngineError, match=r"(?s)fill\.cu cannot be compiled for sm_87.*FACTOR"):
        open_module(memory, "fill.cu", {})


def test_without_a_compiler_the_error_names_both(machine, monkeypatch, memory):
    install_kernels(monkeypatch, machine, compilers=())
    with pytest.raises(EngineError) as raised:
        open_module(memory, "fill.cu", {"FACTOR": 1})
    assert "pycuda: " in str(raised.value)
    assert "cuda-bindings: " in str(raised.value)


def test_the_other_compiler_stands_in(machine, monkeypatch, memory):
    other = {"pycuda": "cuda-bindings", "cuda-bindings": "pycuda"}[memory.library]
    install_kernels(monkeypatch, machine, compilers=(other,))
    opened = open_module(memory, "fill.cu", {"FACTOR": 1})
    assert len(machine.gpu.modules) == 1
    opened.close()
    assert machine.gpu.modules == {}


def test_only_scalars_and_addresses_are_arguments():
    assert bytes(c_value(np.float32(1.0))) == b"\x00\x00\x80\x3f"
    assert bytes(c_value(np.int16(-2))) == b"\xfe\xff"
    assert c_value(1 << 40).value == 1 << 40
    for wrong in (1.0, True, np.zeros(1)):
        with pytest.raises(EngineError, match="expected a numpy scalar or int"):
            c_value(wrong)


def test_sources_need_no_folder_and_keep_their_line_numbers(monkeypatch, tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "inner.cuh").write_text("int inner;\nint second;\n")
    (folder / "outer.cu").write_text('// one\n#include "inner.cuh"\nint three;\n')
    monkeypatch.setattr(source.resources, "files", lambda package: tmp_path)
    assert read_source("outer.cu").splitlines() == [
        '#line 1 "outer.cu"',
        "// one",
        '#line 1 "inner.cuh"',
        "int inner;",
        "int second;",
        '#line 3 "outer.cu"',
        "int three;",
    ]


def test_every_source_comes_with_the_package():
    names = [path.name for path in Path(module.__file__).with_name("kernels").glob("*.cu")]
    assert "features.cu" in names
    for name in names:
        assert "#include" not in read_source(name)
