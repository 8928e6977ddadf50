"""XFeat*'s matching of two images' cells: the published steps written out, and what the map is given of it."""

import numpy as np
import pytest
from random_weights import make_random_fine_weights
from xfeat_definition import reference_offset

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, WeightsError
from hfnet_ros.features.fine_matcher import FEATURE_LENGTH, FineMatcher
from hfnet_ros.features.xfeat_star import SemiDenseCells
from hfnet_ros.mapping import semidense
from hfnet_ros.mapping.pair_matcher import create_pair_matcher
from hfnet_ros.mapping.semidense import SemiDensePairMatcher, match_cells
from hfnet_ros.types import ImageFeatures, LocalFeatures


class Certain:
    """Stands for the fine matcher: sure of those whose first number is positive, and moves by (1, -2)."""

    def refine(self, first, second):
        assert first.shape == second.shape
        return np.tile(np.float32([1.0, -2.0]), (len(first), 1)), np.where(first[:, 0] > 0.0, 0.9, 0.2)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def cells_of(features, pixel_size=1.0):
    count = len(features)
    points = np.stack([np.arange(count) * 8.0, np.zeros(count)], axis=1).astype(np.float32)
    sizes = np.full((count, 2), pixel_size, np.float32)
    return SemiDenseCells(points, sizes, np.ones(count, np.float32), features.astype(np.float32))


def features_of(descriptors):
    count = len(descriptors)
    points = np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)
    return ImageFeatures(LocalFeatures(points, np.ones(count, np.float32), descriptors), None, "xfeatstar-1")


def test_pairs_equal_the_published_steps():
    rng = np.random.default_rng(3)
    weights = make_random_fine_weights(1)
    weights["fine_matcher.12.weight"] *= np.float32(0.2)  # unsure of some pairs
    first = FEATURE_LENGTH * unit(rng.normal(size=(40, 64))) * rng.uniform(0.9, 1.1, (40, 1))
    second = np.concatenate([first[::-2] + rng.normal(size=(20, 64)), 15.0 * unit(rng.normal(size=(9, 64)))])
    a, b = cells_of(first, 1.0 / 0.6), cells_of(second, 1.0 / 1.3)
    expected, num_unsure = [], 0
    for row, feature in enumerate(a.features):
        best = int(np.argmax(b.features @ feature))  # products of features, not cosines
        offset, confidence = reference_offset(weights, feature, b.features[best])
        if int(np.argmax(a.features @ b.features[best])) != row:
            continue
        num_unsure += confidence <= 0.25
        if confidence > 0.25:
            moved = a.points[row] + (offset + 1.0) / 0.6  # between middles, not corners, of cells
            expected.append((row, best, *moved, *b.points[best]))
    found = match_cells(a, b, FineMatcher(weights))
    assert min(len(expected), num_unsure) > 3
    np.testing.assert_array_equal(found.rows, np.array(expected)[:, :2])
    np.testing.assert_allclose(found.points_first, np.array(expected)[:, 2:4], atol=1e-4)
    np.testing.assert_allclose(found.points_second, np.array(expected)[:, 4:])


def test_only_the_point_of_the_first_image_moves_and_by_its_own_scale():
    eye = np.eye(64)[[0, 3]]
    found = match_cells(cells_of(eye, 2.0), cells_of(eye[::-1], 5.0), Certain())
    assert found.rows.tolist() == [[0, 1]]  # of the other one it is not sure
    np.testing.assert_allclose(found.points_first, [[2.0, -4.0]])
    np.testing.assert_allclose(found.points_second, [[8.0, 0.0]])


def test_a_map_gets_the_rows_that_are_mutual_and_sure():
    rng = np.random.default_rng(0)
    first = unit(rng.normal(size=(50, 64)))
    order = rng.permutation(50)
    second = unit(first[order] + 0.05 * rng.normal(size=(50, 64)))
    found = SemiDensePairMatcher(Certain()).match(features_of(first), features_of(second))
    assert np.all(np.diff(found.rows[:, 0]) > 0)
    np.testing.assert_array_equal(order[found.rows[:, 1]], found.rows[:, 0])
    np.testing.assert_array_equal(found.rows[:, 0], np.flatnonzero(first[:, 0] > 0.0))
    cosine = (first[found.rows[:, 0]] * second[found.rows[:, 1]]).sum(axis=1)
    np.testing.assert_allclose(found.similarity, cosine, atol=1e-6)


def test_cells_of_nothing_match_nothing():
    none = cells_of(np.empty((0, 64)))
    assert match_cells(none, cells_of(np.eye(64)), FineMatcher(make_random_fine_weights())).rows.shape == (
        0,
        2,
    )


def test_it_is_made_by_name_for_its_own_extractor_only(monkeypatch, tmp_path):
    def config_of(extractor):
        return Config.from_dict(
            {
                "extractor": {"name": extractor, "weights": str(tmp_path / "xfeat.pt")},
                "mapping": {"matcher": "semidense"},
            }
        )

    with pytest.raises(ConfigError, match=r"cells of extractor 'xfeat-star', extractor\.name is 'xfeat'"):
        create_pair_matcher(config_of("xfeat"))
    with pytest.raises(WeightsError, match="no such weights file"):
        create_pair_matcher(config_of("xfeat-star"))
    (tmp_path / "xfeat.pt").write_bytes(b"stands for the published file")
    monkeypatch.setattr(semidense, "load_fine_matcher", lambda path: Certain())
    assert isinstance(create_pair_matcher(config_of("xfeat-star")), SemiDensePairMatcher)
