"""Compiled kernels on disk: found again, compiled anew when anything is wrong, and never a reason to fail."""

import contextlib
import json
import logging
import os

import host_cuda
import numpy as np
import pytest
from fake_machine import Machine
from host_cuda import install_kernels, need_compiler

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu import module
from hfnet_ros.gpu.module import module_opener
from hfnet_ros.inference.code_folder import CodeFolder
from hfnet_ros.inference.cuda_memory import open_cuda_memory
from hfnet_ros.inference.plan_cache import PlanCache

SOURCE = """
extern "C" __global__ void fill(float* out) { out[threadIdx.x] = FACTOR; }
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    need_compiler()
    made = Machine(monkeypatch, tmp_path / "engines")
    made.install_cuda("cuda-bindings")
    install_kernels(monkeypatch, made, compilers=("cuda-bindings",))
    monkeypatch.setattr(module, "read_source", lambda name: SOURCE)
    return made


@pytest.fixture
def start(machine):
    """Open kernels as a new process would, run them, and return how often something was compiled."""

    def start(folder=machine.cache, factor=3):
        before = host_cuda.num_compiled[0]
        with contextlib.closing(open_cuda_memory()) as memory:
            kernels = module_opener(str(folder))(memory, "fill.cu", {"FACTOR": factor})
            address, host = memory.allocate(16), memory.pinned(16)
            kernels.launch("fill", (1, 1, 1), (4, 1, 1), [address])
            memory.copy_to_host(host, address)
            memory.synchronize()
            np.testing.assert_array_equal(host.view(np.float32), [factor] * 4)
            kernels.close()
        return host_cuda.num_compiled[0] - before

    return start


def files(machine):
    return sorted(machine.cache.iterdir())


def one_line(caplog, *words):
    (record,) = [record for record in caplog.records if record.name == "hfnet_ros.gpu.kernel_cache"]
    for word in words:
        assert word in record.getMessage()


def test_the_next_start_compiles_nothing(machine, start, caplog):
    assert [start(), start(), start()] == [1, 0, 0]
    code, record = files(machine)
    assert code.name.startswith("fill-sm_87-")
    assert code.suffix == ".cubin"
    assert {file.stat().st_mode & 0o777 for file in (code, record)} == {0o600}
    assert machine.cache.stat().st_mode & 0o777 == 0o700
    assert json.loads(record.read_text())["key"]["compiler"].startswith("NVRTC 12.9, cuda-bindings ")
    assert caplog.records == []
    assert PlanCache(str(machine.cache)).plans() == []


@pytest.mark.slow
def test_other_macros_sources_gpus_and_compilers_are_other_code(machine, start, monkeypatch):
    assert [start(factor=3), start(factor=4)] == [1, 1]
    monkeypatch.setattr(module, "read_source", lambda name: SOURCE + "\n")
    assert [start(), start()] == [1, 0]
    nvrtc = host_cuda.sys.modules["cuda.bindings.nvrtc"]
    monkeypatch.setattr(nvrtc, "nvrtcVersion", lambda: (0, 13, 0))
    assert [start(), start()] == [1, 0]
    monkeypatch.setattr("hfnet_ros.inference.driver.CudaDriver.compute_capability", lambda self: (9, 0))
    assert [start(), start()] == [1, 0]
    assert len(files(machine)) == 10


def damage(code, record):
    code.write_bytes(code.read_bytes()[:-1] + b"?")


def lose(code, record):
    code.unlink()


def spoil_record(code, record):
    record.write_text("{")


def let_others_write(code, record):
    code.chmod(0o666)


def replace_by_link(code, record):
    elsewhere = code.parent.parent / "elsewhere"
    code.rename(elsewhere)
    code.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage, "digest differs"),
        (lose, "is missing"),
        (spoil_record, "damaged"),
        (let_others_write, "others may write it"),
        (replace_by_link, "cannot be opened as a plain file"),
    ],
)
def test_what_cannot_be_trusted_is_compiled_anew_with_one_line(machine, start, caplog, harm, words):
    start()
    code, record = files(machine)
    intact = code.read_bytes()
    harm(code, record)
    elsewhere = machine.cache.parent / "elsewhere"
    if elsewhere.exists():
        elsewhere.write_bytes(b"somebody's")
    with caplog.at_level(logging.WARNING):
        assert start() == 1
    one_line(caplog, "compiled anew", words)
    assert [start(), code.is_symlink(), code.stat().st_mode & 0o777] == [0, False, 0o600]
    assert len(code.read_bytes()) == len(intact)
    if elsewhere.exists():
        assert elsewhere.read_bytes() == b"somebody's"


def test_a_folder_in_the_place_of_the_code_costs_a_line_only(machine, start, caplog):
    start()
    code, _ = files(machine)
    code.unlink()
    code.mkdir()
    with caplog.at_level(logging.WARNING):
        assert start() == 1
    one_line(caplog, "cannot be kept")
    assert code.is_dir()


def test_code_of_another_user_is_not_run(machine, start, caplog, monkeypatch):
    start()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with caplog.at_level(logging.WARNING):
        assert start() == 1
    one_line(caplog, "cannot be kept", f"belongs to user {os.getuid()}")


def test_a_folder_that_others_may_write_is_left_alone(machine, start, caplog):
    start()
    before = [file.read_bytes() for file in files(machine)]
    machine.cache.chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert start() == 1
    one_line(caplog, "cannot be kept", "others may write it")
    assert [file.read_bytes() for file in files(machine)] == before


def test_a_folder_that_cannot_be_written_is_a_line(machine, start, caplog):
    (machine.cache.parent / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert start(machine.cache.parent / "file" / "engines") == 1
    one_line(caplog, "fill.cu", "cannot be kept")


def test_pycuda_keeps_its_own(machine, start, monkeypatch):
    machine.remove("cuda.bindings.driver")
    machine.install_cuda("pycuda")
    install_kernels(monkeypatch, machine, compilers=("pycuda",))
    assert start() == 1
    assert not machine.cache.exists()


def test_a_source_that_is_refused_leaves_nothing(machine, monkeypatch, start):
    monkeypatch.setattr(module, "read_source", lambda name: "no kernel")
    with pytest.raises(EngineError, match="cannot be compiled"):
        start()
    assert not machine.cache.exists()


def test_a_home_of_nobody_is_an_engine_error():
    with pytest.raises(EngineError, match=r"Write inference\.engine_cache out"):
        CodeFolder("~nobody-at-all/engines")
