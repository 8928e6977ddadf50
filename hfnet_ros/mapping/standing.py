"""Images that were taken while the camera stood still, and copies of one image: the first of them tells all.

A robot that waits before it starts takes hundreds of them. They have no parallax with each other, but are each other's
nearest partners, take their places from those that have, and tracks through all of them take COLMAP minutes. A camera
or a driver that hangs hands out its last image again and again while the robot drives on, at poses that it was not
taken from; two exposures differ by noise, copies do not.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.turned_cameras import camera_name
from hfnet_ros.mapping.views import Keyframe
from hfnet_ros.matching.mutual_nearest import mutual_nearest

_logger = logging.getLogger(__name__)

_NUM_KEYPOINTS = 256
_NAMES_SHOWN = 5
_MIN_MATCHES = 30
_MIN_MATCHED_SHARE = 0.4  # of the keypoints: another image has fewer
_SAME_SHARE = 0.7  # of the matches that must stay where they are; some of the others are wrong
# Of the diagonal: 3 px of 640x480, a fifth of what landmarks need to be triangulated (1.5 deg at 525 px).
_MAX_SHIFT = 0.004
# What poses may say of it: given ones jitter. A camera that hangs while the robot drives stood not.
_MAX_TURN_RAD = np.deg2rad(2.0)
_MAX_STEP_M, _MAX_STEP_SHARE = 0.1, 0.02  # and of the extent of all positions, whatever their unit


def moving(
    keyframes: Sequence[Keyframe],
    sizes_wh: Sequence[tuple[int, int]],
    map_from_camera: Sequence[Rigid3] | None = None,
) -> list[int]:
    """Return the positions of the images that show another view than the one before, of the same camera, that does.

    Cameras of a rig, whose images follow each other with one stamp, stand still together. Copies of any image before
    are left out, with a warning where the camera, or another one of its rig, moved meanwhile.

    Args:
        keyframes: described images in the order they were taken.
        sizes_wh: of the images, px.
        map_from_camera: their poses; without, images decide alone.

    Raises:
        MappingError: all images show the same.
    """
    step = _largest_step(map_from_camera) if map_from_camera is not None else np.inf
    kept: list[int] = []
    last: dict[int, int] = {}
    first_of: dict[bytes, int] = {}
    copies: dict[int, list[int]] = {}
    for frame in _frames(keyframes):
        shown = {row: _digest(keyframes[row]) for row in frame}
        copied = {row: first_of[digest] for row, digest in shown.items() if digest in first_of}
        taken = [row for row in frame if row not in copied]
        before = [(row, last.get(keyframes[row].image.camera_idx)) for row in taken]
        has_moved = not all(
            one is not None
            and _is_same_pose(map_from_camera, one, row, step)
            and shows_the_same(keyframes[one], keyframes[row], sizes_wh[row])
            for row, one in before
        )
        if has_moved:
            kept += taken
            last.update((keyframes[row].image.camera_idx, row) for row in taken)
            first_of.update((shown[row], row) for row in taken if shown[row])
        for row, one in copied.items():
            if has_moved or not _is_same_pose(map_from_camera, one, row, step):
                copies.setdefault(keyframes[row].image.camera_idx, []).append(row)
    _tell_copies(keyframes, copies)
    if len(kept) < 2 <= len(keyframes):
        if copies:
            raise MappingError(
                f"all {len(keyframes)} images are copies of {keyframes[kept[0]].image.name}, though their poses "
                "differ: the camera, or what recorded it, hung; record anew"
            )
        raise MappingError(
            f"the camera stood still: all {len(keyframes)} images show the same; move it sideways while recording"
        )
    return kept


def _tell_copies(keyframes: Sequence[Keyframe], copies: Mapping[int, Sequence[int]]) -> None:
    """Warn of each camera that handed out copies, by positions [N] of these, while the robot moved."""
    for camera_idx, rows in sorted(copies.items()):
        names = [keyframes[row].image.name for row in rows]
        _logger.warning(
            "%s: %d of its %d images are copies of earlier ones, though the robot moved, and are left out: %s; did "
            "the camera, or what recorded it, hang?",
            camera_name(names[0], camera_idx),
            len(rows),
            sum(keyframe.image.camera_idx == camera_idx for keyframe in keyframes),
            ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else ""),
        )


def _digest(keyframe: Keyframe) -> bytes:
    """Return what copies of an image have in common, as no two exposures have; nothing where there is little to see."""
    local = keyframe.features.local
    if len(local) < _MIN_MATCHES:
        return b""
    numbers = (np.ascontiguousarray(array) for array in (local.keypoints, local.descriptors))
    digest = hashlib.blake2b(b"%d" % keyframe.image.camera_idx)
    for array in numbers:
        digest.update(array.data)
    return digest.digest()


def shows_the_same(first: Keyframe, second: Keyframe, size_wh: tuple[int, int]) -> bool:
    """Tell whether the keypoints of an image are where they were in another one."""
    one, other = (keyframe.features.strongest(_NUM_KEYPOINTS).local for keyframe in (first, second))
    rows, others, _ = mutual_nearest(one.descriptors, other.descriptors)
    if len(rows) < max(_MIN_MATCHES, _MIN_MATCHED_SHARE * min(len(one), len(other))):
        return False
    shifts = np.linalg.norm(one.keypoints[rows] - other.keypoints[others], axis=1)
    return bool(np.quantile(shifts, _SAME_SHARE) < _MAX_SHIFT * float(np.hypot(*size_wh)))


def _frames(keyframes: Sequence[Keyframe]) -> list[list[int]]:
    """Return the positions of images that cameras of a rig took at one time, one after the other."""
    frames: list[list[int]] = []
    for row, keyframe in enumerate(keyframes):
        image = keyframe.image
        before = [keyframes[other].image for other in frames[-1]] if frames else []
        if before and all(
            other.stamp_ns == image.stamp_ns and other.camera_idx != image.camera_idx for other in before
        ):
            frames[-1].append(row)
        else:
            frames.append([row])
    return frames


def _largest_step(poses: Sequence[Rigid3]) -> float:
    """Return how far apart, m, positions of a camera that stands may be said to be."""
    positions = np.array([pose.translation for pose in poses]).reshape(-1, 3)
    extent = np.linalg.norm(positions - np.median(positions, axis=0), axis=1)
    return max(_MAX_STEP_M, 2.0 * _MAX_STEP_SHARE * float(np.quantile(extent, 0.75)))


def _is_same_pose(poses: Sequence[Rigid3] | None, first: int, second: int, step: float) -> bool:
    if poses is None:
        return True
    before, now = poses[first], poses[second]
    return before.translation_to(now) < step and before.rotation_to(now) < _MAX_TURN_RAD
