"""TensorRT for RTX behind the same interface: built ahead, compiled where it runs, kept for the next start."""

import logging
import sys

import numpy as np
import pytest
from fake_tensorrt import RTX, listing

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.inference.backend import build_cached_plan, create_engine, library_to_build
from hfnet_ros.inference.build import build_plan
from hfnet_ros.inference.plan_cache import PlanCache
from hfnet_ros.inference.probe import BACKENDS, probe_backend
from hfnet_ros.inference.tensorrt_library import TENSORRT, TENSORRT_RTX

A = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def desktop(machine):
    """A machine with an RTX GPU, its driver, cuda-bindings and TensorRT for RTX."""
    machine.gpu.capability = (8, 6)
    machine.install_cuda("cuda-bindings")
    machine.install_tensorrt(RTX)
    return machine


def opened(machine, model, **options):
    return create_engine(model, machine.config(**{"backend": "tensorrt-rtx", **options}))


def run_once(machine, model, **options):
    engine = opened(machine, model, **options)
    np.testing.assert_array_equal(engine.run({"a": A, "b": A})["sum"], 2 * A)
    engine.close()
    assert machine.gpu.alive() == 0
    assert not [event for event in machine.gpu.events if event.startswith("CRASH")]
    return engine.backend


def ahead(machine, model, capability, **options):
    config = machine.config(backend="auto", **options)
    return build_cached_plan(
        model, config, library=library_to_build(config, capability), capability=capability
    )


def test_capabilities_are_those_of_the_real_library():
    known = set(listing(RTX)["classes"]["ComputeCapability"]["enum"]) - {"NONE", "CURRENT"}
    assert {f"SM{major}{minor}" for major, minor in TENSORRT_RTX.capabilities} == known


def test_a_network_runs(desktop, add_and_scale):
    assert run_once(desktop, add_and_scale) == "tensorrt-rtx-1.7.1.116"
    ((_, config),) = desktop.trt._built_with
    assert (config.num_compute_capabilities, config._capability) == (1, "SM86")


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_timing_caches_that_do_nothing_are_not_asked_for(desktop, add_and_scale):
    assert build_plan(add_and_scale, desktop.config(), library=TENSORRT_RTX).timing_cache == b""


def test_auto_takes_it_before_onnxruntime_and_after_tensorrt(desktop, add_and_scale):
    assert BACKENDS[:2] == ("tensorrt", "tensorrt-rtx")
    assert run_once(desktop, add_and_scale, backend="auto") == "tensorrt-rtx-1.7.1.116"
    desktop.install_tensorrt("11.4")
    assert run_once(desktop, add_and_scale, backend="auto").startswith("tensorrt-11.4")


@pytest.mark.parametrize("capability", [(8, 7), (9, 0), (11, 0)])
def test_a_gpu_that_is_no_target_is_refused_with_those_that_are(desktop, add_and_scale, capability):
    desktop.gpu.capability = capability
    name = ".".join(map(str, capability))
    words = rf"does not build for compute capability {name} \(Simulated GPU\), expected one of 7.5, 8.0, 8.6"
    with pytest.raises(EngineError, match=words):
        opened(desktop, add_and_scale)
    report = probe_backend("tensorrt-rtx")
    assert "expected one of 7.5" in report.reason
    assert report.remedy == "set inference.backend to 'tensorrt'"


def test_what_the_runtime_compiles_is_kept(desktop, add_and_scale):
    for _ in range(3):
        run_once(desktop, add_and_scale)
    assert (desktop.trt._builds, desktop.trt._compiled) == (1, 1)
    desktop.gpu.name = "Another GPU"
    run_once(desktop, add_and_scale)
    assert (desktop.trt._builds, desktop.trt._compiled) == (1, 2)


def test_kernels_that_are_refused_are_compiled_and_kept_anew(desktop, add_and_scale):
    run_once(desktop, add_and_scale)
    for path in desktop.cache.glob("*.kernels"):
        path.write_bytes(b"no kernels")
    run_once(desktop, add_and_scale)
    run_once(desktop, add_and_scale)
    assert desktop.trt._compiled == 2


