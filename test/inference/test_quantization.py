"""Networks in int8: what is rewritten before, what is written, and which processors run it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.inference import processor
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.onnx_graph import merge_unshuffling, spread_softmax
from hfnet_ros.inference.quantization import QUANTIZED_OF, quantize_network, quantized_path

SHAPE = [1, 2, 8, 12]
RNG = np.random.default_rng(0)


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


@pytest.fixture
def classes(network):
    """Squares of 2 x 2 pixels become channels, a convolution makes five classes of them, softmax decides."""
    nodes = [
        helper.make_node("Reshape", ["image", "parted"], ["squares"]),
        helper.make_node("Transpose", ["squares"], ["turned"], perm=[0, 1, 3, 5, 2, 4]),
        helper.make_node("Reshape", ["turned", "joined"], ["channels"]),
        helper.make_node("Conv", ["channels", "weights", "bias"], ["logits"], "last", kernel_shape=[1, 1]),
        helper.make_node("Softmax", ["logits"], ["classes"], "decide", axis=1),
    ]
    constants = [
        constant("parted", [1, 2, 4, 2, 6, 2]),
        constant("joined", [1, 8, 4, 6]),
        constant("weights", RNG.normal(size=(5, 8, 1, 1)).astype(np.float32)),
        constant("bias", RNG.normal(size=5).astype(np.float32)),
    ]
    kind = TensorProto.FLOAT
    return network(nodes, {"image": (kind, SHAPE)}, {"classes": (kind, [1, 5, 4, 6])}, constants)


def images(count=8):
    return [RNG.normal(size=SHAPE).astype(np.float32) for _ in range(count)]


def answers(model, given, **options):
    engine = create_engine(model, InferenceConfig(backend="onnxruntime", **options))
    found = [engine.run({"image": image})["classes"].copy() for image in given]
    backend = engine.backend
    engine.close()
    return np.array(found), backend


def test_rewriting_changes_no_value(classes):
    model = onnx.load_model_from_string(classes.onnx)
    merge_unshuffling(model.graph)
    spread_softmax(model.graph, 17)
    onnx.checker.check_model(model)
    assert not {"Transpose", "Softmax", "Reshape"} & {node.op_type for node in model.graph.node}
    given = images()
    found, _ = answers(NetworkModel("rewritten", model.SerializeToString()), given)
    np.testing.assert_allclose(found, answers(classes, given)[0], atol=1e-6)


def test_a_graph_with_nothing_to_rewrite_stays(add_and_scale):
    model = onnx.load_model_from_string(add_and_scale.onnx)
    merge_unshuffling(model.graph)
    spread_softmax(model.graph, 17)
    assert model.SerializeToString() == onnx.load_model_from_string(add_and_scale.onnx).SerializeToString()


def test_int8_says_what_it_is_of(classes, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(classes.onnx)
    quantize_network(path, quantized_path(path), images(40))
    written = onnx.load(tmp_path / "net-int8.onnx")
    assert {entry.key: entry.value for entry in written.metadata_props} == {QUANTIZED_OF: classes.digest}
    assert any(tensor.data_type == TensorProto.INT8 for tensor in written.graph.initializer)


@pytest.mark.skipif(
    not processor.byte_products(),
    reason="this processor has no instruction for products of bytes",
)
def test_int8_is_close(classes, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(classes.onnx)
    quantize_network(path, quantized_path(path), images(40))
    written = onnx.load(quantized_path(path))
    given = images()
    found, _ = answers(NetworkModel("int8", written.SerializeToString()), given)
    expected, _ = answers(classes, given)
    assert 0.0 < np.abs(found - expected).mean() < 0.01


def test_what_is_to_stay_float_does(classes, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(classes.onnx)
    quantize_network(path, tmp_path / "out.onnx", images(), keep_float=["last"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    assert "QuantizeLinear" not in kinds


@pytest.mark.parametrize("content", [None, b"no network"])
def test_what_is_no_network_is_an_error_that_names_it(content, tmp_path):
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=str(path)):
        quantize_network(path, tmp_path / "out.onnx", images())
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("change", [{"strides": [2, 2]}, {"pads": [1, 1, 1, 1]}, {"group": 2}])
def test_other_convolutions_stay(classes, change):
    model = onnx.load_model_from_string(classes.onnx)
    (taker,) = [node for node in model.graph.node if node.op_type == "Conv"]
    taker.attribute.extend(helper.make_attribute(*item) for item in change.items())
    before = model.graph.SerializeToString()
    merge_unshuffling(model.graph)
    assert model.graph.SerializeToString() == before


def test_softmax_is_spread_in_later_opsets_too(network):
    nodes = [helper.make_node("Softmax", ["image"], ["classes"], axis=1)]
    kind = TensorProto.FLOAT
    model = network(nodes, {"image": (kind, SHAPE)}, {"classes": (kind, SHAPE)}, opset=18)
    spread = onnx.load_model_from_string(model.onnx)
    spread_softmax(spread.graph, 18)
    given = images()
    found, _ = answers(NetworkModel("spread", spread.SerializeToString()), given)
    np.testing.assert_allclose(found, answers(model, given)[0], atol=1e-6)


CPU_INFO = {
    "x86 with": ("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n", "avx512_vnni"),
    "x86 in pairs": ("processor : 0\nflags\t\t: fpu avx2 avx512f\n", "avx2"),
    "x86 without": ("processor : 0\nflags\t\t: fpu avx sse4_2\n", ""),
    "arm with": ("processor : 0\nFeatures\t: fp asimd asimddp\n", "asimddp"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("kind", CPU_INFO)
def test_the_processor_says_what_it_can(kind, monkeypatch, tmp_path):
    text, expected = CPU_INFO[kind]
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "cpuinfo")
    assert processor.byte_products() == expected


def test_a_system_without_such_a_file_is_not_known_to(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "cpuinfo")
    assert processor.byte_products() == ""


@pytest.mark.parametrize(
    ("precision", "kind", "backend"),
    [
        ("auto", "x86 with", "onnxruntime-cpu-int8"),
        ("auto", "x86 without", "onnxruntime-cpu"),
        ("float32", "x86 with", "onnxruntime-cpu"),
        ("int8", "x86 without", "onnxruntime-cpu-int8"),
    ],
)
def test_int8_runs_where_it_is_faster_or_asked_for(classes, precision, kind, backend, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(CPU_INFO[kind][0])
    monkeypatch.setattr(processor, "_CPU_INFO", tmp_path / "cpuinfo")
    made = []

    def quantized():
        made.append(True)
        return NetworkModel("tiny-int8", classes.onnx)

    model = NetworkModel("tiny", classes.onnx, quantized)
    assert answers(model, images(1), cpu_precision=precision)[1] == backend
    assert bool(made) == backend.endswith("int8")
