"""A teacher of the global descriptor that the user brings."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.training.cache import open_cache
from hfnet_ros.training.teachers import GlobalNetwork
from hfnet_ros.training.teaching import build_cache


@pytest.fixture(scope="module")
def brightness_onnx(tmp_path_factory):
    """A network whose descriptor is the mean of each colour, and its file's folder."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])
    output = helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [1, 3, 1, 1])
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["image"], ["descriptor"])], "mean", [image], [output]
    )
    path = tmp_path_factory.mktemp("teacher") / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_it_sees_red_green_blue_between_0_and_1(brightness_onnx):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:] = (0, 102, 255)  # blue, green, red
    described = GlobalNetwork(brightness_onnx, InferenceConfig()).describe(image)
    np.testing.assert_allclose(described, np.array([1.0, 0.4, 0.0]) / np.hypot(1.0, 0.4), atol=1e-6)


@pytest.mark.slow
def test_its_descriptors_become_the_targets(brightness_onnx, tiny_options, tmp_path):
    teachers = dataclasses.replace(tiny_options.teachers, global_weights=str(brightness_onnx))
    network = dataclasses.replace(tiny_options.network, global_size=3)
    options = dataclasses.replace(tiny_options, teachers=teachers, network=network)
    build_cache(tmp_path / "cache", options, InferenceConfig(), lambda *_: None)
    cache = open_cache(tmp_path / "cache")
    assert cache.about["teachers"][-1].startswith("onnx-")
    assert cache.targets.shape[1] == 3
    np.testing.assert_allclose(np.linalg.norm(cache.targets, axis=1), 1.0, atol=1e-5)
    assert cache.about["global_energy_kept"] == pytest.approx(1.0, abs=1e-3)  # a turn of three numbers


def test_a_network_that_takes_no_image_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 8])
    same = helper.make_tensor_value_info("same", TensorProto.FLOAT, [1, 8])
    graph = helper.make_graph([helper.make_node("Identity", ["vector"], ["same"])], "none", [vector], [same])
    path = tmp_path / "none.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(WeightsError, match=r"expected an image \[1, 3, H, W\]"):
        GlobalNetwork(path, InferenceConfig())
