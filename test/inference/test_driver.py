"""What is known of the GPU before anything could crash."""

import pytest
from fake_cuda import SimulatedGpu

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.driver import CudaDriver, probe_driver


def test_a_gpu_is_described(machine):
    report = probe_driver()
    assert report.reason == ""
    assert report.cuda_version == (12, 6)
    (gpu,) = report.gpus
    assert (gpu.name, gpu.capability, gpu.memory_bytes, gpu.integrated) == (
        "Simulated GPU",
        (8, 7),
        1 << 30,
        True,
    )


def test_asking_makes_no_context(machine):
    probe_driver()
    assert machine.gpu.alive() == 0


@pytest.mark.parametrize(
    ("gpu", "words"),
    [
        (None, "no NVIDIA driver (libcuda.so.1 not found)"),
        (SimulatedGpu(init_code=999), "the NVIDIA driver does not start (CUDA_ERROR_999)"),
        (SimulatedGpu(num_devices=0), "the NVIDIA driver sees no GPU"),
    ],
)
def test_every_lack_has_a_reason_and_a_remedy(machine, gpu, words):
    if gpu is None:
        machine.remove_driver()
    else:
        machine.gpu = gpu
    report = probe_driver()
    assert report.reason == words
    assert report.remedy
    assert report.gpus == ()


def test_a_failing_call_is_named(machine):
    with pytest.raises(EngineError, match="cuCtxPopCurrent_v2 failed with CUDA_ERROR_201"):
        CudaDriver().pop_context()


def test_no_driver_is_an_engine_error(machine):
    machine.remove_driver()
    with pytest.raises(EngineError, match=r"no NVIDIA driver.*libcuda\.so\.1"):
        CudaDriver()
