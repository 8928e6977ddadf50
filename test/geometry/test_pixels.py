import cv2
import numpy as np

from hfnet_ros.geometry.pixels import colmap_from_pixels, pixels_from_colmap, rescale_pixels


def test_colmap_counts_from_the_corner_of_the_first_pixel():
    np.testing.assert_array_equal(
        colmap_from_pixels(np.array([[0.0, 0.0], [639.0, 479.0]])), [[0.5, 0.5], [639.5, 479.5]]
    )


def test_colmap_round_trip():
    points = np.random.default_rng(0).uniform(-5, 700, (20, 2)).astype(np.float32)
    np.testing.assert_array_equal(pixels_from_colmap(colmap_from_pixels(points)), points)


def test_halving_by_hand():
    # Two pixels 0 and 1 become one whose centre lay between them, at 0.5.
    np.testing.assert_allclose(rescale_pixels(np.array([0.5, 2.5]), np.array([0.5, 0.5])), [0.0, 1.0])


def test_rescaling_follows_what_opencv_does_to_a_picture():
    ramp = np.tile(np.arange(64, dtype=np.float32), (8, 1))
    small = cv2.resize(ramp, (16, 8), interpolation=cv2.INTER_AREA)
    # The value of the ramp is the old x of each new pixel.
    old_x = small[0]
    new = rescale_pixels(np.stack([old_x, np.zeros(16)], axis=1), np.array([16 / 64, 1.0]))
    np.testing.assert_allclose(new[:, 0], np.arange(16), atol=1e-6)


def test_rescaling_there_and_back():
    points = np.random.default_rng(1).uniform(0, 500, (9, 2))
    scale = np.array([0.37, 1.9])
    np.testing.assert_allclose(rescale_pixels(rescale_pixels(points, scale), 1 / scale), points, atol=1e-10)
