"""Images are turned, keypoints turned back."""

import math

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import ImageError
from hfnet_ros.features.extractor import knows_turned
from hfnet_ros.features.turning import extract_turned, turned_back, turning_matrix
from hfnet_ros.types import ImageFeatures, LocalFeatures

SIZE_WH = (96, 80)


class Finding:
    """Finds keypoints with a function of the image; keeps the images it was given."""

    extractor_id, backend = "finding-1", "none"

    def __init__(self, find):
        self._find = find
        self.images = []

    def extract(self, image):
        self.images.append(image)
        points = np.array(self._find(image), np.float32).reshape(-1, 2)
        scores = np.linspace(1.0, 0.5, len(points), dtype=np.float32)
        return ImageFeatures(
            LocalFeatures(points, scores, np.eye(len(points), 4, dtype=np.float32)), None, "finding-1"
        )


def brightest(image):
    """Centre of gravity of what is brighter than the rest."""
    light = np.where(image > 60, image.astype(np.float64), 0.0)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    return [[(light * xs).sum() / light.sum(), (light * ys).sum() / light.sum()]]


def spot(x, y):
    image = np.full((SIZE_WH[1], SIZE_WH[0]), 20, np.uint8)
    cv2.circle(image, (x, y), 3, 255, -1)
    return image


def test_points_turn_back_as_computed_by_hand():
    # The centre of 5 x 3 px is (2, 1). What was to its right is below it after a quarter clockwise.
    turned = np.array([[2.0, 2.0], [2.0, 1.0], [3.0, 1.0]], np.float32)
    back = turned_back(turned, (5, 3), math.pi / 2)
    np.testing.assert_allclose(back, [[3.0, 1.0], [2.0, 1.0], [2.0, 0.0]], atol=1e-6)
    forth = turning_matrix((5, 3), math.pi / 2) @ [3.0, 1.0, 1.0]
    np.testing.assert_allclose(forth, [2.0, 2.0], atol=1e-12)


@pytest.mark.parametrize("turn_deg", [30.0, 90.0, -135.0, 180.0])
def test_a_keypoint_is_where_it_is_in_the_image_as_it_is(turn_deg):
    finding = Finding(brightest)
    features = extract_turned(finding, spot(60, 30), math.radians(turn_deg))
    np.testing.assert_allclose(features.local.keypoints, [[60.0, 30.0]], atol=0.1)
    # It was found elsewhere: the extractor saw a turned image of the same size.
    assert finding.images[0].shape == (80, 96)
    center = np.array([47.5, 39.5])
    angle = math.radians(turn_deg)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose(
        brightest(finding.images[0])[0], center + turn @ ([60.0, 30.0] - center), atol=0.1
    )


def test_no_keypoint_stays_on_the_padding_or_its_border():
    # After a quarter of a turn, what is left of x = 8 or right of x = 87 in the turned image is padding.
    finding = Finding(lambda _: [[3.0, 40.0], [12.0, 40.0], [47.5, 39.5], [92.0, 40.0]])
    features = extract_turned(finding, spot(60, 30), math.pi / 2)
    np.testing.assert_allclose(features.local.keypoints, [[47.5, 39.5]], atol=1e-5)
    np.testing.assert_array_equal(features.local.descriptors, np.eye(4, dtype=np.float32)[2:3])
    assert len(features.local.scores) == 1


def test_padding_has_the_mean_colour():
    image = np.dstack([np.full((80, 96), value, np.uint8) for value in (10, 100, 200)])
    finding = Finding(lambda _: [])
    extract_turned(finding, image, math.pi / 4)
    np.testing.assert_array_equal(finding.images[0][0, 0], [10, 100, 200])


def test_an_image_that_is_not_turned_is_described_as_it_is():
    image, finding = spot(60, 30), Finding(lambda _: [[1.0, 1.0]])
    features = extract_turned(finding, image, 0.0)
    assert finding.images[0] is image
    np.testing.assert_array_equal(features.local.keypoints, [[1.0, 1.0]])


def test_what_is_no_image_is_refused_before_it_is_turned():
    with pytest.raises(ImageError, match="float64"):
        extract_turned(Finding(brightest), np.zeros((80, 96)), 1.0)


def test_sift_alone_knows_turned_images():
    assert knows_turned("rootsift-1")
    assert not any(map(knows_turned, ("hfnet-1", "xfeat-1", "xfeat+hfnet-1-2", "anothers-1")))


@pytest.mark.parametrize("turn_rad", [0.0, 0.5])
def test_what_is_no_image_is_refused_before_its_size_is_read(turn_rad):
    with pytest.raises(ImageError):
        extract_turned(Finding(brightest), np.zeros(5, np.uint8), turn_rad)


@pytest.mark.parametrize("turn_rad", [0.0, 0.5])
def test_features_know_the_size_of_their_image(turn_rad):
    assert extract_turned(Finding(brightest), spot(40, 30), turn_rad).size_wh == SIZE_WH
