"""Is the camera mounted as it is said to be? Camera drivers name body frames where an optical one is meant.

A frame with x forward and z up, taken for an optical one, turns the base by 120 degrees without a word. Two
things show it: such a lens would look straight up, while the robot comes out lying on its side; and by the
images the robot moves and turns about other axes than by its odometry.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3, rotation_angle
from hfnet_ros.tracking.motion import Moment
from hfnet_ros.tracking.motion_pairs import MISREADINGS, MotionPair, MotionPairs
from hfnet_ros.tracking.mounting_turn import MountingTurn
from hfnet_ros.tracking.scale_estimate import estimate_scale
from hfnet_ros.types import Localization

FloatArray = NDArray[np.float64]

# x forward, y left, z up of a body, as REP-103 has it, from z forward, x right, y down of an optical frame.
BODY_FROM_OPTICAL: FloatArray = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

_UP_RAD, _TILTED_RAD = np.deg2rad(25.0), np.deg2rad(45.0)
_ODD_RAD, _SAME_RAD = np.deg2rad(40.0), np.deg2rad(20.0)
_CLEARLY_RAD = np.deg2rad(5.0)  # twice what 1 cm is of the shortest way
_MIN_PAIRS = 5
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
        tilt_rad = _tilt_of(map_from_camera @ base_from_camera.inverse()) if localization.is_metric else None
        doubts = [_motions_differ(pairs.pairs), turned]
        if tilt_rad is not None and not is_rig:
            doubts.insert(0, _lens_looks_up(base_from_camera, tilt_rad))
        said = next(
            (f"the mounting of '{camera_frame}' is doubtful: {doubt}" for doubt in doubts if doubt), ""
        )
        said = _odometry_misread(pairs.pairs, tilt_rad) or said
        if not said and not localization.is_metric:
            scale = estimate_scale(pairs.pairs)
            said = f"by odometry a unit of the map is {scale}" if scale is not None else ""
        self._doubts[camera_frame] = (said,) if said else ()


def _tilt_of(pose: Rigid3) -> float:
    """Return the angle between z of a frame and z of the one it is in, rad."""
    return float(np.arccos(np.clip(pose.rotation[2, 2], -1.0, 1.0)))


def _lens_looks_up(base_from_camera: Rigid3, tilt_rad: float) -> str:
    """Tell of a lens that looks straight up from a robot that lies on its side, in a map whose z is up."""
    if _tilt_of(base_from_camera) > _UP_RAD or tilt_rad < _TILTED_RAD:
        return ""
    return (
        f"the lens would look straight up from a robot that is tilted by {np.rad2deg(tilt_rad):.0f} deg, as if the "
        f"frame were a body's; {_REMEDY}"
    )


def _motions_differ(pairs: Sequence[MotionPair]) -> str:
    """Tell of motions by images that are turned against those by odometry; not of such that no one turn explains."""
    kinds = _kinds(pairs)
    off_rad = _largest_angle(kinds)
    if off_rad < _ODD_RAD:
        return ""
    mounted = pairs[-1].base_from_camera.rotation
    as_body = mounted @ BODY_FROM_OPTICAL @ mounted.T
    by_odometry, by_images = np.concatenate(kinds).transpose(1, 0, 2)
    if _median_angle(by_odometry, by_images @ as_body.T) < _SAME_RAD:
        return f"{_off(off_rad)}, as if the frame were a body's; {_REMEDY}"
    turn, left_rad = _best_turn(kinds)
    if left_rad > _SAME_RAD:
        return ""
    return (
        f"{_off(off_rad)}, which a turn by {np.rad2deg(rotation_angle(turn)):.0f} deg explains; {_REMEDY}; or see "
        "whether odometry has x ahead and y left"
    )


def _odometry_misread(pairs: Sequence[MotionPair], tilt_rad: float | None) -> str:
    """Tell of odometry in another convention, by ways and turns, as no mounting makes it.

    Args:
        pairs: the last motions.
        tilt_rad: of the robot by the images and its mounting; None in a map whose z need not be up.
    """
    kinds = _kinds(pairs)
    off_rad = _largest_angle(kinds)
    if off_rad < _ODD_RAD or len(kinds) < 2:
        return ""
    turn, left_rad = _best_turn(kinds)
    readings = [
        (_largest_angle(otherwise) if len(otherwise := _kinds(pairs, index)) == 2 else np.pi, text)
        for index, (text, _) in enumerate(MISREADINGS)
    ]
    least_rad, text = min(readings)
    if least_rad < min(_SAME_RAD, left_rad - _CLEARLY_RAD):
        return f"{_off(off_rad)}, {text}"
    z_of_odometry = turn[2]
    # Of a robot that lies on its side it may be the mounting that is turned.
    is_upright = tilt_rad is not None and tilt_rad < _TILTED_RAD
    if not is_upright or left_rad > _SAME_RAD or z_of_odometry[2] > np.cos(_TILTED_RAD):
        return ""
    return (
        f"{_off(off_rad)}, whose z points {_direction(z_of_odometry)} on a robot that stands upright by the images: "
        "let it have x ahead, y left and z up (REP-103)"
    )


def _off(angle_rad: float) -> str:
    return f"by its images the robot moves {np.rad2deg(angle_rad):.0f} deg off its odometry"


def _direction(of: FloatArray) -> str:
    """Return in a word where a direction [3] in base axes points."""
    names = ("ahead", "left", "up", "back", "right", "down")
    return names[int(np.argmax(np.concatenate([of, -of])))]


def _kinds(pairs: Sequence[MotionPair], misreading: int | None = None) -> list[FloatArray]:
    """Return directions by odometry and by images, [N, 2, 3] in base axes, of ways and of turns that are enough."""
    seen = [found for pair in pairs if (found := pair.directions(misreading)) is not None]
    kinds = ([one.vectors for one in seen if one.is_turn is is_turn] for is_turn in (False, True))
    return [np.array(vectors) for vectors in kinds if len(vectors) >= _MIN_PAIRS]


def _largest_angle(kinds: Sequence[FloatArray]) -> float:
    """Return the angle between directions by odometry and by images, rad: the median of ways or turns; 0 of none."""
    return max((_median_angle(axes[:, 0], axes[:, 1]) for axes in kinds), default=0.0)


def _best_turn(kinds: Sequence[FloatArray]) -> tuple[FloatArray, float]:
    """Return the rotation [3, 3] from directions by images to those by odometry, and what angle is left, rad."""
    by_odometry, by_images = np.concatenate(kinds).transpose(1, 0, 2)
    # The turn that fits best: Wahba's problem, by singular values.
    left, _, right = np.linalg.svd(by_odometry.T @ by_images)
    best: FloatArray = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    return best, max(_median_angle(axes[:, 0], axes[:, 1] @ best.T) for axes in kinds)


def _median_angle(one: FloatArray, other: FloatArray) -> float:
    cosines = np.clip(np.sum(one * other, axis=1), -1.0, 1.0)
    return float(np.median(np.arccos(cosines)))
