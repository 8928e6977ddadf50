"""Fit the covariance that localization reports to queries whose true poses are known.

A pose's covariance counts the noise of keypoints as if it were white, and adds what the map's
self-test found. Both fall short on real maps: errors of neighbouring landmarks are alike, and
the poses a map was made of drift against those of another day. Three numbers put it right,

    Sigma = a J + diag(s_t^2 I, s_r^2 I)    (1)

in camera axes, where J is the covariance from reprojection errors: `a` makes up for their
likeness, the floor (s_t, s_r) is what no number of inliers takes away. They maximise the
likelihood of the observed errors; errors beyond the 99 % ellipsoid count linearly (Huber), and
wrong places, which no covariance can excuse, not at all.

Reference: Huber, Robust Statistics, 1981, section 8 (location and scatter); Bar-Shalom, Li and
    Kirubarajan, Estimation with Applications to Tracking and Navigation, section 5.4 (NEES).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation.metrics import FALSE_FIX, POSE_DOF, pose_error, pose_error_vector
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.geometry.covariance import rotate_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.visual_map import CovarianceCalibration, VisualMap
from hfnet_ros.mapping.keyframe_selection import select_by_motion

FloatArray = NDArray[np.float64]
Take = Literal["all", "even", "odd"]

MIN_QUERIES = 20
AXES = ("x", "y", "z", "rx", "ry", "rz")

_HUBER_LIMIT = float(chdtri(POSE_DOF, 0.01))
# Spread of a priori plausible values, in log units: holds a number that the queries leave open.
_PRIOR_SIGMA = 2.0
_PRIOR_FLOOR = (0.01, 0.005)  # m, rad
_LOG_RANGE = 12.0
_SMALLEST_EIGENVALUE = 1e-12
# A camera that moved less since the last query stood still: its error there is one, however often it is seen.
_LEAST_STEP_M, _LEAST_TURN_DEG = 0.01, 0.5


@dataclass(frozen=True, eq=False)
class ObservedErrors:
    """Errors of localized queries, in camera axes, and what explains a part of them.

    Attributes:
        errors: [Q, 6] x y z (m) rx ry rz (rad).
        reported: [Q, 6, 6] covariances as reported with the map as it is.
        reprojection: [Q, 6, 6] covariances from reprojection errors alone.
        num_false_fixes: localized queries that were left out because the place is wrong.
    """

    errors: FloatArray
    reported: FloatArray
    reprojection: FloatArray
    num_false_fixes: int = 0

    def __len__(self) -> int:
        """Return the number of queries, Q."""
        return len(self.errors)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> ObservedErrors:
        """Return a part of the queries."""
        idx = np.asarray(rows, np.int64)
        return ObservedErrors(self.errors[idx], self.reported[idx], self.reprojection[idx])


@dataclass(frozen=True)
class Honesty:
    """How well covariances describe errors.

    Attributes:
        num_queries: how many were compared.
        anees: mean squared error in units of the covariance over its 6 dimensions; 1 is honest.
        coverage: share of errors within 1, 2 and 3 sigma for each of the axes x y z rx ry rz of
            the camera; 0.68, 0.95 and 0.997 are honest.
    """

    num_queries: int
    anees: float
    coverage: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration and what it changes for queries that took no part in it.

    Attributes:
        calibration: to be stored with the map.
        before: honesty of the covariances as reported, on the held-out queries.
        after: the same with a calibration that has not seen them.
        num_localized: queries with ground truth that were localized in the right place.
        num_false_fixes: those localized in a wrong one, left out.
        num_standing: queries of a camera that stood still since the one before, left out.
    """

    calibration: CovarianceCalibration
    before: Honesty
    after: Honesty
    num_localized: int
    num_false_fixes: int
    num_standing: int = 0

    @property
    def helps(self) -> bool:
        """Tell whether the held-out queries' covariances became more honest."""
        return abs(math.log(max(self.after.anees, 1e-9))) < abs(math.log(max(self.before.anees, 1e-9)))


