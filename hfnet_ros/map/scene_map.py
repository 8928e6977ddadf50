"""Maps of kind `scene`: keyframes and a scene-coordinate network, without landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.manifest import LANDMARKS, SCENE, PathLike
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.scene_network import WEIGHTS_PREFIX
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap, with_search


def kind_of(visual_map: VisualMap) -> str:
    """Return `scene` of a map that has a network and no landmarks, `landmarks` of every other one."""
    is_scene = (
        visual_map.scene is not None and not visual_map.num_landmarks and not visual_map.num_observations
    )
    return SCENE if is_scene else LANDMARKS


def without_landmarks(visual_map: VisualMap) -> VisualMap:
    """Return the map with its keyframes, their descriptors and covisibility, and no landmark.

    Args:
        visual_map: one with a scene-coordinate network, which then stands in for the landmarks. What training goes on
            from is left out: it needs landmarks.

    Raises:
        ValueError: it has none.
    """
    if visual_map.scene is None:
        raise ValueError("the map has no scene-coordinate network; without landmarks nothing would be left")
    arrays = {
        name: array for name, array in visual_map.scene.arrays.items() if not name.startswith(WEIGHTS_PREFIX)
    }
    visual_map = with_search(visual_map)
    assert visual_map.search is not None and visual_map.scene is not None
    size = visual_map.landmark_descriptors.shape[1]
    nothing = UnitVectors(np.empty((0, size), np.int8))
    return replace(
        visual_map,
        observation_offsets=np.zeros(visual_map.num_keyframes + 1, np.int64),
        observation_landmark_idx=np.empty(0, np.int32),
        observation_xy=PixelPositions(np.empty((0, 2), np.uint16), visual_map.observation_xy.steps_per_px),
        observation_descriptors=None,
        landmark_xyz=np.empty((0, 3)),
        landmark_descriptors=nothing,
        landmark_view_directions=np.empty((0, 3), np.float32),
        landmark_distance_ranges=np.empty((0, 2), np.float32),
        landmark_colors=np.empty((0, 3), np.uint8),
        scene=replace(visual_map.scene, arrays=arrays),
        search=replace(
            visual_map.search, words=np.empty((0, size), np.float32), landmark_words=np.empty(0, np.uint16)
        ),
    )


def given_centers(visual_map: VisualMap) -> NDArray[np.float64]:
    """Return the middles of a network's leaves [N, 3], m, in the frame of the given poses.

    Each is where the keyframe nearest to it puts it. Nothing where the map has no network.
    """
    if visual_map.scene is None:
        return np.zeros((0, 3))
    centers = np.asarray(visual_map.scene.arrays["centers"], np.float64)
    if visual_map.given is None:
        return centers
    positions = visual_map.keyframe_poses[:, :3]
    nearest = np.array([int(((positions - center) ** 2).sum(axis=1).argmin()) for center in centers])
    rotations, translations = visual_map.motions_to_given(range(visual_map.num_keyframes))
    moved = np.einsum("nij,nj->ni", rotations[nearest], centers) + translations[nearest]
    return np.asarray(moved)


def need_landmarks(visual_map: VisualMap, path: PathLike, what: str) -> None:
    """Refuse a map of kind `scene` where its landmarks are needed.

    Args:
        visual_map: any map.
        path: where it is, for the message.
        what: needs them, as `map prune`.

    Raises:
        MapFormatError: it has none.
    """
    if kind_of(visual_map) == SCENE:
        raise MapFormatError(
            f"{path}: map of kind '{SCENE}', which has no landmarks, and {what} needs them; take the map that it was "
            "trained from, or build one with --kind both"
        )
