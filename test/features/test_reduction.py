"""Images much larger than the map's are described at the map's scale, in pixels of their own."""

import cv2
import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.features.reduction import extract_reduced, reduced_size
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.camera import Camera, DistortionModel


def camera(width, height, focal):
    center = 0.5 * (np.array([width, height]) - 1.0)
    return Camera(DistortionModel.NONE, (width, height), np.array([focal, focal]), center, np.zeros(0))


MAP = [camera(640, 480, 525.0)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (camera(640, 480, 525.0), (640, 480)),
        (camera(640, 480, 2000.0), (640, 480)),  # a tele lens, but no more pixels
        (camera(900, 700, 800.0), (900, 700)),
        (camera(320, 240, 260.0), (320, 240)),
        (camera(4000, 3000, 3281.25), (640, 480)),
        (camera(4000, 3000, 525.0), (1280, 960)),  # a wide lens: as many pixels as there may be
        (camera(4000, 3000, 50_000.0), (85, 64)),
    ],
)
def test_sizes_by_focal_length_and_bound(asked, expected):
    assert reduced_size(asked, MAP) == expected


def test_of_several_cameras_the_nearest_in_scale_counts():
    assert reduced_size(camera(4000, 3000, 2100.0), [*MAP, camera(640, 480, 1050.0)]) == (1280, 960)


def test_keypoints_are_pixels_of_the_image_as_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    small = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(small, (1280, 960), interpolation=cv2.INTER_NEAREST)
    extractor = SiftExtractor(Config())
    expected, found = extractor.extract(small).local, extract_reduced(extractor, large, (320, 240)).local
    assert len(found) == len(expected) > 100
    np.testing.assert_allclose(found.keypoints, (expected.keypoints + 0.5) * 4.0 - 0.5, atol=1e-3)
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)
    same = extract_reduced(extractor, small, (320, 240)).local
    np.testing.assert_array_equal(same.keypoints, expected.keypoints)