def calibrate(
    results: Sequence[QueryResult],
    visual_map: VisualMap,
    take: Take = "all",
    provenance: Mapping[str, Any] | None = None,
) -> CalibrationReport:
    """Fit a calibration and test it on queries that took no part.

    Args:
        results: answers of a localizer over exactly this map, in the order they were taken.
        visual_map: the map.
        take: which queries to fit to, by their position among those of a camera that has moved; the others test it.
            With "all" each half is tested with the calibration of the other one, and the
            calibration returned is that of all queries.
        provenance: what to remember with the calibration; JSON values.

    Raises:
        DatasetError: there are too few localized queries to fit or to test with.
    """
    apart = without_standing(results)
    halves = [observe_errors(apart[start::2], visual_map) for start in (0, 1)]
    number = {"even": 0, "odd": 1}
    tested = halves if take == "all" else [halves[1 - number[take]]]
    everything = _joined(halves)
    if take == "all":
        fits = [fit_calibration(halves[1]), fit_calibration(halves[0])]
        chosen = fit_calibration(everything)
    else:
        chosen = fit_calibration(halves[number[take]])
        fits = [chosen]
    errors = np.concatenate([half.errors for half in tested])
    if len(errors) == 0:
        raise DatasetError("no query is left to test the calibration with; give more images with true poses")
    reported = np.concatenate([half.reported for half in tested])
    calibrated = np.concatenate(
        [calibrated_covariances(half, fit) for half, fit in zip(tested, fits, strict=True)]
    )
    before, after = measure_honesty(errors, reported), measure_honesty(errors, calibrated)
    source = {"take": take, "anees_before": round(before.anees, 3), "anees_after": round(after.anees, 3)}
    source |= {"held_out_queries": len(errors), **(provenance or {})}
    return CalibrationReport(
        replace(chosen, source=source),
        before,
        after,
        len(everything),
        everything.num_false_fixes,
        len(results) - len(apart),
    )


def without_standing(results: Sequence[QueryResult]) -> list[QueryResult]:
    """Return the queries without those of a camera that has not moved since the one before that is kept.

    By their true poses; queries without one stay. A robot that waits for a minute would else decide by the error that
    it has there.
    """
    truths = {row: result.groundtruth for row, result in enumerate(results) if result.groundtruth is not None}
    rows, moved = list(truths), select_by_motion(list(truths.values()), _LEAST_STEP_M, _LEAST_TURN_DEG)
    standing = truths.keys() - {rows[position] for position in moved}
    return [result for row, result in enumerate(results) if row not in standing]


def observe_errors(results: Sequence[QueryResult], visual_map: VisualMap) -> ObservedErrors:
    """Gather the errors of the localized queries with ground truth.

    Args:
        results: answers of a localizer over exactly this map.
        visual_map: its self-test and calibration are taken out of the reported covariances.
    """
    scale, floor = visual_map.covariance_model
    errors, reported, reprojection, num_false = [], [], [], 0
    for result in results:
        estimate, truth = result.localization.estimate, result.groundtruth
        if estimate is None or truth is None:
            continue
        if not pose_error(estimate, truth).is_within(FALSE_FIX):
            num_false += 1
            continue
        camera_from_map = Rigid3(estimate.map_from_camera.rotation.T, np.zeros(3))
        error = pose_error_vector(estimate.map_from_camera, truth)
        errors.append(np.concatenate([camera_from_map @ error[:3], camera_from_map @ error[3:]]))
        covariance = rotate_covariance(estimate.covariance, camera_from_map)
        reported.append(covariance)
        reprojection.append(_nearest_covariance((covariance - floor) / scale))
    shape = (-1, POSE_DOF, POSE_DOF)
    return ObservedErrors(
        np.array(errors).reshape(-1, POSE_DOF),
        np.array(reported).reshape(shape),
        np.array(reprojection).reshape(shape),
        num_false,
    )


