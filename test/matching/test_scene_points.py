"""Matches with the landmarks that a scene network keeps, near where it puts keypoints."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.map.scene_points import ScenePoints, most_seen_of_leaves
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.matching import scene_points
from hfnet_ros.matching.guided import match_guided
from hfnet_ros.matching.scene_points import ScenePointMatcher
from hfnet_ros.types import Correspondences, ImageFeatures, LocalFeatures, SceneCoordinates

X, Y, Z = np.eye(3)


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def features(descriptors):
    count = len(descriptors)
    keypoints = np.column_stack([np.arange(count), np.zeros(count)]).astype(np.float32)
    described = unit(descriptors) if count else np.empty((0, 3), np.float32)
    return ImageFeatures(
        LocalFeatures(keypoints, np.ones(count, np.float32), described), None, "toy", (640, 480)
    )


def coordinates(points, leaves):
    count = len(points)
    return SceneCoordinates(
        np.arange(count),
        np.column_stack([np.arange(count), np.zeros(count)]).astype(np.float64),
        np.asarray(points, np.float64),
        np.full(count, 0.05),
        np.full(count, 0.9, np.float32),
        np.asarray(leaves, np.int64),
    )


def matcher(xyz, descriptors, leaves, parents, radius_m=0.2):
    points = ScenePoints(
        np.asarray(xyz, np.float32), UnitVectors.encode(unit(descriptors)), np.asarray(leaves, np.int32)
    )
    return ScenePointMatcher(points, np.asarray(parents, np.int32), radius_m, 0.5)


def test_of_the_landmarks_around_a_keypoint_it_takes_the_one_that_looks_like_it():
    # The first keypoint's look-alike is near; the second's is too far away; the third's is of another part.
    kept = matcher(
        [[0, 0, 0], [0.1, 0, 0], [1, 0, 0], [0, 0.15, 0]],
        [X, Y, Z, X + Z],
        leaves=[0, 0, 1, 2],
        parents=[0, 0, 1],
    )
    found = kept.match(features([Y, Z, X + Z]), coordinates([[0, 0, 0], [0.5, 0, 0], [0, 0.1, 0]], [0, 1, 2]))
    pairs = dict(zip(found.keypoint_idxs.tolist(), found.points3d.round(6).tolist(), strict=True))
    assert pairs == {0: [0.1, 0, 0], 2: [0, 0.15, 0]}
    assert set(found.landmark_idxs.tolist()) == {-1}
    assert found.similarity.tolist() == sorted(found.similarity.tolist(), reverse=True)
    assert found.points2d[:, 0].tolist() == found.keypoint_idxs.tolist()


def test_of_two_that_look_the_same_it_takes_the_nearer_one():
    kept = matcher([[0, 0, 0], [0.1, 0, 0]], [X, X], [0, 0], [0])
    for at, nearer in (([0.02, 0, 0], 0.0), ([0.09, 0, 0], 0.1)):
        assert kept.match(features([X]), coordinates([at], [0])).points3d[0, 0] == pytest.approx(nearer)


def test_each_landmark_goes_to_the_keypoint_that_is_most_like_it():
    kept = matcher([[0, 0, 0]], [X], [0], [0])
    here = np.zeros((3, 3))
    found = kept.match(features([X + 0.3 * Y, X, X]), coordinates(here, [0, 0, 0]))
    assert found.keypoint_idxs.tolist() == [1]


def test_it_finds_what_guided_matching_finds_among_all_landmarks(monkeypatch):
    monkeypatch.setattr(scene_points, "_COST_AT_RADIUS", 0.0)
    rng = np.random.default_rng(0)
    # Three parts far apart, so that none has a landmark of another near.
    leaves = np.sort(rng.integers(9, size=400))
    xyz = rng.uniform(0, 1, (400, 3))
    xyz[:, 0] += 10.0 * (leaves // 3)
    descriptors = unit(rng.normal(size=(400, 8)))
    rows = rng.integers(400, size=100)
    asked = features(descriptors[rows] + 0.05 * rng.normal(size=(100, 8)))
    said = coordinates(xyz[rows] + rng.normal(0, 0.05, (100, 3)), leaves[rows])
    found = matcher(xyz, descriptors, leaves, np.arange(9) // 3, 3.0).match(asked, said)
    nothing = np.empty(0, np.int64)
    none = Correspondences(np.empty((0, 2)), np.empty((0, 3)), nothing, nothing, np.empty(0, np.float32))
    place = SimpleNamespace(
        idxs=np.arange(400), xyz=xyz, descriptors=UnitVectors.encode(descriptors)[:], keyframe_idxs=()
    )
    other = match_guided(asked, place, said, 3.0, 0.5, none)
    order, other_order = np.argsort(found.keypoint_idxs), np.argsort(other.keypoint_idxs)
    assert len(found) > 50
    np.testing.assert_array_equal(found.keypoint_idxs[order], other.keypoint_idxs[other_order])
    np.testing.assert_allclose(found.points3d[order], other.points3d[other_order], atol=1e-5)


def test_in_the_parts_that_an_image_shows_it_finds_what_the_network_put_elsewhere():
    # Part 0 is shown by twelve keypoints, one of which is put at the far end; a single one is put in part 1.
    rng = np.random.default_rng(1)
    descriptors = unit(rng.normal(size=(14, 16)))
    xyz = np.column_stack([np.arange(14.0), np.zeros((14, 2))])
    leaves = np.array([0] * 13 + [1])
    kept = matcher(xyz, descriptors, leaves, [0, 1])
    rows = np.arange(13)
    put = xyz[rows].copy()
    put[0] = [12, 0, 0]
    said = coordinates(put, [0] * 12 + [1])
    asked = features(descriptors[rows])
    assert (
        kept.match(asked, said).keypoint_idxs.tolist()
        != kept.match_in_parts(asked, said).keypoint_idxs.tolist()
    )
    assert sorted(kept.match(asked, said).keypoint_idxs.tolist()) == list(range(1, 12))
    found = kept.match_in_parts(asked, said)
    pairs = dict(zip(found.keypoint_idxs.tolist(), found.points3d[:, 0].round().tolist(), strict=True))
    # The one put in part 1, which the image hardly shows, is found in part 0, too.
    assert pairs == {row: float(row) for row in range(13)}
    # A landmark of a part that the image does not show is not found.
    other = features(np.vstack([descriptors[:12], descriptors[13:]]))
    assert 12 not in kept.match_in_parts(other, said).keypoint_idxs


def test_in_all_parts_a_landmark_where_the_network_says_is_preferred_to_an_alike_one():
    kept = matcher([[0, 0, 0], [5, 0, 0]], [X, X + 0.2 * Y], [0, 0], [0])
    for at, expected in (([0, 0, 0], 0.0), ([5, 0, 0], 5.0)):
        found = kept.match_in_parts(features([X + 0.1 * Y]), coordinates([at], [0]))
        assert found.points3d[:, 0].tolist() == [expected]


@pytest.mark.parametrize("count", [0, 2])
def test_a_part_without_landmarks_gives_no_match(count):
    kept = matcher([[0, 0, 0]], [X], [0], [0, 1])
    for match in (kept.match, kept.match_in_parts):
        found = match(features([X] * count), coordinates(np.zeros((count, 3)), [1] * count))
        assert len(found) == 0 and found.points3d.shape == (0, 3)


def test_of_a_leaf_the_landmarks_that_most_keyframes_see_are_kept():
    leaves, num_seeing = np.array([1, 0, 1, 1, 0]), np.array([3, 9, 5, 4, 2])
    assert most_seen_of_leaves(leaves, num_seeing, 2).tolist() == [1, 4, 2, 3]
