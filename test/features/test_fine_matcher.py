"""XFeat*'s fine matcher against a definition in plain numpy, by hand, and on a picture that is moved."""

import numpy as np
import pytest
from random_weights import make_random_fine_weights
from xfeat_definition import reference_offset

from hfnet_ros.config import Config
from hfnet_ros.errors import WeightsError
from hfnet_ros.features import fine_matcher
from hfnet_ros.features.fine_matcher import (
    FEATURE_LENGTH,
    FineMatcher,
    expected_fine_shapes,
    load_fine_matcher,
)
from hfnet_ros.features.torch_archive import read_state_dict
from hfnet_ros.features.xfeat_network import load_xfeat_weights
from hfnet_ros.features.xfeat_star import SemiDenseExtractor
from hfnet_ros.matching.mutual_nearest import mutual_nearest

CORNER_TO_MIDDLE = 1.0  # k + 0.5 - 3.5 between the middles of cells is the published k - 4, and 1


@pytest.fixture(params=["random", pytest.param("published", marks=pytest.mark.shared)])
def fine_weights(request, shared_weights):
    return make_random_fine_weights() if request.param == "random" else read_state_dict(shared_weights)


def features_of(rng, count):
    drawn = rng.normal(size=(count, 64))
    return (FEATURE_LENGTH * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_offsets_equal_the_definition(fine_weights):
    rng = np.random.default_rng(0)
    first = features_of(rng, 60)
    second = 0.7 * first + 0.5 * features_of(rng, 60)
    offsets, confidence = FineMatcher(fine_weights).refine(first, second)
    expected = [reference_offset(fine_weights, *pair) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(offsets, [offset + CORNER_TO_MIDDLE for offset, _ in expected], atol=1e-4)
    np.testing.assert_allclose(confidence, [highest for _, highest in expected], atol=1e-4)
    assert confidence.std() > 0.05
    assert offsets.std(axis=0).min() > 0.5


def test_a_grid_is_read_row_by_row():
    weights = {name: np.zeros(shape, np.float32) for name, shape in expected_fine_shapes().items()}
    zeros = np.zeros((1, 64), np.float32)
    offsets, confidence = FineMatcher(weights).refine(zeros, zeros)
    np.testing.assert_allclose(offsets, [[0.5, 0.5]], atol=1e-6)  # labels are rounded down: half a pixel
    np.testing.assert_allclose(confidence, [1.0 / 64.0], atol=1e-7)
    weights["fine_matcher.12.bias"][8 * 1 + 6] = 100.0  # row 1, column 6
    offsets, confidence = FineMatcher(weights).refine(zeros, zeros)
    np.testing.assert_allclose(offsets, [[6 - 3, 1 - 3]], atol=1e-6)
    np.testing.assert_allclose(confidence, [1.0])


def test_no_pairs_have_no_offsets():
    none = np.empty((0, 64), np.float32)
    offsets, confidence = FineMatcher(make_random_fine_weights()).refine(none, none)
    assert (offsets.shape, confidence.shape) == ((0, 2), (0,))


@pytest.mark.shared
def test_offsets_find_a_picture_that_is_moved(shared_weights, make_image):
    """Cells of 8 px are off by up to half of that; refined, by a fraction of a pixel."""
    large = make_image((352, 288), seed=7)
    extractor = SemiDenseExtractor(load_xfeat_weights(shared_weights), Config())
    cells = [
        extractor.cells(np.ascontiguousarray(large[16:272, 16:336])),
        extractor.cells(np.ascontiguousarray(large[14:270, 19:339])),
    ]
    extractor.close()
    fine = load_fine_matcher(shared_weights)
    moved = np.array([3.0, -2.0])  # what the second picture shows at (0, 0), in the first
    biases = []
    for first, second, shift in ((*cells, moved), (*cells[::-1], -moved)):
        rows_a, rows_b, _ = mutual_nearest(first.features, second.features, -np.inf)
        offsets, confidence = fine.refine(first.features[rows_a], second.features[rows_b])
        sure = confidence > fine_matcher.MIN_CONFIDENCE
        errors = (first.points[rows_a] - second.points[rows_b] - shift)[sure]
        refined = errors + (offsets * first.pixel_sizes[rows_a])[sure]
        assert len(errors) > 200
        assert np.median(np.linalg.norm(refined, axis=1)) < 0.4 * np.median(np.linalg.norm(errors, axis=1))
        biases.append(np.median(refined, axis=0))
    # What is too short one way is too short the other way. A corner for a middle, or half a pixel, would stay.
    np.testing.assert_allclose(np.mean(biases, axis=0), 0.0, atol=0.2)


def test_weights_without_a_fine_matcher_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "xfeat.pt"
    weights = make_random_fine_weights()
    monkeypatch.setattr(fine_matcher, "read_state_dict", lambda _: weights)
    weights["fine_matcher.3.bias"] = np.zeros(3, np.float32)
    with pytest.raises(WeightsError, match=r"'fine_matcher.3.bias' has shape \(3,\), expected \(512,\)"):
        load_fine_matcher(path)
    weights["fine_matcher.3.bias"] = np.full(512, np.nan, np.float32)
    with pytest.raises(WeightsError, match="not finite"):
        load_fine_matcher(path)
    del weights["fine_matcher.3.bias"]
    with pytest.raises(WeightsError, match=r"xfeat\.pt: tensor 'fine_matcher.3.bias' is missing"):
        load_fine_matcher(path)


def test_features_of_another_size_are_refused():
    one, other = np.zeros((3, 64), np.float32), np.zeros((3, 128), np.float32)
    with pytest.raises(ValueError, match=r"shapes \(3, 64\) and \(3, 128\)"):
        FineMatcher(make_random_fine_weights()).refine(one, other)
