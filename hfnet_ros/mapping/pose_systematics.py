"""What is wrong with all given poses alike: the frame they are of, or the time they are of.

Poses of another frame on the same body differ from the camera's by a constant motion; poses taken
at another time than the images lie elsewhere on the same path. Either is estimated by what it
explains of the matches.

Reference: Tsai and Lenz, "A new technique for fully autonomous and efficient 3D robotics hand/eye
calibration", IEEE T-RA 1989 (the constant motion from relative rotations).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation, Slerp

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.pose_evidence import PairEvidence, agreement, signed_errors

FloatArray = NDArray[np.float64]

_MIN_TURN = np.radians(2.0)  # smaller relative rotations have no axis to speak of
_MAX_STEPS = 5.0  # offsets in time that are tried, in median steps between keyframes
_STEPS = 0.25
_ERROR_SCALE_PX = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class MountingOffset:
    """The motion from the frame that the poses are of to the camera.

    Attributes:
        given_from_camera: to be composed on the right of every given pose.
        agreement: mean share of matches explained with it.
    """

    given_from_camera: Rigid3
    agreement: float


@dataclass(frozen=True, slots=True, eq=False)
class TimeOffset:
    """How much later than an image's stamp its pose is found in the given ones.

    Attributes:
        rows: the same in rows of the given poses; a whole number where rows are shifted.
        seconds: by the stamps.
        agreement: mean share of matches explained with it.
        agreement_without: of the same pairs, as given.
    """

    rows: float
    seconds: float
    agreement: float
    agreement_without: float


def estimate_mounting_offset(evidence: PairEvidence, given: Poses, max_error_px: float) -> MountingOffset:
    """Find the constant motion behind the given poses that explains the matches best.

    Relative rotations give a first rotation, least squares on the distances to epipolar lines the
    rotation and the lever arm, from there and from none.
    """
    few = evidence.thinned()
    best = MountingOffset(Rigid3.identity(), float(agreement(evidence, given, max_error_px).mean()))
    for start in (np.zeros(3), _turn_between(evidence, given)):
        offset = _refined(few, given, start)
        share = float(agreement(evidence, composed(given, offset), max_error_px).mean())
        if share > best.agreement:
            best = MountingOffset(offset, share)
    return best


def composed(given: Poses, given_from_camera: Rigid3) -> Poses:
    """Return the poses of a camera that is mounted beside the frame of the given ones."""
    return Poses(
        given.rotations @ given_from_camera.rotation,
        given.centers + given.rotations @ given_from_camera.translation,
    )


def estimate_time_offset(
    evidence: PairEvidence, given: Poses, stamps_ns: NDArray[np.int64], max_error_px: float
) -> TimeOffset | None:
    """Find the shift along the given path that explains the matches best; None without a path.

    Whole rows are tried, and times between them by interpolation.
    """
    order = np.argsort(stamps_ns, kind="stable")
    seconds = (stamps_ns - stamps_ns.min()) * 1e-9
    if len(order) < 4 or np.min(np.diff(seconds[order])) <= 0.0:
        return None
    step = float(np.median(np.diff(seconds[order])))
    path = _Path(seconds[order], given, order)
    found: list[TimeOffset] = []
    for rows in range(-int(_MAX_STEPS), int(_MAX_STEPS) + 1):
        if rows:
            found += _tried(evidence, given, path.shifted(rows), max_error_px, float(rows), rows * step)
    for offset in step * np.arange(-_MAX_STEPS, _MAX_STEPS + 1e-9, _STEPS):
        found += _tried(evidence, given, path.at(seconds + offset), max_error_px, offset / step, offset)
    if not found:
        return None
    best = max(found, key=lambda entry: entry.agreement)
    for fine in step * np.linspace(-_STEPS, _STEPS, 11):
        offset = best.rows * step + fine
        found += _tried(evidence, given, path.at(seconds + offset), max_error_px, offset / step, offset)
    return max(found, key=lambda entry: entry.agreement)


def rows_later(order: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Return of each of some keyframes [N], in order of time, the one so many rows later; -1 beyond the ends."""
    wanted = np.arange(len(order)) + rows
    inside = (wanted >= 0) & (wanted < len(order))
    return np.where(inside, order[np.clip(wanted, 0, len(order) - 1)], -1)


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """The given poses as a path in time."""

    seconds: FloatArray
    given: Poses
    order: NDArray[np.int64]

    def at(self, seconds: FloatArray) -> tuple[Poses, NDArray[np.bool_]]:
        """Return the poses at some times, and which of them lie on the path."""
        inside = (seconds >= self.seconds[0]) & (seconds <= self.seconds[-1])
        clipped = np.clip(seconds, self.seconds[0], self.seconds[-1])
        rotations = Rotation.from_matrix(self.given.rotations[self.order])
        centers = self.given.centers[self.order]
        moved = np.column_stack([np.interp(clipped, self.seconds, centers[:, axis]) for axis in range(3)])
        return Poses(Slerp(self.seconds, rotations)(clipped).as_matrix(), moved), inside

    def shifted(self, rows: int) -> tuple[Poses, NDArray[np.bool_]]:
        """Return the poses some rows later, and which of them exist."""
        source = np.empty(len(self.order), np.int64)
        source[self.order] = rows_later(self.order, rows)
        return Poses(self.given.rotations[source], self.given.centers[source]), source >= 0


