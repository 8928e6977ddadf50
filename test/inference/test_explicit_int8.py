"""The int8 form that TensorRT takes, against the one that ONNX Runtime made and against float32."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hfnet_ros
from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.inference.build import network_to_build
from hfnet_ros.inference.explicit_int8 import is_quantized, with_symmetric_bytes
from hfnet_ros.inference.half_precision import with_half_products

FLOAT = TensorProto.FLOAT
HFNET = Path(hfnet_ros.__file__).parent / "weights" / "hfnet.onnx"


def run(model, feed):
    """Run as the file says: optimised, ONNX Runtime 1.32 rounds otherwise where scales are float16."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def graph_of(model):
    return onnx.load_model_from_string(model.onnx).graph


def values(graph, name):
    return numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == name))


def operators(graph):
    return [node.op_type for node in graph.node]


def quantized_convolution(network, zero, scale):
    """One 1x1 convolution of weight 2 (scale 0.02, 100), its input in bytes; a sum of bytes behind it."""
    constants = {
        "s": np.float32(scale),
        "z": zero,
        "w": np.full((1, 1, 1, 1), 100, np.int8),
        "ws": np.full(1, 0.02, np.float32),
        "wz": np.zeros(1, np.int8),
        "b": np.full(1, 50, np.int32),
        "bs": np.full(1, 0.01, np.float32),
        "bz": np.zeros(1, np.int32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["cd"]),
        helper.make_node("Add", ["cd", "cd"], ["y"]),
    ]
    return network(
        nodes,
        {"x": (FLOAT, [1, 1, 1, 4])},
        {"y": (FLOAT, [1, 1, 1, 4])},
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )


def test_bytes_that_begin_at_zero_become_half_as_fine_and_keep_their_relu(network):
    model = with_symmetric_bytes(quantized_convolution(network, np.uint8(0), 0.127), 0)
    graph = graph_of(model)
    # 255 * 0.127 = 127 * 0.255: the largest value stays the largest.
    assert values(graph, "xq/symmetric_scale") == np.float32(0.255)
    assert values(graph, "xq/symmetric_zero").dtype == np.int8
    x = np.array([-3, 0, 0.255 * 7, 1000], np.float32).reshape(1, 1, 1, 4)
    largest = 127 * 0.255
    expected = 2 * (2 * np.array([0, 0, 0.255 * 7, largest]) + 0.5)
    np.testing.assert_allclose(run(model, {"x": x})["y"].ravel(), expected, rtol=1e-5)


def test_bytes_of_both_signs_reach_as_far_on_both_sides(network):
    model = with_symmetric_bytes(quantized_convolution(network, np.uint8(55), 0.127), 0)
    graph = graph_of(model)
    np.testing.assert_allclose(values(graph, "xq/symmetric_scale"), 200 * 0.127 / 127)
    assert "Relu" not in operators(graph)


def test_pairs_stay_before_products_and_nowhere_else(network):
    graph = graph_of(with_symmetric_bytes(quantized_convolution(network, np.uint8(55), 0.127), 0))
    assert operators(graph).count("QuantizeLinear") == 1
    assert operators(graph).count("DequantizeLinear") == 2  # of the input and the weights: the bias is float
    np.testing.assert_allclose(values(graph, "bd"), [0.5])
    assert {tensor.data_type for tensor in graph.initializer} == {FLOAT, TensorProto.INT8}


def test_what_is_symmetric_already_stays(network):
    given = quantized_convolution(network, np.int8(0), 0.1)
    graph = graph_of(with_symmetric_bytes(given, 0))
    assert values(graph, "s") == np.float32(0.1)
    assert "Relu" not in operators(graph)


def test_the_first_products_become_float_with_their_weights(network):
    given = quantized_convolution(network, np.uint8(0), 0.127)
    model = with_symmetric_bytes(given)
    graph = graph_of(model)
    assert not is_quantized(model)
    assert operators(graph) == ["Relu", "Conv", "Relu", "Add"]
    assert {tensor.data_type for tensor in graph.initializer} == {FLOAT}
    x = np.array([-3, 0, 1, 1000], np.float32).reshape(1, 1, 1, 4)
    np.testing.assert_allclose(run(model, {"x": x})["y"].ravel(), [1, 1, 5, 4001])


