"""Score localization answers against ground truth.

What has no value is None, never NaN: medians without a localized query, every accuracy without
ground truth, percentiles of a stage that never ran. Counts of nothing are 0.

Reference: Sattler et al., "Benchmarking 6DOF Outdoor Visual Localization in Changing
    Conditions", CVPR 2018 (recall); Bar-Shalom, Li, Kirubarajan, "Estimation with Applications
    to Tracking and Navigation", section 5.4 (NEES).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.special import chdtri

from hfnet_ros.evaluation.honesty import POSE_DOF as POSE_DOF
from hfnet_ros.evaluation.honesty import chi_square_band
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Localization, Outcome, PoseEstimate

FloatArray = NDArray[np.float64]

STAGES = ("total", "extract", "retrieve", "match", "pose")
NEES_BAND = chi_square_band(0.95, POSE_DOF)
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class PoseThreshold:
    """A pose is within it if neither error is larger; m and deg."""

    translation_m: float
    rotation_deg: float

    @property
    def name(self) -> str:
        """Return the key of results.json, such as 0.25m_2deg."""
        return f"{self.translation_m:g}m_{self.rotation_deg:g}deg"

    @property
    def text(self) -> str:
        """Return the limits for a person, such as 0.25 m, 2°."""
        return f"{self.translation_m:g} m, {self.rotation_deg:g}°"


RECALL_THRESHOLDS = (
    PoseThreshold(0.05, 5.0),
    PoseThreshold(0.1, 2.0),
    PoseThreshold(0.25, 2.0),
    PoseThreshold(0.25, 5.0),
    PoseThreshold(0.5, 5.0),
    PoseThreshold(5.0, 10.0),
)
FALSE_FIX = PoseThreshold(0.5, 10.0)


@dataclass(frozen=True, slots=True)
class PoseError:
    """How far an estimate is off, and whether its covariance said so.

    Attributes:
        translation_m: distance of the camera centres, m.
        rotation_deg: angle between the orientations, deg.
        nees: squared error in units of the reported covariance, chi-square with 6 degrees of
            freedom if that covariance is honest; None if it is not positive definite.
    """

    translation_m: float
    rotation_deg: float
    nees: float | None

    def is_within(self, threshold: PoseThreshold) -> bool:
        """Tell whether both errors are at most the threshold."""
        return self.translation_m <= threshold.translation_m and self.rotation_deg <= threshold.rotation_deg


@dataclass(frozen=True, slots=True, eq=False)
class QueryScore:
    """One query with what there is to say about it.

    Attributes:
        query: the result that was scored.
        error: None unless the query is localized and has ground truth.
        sigma_t_m: reported root mean square of the translation error, m; None without a pose.
        sigma_r_deg: reported root mean square of the rotation error, deg; None without a pose.
    """

    query: QueryResult
    error: PoseError | None
    sigma_t_m: float | None
    sigma_r_deg: float | None

    @property
    def is_localized(self) -> bool:
        """Tell whether a pose was given."""
        return self.query.localization.estimate is not None

    @property
    def is_accepted(self) -> bool:
        """Tell whether a robot would have used the pose."""
        return self.query.is_accepted

    @property
    def has_groundtruth(self) -> bool:
        """Tell whether the true pose is known."""
        return self.query.groundtruth is not None

    @property
    def latency_ms(self) -> Mapping[str, float]:
        """Return the time of every stage that ran."""
        return {stage: 1e3 * seconds for stage, seconds in self.query.localization.timings_s.items()}

    def is_false_fix(self, limit: PoseThreshold = FALSE_FIX) -> bool:
        """Tell whether a pose was given that is wrong."""
        return self.error is not None and not self.error.is_within(limit)


def pose_error_vector(map_from_camera: Rigid3, groundtruth: Rigid3) -> FloatArray:
    """Return the error [6] (m, rad) of an estimated pose.

    Convention: order x y z rx ry rz in the axes of the map; R_est = exp(phi) R_true and
        t_est = t_true + tau, as `geometry.covariance`.
    """
    tau = map_from_camera.translation - groundtruth.translation
    phi = Rotation.from_matrix(map_from_camera.rotation @ groundtruth.rotation.T).as_rotvec()
    return np.concatenate([tau, phi])


def pose_error(estimate: PoseEstimate, groundtruth: Rigid3) -> PoseError:
    """Compare an estimate with the true map_from_camera."""
    error = pose_error_vector(estimate.map_from_camera, groundtruth)
    nees = None
    if is_valid_covariance(estimate.covariance):
        nees = float(error @ np.linalg.solve(estimate.covariance, error))
    return PoseError(
        translation_m=float(np.linalg.norm(error[:3])),
        rotation_deg=float(np.degrees(np.linalg.norm(error[3:]))),
        nees=nees,
    )


def score_queries(results: Sequence[QueryResult]) -> list[QueryScore]:
    """Score every query, in the order given."""
    return [_score(result) for result in results]


def _score(result: QueryResult) -> QueryScore:
    estimate = result.localization.estimate
    if estimate is None:
        return QueryScore(result, None, None, None)
    variances = np.diag(estimate.covariance)
    # The trace is the expected squared length of the error: comparable with the error itself.
    sigma_t, sigma_r = np.sqrt(np.maximum([variances[:3].sum(), variances[3:].sum()], 0.0))
    error = None if result.groundtruth is None else pose_error(estimate, result.groundtruth)
    return QueryScore(result, error, float(sigma_t), float(np.degrees(sigma_r)))


def recall(errors: Sequence[PoseError], num_queries: int, threshold: PoseThreshold) -> float | None:
    """Return the share of `num_queries` whose error is within the threshold; None of no queries."""
    if num_queries == 0:
        return None
    return sum(error.is_within(threshold) for error in errors) / num_queries


def summarize_nees(nees: Sequence[float]) -> dict[str, float | None]:
    """Say how honest the covariances are.

    `anees` is 1 for honest covariances, larger for overconfident ones; one false fix can make
    it huge. `nees_median_over_chi2_median` is 1 as well and a false fix hardly moves it.
    `nees_share_in_95` is 0.95 for honest covariances.
    """
    if not nees:
        return {"anees": None, "nees_median_over_chi2_median": None, "nees_share_in_95": None}
    values = np.asarray(nees)
    low, high = NEES_BAND
    return {
        "anees": float(values.mean() / POSE_DOF),
        "nees_median_over_chi2_median": float(np.median(values) / chdtri(POSE_DOF, 0.5)),
        "nees_share_in_95": float(np.mean((values >= low) & (values <= high))),
    }


def latency_percentiles(localizations: Sequence[Localization]) -> dict[str, dict[str, float | None]]:
    """Return p50, p95 and p99 in ms of every stage, over the queries that reached the stage."""
    seen = {stage for localization in localizations for stage in localization.timings_s}
    stages = [*STAGES, *sorted(seen.difference(STAGES))]
    return {
        stage: _percentiles_ms([item.timings_s[stage] for item in localizations if stage in item.timings_s])
        for stage in stages
    }


def _percentiles_ms(seconds: Sequence[float]) -> dict[str, float | None]:
    if not seconds:
        return {f"p{percent}": None for percent in PERCENTILES}
    values = np.percentile(np.asarray(seconds) * 1e3, PERCENTILES)
    return {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, values, strict=True)}


def count_outcomes(results: Sequence[QueryResult]) -> Mapping[str, int]:
    """Count queries by outcome; every known outcome is a key."""
    counts = Counter(result.localization.outcome for result in results)
    return {outcome.value: counts[outcome] for outcome in Outcome}


def median(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return float(np.median(values)) if values else None