def fit_calibration(observed: ObservedErrors) -> CovarianceCalibration:
    """Return the numbers of equation (1) under which these errors are most likely.

    Raises:
        DatasetError: there are too few localized queries.
    """
    from scipy.optimize import minimize

    if len(observed) < MIN_QUERIES:
        raise DatasetError(
            f"{len(observed)} queries were localized in the right place, expected at least {MIN_QUERIES} to "
            "calibrate with; give more images with true poses, best of another drive than the map's"
        )
    start = np.array([0.0, *np.log(_PRIOR_FLOOR)])
    found = minimize(
        _negative_log_likelihood,
        start,
        args=(observed,),
        method="L-BFGS-B",
        bounds=[(value - _LOG_RANGE, value + _LOG_RANGE) for value in start],
    )
    scale, sigma_t, sigma_r = (float(value) for value in np.exp(found.x))
    floor = np.diag([sigma_t**2] * 3 + [sigma_r**2] * 3)
    return CovarianceCalibration(scale, tuple(floor.ravel().tolist()), len(observed))


def calibrated_covariances(observed: ObservedErrors, calibration: CovarianceCalibration) -> FloatArray:
    """Return the covariances [Q, 6, 6] that will be reported, in camera axes."""
    floor = np.array(calibration.pose_covariance).reshape(6, 6)
    covariances: FloatArray = calibration.reprojection_scale * observed.reprojection + floor
    return covariances


def measure_honesty(errors: FloatArray, covariances: FloatArray) -> Honesty:
    """Compare errors [Q, 6] with covariances [Q, 6, 6]; Q is at least 1."""
    sigmas = np.sqrt(np.einsum("qii->qi", covariances))
    ratio = np.abs(errors) / sigmas
    within = [[float(np.mean(ratio[:, axis] <= count)) for count in (1, 2, 3)] for axis in range(POSE_DOF)]
    return Honesty(
        len(errors),
        float(_squared_lengths(errors, covariances).mean() / POSE_DOF),
        tuple((one, two, three) for one, two, three in within),
    )


def _joined(parts: Sequence[ObservedErrors]) -> ObservedErrors:
    return ObservedErrors(
        np.concatenate([part.errors for part in parts]),
        np.concatenate([part.reported for part in parts]),
        np.concatenate([part.reprojection for part in parts]),
        sum(part.num_false_fixes for part in parts),
    )


def _negative_log_likelihood(log_params: FloatArray, observed: ObservedErrors) -> float:
    scale, sigma_t, sigma_r = np.exp(log_params)
    floor = np.diag([sigma_t**2] * 3 + [sigma_r**2] * 3)
    covariances = scale * observed.reprojection + floor
    squared = _squared_lengths(observed.errors, covariances)
    beyond = 2.0 * np.sqrt(_HUBER_LIMIT * np.maximum(squared, _HUBER_LIMIT)) - _HUBER_LIMIT
    cost = np.where(squared <= _HUBER_LIMIT, squared, beyond)
    off = (log_params - np.array([0.0, *np.log(_PRIOR_FLOOR)])) / _PRIOR_SIGMA
    return float(0.5 * (np.linalg.slogdet(covariances)[1] + cost).sum() + 0.5 * (off**2).sum())


def _squared_lengths(errors: FloatArray, covariances: FloatArray) -> FloatArray:
    solved = np.linalg.solve(covariances, errors[..., None])[..., 0]
    squared: FloatArray = np.einsum("qi,qi->q", errors, solved)
    return squared


def _nearest_covariance(matrix: FloatArray) -> FloatArray:
    """Return the positive part of a difference, which rounding may have taken below zero."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    positive: FloatArray = (vectors * np.maximum(values, _SMALLEST_EIGENVALUE)) @ vectors.T
    return positive
