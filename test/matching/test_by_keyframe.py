"""Matches with what keyframes saw become matches with landmarks."""

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.place_view import KeyframeObservations
from hfnet_ros.matching.by_keyframe import KeyframeMatcher
from hfnet_ros.types import Correspondences, ImageFeatures, LocalFeatures

FEATURES = ImageFeatures(
    LocalFeatures(
        np.arange(10, dtype=np.float32).reshape(5, 2), np.ones(5, np.float32), np.eye(5, 4, dtype=np.float32)
    ),
    None,
    "toy",
)


class Place:
    """Landmarks 30, 10 and 20 in the order of their words; two keyframes saw some of them, and one that is not here."""

    idxs = np.array([30, 10, 20])
    xyz = np.array([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    keyframe_idxs = (7, 4, 9)

    def __init__(self, described=True):
        self._described = described

    def __len__(self):
        return 3

    def observations(self, keyframe_idx):
        landmarks = {7: [10, 99, 20], 4: [20, 30], 9: []}[keyframe_idx]
        descriptors = np.zeros((len(landmarks), 4), np.float32) if self._described else None
        return KeyframeObservations(
            np.zeros((len(landmarks), 2), np.float32), np.array(landmarks), (64, 48), descriptors
        )


def compare(answers):
    queue = iter(answers)
    return lambda *_: tuple(np.asarray(part) for part in next(queue))


def test_hand_computed_merge():
    """Keyframe 7 says 0 - 10 (.5), 1 - 99 (not of the place), 2 - 20 (.6); keyframe 4 says 2 - 20 (.9), 0 - 30 (.7).

    The surest first, each keypoint and each landmark once: 2 - 20 (.9), 0 - 30 (.7); 0 - 10 comes too late.
    """
    matcher = KeyframeMatcher(
        compare([([[0, 0], [1, 1], [2, 2]], [0.5, 0.8, 0.6]), ([[2, 0], [0, 1]], [0.9, 0.7])]), 2
    )
    found = matcher.match(FEATURES, Place())
    assert found.keypoint_idxs.tolist() == [2, 0]
    assert found.landmark_idxs.tolist() == [20, 30]
    np.testing.assert_allclose(found.similarity, [0.9, 0.7])
    np.testing.assert_array_equal(found.points3d[:, 0], [2.0, 3.0])
    np.testing.assert_array_equal(found.points2d, [[4.0, 5.0], [0.0, 1.0]])


def test_no_more_keyframes_are_compared_than_asked():
    matcher = KeyframeMatcher(compare([([[0, 0]], [0.5])]), 1)
    assert matcher.match(FEATURES, Place()).landmark_idxs.tolist() == [10]


class Scout:
    """Matches landmarks that keyframe 4 saw."""

    def match(self, features, place):
        return Correspondences(
            np.zeros((2, 2)), np.zeros((2, 3)), np.arange(2), np.array([20, 30]), np.ones(2, np.float32)
        )


def test_keyframes_that_saw_what_a_scout_matches_come_first():
    matcher = KeyframeMatcher(compare([([[0, 1]], [0.5])]), 1, Scout())
    assert matcher.match(FEATURES, Place()).landmark_idxs.tolist() == [30]


def test_a_map_that_forgot_what_keyframes_saw_says_what_to_do():
    with pytest.raises(MapFormatError, match=r"mapping\.keep_observations"):
        KeyframeMatcher(compare([]), 1).match(FEATURES, Place(described=False))


def test_nothing_matches_a_place_without_landmarks():
    class Empty(Place):
        idxs, xyz = np.empty(0, np.int64), np.empty((0, 3))

        def __len__(self):
            return 0

    assert len(KeyframeMatcher(compare([]), 1).match(FEATURES, Empty())) == 0
