"""Motions of the robot seen twice: by odometry, and by the poses that images were localized at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.odometry import OdometrySample

# Far enough for the errors of two fixes to matter little, near enough for odometry not to drift.
_MIN_DISTANCE_M, _MIN_TURN_RAD = 0.3, 0.25
_MAX_PATH_M = 4.0
_MAX_POSES = 100
_LEAST_TURN_RAD, _LEAST_WAY_M = 0.17, 0.2  # whose direction is known


def _with_turns_reversed(odom_from_base: Rigid3) -> Rigid3:
    return Rigid3(odom_from_base.rotation.T, odom_from_base.translation)


def _with_xy_exchanged(odom_from_base: Rigid3) -> Rigid3:
    return Rigid3(odom_from_base.rotation, odom_from_base.translation[[1, 0, 2]])


def _with_x_reversed(odom_from_base: Rigid3) -> Rigid3:
    return Rigid3(odom_from_base.rotation, odom_from_base.translation * [-1.0, 1.0, 1.0])


def _with_y_reversed(odom_from_base: Rigid3) -> Rigid3:
    return Rigid3(odom_from_base.rotation, odom_from_base.translation * [1.0, -1.0, 1.0])


_LET_AGREE = "against its turns: let both be of one right-handed frame (REP-103)"

# What odometry that is wrong may do, in words, and what makes odom_from_base of it.
MISREADINGS: tuple[tuple[str, Callable[[Rigid3], Rigid3]], ...] = (
    (
        "which gives the pose of odom in the base: let it give that of the base in odom (header.frame_id odom, "
        "child_frame_id the base; REP-105)",
        Rigid3.inverse,
    ),
    (
        "whose turns have another sign than its way has: let yaw grow counter-clockwise, from x to y (REP-103)",
        _with_turns_reversed,
    ),
    (f"whose positions have x and y exchanged {_LET_AGREE}", _with_xy_exchanged),
    (f"whose positions have x reversed {_LET_AGREE}", _with_x_reversed),
    (f"whose positions have y reversed {_LET_AGREE}", _with_y_reversed),
)


class Directions(NamedTuple):
    """In base axes, unit vectors: the axis of a turn, or the direction of a way without any.

    Attributes:
        is_turn: which of the two.
        vectors: [2, 3], by odometry and by images.
    """

    is_turn: bool
    vectors: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MotionPair:
    """One motion, by both.

    Attributes:
        base: earlier_from_later of the robot, by odometry, m.
        camera: earlier_from_later of the camera, by its localized poses, in the map's unit.
        base_from_camera: mounting as it was said to be.
        misread: as `base`, by each of `MISREADINGS`.
    """

    base: Rigid3
    camera: Rigid3
    base_from_camera: Rigid3
    misread: tuple[Rigid3, ...] = ()
    _known: dict[int | None, Directions | None] = field(default_factory=dict)

    def directions(self, misreading: int | None = None) -> Directions | None:
        """Return the directions of the motion; None where it is neither a turn nor a way, or hardly any.

        Args:
            misreading: row of `MISREADINGS` that odometry is read by; None for as it is.
        """
        if misreading not in self._known:
            base = self.base if misreading is None else self.misread[misreading]
            mounting = self.base_from_camera
            self._known[misreading] = _directions(base, mounting @ self.camera @ mounting.inverse())
        return self._known[misreading]


def _directions(base: Rigid3, seen: Rigid3) -> Directions | None:
    turns = np.stack([base.rotvec, seen.rotvec])
    angles = np.linalg.norm(turns, axis=1, keepdims=True)
    if angles.min() >= _LEAST_TURN_RAD:
        return Directions(True, turns / angles)
    # A mounting that is turned moves the lever, too, which matters as little as the robot turns.
    ways = np.stack([base.translation, seen.translation])
    lengths = np.linalg.norm(ways, axis=1, keepdims=True)
    if angles.max() > _LEAST_TURN_RAD or lengths.min() < _LEAST_WAY_M:
        return None
    return Directions(False, ways / lengths)


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
        misread = tuple(read(before).inverse() @ read(now) for _, read in MISREADINGS)
        self.pairs.append(MotionPair(before.inverse() @ now, camera, base_from_camera, misread))


def _is_apart(earlier: OdometrySample, later: OdometrySample) -> bool:
    if earlier.run != later.run or not 0.0 <= later.distance_m - earlier.distance_m <= _MAX_PATH_M:
        return False
    moved = earlier.odom_from_base.translation_to(later.odom_from_base)
    return (
        moved >= _MIN_DISTANCE_M or earlier.odom_from_base.rotation_to(later.odom_from_base) >= _MIN_TURN_RAD
    )
