"""What every engine promises, tried on networks of one or two nodes."""

import dataclasses
import threading

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import ConfigError, EngineError
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import NetworkModel, TensorSpec

FLOAT, HALF, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64


@pytest.fixture(params=["onnxruntime", "tensorrt"])
def make_engine(request):
    """Return a function that loads a model; one parameter per backend that this contract is tried on.

    TensorRT is a fake on a simulated GPU: what is tried is this program's side of it.
    """
    engines = []
    jetson = request.getfixturevalue("jetson") if request.param == "tensorrt" else None

    def make(model, **options):
        config = jetson.config(**options) if jetson else InferenceConfig(backend=request.param, **options)
        engines.append(create_engine(model, config))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.full((2, 3), 10.0, np.float32)


def test_names_shapes_and_types_are_announced(make_engine, add_and_scale):
    engine = make_engine(add_and_scale)
    assert dict(engine.inputs) == {name: TensorSpec(name, (2, 3), np.dtype(np.float32)) for name in "ab"}
    assert list(engine.outputs) == ["sum", "twice"]
    assert engine.backend in ("onnxruntime-cpu", "tensorrt-10.3.0")


def test_every_output_is_computed(make_engine, add_and_scale):
    outputs = make_engine(add_and_scale).run({"a": A, "b": B})
    np.testing.assert_array_equal(outputs["sum"], A + B)
    np.testing.assert_array_equal(outputs["twice"], 2 * (A + B))


def test_inputs_stay_as_they_are_and_may_be_views(make_engine, add_and_scale):
    wide = np.arange(24, dtype=np.float32).reshape(2, 12)
    copy = wide.copy()
    outputs = make_engine(add_and_scale).run({"a": wide[:, ::4], "b": np.asfortranarray(B)})
    np.testing.assert_array_equal(outputs["sum"], copy[:, ::4] + B)
    np.testing.assert_array_equal(wide, copy)


def test_outputs_are_buffers_that_the_next_run_overwrites(make_engine, add_and_scale):
    engine = make_engine(add_and_scale)
    first = engine.run({"a": A, "b": B})["sum"]
    kept = first.copy()
    second = engine.run({"a": -A, "b": B})["sum"]
    assert first is second
    np.testing.assert_array_equal(first, B - A)
    np.testing.assert_array_equal(kept, A + B)


def test_many_runs_agree(make_engine, add_and_scale):
    engine = make_engine(add_and_scale)
    for value in range(50):
        result = engine.run({"a": np.full((2, 3), value, np.float32), "b": B})["twice"]
        assert (result == 2 * (value + 10)).all()


def test_two_engines_do_not_share_buffers(make_engine, add_and_scale):
    one, other = make_engine(add_and_scale), make_engine(add_and_scale)
    result = one.run({"a": A, "b": B})["sum"]
    other.run({"a": -A, "b": -B})
    np.testing.assert_array_equal(result, A + B)


def test_an_engine_may_live_in_a_worker_thread(add_and_scale):
    results = []

    def work():
        engine = create_engine(add_and_scale, InferenceConfig())
        results.append(engine.run({"a": A, "b": B})["sum"].copy())
        engine.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(results[0], A + B)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"a": A}, ("'b' is missing", "got ['a']")),
        ({}, ("'a' is missing",)),
        ({"a": A, "b": B[:1]}, ("'b' is float32[1, 3]", "expected float32[2, 3]")),
        ({"a": A, "b": B[None]}, ("'b' is float32[1, 2, 3]",)),
        ({"a": A.ravel(), "b": B}, ("'a' is float32[6]",)),
        ({"a": A.astype(np.float64), "b": B}, ("'a' is float64[2, 3]", "expected float32")),
        ({"a": A.astype(np.uint8), "b": B}, ("'a' is uint8[2, 3]",)),
        ({"a": A.astype(">f4"), "b": B}, ("'a' is >f4[2, 3]",)),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(make_engine, add_and_scale, inputs, words):
    engine = make_engine(add_and_scale)
    with pytest.raises(EngineError) as caught:
        engine.run(inputs)
    for word in ("'tiny'", *words):
        assert word in str(caught.value)
    np.testing.assert_array_equal(engine.run({"a": A, "b": B})["sum"], A + B)