def test_constants_in_bytes_become_floats(network):
    nodes = [
        helper.make_node("DequantizeLinear", ["k", "s", "z"], ["kd"], axis=1),
        helper.make_node("Add", ["x", "kd"], ["y"]),
    ]
    constants = {
        "k": np.array([[10, 20], [30, 40]], np.uint8),
        "s": np.array([0.5, 2], np.float32),
        "z": np.array([10, 0], np.uint8),
    }
    model = with_symmetric_bytes(
        network(
            nodes,
            {"x": (FLOAT, [2, 2])},
            {"y": (FLOAT, [2, 2])},
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
    )
    found = run(model, {"x": np.zeros((2, 2), np.float32)})["y"]
    np.testing.assert_array_equal(found, [[0, 40], [10, 80]])


def test_which_network_a_plan_is_of(network, add_and_scale):
    config = InferenceConfig(precision="int8")
    given = quantized_convolution(network, np.uint8(0), 0.1)
    assert network_to_build(given, config) is given
    assert network_to_build(given, InferenceConfig()) is given
    with pytest.raises(EngineError, match=r"'tiny' has no int8 form beside its file.*weights quantize"):
        network_to_build(add_and_scale, config)
    hfnet = OnnxNetwork(HFNET, InferenceConfig()).model((1, 1, 96, 128))
    assert network_to_build(hfnet, config).name == "hfnet-int8-1x1x96x128"


# The network that is shipped


@pytest.fixture(scope="module")
def hfnet():
    return OnnxNetwork(HFNET, InferenceConfig()).model((1, 1, 256, 320))


@pytest.fixture(scope="module")
def forms(hfnet):
    """Float32, ONNX Runtime's int8, TensorRT's, and that with the rest in float16."""
    given = hfnet.quantized()
    symmetric = with_symmetric_bytes(given)
    return {
        "float32": hfnet,
        "ort": given,
        "symmetric": symmetric,
        "half": with_half_products(symmetric),
        "float16": with_half_products(hfnet),
    }


@pytest.fixture(scope="module")
def answers(forms):
    """A generated image: smooth shapes with edges and some noise."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:256, :320]
    image = 100 + 60 * np.sin(x / 17) * np.cos(y / 23) + 40 * ((x // 40 + y // 30) % 2)
    image = (image + rng.normal(scale=4, size=image.shape)).clip(0, 255).astype(np.float32)
    return {name: run(model, {"image": image[None, None]}) for name, model in forms.items()}


def cosines(answers, name, output):
    first, second = answers["float32"][output], answers[name][output]
    product = (first * second).sum(1)
    return product / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


def test_no_byte_without_sign_is_left(forms):
    graph = graph_of(forms["symmetric"])
    assert is_quantized(forms["symmetric"])
    assert TensorProto.UINT8 not in {tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert not values(graph, node.input[2]).any()


def test_quantized_products_but_the_first_stay_so(forms):
    """40 convolutions of both towers without three each, and the global head's product."""

    def count(model):
        graph = graph_of(model)
        makers = {name: node.op_type for node in graph.node for name in node.output}
        return sum(
            node.op_type in ("Conv", "Gemm")
            and [makers.get(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2
            for node in graph.node
        )

    assert count(forms["ort"]) == 41
    assert count(forms["symmetric"]) == count(forms["half"]) == 35


def test_float16_is_as_good_as_float32(answers):
    assert cosines(answers, "float16", "local").min() > 0.99999
    assert cosines(answers, "float16", "global").min() > 0.99999
    assert np.abs(answers["float16"]["scores"] - answers["float32"]["scores"]).max() < 0.002


@pytest.mark.parametrize("name", ["symmetric", "half"])
def test_int8_is_near_float32(answers, name):
    assert cosines(answers, name, "local").mean() > 0.996
    assert cosines(answers, name, "global").min() > 0.995
    np.testing.assert_array_equal(cosines(answers, name, "local") < 1, True)


def test_the_rest_in_float16_costs_nothing_more(answers):
    symmetric, half = (cosines(answers, name, "local").mean() for name in ("symmetric", "half"))
    assert abs(symmetric - half) < 0.001