def _tried(
    evidence: PairEvidence,
    given: Poses,
    moved: tuple[Poses, NDArray[np.bool_]],
    max_error_px: float,
    rows: float,
    seconds: float,
) -> list[TimeOffset]:
    poses, inside = moved
    usable = np.flatnonzero(inside[evidence.pairs].all(axis=1))
    if len(usable) < max(3, 0.5 * evidence.num_pairs):
        return []
    some = evidence.of_pairs(usable)
    share = float(agreement(some, poses, max_error_px).mean())
    return [TimeOffset(rows, seconds, share, float(agreement(some, given, max_error_px).mean()))]


def _turn_between(evidence: PairEvidence, given: Poses) -> FloatArray:
    """Return the rotation vector of given_from_camera by the axes of relative rotations, robustly."""
    of_images = Rotation.from_matrix(evidence.rotations).as_rotvec()
    of_poses = Rotation.from_matrix(given.between(evidence.pairs)[0]).as_rotvec()
    turning = np.minimum(np.linalg.norm(of_images, axis=1), np.linalg.norm(of_poses, axis=1)) > _MIN_TURN
    if turning.sum() < 3:
        return np.zeros(3)
    of_images, of_poses = of_images[turning], of_poses[turning]
    weights, turn = np.ones(len(of_images)), Rotation.identity()
    for _ in range(10):
        turn, _ = Rotation.align_vectors(of_poses, of_images, weights=weights)
        residual = np.linalg.norm(of_poses - turn.apply(of_images), axis=1)
        weights = 1.0 / (1.0 + (residual / np.radians(1.0)) ** 2)
    rotvec: FloatArray = turn.as_rotvec()
    return rotvec


def _refined(evidence: PairEvidence, given: Poses, start: FloatArray) -> Rigid3:
    """Return the motion at the least robust sum of distances to epipolar lines."""
    unit = max(float(np.median(np.linalg.norm(given.between(evidence.pairs)[1], axis=1))), 1e-9)

    def offset_of(numbers: FloatArray) -> Rigid3:
        return Rigid3.from_rotvec(numbers[:3], unit * numbers[3:])

    def errors(numbers: FloatArray) -> FloatArray:
        between = composed(given, offset_of(numbers)).between(evidence.pairs)
        return np.clip(signed_errors(evidence, *between) * REFERENCE_FOCAL_PX / _ERROR_SCALE_PX, -50.0, 50.0)

    solved = least_squares(errors, np.concatenate([start, np.zeros(3)]), loss="cauchy", max_nfev=25)
    return offset_of(solved.x)
