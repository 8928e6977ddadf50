import cv2
import numpy as np
import pytest
from scipy import ndimage

from hfnet_ros.features.keypoints import (
    detect_peaks,
    map_coordinates,
    sample_bicubic,
    sample_bilinear,
    select_top,
    unit_rows,
)


def heat(*rows):
    return np.array(rows, np.float32)


# Peaks


def test_peaks_of_a_map_by_hand():
    heatmap = heat(
        [0.9, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.3, 0.0],
        [0.0, 0.0, 0.5, 0.0, 0.0, 0.0],
        [0.0, 0.4, 0.0, 0.0, 0.0, 0.8],
    )
    # With radius 1 the 0.4 next to the 0.5 falls; with radius 2 the 0.3 and the 0.5 fall too.
    assert detect_peaks(heatmap, 1, 0.05).tolist() == [0, 10, 14, 23]
    assert detect_peaks(heatmap, 2, 0.05).tolist() == [0, 23]
    assert detect_peaks(heatmap, 3, 0.05).tolist() == [0, 23]
    assert detect_peaks(heatmap, 5, 0.05).tolist() == [0]


def test_the_threshold_itself_is_not_enough():
    threshold = np.float32(0.05)
    heatmap = heat([threshold, 0, 0, np.nextafter(threshold, np.float32(1)), 0, 0])
    assert detect_peaks(heatmap, 1, float(threshold)).tolist() == [3]


def test_a_plateau_is_kept_whole_and_ties_both_stay():
    heatmap = np.zeros((5, 7), np.float32)
    heatmap[2, 2:4] = 0.5
    assert detect_peaks(heatmap, 2, 0.05).tolist() == [16, 17]
    heatmap[2, 3] = np.nextafter(np.float32(0.5), np.float32(0))
    assert detect_peaks(heatmap, 2, 0.05).tolist() == [16]


@pytest.mark.parametrize("value", [0.0, 0.04])
def test_an_even_map_below_the_threshold_has_no_peaks(value):
    assert len(detect_peaks(np.full((8, 8), value, np.float32), 2, 0.05)) == 0


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_peaks_equal_a_maximum_filter(radius):
    rng = np.random.default_rng(radius)
    # Few levels, so that there are ties, on the border too.
    heatmap = rng.integers(0, 40, (37, 53)).astype(np.float32) / 40
    highest = ndimage.maximum_filter(heatmap, size=2 * radius + 1, mode="constant", cval=-np.inf)
    expected = np.flatnonzero((heatmap == highest) & (heatmap > 0.05))
    np.testing.assert_array_equal(detect_peaks(heatmap, radius, 0.05), expected)


# The best


def test_the_best_come_first_and_ties_keep_their_order():
    scores = heat(0.2, 0.9, 0.5, 0.9, 0.5, 0.5, 0.1)
    assert select_top(scores, 10).tolist() == [1, 3, 2, 4, 5, 0, 6]
    assert select_top(scores, 7).tolist() == [1, 3, 2, 4, 5, 0, 6]
    assert select_top(scores, 4).tolist() == [1, 3, 2, 4]
    assert select_top(scores, 1).tolist() == [1]


def test_the_best_of_none():
    assert select_top(np.empty(0, np.float32), 5).tolist() == []
    assert select_top(heat(0.5), 5).tolist() == [0]


def test_the_best_equal_a_full_sort():
    rng = np.random.default_rng(0)
    for count in (1, 10, 99, 100, 200):
        scores = (rng.integers(0, 30, 100) / 30).astype(np.float32)
        expected = np.argsort(-scores, kind="stable")[:count]
        np.testing.assert_array_equal(select_top(scores, count), expected)


# Sampling


def inner_coordinates(rng, count, size_wh, margin):
    return rng.uniform(margin, np.array(size_wh) - 1 - margin, (count, 2))


def test_the_sampler_of_the_published_code_by_hand():
    # 640 px wide, 80 cells: x * 80 / 639 - 0.5
    points = np.array([[0.0, 0.0], [639.0, 479.0], [319.5, 239.5]], np.float32)
    coordinates = map_coordinates(points, (80, 60), (640, 480))
    np.testing.assert_allclose(coordinates, [[-0.5, -0.5], [79.5, 59.5], [39.5, 29.5]], atol=1e-12)


def test_bilinear_equals_scipy():
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(3, 11, 17)).astype(np.float32)
    xy = rng.uniform(-3.0, 20.0, (500, 2))
    expected = [
        ndimage.map_coordinates(channel.astype(float), xy[:, ::-1].T, order=1, mode="grid-constant", cval=0.0)
        for channel in dense
    ]
    np.testing.assert_allclose(sample_bilinear(dense, xy), np.transpose(expected), atol=1e-5)


