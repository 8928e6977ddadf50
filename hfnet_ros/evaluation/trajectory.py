"""Poses over time, and how far two of them are apart.

Reference: Sturm et al., "A Benchmark for the Evaluation of RGB-D SLAM Systems", IROS 2012,
    section IV (ATE, RPE); Umeyama, "Least-squares estimation of transformation parameters
    between two point patterns", TPAMI 1991 (alignment, here without scale).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation.records import TimedPose
from hfnet_ros.geometry.rigid3 import Rigid3

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_GAP_S = 0.5
_DELTA_TOLERANCE = 0.25
# A line of positions leaves the turn about it open, and so does one that errors make a line.
_LEAST_SPREAD_RATIO, _MOST_RESIDUAL = 1e-6, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Poses of one body in one frame, `map_from_body`.

    Attributes:
        stamps_ns: [N] int64, increasing.
        positions: [N, 3] m.
        rotations: [N, 3, 3].
    """

    stamps_ns: IntArray
    positions: FloatArray
    rotations: FloatArray

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self.stamps_ns)

    @classmethod
    def from_poses(cls, poses: Iterable[TimedPose]) -> Trajectory:
        """Build from (stamp_ns, map_from_body) in any order.

        Raises:
            DatasetError: two poses have the same stamp.
        """
        ordered = sorted(poses, key=lambda timed: timed[0])
        stamps_ns = np.array([stamp_ns for stamp_ns, _ in ordered], dtype=np.int64)
        twice = np.flatnonzero(np.diff(stamps_ns) == 0)
        if len(twice):
            raise DatasetError(
                f"stamp {stamps_ns[twice[0]]} ns is there twice in a trajectory; keep one pose per stamp"
            )
        return cls(
            stamps_ns,
            np.array([pose.translation for _, pose in ordered], dtype=np.float64).reshape(-1, 3),
            np.array([pose.rotation for _, pose in ordered], dtype=np.float64).reshape(-1, 3, 3),
        )

    def select(self, mask: NDArray[np.bool_]) -> Trajectory:
        """Return the poses where `mask` [N] is true."""
        return Trajectory(self.stamps_ns[mask], self.positions[mask], self.rotations[mask])

    def moved(self, new_from_map: Rigid3) -> Trajectory:
        """Return the same poses in another frame."""
        return Trajectory(
            self.stamps_ns, new_from_map @ self.positions, new_from_map.rotation @ self.rotations
        )

    def at(self, stamps_ns: IntArray, max_gap_s: float = MAX_GAP_S) -> tuple[Trajectory, NDArray[np.bool_]]:
        """Interpolate at other times [M], straight in position and along the shortest turn.

        Returns:
            The poses known, and a mask [M] of the times they belong to: those that are a stamp of
            this trajectory, or lie between two that are at most `max_gap_s` apart.
        """
        if len(self) == 0:
            return self, np.zeros(len(stamps_ns), dtype=bool)
        before = np.searchsorted(self.stamps_ns, stamps_ns, side="right") - 1
        after = np.clip(before + 1, 0, len(self) - 1)
        start = np.clip(before, 0, len(self) - 1)
        gaps_ns = self.stamps_ns[after] - self.stamps_ns[start]
        is_exact = (before >= 0) & (self.stamps_ns[start] == stamps_ns)
        is_between = (before >= 0) & (before < len(self) - 1) & (gaps_ns <= 1e9 * max_gap_s)
        known = is_exact | is_between
        start, after = start[known], after[known]
        # Differences of integers first: a float cannot hold the nanoseconds of today's clock.
        share = (stamps_ns[known] - self.stamps_ns[start]) / np.maximum(gaps_ns[known], 1)
        share = np.where(is_exact[known], 0.0, share)[:, None]
        positions = (1.0 - share) * self.positions[start] + share * self.positions[after]
        turns = rotation_vectors(np.swapaxes(self.rotations[start], 1, 2) @ self.rotations[after])
        rotations = self.rotations[start] @ _rotations(share * turns)
        return Trajectory(stamps_ns[known], positions, rotations), known


@dataclass(frozen=True, slots=True)
class ErrorStatistics:
    """Statistics of absolute errors of one kind, in its unit."""

    rmse: float
    mean: float
    median: float
    p95: float
    max: float


@dataclass(frozen=True, slots=True)
class TrajectoryError:
    """How far a trajectory is off.

    Attributes:
        poses: poses compared (ATE) or pairs of poses (RPE).
        aligned: a rigid motion was fitted first, so that only the shape is judged.
        delta_s: for RPE the time between the poses of a pair, mean; None for ATE.
    """

    poses: int
    aligned: bool
    delta_s: float | None
    translation_m: ErrorStatistics
    rotation_deg: ErrorStatistics


def rotation_vectors(rotations: FloatArray) -> FloatArray:
    """Return the rotation vectors [N, 3] of [N, 3, 3], rad."""
    if len(rotations) == 0:
        return np.zeros((0, 3))
    vectors: FloatArray = Rotation.from_matrix(rotations).as_rotvec()
    return vectors


def _rotations(vectors: FloatArray) -> FloatArray:
    if len(vectors) == 0:
        return np.zeros((0, 3, 3))
    matrices: FloatArray = Rotation.from_rotvec(vectors).as_matrix()
    return matrices


def associate(
    estimated: Trajectory, groundtruth: Trajectory, max_gap_s: float = MAX_GAP_S
) -> tuple[Trajectory, Trajectory]:
    """Return estimated and true poses [M] at the estimated stamps where the truth is known."""
    truth, known = groundtruth.at(estimated.stamps_ns, max_gap_s)
    return estimated.select(known), truth


