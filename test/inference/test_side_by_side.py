import os
import threading

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.side_by_side import SideBySideEngine, independent_parts

IMAGE = np.random.default_rng(0).uniform(0.0, 255.0, (1, 1, 32, 48)).astype(np.float32)


def network(*, shared=False):
    """Return two convolutions of one image less its mean, the second one of every other pixel; or of one layer."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("wide", (4, 1, 3, 3)), ("narrow", (2, 1, 3, 3)), ("deep", (2, 4, 3, 3)))
    ]
    second = ("fine", "deep") if shared else ("centred", "narrow")
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3]),
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node("Conv", [second[0], second[1]], ["coarse"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["coarse"], ["small"]),
        helper.make_node("Conv", ["centred", "wide"], ["fine"], pads=[1] * 4),
        helper.make_node("Relu", ["fine"], ["large"]),
    ]
    if shared:
        nodes = [*nodes[:2], *nodes[4:], *nodes[2:4]]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, IMAGE.shape)],
        [
            helper.make_tensor_value_info("small", TensorProto.FLOAT, (1, 2, 16, 24)),
            helper.make_tensor_value_info("large", TensorProto.FLOAT, (1, 4, 32, 48)),
        ],
        weights,
        value_info=[
            helper.make_tensor_value_info("coarse", TensorProto.FLOAT, (1, 2, 16, 24)),
            helper.make_tensor_value_info("fine", TensorProto.FLOAT, (1, 4, 32, 48)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return NetworkModel("two", model.SerializeToString())


def outputs_of(part):
    import onnx

    return [output.name for output in onnx.load_model_from_string(part.onnx).graph.output]


def on_cpu(model, num_threads):
    return create_engine(model, InferenceConfig(backend="onnxruntime", num_threads=num_threads))


class Part:
    """An engine that notes the thread it ran in, and may fail."""

    backend, inputs = "fake", {}

    def __init__(self, name, error=None):
        self.outputs, self.name, self.error = {name: None}, name, error
        self.thread, self.is_closed, self.nice = None, False, None
        self.may_end = threading.Event()
        self.may_end.set()

    def run(self, inputs):
        self.thread = threading.get_ident()
        self.nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert self.may_end.wait(10.0)
        if self.error is not None:
            raise self.error
        return {self.name: inputs["image"]}

    def close(self):
        self.is_closed = True


def test_a_network_is_cut_where_its_outputs_share_no_layer_the_larger_part_first():
    assert [outputs_of(part) for part in independent_parts(network())] == [["large"], ["small"]]


def test_a_network_of_one_trunk_stays_whole():
    model = network(shared=True)
    assert independent_parts(model) == [model]


def test_a_network_without_layers_stays_whole(add_and_scale):
    assert independent_parts(add_and_scale) == [add_and_scale]


def test_parts_give_what_the_whole_network_gives():
    whole, cut = on_cpu(network(), 1), on_cpu(network(), 2)
    expected = {name: np.array(value) for name, value in whole.run({"image": IMAGE}).items()}
    found = cut.run({"image": IMAGE})
    assert isinstance(cut, SideBySideEngine)
    assert not isinstance(whole, SideBySideEngine)
    assert cut.outputs.keys() == whole.outputs.keys() == found.keys()
    assert cut.inputs == whole.inputs
    assert cut.backend == whole.backend
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    cut.close()
    with pytest.raises(EngineError, match="closed before this call"):
        cut.run({"image": IMAGE})


def test_the_first_part_runs_in_the_thread_that_asks_and_the_others_in_their_own():
    first, second = Part("first"), Part("second")
    engine = SideBySideEngine([first, second])
    assert dict(engine.run({"image": 1})) == {"first": 1, "second": 1}
    assert first.thread == threading.get_ident() != second.thread
    assert second.nice > first.nice
    engine.close()
    assert first.is_closed and second.is_closed


@pytest.mark.parametrize("failing", [0, 1])
def test_the_failure_of_any_part_is_that_of_the_network(failing):
    parts = [Part("first"), Part("second")]
    parts[failing].error = EngineError("no memory")
    engine = SideBySideEngine(parts)
    with pytest.raises(EngineError, match="no memory"):
        engine.run({"image": 1})["second"]
    assert all(part.thread is not None for part in parts)
    engine.close()


def test_a_container_that_forbids_priorities_runs_all_parts_alike(monkeypatch):
    def forbidden(*_):
        raise PermissionError("not here")

    monkeypatch.setattr(os, "setpriority", forbidden)
    engine = SideBySideEngine([Part("first"), Part("second")])
    assert dict(engine.run({"image": 1})) == {"first": 1, "second": 1}
    engine.close()


def test_what_the_first_part_gives_is_there_before_the_others_have_ended():
    first, second = Part("first"), Part("second")
    second.may_end.clear()
    engine = SideBySideEngine([first, second])
    outputs = engine.run({"image": 1})
    assert len(outputs) == 2
    assert outputs["first"] == 1
    assert second.thread is None or not second.may_end.is_set()
    threading.Timer(0.05, second.may_end.set).start()
    assert outputs["second"] == 1
    engine.close()


def test_a_run_waits_for_what_the_last_one_left_running():
    first, second = Part("first"), Part("second")
    second.may_end.clear()
    engine = SideBySideEngine([first, second])
    unread = engine.run({"image": 1})
    threading.Timer(0.05, second.may_end.set).start()
    assert dict(engine.run({"image": 2})) == {"first": 2, "second": 2}
    assert unread["second"] == 1
    engine.close()


def test_an_input_of_another_shape_is_named():
    engine = on_cpu(network(), 2)
    with pytest.raises(EngineError, match=r"expected float32\[1, 1, 32, 48\]"):
        engine.run({"image": IMAGE[:, :, 1:]})
    engine.close()
