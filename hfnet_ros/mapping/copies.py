"""What a map has already: images that were keyframes of it before, and keyframes that two maps have in common.

A map keeps no descriptors of its images, but where the keypoints were that landmarks were made of. These tell: two
exposures differ by noise, and hardly a keypoint of one is exactly where one of the other is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.views import Keyframe

_logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

# Keyframes of a map nearest to a pose, of which the image there may be a copy.
_NUM_NEAREST = 20
_MIN_KEYPOINTS = 30  # fewer tell nothing
# Of what the map holds of an image; of two exposures without motion 0.2 to 0.3 are where they were.
_COPIED_SHARE = 0.9
# The same of two maps: each made landmarks of keypoints of its own choice. At the edges of halves of a drive they had
# 0.84 to 0.91 in common, other images 0.002.
_COPIED_SHARE_OF_MAPS = 0.6
_NUM_COMPARED = 128  # keypoints of a keyframe


def not_in_map(
    keyframes: Sequence[Keyframe], map_from_camera: Sequence[Rigid3], visual_map: VisualMap
) -> list[int]:
    """Return the positions of the images that are no copies of keyframes of a map, with a warning of those that are.

    Args:
        keyframes: described images.
        map_from_camera: their poses in the map.
        visual_map: keyframes that there are.

    Raises:
        MappingError: all are copies.
    """
    nearest, copies = _Nearest(visual_map), {}
    for row, (keyframe, pose) in enumerate(zip(keyframes, map_from_camera, strict=True)):
        copied = next((one for one in nearest.to(pose) if _is_copy(keyframe, visual_map, one)), None)
        if copied is not None:
            copies[row] = copied
    if copies:
        row, one = next(iter(copies.items()))
        told = (
            f"{len(copies)} of {len(keyframes)} images are copies of keyframes of the map, as "
            f"{keyframes[row].image.name} of its {visual_map.keyframe_names[one]}"
        )
        if len(copies) == len(keyframes):
            raise MappingError(f"{told}: the map has this drive already; give images of another one")
        _logger.warning("%s, and are left out: was a part of the drive given before?", told)
    return [row for row in range(len(keyframes)) if row not in copies]


def copied_answers(visual_map: VisualMap, answers: Sequence[tuple[FloatArray, Rigid3]]) -> list[int]:
    """Return the positions of the answers to images that keyframes of the map were made of.

    Args:
        visual_map: what the images were localized in.
        answers: of each its inliers, [N, 2] px, and its map_from_camera.
    """
    if not answers or not visual_map.num_landmarks:
        return []
    nearest, copied = _Nearest(visual_map), []
    for row, (shown, pose) in enumerate(answers):
        if len(shown) < _MIN_KEYPOINTS:
            continue
        tree = cKDTree(shown)
        if any(_show_the_same(_observed(visual_map, one), tree, visual_map) for one in nearest.to(pose)):
            copied.append(row)
    return copied


def common_keyframes(
    first: VisualMap, second: VisualMap, first_from_second: Rigid3 | None = None
) -> dict[int, int]:
    """Return which keyframes of the second map were made of images that the first has, and its rows of these.

    Args:
        first: one map.
        second: the other one.
        first_from_second: where it lies; in the same frame unless given.
    """
    moved = first_from_second or Rigid3.identity()
    nearest, common, taken = _Nearest(first), {}, set[int]()
    for row in range(second.num_keyframes):
        shown = _observed(second, row)
        if len(shown) < _MIN_KEYPOINTS:
            continue
        tree = cKDTree(shown)
        for one in nearest.to(moved @ second.map_from_camera(row)):
            if one not in taken and _show_the_same(_observed(first, one), tree, first):
                common[row] = one
                taken.add(one)
                break
    return common


def refuse_contained(
    first: VisualMap, second: VisualMap, common: Mapping[int, int], names: tuple[str, str]
) -> None:
    """Refuse two maps of which one has all keyframes of the other.

    Args:
        first: one map.
        second: the other one.
        common: as `common_keyframes` of both.
        names: of both maps, for people.

    Raises:
        MappingError: names the one that is enough.
    """
    if len(common) < min(first.num_keyframes, second.num_keyframes):
        return
    is_second_in_first = len(common) == second.num_keyframes
    held, whole = reversed(names) if is_second_in_first else names
    row, one = next(iter(common.items()))
    raise MappingError(
        f"{held}: all of its {len(common)} keyframes are in {whole} already, as {second.keyframe_names[row]} is "
        f"{first.keyframe_names[one]} there: was one map named for another? {whole} alone is both"
    )


class _Nearest:
    """Finds keyframes that may show what a camera at some pose does."""

    def __init__(self, visual_map: VisualMap) -> None:
        self._centers = visual_map.keyframe_poses[:, :3]
        self._axes = Rotation.from_quat(visual_map.keyframe_poses[:, 3:]).as_matrix()[:, :, 2]
        self._reach = float(np.median(visual_map.landmark_distance_ranges[:, 1]))

    def to(self, map_from_camera: Rigid3) -> list[int]:
        turned = np.arccos(np.clip(self._axes @ map_from_camera.rotation[:, 2], -1.0, 1.0))
        away = np.linalg.norm(self._centers - map_from_camera.translation, axis=1)
        return np.argsort(away / self._reach + turned, kind="stable")[:_NUM_NEAREST].tolist()


def _is_copy(keyframe: Keyframe, visual_map: VisualMap, row: int) -> bool:
    """Tell whether an image has keypoints where the map says that a keyframe has them."""
    observed, local = _observed(visual_map, row), keyframe.features.local
    if min(len(observed), len(local)) < _MIN_KEYPOINTS:
        return False
    distances, _ = cKDTree(local.keypoints).query(observed)
    return bool(np.mean(distances <= 1.0 / visual_map.observation_xy.steps_per_px) >= _COPIED_SHARE)


def _show_the_same(observed: FloatArray, shown: cKDTree, visual_map: VisualMap) -> bool:
    """Tell whether what a keyframe saw, [N, 2] px, is what another one of another map saw."""
    if len(observed) < _MIN_KEYPOINTS:
        return False
    distances, _ = shown.query(observed[:: -(-len(observed) // _NUM_COMPARED)])
    num_same = len(observed) * np.mean(distances <= 1.0 / visual_map.observation_xy.steps_per_px)
    return bool(num_same >= _COPIED_SHARE_OF_MAPS * min(len(observed), shown.n))


def _observed(visual_map: VisualMap, row: int) -> FloatArray:
    """Return where a keyframe saw landmarks, [N, 2] px."""
    start, stop = visual_map.observation_offsets[row : row + 2]
    return np.asarray(visual_map.observation_xy[start:stop], np.float64)
