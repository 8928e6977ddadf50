"""Extractors on a simulated GPU: network by ONNX Runtime behind addresses, kernels by g++."""

import logging

import numpy as np
import pytest
from fake_machine import Machine
from host_cuda import install_kernels, need_compiler
from onnx import TensorProto, helper
from random_weights import make_random_weights

from hfnet_ros.config import Config, ExtractorConfig, InferenceConfig, MatchingConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.features.hfnet import HFNetExtractor
from hfnet_ros.features.xfeat import XFeatExtractor
from hfnet_ros.features.xfeat_hfnet import CombinedExtractor
from hfnet_ros.gpu.features_on_device import FeaturesOnDevice
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.gpu.module import open_module
from hfnet_ros.inference.cuda_memory import open_cuda_memory
from hfnet_ros.matching.gpu_matcher import GpuMatcher
from hfnet_ros.matching.landmark_matcher import LandmarkSet

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


# Descriptors that stay on the device


@pytest.fixture
def opened(machine, make_extractor):
    """Open extractors on the machine and close them in the end."""
    made = []

    def open_one(*, leave, **options):
        made.append(make_extractor(machine.config(**options)))
        made[-1].leave_descriptors(leave)
        return made[-1]

    yield open_one
    for extractor in made:
        extractor.close()
    assert machine.gpu.alive() == 0


def same_bits(features, expected):
    for name in ("keypoints", "scores", "descriptors"):
        np.testing.assert_array_equal(getattr(features, name), getattr(expected, name))


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_descriptors_come_to_the_host_only_if_asked_for(machine, opened, image, cuda_graph):
    size = {"leave": True, "cuda_graph": cuda_graph}
    extractor, copying = opened(**size), opened(**{**size, "leave": False})
    for shown in (image, image[::-1].copy(), image):
        expected = copying.extract(shown).local
        machine.gpu.copied.clear()
        features = extractor.extract(shown).local
        assert isinstance(features, FeaturesOnDevice)
        assert len(features) == len(expected) > 30
        brought = sum(nbytes for nbytes, where in machine.gpu.copied if where == "to host")
        assert brought < 100 * 12 + 16 + 4 * 64  # keypoints and a global descriptor
        machine.gpu.copied.clear()
        same_bits(features, expected)
        same_bits(features, expected)
        assert machine.gpu.copied == [(expected.descriptors.nbytes, "to host")]


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_the_choice_may_change_between_images(machine, opened, image, cuda_graph):
    extractor, other = opened(leave=False, cuda_graph=cuda_graph), 255 - image
    expected = {0: extractor.extract(image).local, 1: extractor.extract(other).local}
    for leave in (True, True, False, True, False, False):
        extractor.leave_descriptors(leave)
        for key, shown in enumerate((image, other)):
            features = extractor.extract(shown).local
            assert isinstance(features, FeaturesOnDevice) == leave
            same_bits(features, expected[key])
    if cuda_graph:
        assert machine.gpu.events.count("free graph") == 4  # whenever it changed


def test_descriptors_of_an_earlier_image_are_refused(machine, opened, image):
    extractor = opened(leave=True)
    first = extractor.extract(image).local
    read = extractor.extract(image).local
    kept = read.descriptors.copy()
    last = extractor.extract(255 - image).local
    assert [features.are_on_device for features in (first, read, last)] == [False, False, True]
    for use in (lambda: first.descriptors, lambda: first.device_rows(10), lambda: read.device_rows(10)):
        with pytest.raises(EngineError, match="ran on another image since"):
            use()
    np.testing.assert_array_equal(read.descriptors, kept)
    extractor.close()
    assert not last.are_on_device
    with pytest.raises(EngineError, match="engine was closed"):
        _ = last.descriptors
    with pytest.raises(EngineError, match="engine was closed"):
        last.device_rows(10)


def test_an_image_whose_extraction_fails_leaves_nothing(machine, opened, image, monkeypatch):
    extractor = opened(leave=True)
    features = extractor.extract(image).local

    def fail(*_):
        raise EngineError("lost")

    monkeypatch.setattr("hfnet_ros.inference.tensorrt_engine.TensorrtEngine.run", fail)
    with pytest.raises(EngineError, match="lost"):
        extractor.extract(image)
    with pytest.raises(EngineError, match="another image"):
        features.device_rows(10)


def test_an_engine_of_another_size_takes_nothing_away(opened, image):
    extractor = opened(leave=True)
    features = extractor.extract(image).local
    extractor.extract(np.ascontiguousarray(image[:, :96]))
    assert features.are_on_device
    assert len(features.descriptors) == len(features)


def test_the_pair_of_two_networks_passes_it_on(opened, image):
    class Head:
        digest, backend = "abc", "tensorrt"

        def describe(self, image):
            return np.ones(4, np.float32)

        def close(self):
            pass

    pair = CombinedExtractor(opened(leave=False), Head())
    pair.leave_descriptors(True)
    assert isinstance(pair.extract(image).local, FeaturesOnDevice)
    pair.leave_descriptors(False)
    assert not isinstance(pair.extract(image).local, FeaturesOnDevice)


def test_matches_are_those_of_descriptors_that_were_copied(machine, opened, image, rng):
    """The whole way on the simulated GPU: engine, kernels, and a map's landmarks on a stream of their own."""
    extractor, copying = opened(leave=True), opened(leave=False)
    seen = copying.extract(image).local.descriptors
    landmarks = np.concatenate(
        [seen + 0.05 * rng.normal(size=seen.shape), rng.normal(size=(150, seen.shape[1]))]
    )
    landmarks = (landmarks / np.linalg.norm(landmarks, axis=1, keepdims=True)).astype(np.float32)
    xyz = rng.uniform(size=(len(landmarks), 3))
    memory = open_cuda_memory()
    table = GpuLandmarks(
        memory, landmarks, xyz, max_keypoints=80, max_listed=len(landmarks), open_kernels=open_module
    )
    config = MatchingConfig(max_query_keypoints=80, min_similarity=0.2, ratio=0.95)
    matcher = GpuMatcher(table, config)
    all_landmarks = LandmarkSet(np.arange(len(landmarks)), xyz, landmarks[:0])
    expected = copying.extract(image).local
    features = extractor.extract(image).local
    some = rng.permutation(len(features))[:25]
    machine.gpu.copied.clear()
    found = [matcher.match(part, all_landmarks) for part in (features, features.chosen(some))]
    sent = [nbytes for nbytes, where in machine.gpu.copied if where == "to device"]
    assert sent == [4 * len(landmarks), 4 * 25, 4 * len(landmarks)]
    wanted = [matcher.match(part, all_landmarks) for part in (expected, expected.chosen(some))]
    for one, other in zip(found, wanted, strict=True):
        assert len(one) > 10
        for name in ("points2d", "points3d", "keypoint_idxs", "landmark_idxs", "similarity"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    extractor.extract(255 - image)
    with pytest.raises(EngineError, match="another image"):
        matcher.match(features, all_landmarks)
    table.close()
    memory.close()
