"""Convolutions and products in float16, written in the file."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.inference.half_precision import with_half_products
from hfnet_ros.inference.onnxruntime_engine import OnnxRuntimeEngine

FLOAT = TensorProto.FLOAT
IMAGE = (1, 3, 8, 8)


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


@pytest.fixture
def small_network(network):
    """Normalisation, two convolutions with a skip connection and a resize, softmax; `middle` is an output too."""
    rng = np.random.default_rng(7)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3]),
        helper.make_node("Sub", ["x", "mean"], ["centered"]),
        helper.make_node("Conv", ["centered", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["middle"]),
        helper.make_node("Conv", ["middle", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "middle"], ["sum"]),
        helper.make_node("Resize", ["sum", "", "", "size"], ["large"], mode="linear"),
        helper.make_node("Softmax", ["large"], ["y"], axis=1),
    ]
    constants = [
        constant("w1", rng.normal(size=(4, 3, 3, 3)).astype(np.float32)),
        constant("b1", rng.normal(size=4).astype(np.float32)),
        constant("w2", 0.1 * rng.normal(size=(4, 4, 3, 3)).astype(np.float32)),
        constant("size", np.array([1, 4, 16, 16])),
    ]
    outputs = {"middle": (FLOAT, [1, 4, 8, 8]), "y": (FLOAT, [1, 4, 16, 16])}
    return network(nodes, {"x": (FLOAT, list(IMAGE))}, outputs, constants)


def run(model, image):
    engine = OnnxRuntimeEngine(model, InferenceConfig())
    outputs = {name: value.copy() for name, value in engine.run({"x": image}).items()}
    engine.close()
    return outputs


def test_results_are_nearly_the_same(small_network):
    image = np.random.default_rng(1).normal(size=IMAGE).astype(np.float32)
    full, half = run(small_network, image), run(with_half_products(small_network), image)
    assert list(full) == list(half)
    assert half["y"].dtype == half["middle"].dtype == np.float32
    for name in full:
        np.testing.assert_allclose(half[name], full[name], atol=0.02)
        assert np.abs(half[name] - full[name]).max() > 0


def test_only_what_follows_a_convolution_is_halved(small_network):
    model = onnx.load_model_from_string(with_half_products(small_network).onnx)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    assert {name for name, kind in types.items() if kind == TensorProto.FLOAT16} == {
        f"{name}_fp16" for name in ("centered", "c1", "middle", "c2", "sum", "large")
    }
    assert types["mean"] == types["centered"] == types["large"] == FLOAT
    assert {tensor.name for tensor in model.graph.initializer} == {"w1_fp16", "b1_fp16", "w2_fp16", "size"}
    assert [node.op_type for node in model.graph.node].count("Cast") == 3


def test_the_name_tells_and_the_opset_stays(small_network):
    halved = with_half_products(small_network)
    assert halved.name == "tiny-fp16"
    assert halved.digest != small_network.digest
    assert onnx.load_model_from_string(halved.onnx).opset_import[0].version == 17


def test_a_network_without_convolutions_stays_as_it_is(add_and_scale):
    assert with_half_products(add_and_scale) is add_and_scale


def test_weights_too_large_for_float16_are_clipped_not_infinite(network):
    model = network(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"x": (FLOAT, [1, 1, 1, 1])},
        {"y": (FLOAT, [1, 1, 1, 1])},
        [constant("w", np.full((1, 1, 1, 1), 1e6, np.float32))],
    )
    assert run(with_half_products(model), np.full((1, 1, 1, 1), 0.5, np.float32))["y"].item() == 32752.0


def test_products_of_matrices_are_halved_with_their_weights(network):
    rng = np.random.default_rng(2)
    model = network(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["g"], transB=1),
            helper.make_node("MatMul", ["g", "v"], ["y"]),
        ],
        {"x": (FLOAT, [1, 64])},
        {"y": (FLOAT, [1, 8])},
        [
            constant("w", rng.normal(size=(16, 64)).astype(np.float32)),
            constant("b", rng.normal(size=16).astype(np.float32)),
            constant("v", rng.normal(size=(16, 8)).astype(np.float32)),
        ],
    )
    halved = with_half_products(model)
    initializers = onnx.load_model_from_string(halved.onnx).graph.initializer
    assert {tensor.data_type for tensor in initializers} == {TensorProto.FLOAT16}
    x = rng.normal(size=(1, 64)).astype(np.float32)
    full, half = run(model, x)["y"], run(halved, x)["y"]
    assert 0 < np.abs(full - half).max() < 0.005 * np.abs(full).max()


def test_weights_that_the_file_holds_in_float16_are_not_stored_twice(network):
    model = network(
        [
            helper.make_node("Cast", ["stored"], ["w"], to=FLOAT),
            helper.make_node("Conv", ["x", "w"], ["y"]),
        ],
        {"x": (FLOAT, [1, 1, 4, 4])},
        {"y": (FLOAT, [1, 1, 4, 4])},
        [constant("stored", np.full((1, 1, 1, 1), 0.1, np.float16))],
    )
    graph = onnx.load_model_from_string(with_half_products(model).onnx).graph
    assert [(tensor.data_type, list(tensor.dims)) for tensor in graph.initializer] == [
        (TensorProto.FLOAT16, [1, 1, 1, 1])
    ]
    assert [node.op_type for node in graph.node] == ["Cast", "Conv", "Cast"]


@pytest.mark.parametrize(("scale", "kind"), [(0.01, TensorProto.FLOAT16), (1e-6, FLOAT)])
def test_scales_are_float16_where_that_has_all_their_digits(network, scale, kind):
    model = network(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("Conv", ["d", "w"], ["y"]),
        ],
        {"x": (FLOAT, [1, 1, 4, 4])},
        {"y": (FLOAT, [1, 1, 4, 4])},
        [
            constant("s", np.float32(scale)),
            constant("z", np.int8(0)),
            constant("w", np.ones((1, 1, 1, 1), np.float32)),
        ],
    )
    halved = onnx.load_model_from_string(with_half_products(model).onnx)
    assert halved.opset_import[0].version == 19
    (pair,) = (node for node in halved.graph.node if node.op_type == "DequantizeLinear")
    kinds = {tensor.name: tensor.data_type for tensor in halved.graph.initializer}
    assert kinds[pair.input[1]] == kind
    onnx.shape_inference.infer_shapes(halved, strict_mode=True)


def test_a_quantized_network_that_has_no_newer_opset_is_an_error(network):
    model = network(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("NoSuchOperator", ["d"], ["y"]),
        ],
        {"x": (FLOAT, [4])},
        {"y": (FLOAT, [4])},
        [constant("s", np.float32(1)), constant("z", np.int8(0))],
    )
    with pytest.raises(
        EngineError, match=r"'tiny' of opset 17 cannot be written in opset 19.*NoSuchOperator"
    ):
        with_half_products(model)


def test_an_output_that_is_constant_stays_one(network):
    model = network(
        [
            helper.make_node("Constant", [], ["k"], value=constant("", np.float32([1, 2]))),
            helper.make_node("Identity", ["k"], ["fixed"]),
            helper.make_node("Conv", ["x", "w"], ["y"]),
        ],
        {"x": (FLOAT, [1, 1, 1, 1])},
        {"y": (FLOAT, [1, 1, 1, 1]), "fixed": (FLOAT, [2])},
        [constant("w", np.ones((1, 1, 1, 1), np.float32))],
    )
    found = run(with_half_products(model), np.ones((1, 1, 1, 1), np.float32))
    np.testing.assert_array_equal(found["fixed"], [1, 2])
