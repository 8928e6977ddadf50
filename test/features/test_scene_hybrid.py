"""A hybrid scene network as a robot runs it."""

from dataclasses import replace

import numpy as np
import pytest
from memorised_scenes import IDENTITY_SIZE, looking_up

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.scene_hybrid import HybridNetwork, normalised_positions
from hfnet_ros.map.scene_network import FEATURES, SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency
from hfnet_ros.types import ImageFeatures, LocalFeatures

pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(0)
LANDMARKS = RNG.normal(size=(40, 8)).astype(np.float32)
LANDMARKS /= np.linalg.norm(LANDMARKS, axis=1, keepdims=True)
POINTS = RNG.uniform(-3, 3, (40, 3))


def scene(network=None):
    arrays = {"identities": np.zeros((3, IDENTITY_SIZE), np.float32), "centers": np.zeros((4, 3), np.float32)}
    network = network or looking_up(LANDMARKS, POINTS, np.arange(40) % 4)
    return SceneNetwork(FEATURES, network, arrays, {}, MapConsistency(0.0, 0.0, 0.0, 0))


def features(rows, turn_rad=0.0):
    keypoints = RNG.uniform(0, 400, (len(rows), 2)).astype(np.float32)
    local = LocalFeatures(keypoints, np.ones(len(rows), np.float32), LANDMARKS[rows])
    return ImageFeatures(local, None, "toy", (640, 480), turn_rad)


@pytest.mark.parametrize("count", [0, 1, 40, 300, 3000])
def test_keypoints_of_any_number_are_put_where_their_landmarks_are(count):
    rows = np.arange(count) % 40
    asked = features(rows)
    network = HybridNetwork(scene(), InferenceConfig(backend="onnxruntime"))
    try:
        found = network.predict(asked, 2)
    finally:
        network.close()
    kept = min(count, 2048)
    assert len(found) == kept and found.keypoint_idxs.tolist() == list(range(kept))
    np.testing.assert_allclose(found.points3d, POINTS[rows[:kept]], atol=1e-5)
    np.testing.assert_array_equal(found.points2d, asked.local.keypoints[:kept].astype(np.float64))
    assert found.leaves.tolist() == (rows[:kept] % 4).tolist()


def test_what_is_no_network_or_another_is_named():
    with pytest.raises(MapFormatError, match=r"no ONNX.*train it anew"):
        HybridNetwork(scene(b"not a network"), InferenceConfig())
    import onnx

    other = onnx.load_model_from_string(scene().network)
    other.graph.input[0].name = "image"
    with pytest.raises(MapFormatError, match="has image, positions, identity, expected descriptors"):
        HybridNetwork(scene(other.SerializeToString()), InferenceConfig())


def test_positions_are_those_in_the_image_that_was_described():
    asked = features(np.arange(2))
    corners = np.array([[0.0, 0.0], [639.0, 479.0]], np.float32)
    asked = replace(asked, local=asked.local.moved_to(corners))
    upright, upside_down = normalised_positions(asked), normalised_positions(replace(asked, turn_rad=np.pi))
    np.testing.assert_allclose(upright, [[-0.998, -0.748], [0.998, 0.748]], atol=1e-3)
    np.testing.assert_allclose(upside_down, -upright, atol=1e-5)
