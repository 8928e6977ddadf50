"""The TensorRT engine on a simulated GPU: buffers, order, threads and what may fail."""

import gc
import threading

import numpy as np
import pytest
from fake_tensorrt import VERSIONS
from onnx import TensorProto, helper

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.build import build_plan
from hfnet_ros.inference.tensorrt_engine import PlanRefusedError, TensorrtEngine

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.full((2, 3), 10.0, np.float32)


@pytest.fixture
def plan(jetson, add_and_scale):
    return build_plan(add_and_scale, jetson.config()).plan


@pytest.mark.parametrize("library", ["pycuda", "cuda-bindings"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_runs_with_every_cuda_library(machine, add_and_scale, version, library):
    machine.install_cuda(library)
    machine.install_tensorrt(version)
    engine = create_engine(add_and_scale, machine.config())
    assert engine.backend.startswith(f"tensorrt-{version}.")
    assert engine.memory.library == library
    np.testing.assert_array_equal(engine.run({"a": A, "b": B})["twice"], 2 * (A + B))
    engine.close()
    assert machine.gpu.alive() == 0


def test_destruction_is_in_order(jetson, plan):
    TensorrtEngine("tiny", plan, cuda_graph=True).close()
    jetson.gpu.events.clear()
    engine = TensorrtEngine("tiny", plan, cuda_graph=True)
    engine.run({"a": A, "b": B})
    engine.close()
    assert [event for event in jetson.gpu.events if event != "launch graph"] == [
        "free graph", "free context", "free engine", "free runtime",
        *["free device", "free pinned"] * 4,
        "free stream", "release context", "release context",
    ]  # fmt: skip
    assert jetson.gpu.alive() == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("deserialize", r"refuses the plan of network 'tiny'.*deserialization failed for no reason.*--force"),
        ("context", "no execution context: Requested amount of GPU memory.*512 of 1024 MiB"),
        ("address", "refuses the address of 'a': address is not aligned"),
        ("host tensor", "tensor 'a' must lie on the CPU"),
        ("vectorized tensor", "tensor 'a' is not stored row by row"),
    ],
)
def test_what_fails_while_loading_leaves_nothing_behind(jetson, plan, fault, words):
    jetson.trt._faults.add(fault)
    with pytest.raises(EngineError, match=words) as caught:
        TensorrtEngine("tiny", plan)
    # The exception, and with it every frame it came through, is still alive here.
    assert caught.value.__traceback__ is not None
    assert jetson.gpu.alive() == 0
    assert not [event for event in jetson.gpu.events if event.startswith("CRASH")]
    assert jetson.gpu.events.index("free runtime") < jetson.gpu.events.index("release context")


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "other version"])
def test_a_corrupt_plan_is_refused(jetson, plan, damage):
    damaged = {
        "empty": b"",
        "text": b"not a plan",
        "truncated": plan[:5],
        "other version": plan.replace(b"10.3.0", b"10.9.9"),
    }[damage]
    with pytest.raises(PlanRefusedError, match=r"TensorRT 10\.3\.0 refuses the plan"):
        TensorrtEngine("tiny", damaged)
    assert jetson.gpu.alive() == 0


@pytest.mark.parametrize("library", ["pycuda", "cuda-bindings"])
def test_out_of_memory_is_an_engine_error_and_frees_what_there_was(jetson, plan, library):
    if library == "cuda-bindings":
        jetson.remove("pycuda.driver")
        jetson.install_cuda(library)
    jetson.gpu.memory = 60  # two of the four buffers
    with pytest.raises(EngineError, match=r"[aA]lloc.* failed"):
        TensorrtEngine("tiny", plan)
    assert jetson.gpu.alive() == 0


def test_dynamic_outputs_are_refused(jetson, network):
    node = helper.make_node("NonZero", ["x"], ["y"])
    model = network([node], {"x": (TensorProto.FLOAT, [4])}, {"y": (TensorProto.INT64, [1, "count"])})
    with pytest.raises(EngineError, match=r"'y' has shape \[1, -1\].*expected fixed numbers.*NonZero"):
        create_engine(model, jetson.config())
    assert jetson.gpu.alive() == 0


def test_a_runtime_that_does_not_start_leaves_nothing(jetson, plan):
    jetson.trt._faults.add("runtime")
    with pytest.raises(
        EngineError, match=r"cannot make a runtime: CUDA initialization failure.*update the NVIDIA"
    ):
        TensorrtEngine("tiny", plan)
    assert jetson.gpu.alive() == 0


