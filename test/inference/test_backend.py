"""Which backend `auto` takes, what it says about it, and plans between two starts."""

import logging

import numpy as np
import onnxruntime
import pytest

from hfnet_ros.errors import EngineError
from hfnet_ros.inference import backend as backend_module
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import NetworkModel

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def auto(machine, model, caplog, progress=None, **options):
    """Return the backend that auto takes and the line it logs."""
    caplog.clear()
    backend_module._told.clear()
    with caplog.at_level(logging.INFO, "hfnet_ros.inference.backend"):
        engine = create_engine(model, machine.config(backend="auto", **options), progress)
    backend = engine.backend
    np.testing.assert_array_equal(engine.run({"a": A, "b": A})["sum"], 2 * A)
    engine.close()
    (line,) = [record.message for record in caplog.records if "runs on" in record.message]
    return backend, line


def test_the_fastest_is_taken(jetson, add_and_scale, caplog):
    backend, line = auto(jetson, add_and_scale, caplog)
    assert backend == "tensorrt-10.3.0"
    assert line == "network tiny runs on tensorrt-10.3.0"


def test_without_a_driver_it_is_the_cpu_and_it_says_why(machine, add_and_scale, caplog):
    machine.remove_driver()
    backend, line = auto(machine, add_and_scale, caplog)
    assert backend == "onnxruntime-cpu"
    assert line == (
        "network tiny runs on onnxruntime-cpu, 2 threads; not on tensorrt, tensorrt-rtx, onnxruntime-cuda: "
        "no NVIDIA driver (libcuda.so.1 not found)"
    )


def test_why_is_said_once_and_not_at_every_activation(machine, add_and_scale, caplog):
    machine.remove_driver()
    auto(machine, add_and_scale, caplog)
    caplog.clear()
    with caplog.at_level(logging.INFO, "hfnet_ros.inference.backend"):
        create_engine(add_and_scale, machine.config(backend="auto")).close()
    assert [record.message for record in caplog.records] == [
        "network tiny runs on onnxruntime-cpu, 2 threads"
    ]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (
            "tensorrt",
            "not on tensorrt: no module 'tensorrt' in this Python; not on tensorrt-rtx: no module 'tensorrt_rtx'",
        ),
        ("pycuda.driver", "not on tensorrt: neither pycuda nor cuda-bindings in this Python"),
    ],
)
def test_each_lack_is_named(jetson, add_and_scale, caplog, missing, words):
    jetson.remove(missing)
    backend, line = auto(jetson, add_and_scale, caplog)
    assert backend == "onnxruntime-cpu"
    assert words in line


@pytest.mark.parametrize("fault", ["build", "deserialize", "context"])
def test_a_tensorrt_that_fails_is_a_warning_and_the_cpu(jetson, add_and_scale, caplog, fault):
    jetson.trt._faults.add(fault)
    backend, _ = auto(jetson, add_and_scale, caplog)
    assert backend == "onnxruntime-cpu"
    assert [
        record.levelname for record in caplog.records if "does not run on tensorrt" in record.message
    ] == ["WARNING"]
    assert jetson.gpu.alive() == 0


def test_an_onnxruntime_whose_gpu_libraries_do_not_load_is_noticed(
    machine, add_and_scale, caplog, monkeypatch
):
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    backend, line = auto(machine, add_and_scale, caplog)
    assert backend == "onnxruntime-cpu"
    assert "its CUDA provider does not load" in line


def test_an_asked_for_backend_is_not_replaced(machine, add_and_scale):
    with pytest.raises(EngineError, match="TensorRT cannot be imported"):
        create_engine(add_and_scale, machine.config(backend="tensorrt"))
    with pytest.raises(EngineError, match="ONNX Runtime cannot use the GPU"):
        create_engine(add_and_scale, machine.config(backend="onnxruntime-cuda"))
    machine.install_tensorrt("10.3")
    with pytest.raises(EngineError, match="TensorRT needs pycuda or cuda-bindings"):
        create_engine(add_and_scale, machine.config(backend="tensorrt"))
    assert machine.trt._builds == 0


