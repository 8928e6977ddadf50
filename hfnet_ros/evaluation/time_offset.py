"""Whether the clocks of images and ground truth agree.

An image stamped t that was really taken at t + offset has the true pose of t + offset, so its
error grows with speed. Linearised about a first guess, with the velocity (v, w) of the truth:

    p_est - p_true = v offset + c + R_true l + noise        (m, axes of the map)
    log(R_est R_true^T) = w offset + d + R_true e + noise   (rad, axes of the map)

The constants c, d (frame of the map) and l, e (mounting) are fitted with it: none of the two
shall pass for a late clock. A motion that they explain as well leaves the offset open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.evaluation.robust_series import independent_count
from hfnet_ros.evaluation.trajectory import MAX_GAP_S, Trajectory, rotation_vectors
from hfnet_ros.geometry.robust import MAD_TO_SIGMA

FloatArray = NDArray[np.float64]

MAX_OFFSET_S = 1.0
_STEP_S = 0.05
_LEAST_POSES = 20
_MOST_POSES = 2000
_LEAST_OVERLAP = 0.5
_ITERATIONS = 8
_ROBUST_SIGMAS = 2.0
_SIGNIFICANT_SIGMAS, _LEAST_OFFSET_S = 4.0, 0.005
# Velocities this much smaller than they were before the constants were fitted say nothing.
_LEAST_LEFT_OVER = 1e-3
_FLOOR_M, _FLOOR_RAD = 1e-4, 1e-5
# Velocities are taken to both sides over this or a step of the truth: over less, noise of the truth is larger than what
# they are, and in the errors, too.
_LEAST_HALF_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class TimeOffset:
    """How late the stamps of the images are.

    Attributes:
        offset_s: add it to the stamps of the images to get the time of the ground truth.
        sigma_s: standard error.
        poses: poses used.
        significant: more than 4 standard errors and more than 5 ms.
    """

    offset_s: float
    sigma_s: float
    poses: int
    significant: bool

    def describe(self) -> str:
        """Return the warning a person should read."""
        return (
            f"The stamps of the images differ from those of the ground truth by {1e3 * self.offset_s:+.0f} ms "
            f"(standard error {1e3 * self.sigma_s:.1f} ms): errors grow with speed; correct the stamps or the "
            "synchronisation of the clocks."
        )


def estimate_time_offset(
    estimated: Trajectory,
    groundtruth: Trajectory,
    *,
    max_offset_s: float = MAX_OFFSET_S,
    max_gap_s: float = MAX_GAP_S,
) -> TimeOffset | None:
    """Estimate the offset robustly: a coarse search, then reweighted least squares.

    None where it cannot be known: fewer than 20 poses, too little motion, ground truth too sparse to
    interpolate, or no minimum within the limit.

    Args:
        estimated: map_from_camera as localized, each pose by itself.
        groundtruth: true map_from_camera, best at its full rate.
        max_offset_s: search range to both sides, s.
        max_gap_s: the truth is interpolated over gaps up to this, s.
    """
    if len(estimated) > _MOST_POSES:
        kept = np.zeros(len(estimated), dtype=bool)
        kept[np.linspace(0, len(estimated) - 1, _MOST_POSES).astype(np.int64)] = True
        estimated = estimated.select(kept)
    if len(estimated) < _LEAST_POSES or len(groundtruth) < 3:
        return None
    problem = _Problem(estimated, groundtruth, max_gap_s)
    offset_s = problem.search(max_offset_s)
    if offset_s is None:
        return None
    sigma_s, num_poses = np.inf, 0
    for _ in range(_ITERATIONS):
        solution = problem.solve(offset_s)
        if solution is None:
            return None
        step_s, sigma_s, num_poses = solution
        offset_s += float(np.clip(step_s, -_STEP_S, _STEP_S))
        if abs(offset_s) > max_offset_s:
            return None
        if abs(step_s) < 1e-6:
            break
    is_significant = abs(offset_s) > max(_SIGNIFICANT_SIGMAS * sigma_s, _LEAST_OFFSET_S)
    return TimeOffset(offset_s, sigma_s, num_poses, is_significant)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    estimated: Trajectory
    groundtruth: Trajectory
    max_gap_s: float

    def search(self, max_offset_s: float) -> float | None:
        """Return the best offset of a grid, judged by medians after constant offsets are taken off."""
        steps = int(np.ceil(max_offset_s / _STEP_S))
        offsets = _STEP_S * np.arange(-steps, steps + 1)
        costs = [self._cost(offset) for offset in offsets.tolist()]
        return None if not np.isfinite(costs).any() else float(offsets[int(np.argmin(costs))])

    def _cost(self, offset_s: float) -> float:
        residuals = self._residuals(offset_s)
        if residuals is None:
            return np.inf
        moved, turned, _ = residuals
        metres = np.median(np.linalg.norm(moved - np.median(moved, axis=0), axis=1))
        radians = np.median(np.linalg.norm(turned - np.median(turned, axis=0), axis=1))
        # A sum of logarithms needs no exchange rate between metres and radians.
        return float(np.log(metres + _FLOOR_M) + np.log(radians + _FLOOR_RAD))

    def _residuals(self, offset_s: float) -> tuple[FloatArray, FloatArray, Trajectory] | None:
        stamps_ns = self.estimated.stamps_ns + round(1e9 * offset_s)
        truth, known = self.groundtruth.at(stamps_ns, self.max_gap_s)
        if len(truth) < max(_LEAST_POSES, _LEAST_OVERLAP * len(self.estimated)):
            return None
        estimated = self.estimated.select(known)
        turned = rotation_vectors(estimated.rotations @ np.swapaxes(truth.rotations, 1, 2))
        return estimated.positions - truth.positions, turned, truth

    def solve(self, offset_s: float) -> tuple[float, float, int] | None:
        """Return the correction of an offset, its standard error and the poses used."""
        residuals = self._residuals(offset_s)
        if residuals is None:
            return None
        moved, turned, truth = residuals
        speed, turn_rate = self._velocities(truth)
        blocks = [
            _without_constants(speed, moved, truth.rotations, _FLOOR_M),
            _without_constants(turn_rate, turned, truth.rotations, _FLOOR_RAD),
        ]
        # In units of their spread, metres and radians may be mixed.
        rates = np.stack([rate / spread for rate, _, spread in blocks], axis=1)
        errors = np.stack([error / spread for _, error, spread in blocks], axis=1)
        lengths = np.sqrt(np.mean(errors**2, axis=(1, 2)))
        weights = 1.0 / (1.0 + (lengths / _ROBUST_SIGMAS) ** 2)
        information = float(np.einsum("n,nab,nab->", weights, rates, rates))
        if information <= 0.0:
            return None
        step_s = float(np.einsum("n,nab,nab->", weights, rates, errors)) / information
        scores = weights * np.einsum("nab,nab->n", rates, errors - step_s * rates)
        # Sandwich estimate of the error, inflated for neighbours that err alike.
        inflation = len(scores) / independent_count(scores)
        sigma_s = float(np.sqrt(inflation * np.sum(scores**2))) / information
        return step_s, sigma_s, len(scores)

    def _velocities(self, truth: Trajectory) -> tuple[FloatArray, FloatArray]:
        """Return speed [M, 3] (m/s) and turn rate [M, 3] (rad/s) of the truth, axes of the map."""
        half_ns = max(_LEAST_HALF_NS, int(np.median(np.diff(self.groundtruth.stamps_ns))))
        first, last = self.groundtruth.stamps_ns[[0, -1]]
        before, after = (
            self.groundtruth.at(np.clip(truth.stamps_ns + side, first, last), np.inf)[0]
            for side in (-half_ns, half_ns)
        )
        seconds = np.maximum((after.stamps_ns - before.stamps_ns) / 1e9, 1e-9)[:, None]
        turns = rotation_vectors(after.rotations @ np.swapaxes(before.rotations, 1, 2))
        return (after.positions - before.positions) / seconds, turns / seconds


def _without_constants(
    rates: FloatArray, errors: FloatArray, rotations: FloatArray, floor: float
) -> tuple[FloatArray, FloatArray, float]:
    """Take a constant in map axes and one in camera axes off rates and errors [M, 3].

    Returns both and the robust spread of the errors. The regression is reweighted, so that false
    fixes do not pull the constants; rates that the constants explain become 0.
    """
    count = len(rates)
    design = np.concatenate([np.broadcast_to(np.eye(3), (count, 3, 3)), rotations], axis=2)
    weights, spread = np.ones(count), floor
    left_rates, left_errors = rates, errors
    for _ in range(_ITERATIONS):
        roots = np.sqrt(weights)[:, None]
        columns = (design * roots[:, :, None]).reshape(-1, 6)
        targets = np.stack([(rates * roots).ravel(), (errors * roots).ravel()], axis=1)
        constants = np.linalg.lstsq(columns, targets, rcond=1e-9)[0]
        left_rates = rates - design @ constants[:, 0]
        left_errors = errors - design @ constants[:, 1]
        lengths = np.linalg.norm(left_errors, axis=1) / np.sqrt(3.0)
        spread = max(MAD_TO_SIGMA * float(np.median(np.abs(left_errors))), floor)
        weights = 1.0 / (1.0 + (lengths / (_ROBUST_SIGMAS * spread)) ** 2)
    if np.linalg.norm(left_rates) <= _LEAST_LEFT_OVER * np.linalg.norm(rates):
        left_rates = np.zeros_like(rates)
    return left_rates, left_errors, spread
