"""Extractors on a simulated GPU: network by ONNX Runtime behind addresses, kernels by g++."""

import logging

import numpy as np
import pytest
from fake_machine import Machine
from host_cuda import install_kernels, need_compiler
from onnx import TensorProto, helper
from random_weights import make_random_weights

from hfnet_ros.config import Config, ExtractorConfig, InferenceConfig
from hfnet_ros.features.hfnet import HFNetExtractor
from hfnet_ros.features.xfeat import XFeatExtractor

SIZE_WH = (128, 96)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with GPU, driver, pycuda, TensorRT, and a compiler of kernels."""
    need_compiler()
    made = Machine(monkeypatch, tmp_path / "engines")
    made.install_cuda("pycuda")
    made.install_tensorrt("10.3")
    install_kernels(monkeypatch, made)
    return made


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def xfeat_weights():
    return make_random_weights()


@pytest.fixture(scope="module")
def hfnet_file(tmp_path_factory):
    """A network with HF-Net's outputs: scores from the image, the rest from blocks of it."""
    rng = np.random.default_rng(1)

    def constant(name, values):
        return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.astype(np.float32).ravel())

    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scores"]),
        helper.make_node("Conv", ["image", "filters"], ["local"], strides=[8, 8], kernel_shape=[8, 8]),
        helper.make_node("GlobalAveragePool", ["local"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["global"]),
    ]

    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "hfnet",
        [value("image", [1, 1, "height", "width"])],
        [
            value("scores", [1, 1, "height", "width"]),
            value("local", [1, 32, "rows", "columns"]),
            value("global", [1, 32]),
        ],
        [constant("scale", np.array(1 / 300.0)), constant("filters", rng.normal(size=(32, 1, 8, 8)))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = tmp_path_factory.mktemp("hfnet") / "small.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(params=["hfnet", "xfeat"])
def make_extractor(request):
    def make(inference):
        config = Config(extractor=ExtractorConfig(max_keypoints=100), inference=inference)
        if request.param == "hfnet":
            return HFNetExtractor(request.getfixturevalue("hfnet_file"), config)
        return XFeatExtractor(request.getfixturevalue("xfeat_weights"), config)

    return make


def extracted(make_extractor, inference, *images):
    extractor = make_extractor(inference)
    features = [extractor.extract(image) for image in images]
    extractor.close()
    return features


def assert_same(features, expected):
    assert features.extractor_id == expected.extractor_id
    assert len(features.local) == len(expected.local) > 30
    np.testing.assert_array_equal(features.local.scores, expected.local.scores)
    np.testing.assert_allclose(features.local.keypoints, expected.local.keypoints, rtol=0, atol=1e-4)
    np.testing.assert_allclose(features.local.descriptors, expected.local.descriptors, rtol=0, atol=1e-5)
    if expected.global_descriptor is None:
        assert features.global_descriptor is None
    else:
        np.testing.assert_array_equal(features.global_descriptor, expected.global_descriptor)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_features_are_those_of_the_cpu(machine, make_extractor, image, cuda_graph):
    images = (image, image[::-1].copy(), image)
    expected = extracted(make_extractor, InferenceConfig(backend="onnxruntime"), *images)
    features = extracted(make_extractor, machine.config(cuda_graph=cuda_graph), *images)
    for one, other in zip(features, expected, strict=True):
        assert_same(one, other)
    kernels = ["suppress", "select_top", "describe"]
    assert machine.gpu.launched == kernels * 3
    assert machine.gpu.events.count("launch graph") == (2 if cuda_graph else 0)


def test_everything_is_freed_in_order(machine, make_extractor, image):
    extracted(make_extractor, machine.config(cuda_graph=True), image, image)
    assert machine.gpu.alive() == 0
    assert machine.gpu.modules == {}
    events = machine.gpu.events
    assert not [event for event in events if event.startswith("CRASH")]
    order = [events.index(event) for event in ("free graph", "free module", "free context", "free stream")]
    assert order == sorted(order)


def test_cuda_bindings_and_nvrtc_do_as_well(machine, monkeypatch, make_extractor, image):
    machine.remove("pycuda.driver")
    machine.install_cuda("cuda-bindings")
    install_kernels(monkeypatch, machine, compilers=("cuda-bindings",))
    expected = extracted(make_extractor, InferenceConfig(backend="onnxruntime"), image)
    assert_same(extracted(make_extractor, machine.config(), image)[0], expected[0])
    assert len(machine.gpu.launched) == 3


def test_without_a_compiler_the_cpu_chooses(machine, monkeypatch, make_extractor, image, caplog):
    install_kernels(monkeypatch, machine, compilers=())
    expected = extracted(make_extractor, InferenceConfig(backend="onnxruntime"), image, image)
    with caplog.at_level(logging.WARNING):
        features = extracted(make_extractor, machine.config(), image, image)
    said = [record.message for record in caplog.records if "on the CPU" in record.message]
    assert len(said) == 1
    assert "pycuda" in said[0]
    assert "cuda-bindings" in said[0]
    assert machine.gpu.launched == []
    assert_same(features[1], expected[1])
    assert machine.gpu.alive() == 0


@pytest.mark.parametrize("choice", ["off", InferenceConfig().gpu_postprocessing])
def test_it_is_off_unless_it_is_switched_on(machine, make_extractor, image, caplog, choice):
    with caplog.at_level(logging.WARNING):
        features = extracted(make_extractor, machine.config(gpu_postprocessing=choice), image)
    assert len(features[0].local) > 30
    assert machine.gpu.launched == []
    assert caplog.records == []


def test_features_outlive_the_extractor(machine, make_extractor, image):
    extractor = make_extractor(machine.config())
    first = extractor.extract(image)
    kept = first.local.keypoints.copy(), first.local.descriptors.copy()
    extractor.extract(255 - image)
    extractor.close()
    np.testing.assert_array_equal(first.local.keypoints, kept[0])
    np.testing.assert_array_equal(first.local.descriptors, kept[1])
