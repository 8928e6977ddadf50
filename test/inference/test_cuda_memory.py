"""Both CUDA libraries on a simulated GPU: same results, nothing left behind."""

import threading

import numpy as np
import pytest

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.cuda_memory import find_cuda_library, open_cuda_memory


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def gpu(request, machine):
    machine.install_cuda(request.param)
    yield machine.gpu
    assert machine.gpu.alive() == 0


def test_bytes_go_to_the_device_and_back(gpu):
    memory = open_cuda_memory()
    source, target = memory.pinned(12), memory.pinned(12)
    source[:], target[:] = range(12), 0
    address = memory.allocate(12)
    memory.copy_to_device(address, source)
    source[:] = range(12)
    memory.copy_to_host(target, address)
    assert target.sum() == 0, "nothing is done before somebody waits"
    memory.synchronize()
    assert target.tolist() == list(range(12))
    assert memory.free_bytes() == (1 << 29, 1 << 30)
    memory.close()


def test_page_locked_memory_can_be_seen_as_any_type(gpu):
    memory = open_cuda_memory()
    array = memory.pinned(24).view(np.float16).reshape(3, 4)
    array[...] = 1.5
    address = memory.allocate(24)
    memory.copy_to_device(address, array)
    memory.synchronize()
    assert (gpu.device_bytes(address, 24).view(np.float16) == 1.5).all()
    memory.close()


def test_buffers_go_first_then_the_stream_then_the_context(gpu):
    memory = open_cuda_memory()
    memory.pinned(3)
    memory.allocate(3)
    memory.close()
    memory.close()
    assert gpu.events[:4] == ["free device", "free pinned", "free stream", "release context"]


def test_memory_of_one_thread_shares_one_context(gpu):
    memories = [open_cuda_memory() for _ in range(3)]
    assert len(gpu.stack) == 1
    for index in (1, 0, 2):
        assert len(gpu.stack) == 1
        memories[index].close()
    assert gpu.stack == []


def test_each_thread_has_a_context_of_its_own(gpu):
    depths = []

    def work():
        memory = open_cuda_memory()
        depths.append(len(gpu.stack))
        memory.close()
        depths.append(len(gpu.stack))

    memory = open_cuda_memory()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert depths == [1, 0]
    assert len(gpu.stack) == 1
    memory.close()


def test_closing_in_another_thread_is_refused(gpu):
    memory, errors = open_cuda_memory(), []

    def work():
        try:
            memory.close()
        except EngineError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "another thread" in errors[0]
    memory.close()


def test_too_much_is_an_engine_error(gpu):
    memory = open_cuda_memory()
    with pytest.raises(EngineError, match=r"[aA]lloc.* failed"):
        memory.allocate(1 << 40)
    memory.close()


def test_a_failing_free_does_not_keep_the_rest_alive(gpu):
    memory = open_cuda_memory()
    memory.pinned(3)
    del gpu.device_buffers[memory.allocate(8)]
    with pytest.raises(KeyError):
        memory.close()
    assert not gpu.pinned_buffers
    assert not gpu.stack


def test_a_gpu_that_is_not_there_is_an_engine_error(gpu):
    gpu.num_devices = 0
    if find_cuda_library() == "pycuda":
        with pytest.raises(EngineError, match="invalid device ordinal"):
            open_cuda_memory()


def test_pycuda_comes_first(machine):
    assert find_cuda_library() == ""
    with pytest.raises(EngineError, match=r"no CUDA library for Python.*pip install pycuda"):
        open_cuda_memory()
    machine.install_cuda("cuda-bindings")
    assert find_cuda_library() == "cuda-bindings"
    machine.install_cuda("pycuda")
    assert find_cuda_library() == "pycuda"
    memory = open_cuda_memory()
    assert memory.library == "pycuda"
    memory.close()