def test_the_plain_cpu_asks_no_driver(machine, add_and_scale, monkeypatch):
    def fail():
        raise AssertionError("asked")

    monkeypatch.setattr("hfnet_ros.inference.driver._open_library", fail)
    engine = create_engine(add_and_scale, machine.config(backend="onnxruntime"))
    engine.close()
    assert engine.backend == "onnxruntime-cpu"


# Plans between two starts


def test_the_second_start_builds_nothing(jetson, add_and_scale):
    for _ in range(2):
        create_engine(add_and_scale, jetson.config()).close()
    assert jetson.trt._builds == 1


def test_another_version_or_setting_builds_anew(jetson, add_and_scale):
    create_engine(add_and_scale, jetson.config()).close()
    create_engine(add_and_scale, jetson.config(workspace_mib=64)).close()
    assert jetson.trt._builds == 2
    jetson.install_tensorrt("10.16")
    create_engine(add_and_scale, jetson.config()).close()
    assert jetson.trt._builds == 1
    jetson.gpu.name = "Another GPU"
    create_engine(add_and_scale, jetson.config()).close()
    assert jetson.trt._builds == 2


def test_a_plan_that_tensorrt_refuses_is_built_anew_once(jetson, add_and_scale):
    create_engine(add_and_scale, jetson.config()).close()
    jetson.trt._faults.add("deserialize")
    with pytest.raises(EngineError, match="refuses the plan"):
        create_engine(add_and_scale, jetson.config())
    assert jetson.trt._builds == 2
    jetson.trt._faults.clear()
    create_engine(add_and_scale, jetson.config()).close()
    assert jetson.trt._builds == 2


@pytest.mark.parametrize("suffix", [".plan", ".json"])
def test_a_damaged_cache_is_built_anew(jetson, add_and_scale, suffix):
    create_engine(add_and_scale, jetson.config()).close()
    (path,) = jetson.cache.glob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:-3])
    create_engine(add_and_scale, jetson.config()).close()
    assert jetson.trt._builds == 2


def test_somebody_elses_plan_is_not_run(jetson, add_and_scale, caplog):
    create_engine(add_and_scale, jetson.config()).close()
    (path,) = jetson.cache.glob("*.plan")
    path.chmod(0o666)
    with pytest.raises(EngineError, match="others may write it"):
        create_engine(add_and_scale, jetson.config())
    assert auto(jetson, add_and_scale, caplog)[0] == "onnxruntime-cpu"


def test_building_can_be_forbidden(jetson, add_and_scale):
    with pytest.raises(
        EngineError, match=r"not built yet.*build_engines forbids building; run hfnet-ros engine"
    ):
        create_engine(add_and_scale, jetson.config(build_engines=False))
    create_engine(add_and_scale, jetson.config()).close()
    create_engine(add_and_scale, jetson.config(build_engines=False)).close()


def test_progress_ends_with_nothing_to_tell(jetson, add_and_scale):
    told = []
    create_engine(add_and_scale, jetson.config(), told.append).close()
    assert told[0] == "building tiny for Simulated GPU 8.7"
    assert told[-2:] == ["building tiny: Building engine, 83 %", ""]
    told.clear()
    jetson.trt._faults.add("build")
    with pytest.raises(EngineError):
        create_engine(add_and_scale, jetson.config(workspace_mib=64), told.append)
    assert told[-1] == ""


def test_the_int8_form_is_read_once_to_build_a_plan_and_once_to_find_it(jetson, add_and_scale):
    read = []

    def int8():
        read.append("int8")
        return add_and_scale

    for count in (1, 2):
        model = NetworkModel("tiny", add_and_scale.onnx, int8)
        create_engine(model, jetson.config(precision="int8")).close()
        assert len(read) == count
    assert jetson.trt._builds == 1
