"""Matches near where a scene network puts keypoints."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.matching.guided import match_guided, pairs_within
from hfnet_ros.types import Correspondences, ImageFeatures, LocalFeatures, SceneCoordinates


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scene(points, confidence=0.9):
    points, count = np.asarray(points, np.float64), len(points)
    nowhere = np.zeros((count, 2))
    return SceneCoordinates(
        np.arange(count),
        nowhere,
        points,
        np.full(count, 0.05),
        np.full(count, confidence, np.float32),
        np.zeros(count, np.int64),
    )


def features(descriptors):
    count = len(descriptors)
    keypoints = np.column_stack([np.arange(count), np.zeros(count)]).astype(np.float32)
    local = LocalFeatures(keypoints, np.ones(count, np.float32), unit(descriptors))
    return ImageFeatures(local, None, "toy", (640, 480))


def place(xyz, descriptors):
    count = len(xyz)
    return SimpleNamespace(
        xyz=np.asarray(xyz, np.float64), descriptors=unit(descriptors), idxs=100 + np.arange(count)
    )


NONE = Correspondences(
    np.empty((0, 2)), np.empty((0, 3)), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
)


@pytest.mark.parametrize("radius", [0.05, 0.3, 2.0])
def test_all_pairs_within_a_radius_are_found_and_no_others(radius):
    rng = np.random.default_rng(0)
    points, landmarks = rng.uniform(-2, 2, (60, 3)), rng.uniform(-2.5, 2.5, (90, 3))
    rows, others = pairs_within(points, landmarks, radius)
    distance = np.linalg.norm(points[:, None] - landmarks, axis=2)
    assert list(zip(rows, others, strict=True)) == [tuple(pair) for pair in np.argwhere(distance <= radius)]


def test_no_points_have_no_pairs():
    assert len(pairs_within(np.empty((0, 3)), np.zeros((2, 3)), 1.0)[0]) == 0
    assert len(pairs_within(np.zeros((2, 3)), np.empty((0, 3)), 1.0)[0]) == 0


def test_of_two_landmarks_alike_the_near_one_is_matched():
    found = match_guided(
        features([[1, 0.1, 0]]), place([[5, 0, 0], [0, 0, 0]], [[1, 0.1, 0], [1, 0.2, 0]]), scene([[0.1, 0, 0]]), 0.2,
        0.6, NONE,
    )  # fmt: skip
    assert found.landmark_idxs.tolist() == [101] and found.keypoint_idxs.tolist() == [0]


def test_each_keypoint_and_each_landmark_is_matched_once_and_with_its_best():
    where = scene([[0, 0, 0], [0.01, 0, 0]])
    there = place([[0, 0, 0], [0.02, 0, 0]], [[1, 0, 0], [0, 1, 0]])
    found = match_guided(features([[1, 0.1, 0], [1, 0.5, 0]]), there, where, 0.2, 0.6, NONE)
    assert found.keypoint_idxs.tolist() == [0] and found.landmark_idxs.tolist() == [100]


def test_what_is_unlike_is_no_match():
    there = place([[0, 0, 0]], [[1, 0, 0]])
    assert len(match_guided(features([[1, 2, 0]]), there, scene([[0, 0, 0]]), 0.2, 0.6, NONE)) == 0


def known(landmark, xyz, similarity=0.8):
    alike = np.array([similarity], np.float32)
    return Correspondences(
        np.zeros((1, 2)), np.array([xyz], float), np.array([0]), np.array([landmark]), alike
    )


def test_a_sure_network_drops_a_match_that_it_contradicts_and_finds_another():
    far, near = [5, 0, 0], [0, 0, 0]
    there = place([far, near], [[1, 0.1, 0], [1, 0.2, 0]])
    asked = (features([[1, 0.1, 0]]), there)
    sure = match_guided(*asked, scene([[0.1, 0, 0]]), 0.2, 0.6, known(100, far))
    unsure = match_guided(*asked, scene([[0.1, 0, 0]], confidence=0.1), 0.2, 0.6, known(100, far))
    nothing_near = match_guided(*asked, scene([[2.0, 0, 0]]), 0.2, 0.6, known(100, far))
    assert [found.landmark_idxs.tolist() for found in (sure, unsure, nothing_near)] == [[101], [100], [100]]


def test_matches_of_both_kinds_come_most_similar_first():
    there = place([[0, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0]])
    found = match_guided(
        features([[1, 0.3, 0], [0.1, 1, 0]]),
        there,
        scene([[0, 0, 0], [1, 0, 0]]),
        0.2,
        0.6,
        known(100, [0, 0, 0], 0.7),
    )
    assert found.keypoint_idxs.tolist() == [1, 0] and np.all(np.diff(found.similarity) <= 0)