def test_closing_twice_does_nothing_and_running_then_is_an_error(make_engine, add_and_scale):
    engine = make_engine(add_and_scale)
    engine.run({"a": A, "b": B})
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="'tiny' was closed"):
        engine.run({"a": A, "b": B})


def test_closing_before_the_first_run(make_engine, add_and_scale):
    engine = make_engine(add_and_scale)
    engine.close()
    with pytest.raises(EngineError, match="'tiny' was closed"):
        engine.run({"a": A, "b": B})


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(FLOAT, "float32"), (HALF, "float16"), (INT64, "int64"), (TensorProto.INT32, "int32"),
     (TensorProto.UINT8, "uint8")],
)  # fmt: skip
def test_number_types(make_engine, network, kind, dtype):
    model = network([helper.make_node("Identity", ["x"], ["y"])], {"x": (kind, [4])}, {"y": (kind, [4])})
    engine = make_engine(model)
    x = np.array([0, 1, 2, 200], dtype)
    assert engine.inputs["x"].dtype == np.dtype(dtype)
    result = engine.run({"x": x})["y"]
    assert result.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(result, x)


# Networks that cannot be loaded or run


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped"])
def test_a_damaged_network_is_an_engine_error(make_engine, add_and_scale, damage):
    content = add_and_scale.onnx
    damaged = {
        "empty": b"",
        "text": b"not a network",
        "truncated": content[: len(content) // 2],
        "flipped": content.replace(b"Add", b"Adx"),
    }[damage]
    with pytest.raises(EngineError, match=r"cannot (load|read the ONNX of) network 'tiny'"):
        make_engine(dataclasses.replace(add_and_scale, onnx=damaged))


@pytest.mark.parametrize("shape", [["N", 3], [None, 3]])
def test_a_network_without_fixed_shapes_is_refused(make_engine, network, shape):
    node = helper.make_node("Identity", ["x"], ["y"])
    model = network([node], {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)})
    with pytest.raises(EngineError, match=r"'x' has shape .* expected fixed numbers"):
        make_engine(model)


def test_a_type_that_is_not_supported_is_refused(make_engine, network):
    node = helper.make_node("Identity", ["x"], ["y"])
    model = network([node], {"x": (DOUBLE, [3])}, {"y": (DOUBLE, [3])})
    with pytest.raises(EngineError, match=r"'x' has unsupported type (tensor\(double\)|BF16)"):
        make_engine(model)


@pytest.mark.filterwarnings("ignore")
def test_a_failure_inside_the_network_is_an_engine_error_and_the_engine_lives_on(network):
    table = numpy_helper.from_array(np.array([5.0, 6.0], np.float32), "table")
    model = network(
        [helper.make_node("Gather", ["table", "row"], ["y"])],
        {"row": (INT64, [1])},
        {"y": (FLOAT, [1])},
        [table],
    )
    engine = create_engine(model, InferenceConfig(backend="onnxruntime"))
    with pytest.raises(EngineError, match="network 'tiny' failed"):
        engine.run({"row": np.array([7])})
    assert engine.run({"row": np.array([1])})["y"].tolist() == [6.0]
    engine.close()


# The backend's settings


def test_an_unknown_backend_is_refused(add_and_scale):
    with pytest.raises(ConfigError, match=r"'abacus'.*use 'onnxruntime'"):
        create_engine(add_and_scale, InferenceConfig(backend="abacus"))


def test_auto_finds_a_backend(add_and_scale):
    engine = create_engine(add_and_scale, InferenceConfig(backend="auto"))
    np.testing.assert_array_equal(engine.run({"a": A, "b": B})["sum"], A + B)
    engine.close()


@pytest.mark.parametrize(("allowed", "entry"), [(False, "0"), (True, "1")])
def test_threads_and_spinning_reach_the_runtime(add_and_scale, allowed, entry):
    config = InferenceConfig(backend="onnxruntime", num_threads=3, allow_spinning=allowed)
    engine = create_engine(add_and_scale, config)
    options = engine._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == entry
    assert engine._session.get_providers() == ["CPUExecutionProvider"]
    engine.close()


def test_the_digest_of_a_network_is_that_of_its_bytes():
    one, other = NetworkModel("a", b"abc"), NetworkModel("b", b"abc")
    assert one.digest == other.digest
    assert one.digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert NetworkModel("a", b"abx").digest != one.digest