def test_kernels_of_somebody_else_are_a_warning_and_not_loaded(desktop, add_and_scale, caplog):
    run_once(desktop, add_and_scale)
    for path in desktop.cache.glob("*.kernels"):
        path.chmod(0o666)
    with caplog.at_level(logging.WARNING):
        run_once(desktop, add_and_scale)
    assert "kernels of network tiny are compiled anew" in caplog.text
    assert desktop.trt._compiled == 2


def test_kernels_that_cannot_be_kept_are_a_warning(desktop, add_and_scale, caplog, monkeypatch):
    def full(*_):
        raise EngineError("no space left")

    monkeypatch.setattr(PlanCache, "store_kernels", full)
    with caplog.at_level(logging.WARNING):
        run_once(desktop, add_and_scale)
    assert "compiled at every start: no space left" in caplog.text


# Built ahead


def test_it_builds_for_a_gpu_that_is_not_there(desktop, add_and_scale):
    desktop.remove_driver()
    plan = ahead(desktop, add_and_scale, (8, 6))
    assert plan == ahead(desktop, add_and_scale, (8, 6))
    assert desktop.trt._builds == 1
    ahead(desktop, add_and_scale, (12, 0))
    assert desktop.trt._builds == 2
    assert {kept.key.gpu for kept in PlanCache(str(desktop.cache)).plans()} == {
        "compute capability 8.6",
        "compute capability 12.0",
    }


def test_what_was_built_ahead_is_found_where_the_gpu_is(desktop, add_and_scale):
    desktop.remove_driver()
    ahead(desktop, add_and_scale, (8, 6))
    desktop.install_driver()
    run_once(desktop, add_and_scale)
    assert desktop.trt._builds == 1


def test_a_capability_that_is_no_target_is_refused_before_anything_is_imported(machine, add_and_scale):
    with pytest.raises(EngineError, match=r"compute capability 8\.7, expected one of 7\.5.*Orin \(8\.7\)"):
        ahead(machine, add_and_scale, (8, 7))


def test_tensorrt_itself_builds_for_this_machine_only(desktop):
    with pytest.raises(EngineError, match="TensorRT builds for the GPU of this machine only"):
        library_to_build(desktop.config(backend="tensorrt"), (8, 6))


def test_the_library_that_builds_is_the_configured_or_the_one_that_works(desktop):
    assert library_to_build(InferenceConfig(backend="tensorrt")) is TENSORRT
    assert library_to_build(InferenceConfig(backend="tensorrt-rtx")) is TENSORRT_RTX
    assert library_to_build(InferenceConfig()) is TENSORRT_RTX
    desktop.install_tensorrt("11.4")
    assert library_to_build(InferenceConfig()) is TENSORRT


# What is missing


def test_without_a_gpu_the_error_says_what_is_possible(desktop, add_and_scale):
    desktop.remove_driver()
    with pytest.raises(EngineError, match=r"for RTX needs a GPU: no NVIDIA driver.*--compute-capability"):
        opened(desktop, add_and_scale)


def test_without_the_library_the_error_says_how_to_get_it(machine, add_and_scale):
    machine.gpu.capability = (8, 6)
    with pytest.raises(
        EngineError,
        match=r"TensorRT for RTX cannot be imported.*pip install tensorrt-rtx-cu13-bindings==.*extra rtx",
    ):
        opened(machine, add_and_scale)


def test_an_old_one_is_refused(desktop, add_and_scale):
    desktop.trt.__version__ = "1.2.0.54"
    with pytest.raises(EngineError, match=r"TensorRT for RTX is 1\.2\.0\.54, expected 1\.7 or newer"):
        opened(desktop, add_and_scale)


def test_the_name_of_the_wheel_is_found_as_well(desktop, add_and_scale, monkeypatch):
    """pip's wheel has another name of the module than NVIDIA's archive."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", desktop.trt)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert TENSORRT_RTX.module == "tensorrt_rtx_bindings"
    run_once(desktop, add_and_scale)