def test_bilinear_equals_opencv():
    rng = np.random.default_rng(2)
    dense = rng.normal(size=(1, 20, 30)).astype(np.float32)
    # OpenCV knows 1/32 px only.
    xy = np.round(inner_coordinates(rng, 200, (30, 20), 0.0) * 32) / 32
    x, y = (xy[:, axis].astype(np.float32).reshape(1, -1) for axis in (0, 1))
    expected = cv2.remap(dense[0], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(sample_bilinear(dense, xy)[:, 0], expected[0], atol=1e-4)


def test_bicubic_equals_opencv():
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(1, 20, 30)).astype(np.float32)
    xy = np.round(inner_coordinates(rng, 200, (30, 20), 0.0) * 32) / 32
    x, y = (xy[:, axis].astype(np.float32).reshape(1, -1) for axis in (0, 1))
    expected = cv2.remap(dense[0], x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(sample_bicubic(dense, xy)[:, 0], expected[0], atol=1e-4)


@pytest.mark.parametrize("sampler", [sample_bilinear, sample_bicubic])
def test_samples_at_pixels_are_the_pixels(sampler):
    dense = np.random.default_rng(4).normal(size=(5, 6, 7)).astype(np.float32)
    rows, columns = np.mgrid[0:6, 0:7]
    xy = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
    np.testing.assert_allclose(sampler(dense, xy), dense.reshape(5, -1).T, atol=1e-6)


@pytest.mark.parametrize("sampler", [sample_bilinear, sample_bicubic])
def test_constants_and_symmetric_ramps_are_reproduced(sampler):
    rows, columns = np.mgrid[0:12, 0:16].astype(np.float32)
    dense = np.stack([np.ones_like(rows), 2.0 * columns - 3.0 * rows + 1.0])
    # The kernel with A = -0.75 keeps constants everywhere and ramps halfway between pixels.
    rng = np.random.default_rng(5)
    everywhere = inner_coordinates(rng, 100, (16, 12), 2.0)
    np.testing.assert_allclose(sampler(dense, everywhere)[:, 0], 1.0, atol=1e-5)
    halfway = np.floor(everywhere) + rng.integers(0, 2, everywhere.shape) / 2.0
    ramp = 2.0 * halfway[:, 0] - 3.0 * halfway[:, 1] + 1.0
    np.testing.assert_allclose(sampler(dense, halfway)[:, 1], ramp, atol=1e-4)


def test_bilinear_reproduces_ramps_everywhere():
    rows, columns = np.mgrid[0:12, 0:16].astype(np.float32)
    xy = inner_coordinates(np.random.default_rng(6), 100, (16, 12), 0.0)
    ramp = 2.0 * xy[:, 0] - 3.0 * xy[:, 1]
    np.testing.assert_allclose(sample_bilinear((2 * columns - 3 * rows)[None], xy)[:, 0], ramp, atol=1e-4)


def test_the_bicubic_kernel_has_the_sharpness_of_pytorch():
    impulse = np.zeros((1, 1, 9), np.float32)
    impulse[0, 0, 4] = 1.0
    xy = np.array([[4.0, 0.0], [4.5, 0.0], [5.0, 0.0], [5.5, 0.0], [6.0, 0.0]])
    # A = -0.75: w(0.5) = 1.25 / 8 - 2.25 / 4 + 1, w(1.5) = A / 8
    expected = [1.0, 0.59375, 0.0, -0.09375, 0.0]
    np.testing.assert_allclose(sample_bicubic(impulse, xy)[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize(("sampler", "reach"), [(sample_bilinear, 1.0), (sample_bicubic, 2.0)])
def test_outside_the_map_is_zero(sampler, reach):
    dense = np.ones((1, 4, 6), np.float32)
    outside = [[-reach, 1.0], [5.0 + reach, 1.0], [2.0, -reach], [2.0, 3.0 + reach], [-1e6, 1e6]]
    np.testing.assert_array_equal(sampler(dense, np.array(outside)), 0.0)
    half_in = sampler(dense, np.array([[-0.5, 1.0], [5.5, 1.0], [2.0, -0.5], [2.0, 3.5]]))
    np.testing.assert_allclose(half_in, 0.5, atol=1e-6)


@pytest.mark.parametrize("sampler", [sample_bilinear, sample_bicubic])
def test_no_points_no_samples(sampler):
    samples = sampler(np.ones((64, 4, 6), np.float32), np.empty((0, 2)))
    assert samples.shape == (0, 64)
    assert samples.dtype == np.float32


def test_inputs_stay_as_they_are():
    rng = np.random.default_rng(7)
    dense, xy = rng.normal(size=(2, 5, 5)).astype(np.float32), rng.uniform(-2, 6, (20, 2))
    copies = dense.copy(), xy.copy()
    sample_bilinear(dense, xy)
    sample_bicubic(dense, xy)
    detect_peaks(dense[0], 2, 0.0)
    np.testing.assert_array_equal(dense, copies[0])
    np.testing.assert_array_equal(xy, copies[1])


def test_rows_get_unit_length_and_zero_stays_zero():
    rows = unit_rows(heat([3.0, 4.0], [0.0, 0.0], [1e-3, 0.0]))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]], atol=1e-6)
    assert rows.dtype == np.float32
    assert unit_rows(np.empty((0, 64), np.float32)).shape == (0, 64)
