"""Is the camera turned by a few degrees against its mounting? Odometry and images see every motion by other axes then.

Rotations and ways of motions, by both in the robot's axes, differ by a small turn. What else may be off is let go with
it: where the camera is on the robot (a late stamp in curves looks alike), and the scales of odometry's ways and turns.

Reference: Tsai and Lenz, "A New Technique for Fully Autonomous and Efficient 3D Robotics Hand/Eye Calibration" (1989),
    for small turns; the covariance as in `robust_solution`.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3, skew
from hfnet_ros.tracking.gate import chi_square_quantile
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.tracking.robust_solution import robust_solution

FloatArray = NDArray[np.float64]

_MIN_WAY_M, _MIN_TURN_RAD, _MAX_PATH_M = 0.5, 0.4, 2.0
_REMEMBERED, _MIN_MOTIONS = 60, 12
# Of a motion: errors of fixes and odometry, and of the parameters before anything was seen.
_SIGMAS = np.array([0.01] * 3 + [0.02] * 3)
_PRIOR_SIGMAS = np.array([0.3] * 3 + [0.1] * 3 + [0.2, 0.2])  # turn (rad), shift (m), scales of turn and way
_LARGEST_RAD = 0.35  # beyond, it is no small turn
_LASTING_RAD = np.deg2rad(0.6)  # by which sound mountings, maps and odometry are turned for good
_SURE = 1.0 - 1e-5


class MountingTurn:
    """Watches the motions of one camera."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._quantile = chi_square_quantile(_SURE, 3)
        self._begun: tuple[OdometrySample, Rigid3] | None = None
        # What `_rows` returns of each.
        self._motions = deque[tuple[FloatArray, FloatArray]](maxlen=_REMEMBERED)
        self._text = ""

    def note(self, odometry: OdometrySample, map_from_camera: Rigid3, base_from_camera: Rigid3) -> str:
        """Take a localized pose; return by how much the camera is turned, if that is no chance, in words."""
        # By the mounting of each image: joints may move the camera meanwhile.
        map_from_base = map_from_camera @ base_from_camera.inverse()
        begun, now = self._begun, (odometry, map_from_base)
        if begun is None or not _is_one_way(begun[0], odometry):
            self._begun = now
            return self._text
        base = begun[0].odom_from_base.inverse() @ odometry.odom_from_base
        turned_rad = float(np.linalg.norm(base.rotvec))
        if float(np.linalg.norm(base.translation)) < _MIN_WAY_M and turned_rad < _MIN_TURN_RAD:
            return self._text
        self._begun = now
        self._motions.append(_rows(base, begun[1].inverse() @ map_from_base))
        if len(self._motions) >= _MIN_MOTIONS:
            self._text = self._found()
        return self._text

    def _found(self) -> str:
        turn, covariance = _solve(list(self._motions))
        surprise = float(turn @ np.linalg.solve(covariance, turn))
        if surprise <= self._quantile or float(np.linalg.norm(turn)) > _LARGEST_RAD:
            return ""
        degrees, sigmas = -np.rad2deg(turn), np.rad2deg(np.sqrt(np.diag(covariance)))
        axes = ", ".join(
            f"{axis} {value:.1f} +- {sigma:.1f}"
            for axis, value, sigma in zip("xyz", degrees, sigmas, strict=True)
        )
        return (
            f"by {len(self._motions)} motions of odometry it is turned by {axes} deg about the robot's axes against "
            "what it is said to be, and so are poses; correct the transform, or see whether odometry is of that base"
        )


def _is_one_way(earlier: OdometrySample, later: OdometrySample) -> bool:
    return earlier.run == later.run and 0.0 <= later.distance_m - earlier.distance_m <= _MAX_PATH_M


def _solve(motions: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Return the turn [3] of the mounting as it is said to be, against the true one, and its covariance [3, 3]."""
    jacobians, errors = (np.stack(part) for part in zip(*motions, strict=True))
    normals = np.einsum("nki,nkj->nij", jacobians, jacobians)
    weighted = np.einsum("nki,nk->ni", jacobians, errors)
    off, scatter = robust_solution(
        normals,
        weighted,
        np.diag(_PRIOR_SIGMAS**-2.0),
        lambda off, _: np.square(errors - jacobians @ off).sum(axis=1),
    )
    scatter *= len(motions) / (len(motions) - 6.0)
    return off[:3], scatter[:3, :3] + np.eye(3) * _LASTING_RAD**2


def _rows(base: Rigid3, seen: Rigid3) -> tuple[FloatArray, FloatArray]:
    """Return derivatives [6, 8] by turn, shift and scales, and differences [6], in standard deviations.

    Args:
        base: earlier_from_later of the robot, by odometry.
        seen: likewise, by images.
    """
    turn, way = base.rotvec, base.translation
    jacobian = np.zeros((6, 8))
    jacobian[:3, :3], jacobian[3:, :3] = -skew(turn), -skew(way)
    jacobian[3:, 3:6] = np.eye(3) - base.rotation
    jacobian[:3, 6], jacobian[3:, 6], jacobian[3:, 7] = turn, 0.5 * np.cross(turn, way), way
    return jacobian / _SIGMAS[:, None], np.concatenate([seen.rotvec - turn, seen.translation - way]) / _SIGMAS
