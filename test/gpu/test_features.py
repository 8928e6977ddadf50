"""The kernels' real source, run on the CPU, against the CPU path of features/."""

import dataclasses

import cv2
import numpy as np
import pytest
from host_cuda import open_host_module

from hfnet_ros.errors import EngineError
from hfnet_ros.features import hfnet, xfeat
from hfnet_ros.gpu.features import DeviceTensor, FeatureKernels, SelectionRule

HFNET = SelectionRule(
    radius=4, iterations=3, threshold=0.005, max_keypoints=300, cubic=False, center_radius=2
)
XFEAT = SelectionRule(radius=2, iterations=1, threshold=0.05, max_keypoints=300, cubic=True)


def heatmap(rng, size_wh, scale=0.3):
    """Blurred noise with peaks of every height, much of it below any threshold."""
    width, height = size_wh
    noise = rng.normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return np.asarray(np.clip(smooth * scale, 0.0, 1.0), np.float32)


def unit_map(rng, size, size_wh):
    cells = rng.normal(size=(1, size, size_wh[1] // 8, size_wh[0] // 8)).astype(np.float32)
    return cells / np.linalg.norm(cells, axis=1, keepdims=True)


def on_device(memory, array):
    return DeviceTensor(memory.put(array), array.shape, array.dtype)


def run(memory, scores, descriptors, rule, reliability=None, *, frames=1, seed=0, **options):
    """Return what the kernels choose, and the kernels."""
    kernels = FeatureKernels(
        memory,
        on_device(memory, scores),
        on_device(memory, descriptors),
        rule,
        reliability=None if reliability is None else on_device(memory, reliability),
        open_kernels=lambda *arguments: open_host_module(*arguments, seed=seed),
        **options,
    )
    for _ in range(frames):
        kernels.put()
        memory.synchronize()
    chosen = kernels.features()
    kernels.close()
    return chosen, kernels


def expected_of_hfnet(scores, descriptors, rule):
    return hfnet.select_keypoints(
        scores.reshape(scores.shape[-2:]).astype(np.float32),
        descriptors[0].astype(np.float32),
        rule,
    )


def expected_of_xfeat(scores, descriptors, reliability, rule):
    outputs = {"heatmap": scores, "descriptors": descriptors, "reliability": reliability}
    return xfeat.select_keypoints({key: value.astype(np.float32) for key, value in outputs.items()}, rule)


def assert_same(chosen, expected, *, tolerance=2e-6):
    """Pixels, scores and order are the same to the bit; points between pixels and descriptors to rounding."""
    np.testing.assert_array_equal(chosen.scores, expected.scores)
    np.testing.assert_allclose(chosen.keypoints, expected.keypoints, rtol=0, atol=1e-4)
    np.testing.assert_allclose(chosen.descriptors, expected.descriptors, rtol=0, atol=tolerance)


SIZES = [(96, 64), (200, 136), (264, 72)]


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize("channels", [pytest.param(32, marks=pytest.mark.slow), 64, 256])
def test_hfnet_is_as_on_the_cpu(memory, rng, size_wh, channels):
    scores, descriptors = heatmap(rng, size_wh)[None, None], unit_map(rng, channels, size_wh)
    expected = expected_of_hfnet(scores, descriptors, HFNET)
    assert len(expected) > 20
    assert_same(run(memory, scores, descriptors, HFNET)[0], expected)


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize(
    "radius", [2, 7, *(pytest.param(radius, marks=pytest.mark.slow) for radius in (1, 16))]
)
def test_xfeat_is_as_on_the_cpu(memory, rng, size_wh, radius):
    rule = dataclasses.replace(XFEAT, radius=radius)
    scores, descriptors = heatmap(rng, size_wh)[None, None], unit_map(rng, 64, size_wh)
    reliability = rng.uniform(size=(1, 1, size_wh[1] // 8, size_wh[0] // 8)).astype(np.float32)
    expected = expected_of_xfeat(scores, descriptors, reliability, rule)
    assert len(expected) > 3
    assert_same(run(memory, scores, descriptors, rule, reliability)[0], expected)


@pytest.mark.slow
def test_float16_tensors_are_read(memory, rng):
    size_wh = (128, 96)
    scores = heatmap(rng, size_wh)[None, None].astype(np.float16)
    descriptors = unit_map(rng, 64, size_wh).astype(np.float16)
    reliability = rng.uniform(size=(1, 1, 12, 16)).astype(np.float16)
    assert_same(
        run(memory, scores, descriptors, XFEAT, reliability)[0],
        expected_of_xfeat(scores, descriptors, reliability, XFEAT),
    )
    assert_same(run(memory, scores, descriptors, HFNET)[0], expected_of_hfnet(scores, descriptors, HFNET))


@pytest.mark.parametrize("rule", [HFNET, XFEAT], ids=["hfnet", "xfeat"])
@pytest.mark.parametrize("seed", [1, 5])
def test_the_order_of_threads_does_not_matter(memory, rng, rule, seed):
    size_wh = (200, 136)
    scores, descriptors = heatmap(rng, size_wh)[None, None], unit_map(rng, 64, size_wh)
    forward, _ = run(memory, scores, descriptors, rule)
    other, _ = run(memory, scores, descriptors, rule, seed=seed)
    assert_same(other, forward, tolerance=0)


def test_channels_last_is_the_same(memory, rng):
    size_wh = (96, 64)
    scores, descriptors = heatmap(rng, size_wh), unit_map(rng, 64, size_wh)
    expected = expected_of_hfnet(scores, descriptors, HFNET)
    last = np.ascontiguousarray(descriptors.transpose(0, 2, 3, 1))
    assert_same(run(memory, scores[None, :, :, None], last, HFNET)[0], expected)


@pytest.mark.parametrize("limit", [1, 64, 65, 1000, 2048])
def test_more_peaks_than_wanted_leave_the_best(memory, rng, limit):
    size_wh = (320, 240)
    rule = dataclasses.replace(XFEAT, radius=1, threshold=0.0, max_keypoints=limit)
    scores = rng.uniform(size=(1, 1, 240, 320)).astype(np.float32)
    descriptors = unit_map(rng, 64, size_wh)
    ones = np.ones((1, 1, 30, 40), np.float32)
    expected = expected_of_xfeat(scores, descriptors, ones, rule)
    assert len(expected) == limit
    assert_same(run(memory, scores, descriptors, rule, ones)[0], expected)


@pytest.mark.slow
def test_more_keypoints_than_sorted_in_48_kib(memory, rng):
    size_wh = (320, 240)
    rule = SelectionRule(radius=1, iterations=1, threshold=0.0, max_keypoints=8192, cubic=False)
    scores, descriptors = rng.uniform(size=(240, 320)).astype(np.float32), unit_map(rng, 32, size_wh)
    peaks = hfnet.suppress_non_maxima(scores, 1, 0.0, iterations=1)
    assert len(peaks) > 8192
    chosen, _ = run(memory, scores[None], descriptors, rule)
    best = peaks[np.argsort(-scores.ravel()[peaks], kind="stable")[:8192]]
    np.testing.assert_array_equal(chosen.keypoints, np.stack([best % 320, best // 320], axis=1))


@pytest.mark.parametrize("limit", [50, 5000])
def test_equal_scores_are_cut_and_ordered_by_pixel(memory, rng, limit):
    size_wh = (136, 72)
    rule = dataclasses.replace(HFNET, max_keypoints=limit)
    flat = np.full((72, 136), 0.25, np.float32)  # each pixel is as high as its square
    descriptors = unit_map(rng, 32, size_wh)
    expected = expected_of_hfnet(flat, descriptors, rule)
    assert len(expected) == limit
    assert_same(run(memory, flat[None], descriptors, rule)[0], expected)
    few_levels = np.round(heatmap(rng, size_wh) * 16) / np.float32(16)
    assert_same(
        run(memory, few_levels[None], descriptors, rule)[0],
        expected_of_hfnet(few_levels, descriptors, rule),
    )


def test_keypoints_at_borders_and_corners(memory, rng):
    width, height = 136, 72
    scores = np.zeros((height, width), np.float32)
    spots = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1), (70, 0), (0, 40), (135, 36)]
    for number, (x, y) in enumerate(spots):
        scores[y, x] = 0.5 + number / 100
    descriptors = unit_map(rng, 64, (width, height))
    reliability = rng.uniform(0.5, 1.0, size=(1, 1, 9, 17)).astype(np.float32)
    chosen, _ = run(memory, scores[None], descriptors, HFNET)
    assert len(chosen) == len(spots)
    assert_same(chosen, expected_of_hfnet(scores, descriptors, HFNET))
    expected = expected_of_xfeat(scores[None, None], descriptors, reliability, XFEAT)
    assert 0 < len(expected) < len(spots)  # none in the last row and column
    assert_same(run(memory, scores[None, None], descriptors, XFEAT, reliability)[0], expected)


def test_peaks_beside_the_seams_of_tiles(memory, rng):
    """Chains of suppression that cross every seam, in both directions."""
    width, height = 400, 104
    ramp = np.linspace(0.1, 0.9, width * height).reshape(height, width)
    scores = np.where(rng.uniform(size=(height, width)) < 0.15, ramp, 0.0).astype(np.float32)
    descriptors = unit_map(rng, 32, (width, height))
    rule = dataclasses.replace(HFNET, max_keypoints=4000)
    for image in (scores, scores[:, ::-1].copy(), scores[::-1].copy()):
        expected = expected_of_hfnet(image, descriptors, rule)
        assert len(expected) > 100
        assert_same(run(memory, image[None], descriptors, rule)[0], expected)


@pytest.mark.parametrize("rule", [HFNET, XFEAT], ids=["hfnet", "xfeat"])
def test_no_keypoint(memory, rng, rule):
    scores = np.full((1, 1, 64, 96), rule.threshold, np.float32)  # not above
    chosen, _ = run(memory, scores, unit_map(rng, 64, (96, 64)), rule)
    assert len(chosen) == 0
    assert chosen.descriptors.shape == (0, 64)


def test_no_number_is_no_keypoint_and_hides_none(memory, rng):
    size_wh = (136, 96)
    scores, descriptors = heatmap(rng, size_wh), unit_map(rng, 64, size_wh)
    holes = rng.uniform(size=scores.shape) < 0.2
    scores[holes] = np.nan
    chosen, _ = run(memory, scores[None], descriptors, HFNET)
    as_zero = np.where(holes, np.float32(0.0), scores)
    assert_same(chosen, expected_of_hfnet(as_zero, descriptors, HFNET))
    assert len(chosen) > 20
    reliability = np.ones((1, 1, 12, 17), np.float32)
    chosen, _ = run(memory, scores[None, None], descriptors, XFEAT, reliability)
    assert_same(chosen, expected_of_xfeat(as_zero[None, None], descriptors, reliability, XFEAT))


def test_a_reliability_of_zero_drops_keypoints(memory, rng):
    size_wh = (96, 64)
    scores, descriptors = heatmap(rng, size_wh)[None, None], unit_map(rng, 64, size_wh)
    reliability = np.zeros((1, 1, 8, 12), np.float32)
    reliability[..., 6:] = 0.5
    chosen, _ = run(memory, scores, descriptors, XFEAT, reliability)
    assert_same(chosen, expected_of_xfeat(scores, descriptors, reliability, XFEAT))
    assert len(chosen) > 0
    assert (chosen.keypoints[:, 0] > 40).all()


def test_a_zero_descriptor_stays_zero(memory, rng):
    scores = heatmap(rng, (96, 64))[None]
    chosen, _ = run(memory, scores, np.zeros((1, 32, 8, 12), np.float32), HFNET)
    assert len(chosen) > 0
    assert not chosen.descriptors.any()


def test_frames_follow_each_other_without_allocating(memory, rng):
    size_wh = (96, 64)
    scores, descriptors = heatmap(rng, size_wh)[None], unit_map(rng, 32, size_wh)
    tensors = on_device(memory, scores), on_device(memory, descriptors)
    kernels = FeatureKernels(memory, *tensors, HFNET, open_kernels=open_host_module)
    allocations, waits = memory.num_allocations, memory.synchronizations
    for _ in range(5):
        scores = heatmap(rng, size_wh)[None]
        memory.view(tensors[0].address, scores.shape, scores.dtype)[...] = scores
        kernels.put()
        memory.synchronize()
        assert_same(kernels.features(), expected_of_hfnet(scores, descriptors, HFNET))
    assert memory.num_allocations == allocations
    assert memory.synchronizations == waits + 5
    kernels.close()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_logits_become_the_heat_map(memory, rng, dtype):
    logits = rng.normal(scale=2.0, size=(1, 65, 8, 12)).astype(dtype)
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    cells = (powers / powers.sum(axis=1, keepdims=True))[0, :64].reshape(8, 8, 8, 12)
    dense = cells.transpose(2, 0, 3, 1).reshape(64, 96).astype(np.float32)
    descriptors = unit_map(rng, 64, (96, 64))
    reliability = rng.uniform(0.2, 1.0, size=(1, 1, 8, 12)).astype(np.float32)
    expected = expected_of_xfeat(dense[None, None], descriptors, reliability, XFEAT)
    chosen, _ = run(memory, logits, descriptors, XFEAT, reliability)
    assert len(chosen) > 20
    np.testing.assert_array_equal(chosen.keypoints, expected.keypoints)
    np.testing.assert_allclose(chosen.scores, expected.scores, rtol=2e-6)


@pytest.mark.slow
def test_vga(memory, rng):
    size_wh = (640, 480)
    rule = dataclasses.replace(HFNET, max_keypoints=2048)
    scores, descriptors = heatmap(rng, size_wh)[None, None], unit_map(rng, 64, size_wh)
    expected = expected_of_hfnet(scores, descriptors, rule)
    assert len(expected) == 2048
    assert_same(run(memory, scores, descriptors, rule)[0], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": (1, 2, 64, 96)}, "one value per pixel"),
        ({"descriptors": (1, 32, 9, 12)}, "expected 12x8"),
        ({"reliability": (1, 1, 8, 13)}, "expected 12x8"),
        ({"rule": dataclasses.replace(HFNET, max_keypoints=8193)}, "no kernels"),
        ({"rule": dataclasses.replace(HFNET, threshold=float("nan"))}, "no kernels"),
        ({"rule": dataclasses.replace(HFNET, radius=16)}, "smaller radius"),
        ({"dtype": np.int8}, "int8"),
    ],
)
def test_what_does_not_fit_is_refused(memory, change, message):
    dtype = np.dtype(change.get("dtype", np.float32))
    shapes = {"scores": (1, 1, 64, 96), "descriptors": (1, 32, 8, 12), "reliability": (1, 1, 8, 12)}
    tensors = {key: DeviceTensor(0, change.get(key, shape), dtype) for key, shape in shapes.items()}
    with pytest.raises(EngineError, match=message):
        FeatureKernels(
            memory,
            tensors["scores"],
            tensors["descriptors"],
            change.get("rule", HFNET),
            reliability=tensors["reliability"],
            open_kernels=open_host_module,
        )
