"""A dense scene network as a robot runs it."""

import numpy as np
import pytest
from memorised_scenes import colours_as_points

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.reduction import extract_reduced
from hfnet_ros.features.scene_dense import DenseNetwork, WithCoordinates, coordinates_at
from hfnet_ros.features.turning import extract_turned
from hfnet_ros.map.scene_network import IMAGE, SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency
from hfnet_ros.types import ImageFeatures, LocalFeatures

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
SIZE_WH = (64, 48)


def scene(network=None):
    arrays = {
        "centers": np.zeros((3, 3), np.float32),
        "confidence_levels": np.array([0.2, 0.8], np.float32),
        "confidence_sigmas": np.array([0.5, 0.1], np.float32),
    }
    network = colours_as_points(SIZE_WH) if network is None else network
    return SceneNetwork(IMAGE, network, arrays, {}, MapConsistency(0.0, 0.0, 0.0, 0))


@pytest.fixture
def dense():
    network = DenseNetwork(scene(), InferenceConfig(backend="onnxruntime"))
    yield network
    network.close()


def coloured(width, height):
    """Return an image whose blue is the column and whose green is the row, in shares of its size."""
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    return np.stack([200 * x, 200 * y, np.full_like(x, 20)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size_wh", [(128, 96), (640, 480), (160, 96)])
def test_an_image_of_any_size_is_answered_in_its_own_pixels(dense, size_wh):
    found = dense.predict(coloured(*size_wh))
    assert len(found) == 48 and set(found.keypoint_idxs) == {-1}
    first, scale = found.points2d[0], np.array(size_wh) / SIZE_WH
    np.testing.assert_allclose(first, 4.0 * scale - 0.5)
    np.testing.assert_allclose(found.points2d[8] - first, [0.0, 8.0 * scale[1]])
    expected = 200.0 * (found.points2d + 0.5) / size_wh
    assert np.abs(found.points3d[:, :2] - expected).max() < 3.0
    assert found.leaves.tolist() == found.points3d.argmax(axis=1).tolist()


def test_a_gray_image_is_answered_and_sigmas_follow_confidence(dense):
    found = dense.predict(np.full((96, 128), 51, np.uint8))
    np.testing.assert_allclose(found.confidence, 0.2, atol=1e-6)
    np.testing.assert_allclose(found.sigmas_m, 0.5, atol=1e-5)
    found = dense.predict(np.full((96, 128), 128, np.uint8))
    np.testing.assert_allclose(found.sigmas_m, 0.5 - 0.4 * (128 / 255 - 0.2) / 0.6, atol=1e-4)


class OneKeypoint:
    """Finds one keypoint, anywhere."""

    extractor_id, backend, is_closed = "toy", "numpy", False

    def extract(self, image):
        local = LocalFeatures(
            np.full((1, 2), 30.0, np.float32), np.ones(1, np.float32), np.ones((1, 4), np.float32)
        )
        return ImageFeatures(local, None, self.extractor_id)

    def networks(self, image_wh):
        return ()

    def close(self):
        self.is_closed = True


def test_features_carry_it_through_turned_and_reduced_images(dense):
    extractor = OneKeypoint()
    both, image = WithCoordinates(extractor, dense), coloured(256, 192)
    plain = extract_turned(both, image, 0.0).coordinates
    turned = extract_turned(both, image, np.pi / 2).coordinates
    for found in (plain, turned):
        # Wherever a cell of the turned image was, its colour says it; those beside the image are left out.
        expected = 200.0 * (found.points2d + 0.5) / (256, 192)
        assert np.abs(found.points3d[:, :2] - expected).max() < 12.0
        assert (found.points2d >= 0).all() and (found.points2d < (256, 192)).all()
    assert 0 < len(turned) < len(plain) == 48
    reduced = extract_reduced(both, image, (128, 96)).coordinates
    np.testing.assert_allclose(reduced.points2d, plain.points2d)
    both.close()
    assert extractor.is_closed and (both.extractor_id, both.backend) == ("toy", "numpy")


def test_keypoints_have_what_was_said_of_their_cells(dense):
    cells = dense.predict(coloured(256, 192))
    keypoints = np.array([[15.5, 15.5], [250.0, 190.0], [130.0, 20.0], [500.0, 20.0]], np.float32)
    found = coordinates_at(cells, keypoints)
    assert found.keypoint_idxs.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(found.points2d, keypoints[:3])
    np.testing.assert_array_equal(found.points3d, cells.points3d[[0, 47, 4]])
    assert len(coordinates_at(cells, keypoints[:0])) == 0


def test_what_is_no_network_or_another_is_named():
    with pytest.raises(MapFormatError, match=r"no ONNX.*train it anew"):
        DenseNetwork(scene(b"not a network"), InferenceConfig())
    with pytest.raises(MapFormatError, match="has xyz, confidence, leaves, expected points"):
        DenseNetwork(scene(colours_as_points(SIZE_WH, output="xyz")), InferenceConfig())
    with pytest.raises(MapFormatError, match=r"takes images \[1, 3, 50, 64\], expected"):
        DenseNetwork(scene(colours_as_points((64, 50))), InferenceConfig())
