"""Motions of the robot seen twice: by odometry, and by the poses that images were localized at."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.odometry import OdometrySample

# Far enough for the errors of two fixes to matter little, near enough for odometry not to drift.
_MIN_DISTANCE_M, _MIN_TURN_RAD = 0.3, 0.25
_MAX_PATH_M = 4.0
_MAX_POSES = 100


@dataclass(frozen=True, slots=True, eq=False)
class MotionPair:
    """One motion, by both.

    Attributes:
        base: earlier_from_later of the robot, by odometry, m.
        camera: earlier_from_later of the camera, by its localized poses, in the map's unit.
        base_from_camera: mounting as it was said to be.
        exchanged: as `base`, if odometry gave base_from_odom for odom_from_base; None where nobody asks.
    """

    base: Rigid3
    camera: Rigid3
    base_from_camera: Rigid3
    exchanged: Rigid3 | None = None


class MotionPairs:
    """Remembers the last localized poses and the motions between them."""

    def __init__(self, num_remembered: int = 30) -> None:
        """Start with none."""
        self._poses: deque[tuple[OdometrySample, Rigid3]] = deque(maxlen=_MAX_POSES)
        self.pairs: deque[MotionPair] = deque(maxlen=num_remembered)

    def add(self, odometry: OdometrySample, map_from_camera: Rigid3, base_from_camera: Rigid3) -> None:
        """Take a localized pose with the odometry of its stamp."""
        begun = next((pose for pose in reversed(self._poses) if _is_apart(pose[0], odometry)), None)
        self._poses.append((odometry, map_from_camera))
        if begun is None:
            return
        before, now = begun[0].odom_from_base, odometry.odom_from_base
        camera = begun[1].inverse() @ map_from_camera
        self.pairs.append(
            MotionPair(before.inverse() @ now, camera, base_from_camera, before @ now.inverse())
        )


def _is_apart(earlier: OdometrySample, later: OdometrySample) -> bool:
    if earlier.run != later.run or not 0.0 <= later.distance_m - earlier.distance_m <= _MAX_PATH_M:
        return False
    moved = earlier.odom_from_base.translation_to(later.odom_from_base)
    return (
        moved >= _MIN_DISTANCE_M or earlier.odom_from_base.rotation_to(later.odom_from_base) >= _MIN_TURN_RAD
    )