def align_rigidly(estimated: Trajectory, groundtruth: Trajectory) -> Rigid3:
    """Return the `true_from_estimated` that brings the positions [M] together, least squares.

    Raises:
        DatasetError: the positions are fewer than three, lie on a line, or are closer together than
            they are wrong: the turn is open.
    """
    if len(estimated) < 3:
        raise DatasetError(f"found {len(estimated)} poses, expected 3 or more to align a trajectory")
    center, true_center = estimated.positions.mean(axis=0), groundtruth.positions.mean(axis=0)
    moment = (groundtruth.positions - true_center).T @ (estimated.positions - center)
    left, spread, right = np.linalg.svd(moment)
    if spread[1] <= _LEAST_SPREAD_RATIO * spread[0]:
        raise DatasetError("the positions lie on a line, so that a trajectory cannot be aligned by them")
    mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ mirror @ right
    true_from_estimated = Rigid3(rotation, true_center - rotation @ center)
    residuals = true_from_estimated @ estimated.positions - groundtruth.positions
    _, width, _ = np.linalg.svd(groundtruth.positions - true_center, compute_uv=False)
    if np.linalg.norm(residuals) > _MOST_RESIDUAL * width:
        raise DatasetError(
            "the positions are closer together than they are wrong, too close to align by them"
        )
    return true_from_estimated


def absolute_trajectory_error(
    estimated: Trajectory,
    groundtruth: Trajectory,
    *,
    is_aligned: bool = False,
    max_gap_s: float = MAX_GAP_S,
) -> TrajectoryError | None:
    """Compare poses with the true ones at the same time (ATE); None where nothing can be compared.

    Relocalization answers in the frame of the map, so nothing is aligned unless asked for:
    an alignment hides exactly the constant error a robot would drive with.

    Raises:
        DatasetError: `is_aligned` and the positions do not determine an alignment.
    """
    estimated, groundtruth = associate(estimated, groundtruth, max_gap_s)
    if len(estimated) == 0:
        return None
    if is_aligned:
        estimated = estimated.moved(align_rigidly(estimated, groundtruth))
    turns = rotation_vectors(estimated.rotations @ np.swapaxes(groundtruth.rotations, 1, 2))
    return TrajectoryError(
        len(estimated),
        is_aligned,
        None,
        _statistics(estimated.positions - groundtruth.positions, 1.0),
        _statistics(turns, 180.0 / np.pi),
    )


def relative_pose_error(
    estimated: Trajectory,
    groundtruth: Trajectory,
    delta_s: float = 1.0,
    *,
    max_gap_s: float = MAX_GAP_S,
) -> TrajectoryError | None:
    """Compare motions over `delta_s` (RPE): (Q_i^-1 Q_j)^-1 (P_i^-1 P_j), truth Q, estimate P.

    Each pose is paired with the one nearest to `delta_s` later, if that is within a quarter.
    None without any such pair.

    Raises:
        ValueError: `delta_s` is not positive.
    """
    if delta_s <= 0.0:
        raise ValueError(f"delta_s is {delta_s}, expected more than 0")
    estimated, groundtruth = associate(estimated, groundtruth, max_gap_s)
    first, second = _pairs(estimated.stamps_ns, delta_s)
    if len(first) == 0:
        return None
    moved, turned = _motions(estimated, first, second)
    true_moved, true_turned = _motions(groundtruth, first, second)
    # The error in the frame of the true second pose.
    back = np.swapaxes(true_turned, 1, 2)
    offsets = np.einsum("nij,nj->ni", back, moved - true_moved)
    spans_s = (estimated.stamps_ns[second] - estimated.stamps_ns[first]) / 1e9
    return TrajectoryError(
        len(first),
        False,
        float(spans_s.mean()),
        _statistics(offsets, 1.0),
        _statistics(rotation_vectors(back @ turned), 180.0 / np.pi),
    )


def _pairs(stamps_ns: IntArray, delta_s: float) -> tuple[IntArray, IntArray]:
    delta_ns = round(delta_s * 1e9)
    if len(stamps_ns) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    after = np.clip(np.searchsorted(stamps_ns, stamps_ns + delta_ns), 1, len(stamps_ns) - 1)
    late, early = stamps_ns[after] - stamps_ns, stamps_ns[after - 1] - stamps_ns
    second = np.where(np.abs(late - delta_ns) <= np.abs(early - delta_ns), after, after - 1)
    off_ns = np.abs(stamps_ns[second] - stamps_ns - delta_ns)
    first = np.flatnonzero(off_ns <= _DELTA_TOLERANCE * delta_ns)
    return first, second[first]


def _motions(trajectory: Trajectory, first: IntArray, second: IntArray) -> tuple[FloatArray, FloatArray]:
    back = np.swapaxes(trajectory.rotations[first], 1, 2)
    steps = trajectory.positions[second] - trajectory.positions[first]
    return np.einsum("nij,nj->ni", back, steps), back @ trajectory.rotations[second]


def _statistics(errors: FloatArray, scale: float) -> ErrorStatistics:
    lengths = scale * np.linalg.norm(errors, axis=1)
    return ErrorStatistics(
        rmse=float(np.sqrt(np.mean(lengths**2))),
        mean=float(lengths.mean()),
        median=float(np.median(lengths)),
        p95=float(np.percentile(lengths, 95.0)),
        max=float(lengths.max()),
    )
