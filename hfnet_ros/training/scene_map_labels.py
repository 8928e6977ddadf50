"""The labels of a map's scene: of its landmarks, or of what depth images show; what is kept, and what held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.map.scene_points import ScenePoints, most_seen_of_leaves
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.training.scene_labels import SceneLabels, combine_labels, make_labels

_HELD_OUT_EVERY, _HELD_OUT_FIRST = 10, 4
_MIN_KEYFRAMES = 10
# Landmarks that fewer keyframes see are too doubtful to say where the scene is.
_LABELLED_TRACK = 3
# Landmarks that a network keeps of a leaf: what it holds and compares with does not grow with the map.
_KEPT_OF_LEAF = 64


def held_out_rows(num_keyframes: int) -> NDArray[np.int64]:
    """Return the keyframes that are never trained on: every tenth, from the fifth on."""
    return np.arange(_HELD_OUT_FIRST, num_keyframes, _HELD_OUT_EVERY)


def check_keyframes(visual_map: VisualMap) -> None:
    """Refuse a map that is too small to hold some of it back.

    Raises:
        MappingError: it has too few keyframes.
    """
    if visual_map.num_keyframes < _MIN_KEYFRAMES:
        raise MappingError(
            f"the map has {visual_map.num_keyframes} keyframes, {_MIN_KEYFRAMES} needed to train a scene network and "
            "to hold some back; map more images"
        )


def labels_of_landmarks(visual_map: VisualMap, config: Config) -> SceneLabels:
    """Return the labels of a map's landmarks.

    Raises:
        MappingError: there are too few.
    """
    scene = config.scene
    seen_enough = visual_map.track_lengths >= _LABELLED_TRACK
    if np.count_nonzero(seen_enough) < scene.rooms * scene.classes * scene.subclasses:
        seen_enough[:] = True
    of_keyframe = _rooms(visual_map, scene.rooms, scene.seed)
    votes = np.zeros((visual_map.num_landmarks, scene.rooms), np.int32)
    np.add.at(
        votes, (visual_map.observation_landmark_idx, of_keyframe[visual_map.observation_keyframe_idx]), 1
    )
    points = np.asarray(visual_map.landmark_xyz, np.float32)
    return _combined(points[seen_enough], votes.argmax(axis=1)[seen_enough], config)


def points_of_leaves(visual_map: VisualMap, labels: SceneLabels) -> ScenePoints:
    """Return the landmarks that a network keeps of each leaf: those that most keyframes see."""
    points = np.asarray(visual_map.landmark_xyz, np.float32)
    leaves = labels.of(points)
    rows = most_seen_of_leaves(leaves, visual_map.track_lengths, _KEPT_OF_LEAF)
    descriptors = visual_map.landmark_descriptors.chosen(rows)
    return ScenePoints(points[rows], descriptors, leaves[rows].astype(np.int32))


def labels_of_points(
    visual_map: VisualMap, points: NDArray[np.floating], keyframes: NDArray[np.int64], config: Config
) -> SceneLabels:
    """Return the labels of points [P, 3] m that keyframes [P] of a map show.

    Raises:
        MappingError: there are too few.
    """
    rooms = _rooms(visual_map, config.scene.rooms, config.scene.seed)[keyframes]
    return _combined(np.asarray(points, np.float32), rooms, config)


def _combined(points: NDArray[np.float32], rooms: NDArray[np.int64], config: Config) -> SceneLabels:
    scene = config.scene
    return combine_labels(
        [
            make_labels(points[rooms == room], scene.classes, scene.subclasses, scene.seed)
            for room in range(scene.rooms)
        ]
    )


def _rooms(visual_map: VisualMap, count: int, seed: int) -> NDArray[np.int64]:
    """Return the room [F] of each keyframe, by its position."""
    if count == 1:
        return np.zeros(visual_map.num_keyframes, np.int64)
    if count > visual_map.num_keyframes:
        raise MappingError(f"scene.rooms is {count}, but the map has {visual_map.num_keyframes} keyframes")
    positions = visual_map.keyframe_poses[:, :3]
    return make_labels(positions, count, 1, seed).of(positions)