def test_a_failing_run_is_an_engine_error_and_the_engine_lives_on(jetson, plan):
    engine = TensorrtEngine("tiny", plan)
    jetson.trt._faults.add("execute")
    with pytest.raises(EngineError, match="network 'tiny' failed: cannot enqueue"):
        engine.run({"a": A, "b": B})
    jetson.trt._faults.clear()
    np.testing.assert_array_equal(engine.run({"a": A, "b": B})["sum"], A + B)
    engine.close()
    assert jetson.gpu.alive() == 0


# Threads


@pytest.mark.parametrize("call", ["run", "close", "describe"])
def test_another_thread_is_refused(jetson, plan, call):
    engine = TensorrtEngine("tiny", plan)
    errors = []

    def work():
        try:
            getattr(engine, call)(*([{"a": A, "b": B}] if call == "run" else []))
        except EngineError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "belongs to the thread that made it" in errors[0]
    np.testing.assert_array_equal(engine.run({"a": A, "b": B})["sum"], A + B)
    engine.close()
    assert jetson.gpu.alive() == 0


def test_a_worker_thread_gives_its_context_back(jetson, plan):
    stacks = []

    def work():
        engine = TensorrtEngine("tiny", plan)
        stacks.append(list(jetson.gpu.stack))
        engine.run({"a": A, "b": B})
        engine.close()
        stacks.append(list(jetson.gpu.stack))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [len(stack) for stack in stacks] == [1, 0]
    assert jetson.gpu.alive() == 0


def test_engines_of_one_thread_may_be_closed_in_any_order(jetson, plan):
    engines = [TensorrtEngine(f"tiny{index}", plan) for index in range(3)]
    assert len(jetson.gpu.stack) == 1
    for index in (0, 2, 1):
        np.testing.assert_array_equal(engines[index].run({"a": A, "b": B})["sum"], A + B)
        engines[index].close()
    assert jetson.gpu.alive() == 0


@pytest.mark.slow
def test_hundreds_of_engines_leave_nothing(jetson, plan):
    for _ in range(300):
        engine = TensorrtEngine("tiny", plan)
        engine.close()
    jetson.gpu.events.clear()
    gc.collect()
    assert jetson.gpu.alive() == 0
    assert jetson.gpu.events == []


@pytest.mark.slow
def test_thousands_of_runs_allocate_nothing(jetson, plan):
    engine = TensorrtEngine("tiny", plan)
    before = (set(jetson.gpu.device_buffers), set(jetson.gpu.pinned_buffers))
    for value in range(3000):
        assert engine.run({"a": np.full((2, 3), value, np.float32), "b": B})["sum"][0, 0] == value + 10
    assert (set(jetson.gpu.device_buffers), set(jetson.gpu.pinned_buffers)) == before
    engine.close()


# CUDA graphs, and going on on the device


def test_a_recorded_run_is_replayed(jetson, plan):
    engine = TensorrtEngine("tiny", plan, cuda_graph=True)
    for value in range(4):
        result = engine.run({"a": np.full((2, 3), value, np.float32), "b": B})["twice"]
        assert (result == 2 * (value + 10)).all()
    assert jetson.gpu.events.count("launch graph") == 3
    engine.close()
    assert jetson.gpu.alive() == 0


@pytest.mark.parametrize("fault", ["end of capture", "enqueue"])
def test_where_recording_fails_it_goes_on_without(jetson, plan, caplog, fault):
    jetson.gpu.capture_works = fault != "end of capture"
    if fault == "enqueue":
        jetson.trt._faults.add("capture")
    engine = TensorrtEngine("tiny", plan, cuda_graph=True)
    for value in range(3):
        result = engine.run({"a": np.full((2, 3), value, np.float32), "b": B})["twice"]
        assert (result == 2 * (value + 10)).all()
    assert caplog.text.count("runs without a CUDA graph") == 1
    engine.close()
    assert jetson.gpu.alive() == 0


def test_kernels_find_inputs_and_outputs_on_the_device(jetson, plan):
    engine = TensorrtEngine("tiny", plan)
    engine.run({"a": A, "b": B})
    for name, expected in (("a", A), ("b", B), ("sum", A + B)):
        found = jetson.gpu.device_bytes(engine.device_address(name), A.nbytes).view(np.float32)
        np.testing.assert_array_equal(found.reshape(2, 3), expected)
    assert engine.memory.stream in jetson.gpu.streams
    engine.close()
    with pytest.raises(EngineError, match="was closed"):
        _ = engine.memory


def test_layers_can_be_looked_at(jetson, plan):
    engine = TensorrtEngine("tiny", plan)
    assert engine.describe() == '{"Layers": ["Add", "Add"]}'
    engine.close()
