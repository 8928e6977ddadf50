"""Is the camera mounted as it is said to be? Camera drivers name body frames where an optical one is meant.

A frame with x forward and z up, taken for an optical one, turns the base by 120 degrees without a word. Two
things show it: such a lens would look straight up, while the robot comes out lying on its side; and by the
images the robot moves and turns about other axes than by its odometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3, rotation_angle
from hfnet_ros.tracking.motion import Moment
from hfnet_ros.tracking.motion_pairs import MotionPair, MotionPairs
from hfnet_ros.tracking.mounting_turn import MountingTurn
from hfnet_ros.tracking.scale_estimate import estimate_scale
from hfnet_ros.types import Localization

FloatArray = NDArray[np.float64]

# x forward, y left, z up of a body, as REP-103 has it, from z forward, x right, y down of an optical frame.
BODY_FROM_OPTICAL: FloatArray = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

_UP_RAD, _TILTED_RAD = np.deg2rad(25.0), np.deg2rad(45.0)
_ODD_RAD, _SAME_RAD = np.deg2rad(40.0), np.deg2rad(20.0)
_MIN_PAIRS = 5
_MIN_TURN_RAD = 0.17
_MIN_STEP_M = 0.2
_REMEDY = (
    "let images carry the optical frame (z forward, x right, y down; REP-103), or correct the transform or "
    "frames.base_from_camera"
)


class MountingCheck:
    """Watches the fixes of each camera; says nothing while they agree with the mounting."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._pairs: dict[str, MotionPairs] = {}
        self._doubts: dict[str, tuple[str, ...]] = {}
        self._turns: dict[str, MountingTurn] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._pairs.clear()
        self._doubts.clear()
        self._turns.clear()

    def doubts(self, camera_frame: str) -> tuple[str, ...]:
        """Return what is doubtful about the mounting of a camera, by its last fix."""
        return self._doubts.get(camera_frame, ())

    def note(
        self,
        moment: Moment,
        localization: Localization,
        base_from_camera: Rigid3,
        camera_frame: str,
        *,
        is_rig: bool = False,
    ) -> None:
        """Take a localized pose of a camera with its mounting; one that is not localized says nothing.

        A rig, whose pose is that of the robot itself, has no lens that could look up.
        """
        if localization.estimate is None:
            return
        map_from_camera = localization.estimate.map_from_camera
        pairs = self._pairs.setdefault(camera_frame, MotionPairs())
        if moment.is_measured and moment.odometry is not None:
            pairs.add(moment.odometry, map_from_camera, base_from_camera)
        turned = ""
        if moment.is_measured and moment.odometry is not None and localization.is_metric and not is_rig:
            turn = self._turns.setdefault(camera_frame, MountingTurn())
            turned = turn.note(moment.odometry, map_from_camera, base_from_camera)
        # A map of images alone has no z that is up, and no scale: odometry tells of that.
        doubts = [_motions_differ(pairs.pairs), turned]
        if localization.is_metric and not is_rig:
            doubts.insert(0, _lens_looks_up(base_from_camera, map_from_camera @ base_from_camera.inverse()))
        said = next(
            (f"the mounting of '{camera_frame}' is doubtful: {doubt}" for doubt in doubts if doubt), ""
        )
        said = _frames_exchanged(pairs.pairs) or said
        if not said and not localization.is_metric:
            scale = estimate_scale(pairs.pairs)
            said = f"by odometry a unit of the map is {scale}" if scale is not None else ""
        self._doubts[camera_frame] = (said,) if said else ()


def _lens_looks_up(base_from_camera: Rigid3, map_from_base: Rigid3) -> str:
    """Tell of a lens that looks straight up from a robot that lies on its side, in a map whose z is up."""
    from_up, tilt = (
        float(np.arccos(np.clip(pose.rotation[2, 2], -1.0, 1.0)))
        for pose in (base_from_camera, map_from_base)
    )
    if from_up > _UP_RAD or tilt < _TILTED_RAD:
        return ""
    return (
        f"the lens would look straight up from a robot that is tilted by {np.rad2deg(tilt):.0f} deg, as if the frame "
        f"were a body's; {_REMEDY}"
    )


def _motions_differ(pairs: Sequence[MotionPair]) -> str:
    """Tell of motions by images that are turned against those by odometry; not of such that no one turn explains."""
    kinds = [
        axes for axes in (_axes(pairs, turns=turns) for turns in (False, True)) if len(axes) >= _MIN_PAIRS
    ]
    off = max((_median_angle(axes[:, 0], axes[:, 1]) for axes in kinds), default=0.0)
    if off < _ODD_RAD:
        return ""
    by_odometry, by_images = np.concatenate(kinds).transpose(1, 0, 2)
    mounted = pairs[-1].base_from_camera.rotation
    as_body = mounted @ BODY_FROM_OPTICAL @ mounted.T
    # The turn that fits best: Wahba's problem, by singular values.
    left, _, right = np.linalg.svd(by_odometry.T @ by_images)
    best = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    said = f"by its images the robot moves {np.rad2deg(off):.0f} deg off its odometry"
    if _median_angle(by_odometry, by_images @ as_body.T) < _SAME_RAD:
        return f"{said}, as if the frame were a body's; {_REMEDY}"
    if _median_angle(by_odometry, by_images @ best.T) < _SAME_RAD:
        return f"{said}, which a turn by {np.rad2deg(rotation_angle(best)):.0f} deg explains; {_REMEDY}"
    return ""


def _frames_exchanged(pairs: Sequence[MotionPair]) -> str:
    """Tell of odometry that gives base_from_odom for odom_from_base, by ways and turns; no mounting does that."""
    exchanged = [replace(pair, base=pair.exchanged) for pair in pairs if pair.exchanged is not None]
    off, off_exchanged = (
        [_median_angle(axes[:, 0], axes[:, 1]) for axes in kinds if len(axes) >= _MIN_PAIRS]
        for kinds in ([_axes(seen, turns=turns) for turns in (False, True)] for seen in (pairs, exchanged))
    )
    if len(off_exchanged) < 2 or max(off_exchanged) > _SAME_RAD or max(off, default=0.0) < _ODD_RAD:
        return ""
    return (
        f"by its images the robot moves {np.rad2deg(max(off)):.0f} deg off its odometry, which gives the pose of odom "
        "in the base: let it give that of the base in odom (header.frame_id odom, child_frame_id the base; REP-105)"
    )


def _axes(pairs: Sequence[MotionPair], *, turns: bool) -> FloatArray:
    """Return directions by odometry and by images, [N, 2, 3] in base axes: of turns, or of ways without any."""
    found = []
    for pair in pairs:
        mounting = pair.base_from_camera
        both = pair.base, mounting @ pair.camera @ mounting.inverse()
        angles = [float(np.linalg.norm(motion.rotvec)) for motion in both]
        # A mounting that is turned moves the lever, too, which matters as little as the robot turns.
        if min(angles) < _MIN_TURN_RAD if turns else max(angles) > _MIN_TURN_RAD:
            continue
        vectors = np.stack([motion.rotvec if turns else motion.translation for motion in both])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if turns or lengths.min() >= _MIN_STEP_M:
            found.append(vectors / lengths)
    return np.array(found).reshape(-1, 2, 3)


def _median_angle(one: FloatArray, other: FloatArray) -> float:
    cosines = np.clip(np.sum(one * other, axis=1), -1.0, 1.0)
    return float(np.median(np.arccos(cosines)))
