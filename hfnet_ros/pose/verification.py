"""Decide whether a pose may be believed. Many inliers alone prove nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import VerificationConfig
from hfnet_ros.geometry.covariance import is_valid_covariance, largest_sigmas
from hfnet_ros.pose.evidence import THRESHOLDS_PX, chance_evidence
from hfnet_ros.pose.hypotheses import Hypothesis
from hfnet_ros.pose.problem import PoseProblem, robust_score, robust_scores
from hfnet_ros.pose.refinement import LeastSquaresPose
from hfnet_ros.types import Outcome

FloatArray = NDArray[np.float64]

_REFERENCE_WIDTH_PX = 640.0
# Two answers closer than this are one answer: a tenth of the scene's distance, five degrees.
_SAME_POSE_DEPTH_FRACTION = 0.1
_SAME_POSE_ANGLE_RAD = np.deg2rad(5.0)
# From here on an answer must lead significantly; between the two its lead may be small, and so is the error.
_FAR_POSE_DEPTH_FRACTION = 0.15
_FAR_POSE_ANGLE_RAD = np.deg2rad(8.0)
_NO_RIVAL_LEAD = 1e3  # where there is none; finite, because scores are written to files


@dataclass(frozen=True)
class Verification:
    """The decision on one pose, with its numbers.

    Attributes:
        outcome: LOCALIZED, or why not.
        reason: what was found and what was needed, one sentence.
        scores: every number looked at, by name.
    """

    outcome: Outcome
    reason: str
    scores: dict[str, float]


def verify_pose(
    problem: PoseProblem,
    hypotheses: Sequence[Hypothesis],
    fit: LeastSquaresPose,
    covariance: FloatArray,
    scale_px: float,
    num_trials: int,
    config: VerificationConfig,
) -> Verification:
    """Judge the best hypothesis after its refinement.

    Args:
        problem: the matches.
        hypotheses: all candidates, best first; the first one led to `fit`.
        fit: the refined pose.
        covariance: [6, 6] of the pose, as it would be published.
        scale_px: scale of the robust cost that ranked the candidates.
        num_trials: poses that were tried, for the a-contrario count.
        config: limits.
    """
    scores = _measure(problem, hypotheses, fit, covariance, scale_px, num_trials, config)
    outcome, reason = Outcome.LOCALIZED, "verified"
    if scores["inliers"] < config.min_inliers:
        outcome = Outcome.TOO_FEW_INLIERS
        reason = f"{scores['inliers']:.0f} inliers, {config.min_inliers} needed"
    elif scores["evidence"] < config.min_evidence:
        outcome = Outcome.TOO_FEW_INLIERS
        reason = (
            f"{scores['inliers']:.0f} inliers carry {scores['evidence']:.1f} decades of evidence against "
            f"chance, {config.min_evidence:.1f} needed"
        )
    elif not is_valid_covariance(covariance):
        outcome, reason = Outcome.ILL_CONDITIONED, "the inliers do not determine all six degrees of freedom"
    elif scores["sigma_translation_m"] > config.max_translation_sigma_m:
        outcome = Outcome.ILL_CONDITIONED
        reason = (
            f"position is sure to {scores['sigma_translation_m']:.2f} m only, "
            f"{config.max_translation_sigma_m:.2f} m needed"
        )
    elif scores["sigma_rotation_deg"] > config.max_rotation_sigma_deg:
        outcome = Outcome.ILL_CONDITIONED
        reason = (
            f"orientation is sure to {scores['sigma_rotation_deg']:.1f} deg only, "
            f"{config.max_rotation_sigma_deg:.1f} deg needed"
        )
    elif scores["rival_ratio"] > config.max_rival_ratio:
        outcome = Outcome.ILL_CONDITIONED
        reason = (
            f"another pose explains the matches {scores['rival_ratio']:.3f} times as well, "
            f"{config.max_rival_ratio:.3f} allowed"
        )
    elif scores["twin_ratio"] > config.max_twin_ratio:
        outcome = Outcome.ILL_CONDITIONED
        reason = (
            f"another place explains the remaining matches {scores['twin_ratio']:.2f} times as well, "
            f"{config.max_twin_ratio:.2f} allowed"
        )
    elif scores["lead_over_rival"] < config.min_lead_over_rival:
        outcome = Outcome.ILL_CONDITIONED
        reason = (
            f"leads over another pose by {scores['lead_over_rival']:.2f} standard deviations, "
            f"{config.min_lead_over_rival:.2f} needed"
        )
    return Verification(outcome, reason, scores)


def _measure(
    problem: PoseProblem,
    hypotheses: Sequence[Hypothesis],
    fit: LeastSquaresPose,
    covariance: FloatArray,
    scale_px: float,
    num_trials: int,
    config: VerificationConfig,
) -> dict[str, float]:
    points = problem.correspondences.points2d
    size_wh = problem.camera.size_wh
    recognizable = problem.recognizable(fit.map_from_camera)
    residuals = np.where(recognizable, problem.residuals(fit.map_from_camera), np.inf)
    thresholds = np.array([problem.pixels(threshold) for threshold in THRESHOLDS_PX])
    cell_px = config.cell_size_px * max(size_wh) / _REFERENCE_WIDTH_PX
    inliers = points[fit.inlier_mask]
    sigma_translation, sigma_rotation = largest_sigmas(covariance)
    rival_ratio, twin_ratio, lead = _compare_rivals(problem, hypotheses, scale_px)
    return {
        "inliers": float(len(inliers)),
        "inlier_ratio": len(inliers) / max(len(points), 1),
        "evidence": chance_evidence(points, residuals, size_wh, cell_px, thresholds, num_trials),
        "coverage": _hull_area(inliers) / (size_wh[0] * size_wh[1]),
        "rival_ratio": rival_ratio,
        "lead_over_rival": lead,
        "twin_ratio": twin_ratio,
        "sigma_translation_m": sigma_translation,
        "sigma_rotation_deg": float(np.rad2deg(sigma_rotation)),
    }


def _compare_rivals(
    problem: PoseProblem, hypotheses: Sequence[Hypothesis], scale_px: float
) -> tuple[float, float, float]:
    """Compare the winner with other poses.

    Returns:
        The best other pose's score over the winner's, on all matches and on what the winner leaves over; and
        the winner's smallest lead over a pose that is far from it.
    """
    best = hypotheses[0]
    close = best.residuals < scale_px
    if best.score <= 0.0 or not close.any():
        return 1.0, 1.0, 0.0
    depth = float(
        np.median(np.linalg.norm(problem.points3d[close] - best.map_from_camera.translation, axis=1))
    )
    rivals = [
        hypothesis
        for hypothesis in hypotheses[1:]
        if hypothesis.differs_from(best, _SAME_POSE_DEPTH_FRACTION * depth, _SAME_POSE_ANGLE_RAD)
    ]
    rival_ratio = max((rival.score / best.score for rival in rivals), default=0.0)
    left_over = [robust_score(rival.residuals[~close], scale_px) / best.score for rival in rivals]
    far = [
        rival
        for rival in rivals
        if rival.differs_from(best, _FAR_POSE_DEPTH_FRACTION * depth, _FAR_POSE_ANGLE_RAD)
    ]
    lead = min((_lead_over(best, rival, scale_px) for rival in far), default=_NO_RIVAL_LEAD)
    return rival_ratio, max(left_over, default=0.0), lead


def _lead_over(best: Hypothesis, rival: Hypothesis, scale_px: float) -> float:
    """Return by how many standard deviations of the difference one pose explains the matches better than another.

    The matches' own differences tell how far chance alone would take their sum if both poses were equally good.
    Reference: the idea of Vuong, "Likelihood ratio tests for model selection and non-nested hypotheses",
    Econometrica 1989, with robust scores instead of likelihoods.
    """
    difference = robust_scores(best.residuals, scale_px) - robust_scores(rival.residuals, scale_px)
    spread = float(np.sqrt(np.sum(difference**2)))
    return float(np.sum(difference)) / spread if spread > 0.0 else 0.0


def _hull_area(points: FloatArray) -> float:
    if len(points) < 3:
        return 0.0
    return float(cv2.contourArea(cv2.convexHull(points.astype(np.float32))))
