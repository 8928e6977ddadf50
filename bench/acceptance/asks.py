"""What is asked of a map, and when an answer to it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hfnet_ros.geometry import Camera, Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import ImageArray

FALSE_TRANSLATION_M = 0.5
FALSE_ROTATION_DEG = 10.0
# Where the scale is arbitrary: half a metre in a room whose walls are three metres away.
FALSE_DEPTH_FRACTION = 1.0 / 6.0

# Tells whether a pose (map_from_camera) is wrong.
Judge = Callable[[Rigid3], bool]


def always_wrong(_: Rigid3) -> bool:
    """Judge a query that has no place in the map."""
    return True


@dataclass(frozen=True)
class Ask:
    """One query of a map.

    Attributes:
        name: of the image, unique within its kind.
        kind: what is tested, a row of the table.
        read: returns the image.
        camera: its calibration.
        is_wrong: of a pose that may come back.
        is_answerable: whether the map holds the place, so that a refusal is a loss.
    """

    name: str
    kind: str
    read: Callable[[], ImageArray]
    camera: Camera
    is_wrong: Judge
    is_answerable: bool


@dataclass(frozen=True)
class NearTruth:
    """A pose is wrong when it is far from the true one."""

    truth: Rigid3
    translation_m: float = FALSE_TRANSLATION_M
    rotation_deg: float = FALSE_ROTATION_DEG

    def __call__(self, map_from_camera: Rigid3) -> bool:
        turned_deg = np.rad2deg(map_from_camera.rotation_to(self.truth))
        return bool(
            map_from_camera.translation_to(self.truth) > self.translation_m or turned_deg > self.rotation_deg
        )


@dataclass(frozen=True)
class NearOneOf:
    """A pose is wrong when it is far from every one of some keyframes."""

    keyframes: tuple[Rigid3, ...]
    translation: float
    rotation_deg: float

    def __call__(self, map_from_camera: Rigid3) -> bool:
        return all(
            NearTruth(keyframe, self.translation, self.rotation_deg)(map_from_camera)
            for keyframe in self.keyframes
        )


def median_depth(visual_map: VisualMap) -> float:
    """Return how far landmarks are from the keyframes that see them, in units of the map."""
    return float(np.median(np.asarray(visual_map.landmark_distance_ranges)))


def between(before: Rigid3, after: Rigid3, share: float, depth: float) -> NearTruth:
    """Judge a frame taken between two keyframes of a map without scale.

    Args:
        before: keyframe before it.
        after: keyframe after it.
        share: of the way from one to the other, by frame numbers.
        depth: of the scene, see `median_depth`.

    The frame may be anywhere around the straight line: half of the way and half of the turn are allowed on top
    of what counts as wrong elsewhere.
    """
    turn = before.inverse() @ after
    middle = Rigid3(
        before.rotation @ Rigid3.from_rotvec(share * turn.rotvec, np.zeros(3)).rotation,
        (1.0 - share) * before.translation + share * after.translation,
    )
    step, angle_deg = before.translation_to(after), float(np.rad2deg(before.rotation_to(after)))
    return NearTruth(middle, FALSE_DEPTH_FRACTION * depth + 0.5 * step, FALSE_ROTATION_DEG + 0.5 * angle_deg)
