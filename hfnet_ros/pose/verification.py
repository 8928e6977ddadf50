"""Decide whether a pose may be believed. Many inliers alone prove nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import VerificationConfig
from hfnet_ros.geometry.covariance import is_valid_covariance, largest_sigmas
from hfnet_ros.pose import false_probability_model, scene_doubt
from hfnet_ros.pose.evidence import backs, cell_fraction, chance_evidence, matched_image, thresholds_px
from hfnet_ros.pose.flatness import FLAT, flat_share
from hfnet_ros.pose.focal_test import focal_ratio
from hfnet_ros.pose.hypotheses import Hypothesis
from hfnet_ros.pose.learned_doubt import LEARNED_SCORE, learned_false_probability
from hfnet_ros.pose.picture_test import uncalibrated_ratio
from hfnet_ros.pose.problem import PoseProblem, robust_score, robust_scores
from hfnet_ros.pose.scene_doubt import SCENE_SCORE
from hfnet_ros.types import Outcome, PoseEstimate

FloatArray = NDArray[np.float64]

# Two answers closer than this are one answer: a tenth of the scene's distance, five degrees.
_SAME_POSE_DEPTH_FRACTION = 0.1
_SAME_POSE_ANGLE_RAD = np.deg2rad(5.0)
# From here on an answer must lead significantly; between the two its lead may be small, and so is the error.
FAR_POSE_DEPTH_FRACTION = 0.15
FAR_POSE_ANGLE_RAD = np.deg2rad(8.0)
_NO_RIVAL_LEAD = 1e3  # where there is none; finite, because scores are written to files


_UNTESTED_MAP: Mapping[str, float] = MappingProxyType({"self_tested": 0.0, "elsewhere_share": 0.0})


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


@dataclass(frozen=True)
class _Check:
    """A score, the limit of the configuration that it must keep, and what it means if it does not."""

    score: str
    limit: str
    is_least: bool  # the limit is the smallest value that will do, else the largest
    outcome: Outcome
    reason: str

    def fails(self, scores: Mapping[str, float], limit: float) -> bool:
        return scores[self.score] < limit if self.is_least else scores[self.score] > limit


# In this order: what comes first is the simpler reason.
_ENOUGH = (
    _Check("inliers", "min_inliers", True, Outcome.TOO_FEW_INLIERS, "{found:.0f} inliers, {limit} needed"),
    _Check(
        "evidence",
        "min_evidence",
        True,
        Outcome.TOO_FEW_INLIERS,
        "{inliers:.0f} inliers carry {found:.1f} decades of evidence against chance, {limit:.1f} needed",
    ),
)
_CERTAIN = (
    _Check(
        "sigma_translation_m",
        "max_translation_sigma_m",
        False,
        Outcome.ILL_CONDITIONED,
        "position is sure to {found:.2f} m only, {limit:.2f} m needed",
    ),
    _Check(
        "sigma_rotation_deg",
        "max_rotation_sigma_deg",
        False,
        Outcome.ILL_CONDITIONED,
        "orientation is sure to {found:.1f} deg only, {limit:.1f} deg needed",
    ),
)
# What of a scene network counts only in the probability that a pose is wrong.
_UNRIVALLED = (
    _Check(
        "rival_ratio",
        "max_rival_ratio",
        False,
        Outcome.ILL_CONDITIONED,
        "another pose explains the matches {found:.3f} times as well, {limit:.3f} allowed",
    ),
    _Check(
        "twin_ratio",
        "max_twin_ratio",
        False,
        Outcome.ILL_CONDITIONED,
        "another place explains the remaining matches {found:.2f} times as well, {limit:.2f} allowed",
    ),
    _Check(
        "lead_over_rival",
        "min_lead_over_rival",
        True,
        Outcome.ILL_CONDITIONED,
        "leads over another pose by {found:.2f} standard deviations, {limit:.2f} needed",
    ),
)

# The limit on the focal length must be passed by so many of its standard deviations, too.
_SURE_SIGMAS = 8.0


def verify_pose(
    problem: PoseProblem,
    hypotheses: Sequence[Hypothesis],
    estimate: PoseEstimate,
    scale_px: float,
    num_trials: int,
    config: VerificationConfig,
    map_scores: Mapping[str, float] = _UNTESTED_MAP,
) -> Verification:
    """Judge the best hypothesis after its refinement.

    Args:
        problem: the matches.
        hypotheses: all candidates, best first; the first one led to `estimate`.
        estimate: the refined pose, with the covariance that would be published.
        scale_px: scale of the robust cost that ranked the candidates.
        num_trials: poses that were tried, for the a-contrario count.
        config: limits.
        map_scores: of the map: `self_tested`, whether there was a test, and `elsewhere_share`, how much of what looked
            like this place when it was made and tested was another; and what else is known of the matches.
    """
    scores = _measure(problem, hypotheses, estimate, scale_px, num_trials, config)
    scores = with_false_probability({**scores, **map_scores})
    failed = _first_failed(_ENOUGH, scores, config)
    if failed is None and not is_valid_covariance(estimate.covariance):
        failed = Outcome.ILL_CONDITIONED, "the inliers do not determine all six degrees of freedom"
    failed = failed or _first_failed(_CERTAIN, scores, config)
    if failed is None and not scores.get(SCENE_SCORE):
        failed = _first_failed(_UNRIVALLED, scores, config)
    if failed is None:
        ratio = uncalibrated_ratio(problem, estimate.map_from_camera, scale_px)
        scores = with_false_probability({**scores, "uncalibrated_ratio": ratio})
        scores |= _focal_scores(problem, estimate, scale_px, config.max_focal_change)
    outcome, reason = failed or (Outcome.LOCALIZED, "verified")
    if failed is None and (doubt := doubt_of(scores, config) or focal_doubt_of(scores, config)):
        outcome, reason = Outcome.ILL_CONDITIONED, doubt
    return Verification(outcome, reason, scores)


def with_false_probability(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores with the probability that the pose is wrong, by those that are measured so far.

    It is not less than the share of what looked like this place, and was another, when the map was made and tested.
    """
    if scores.get(SCENE_SCORE):
        probability = scene_doubt.FITTED.probability(scores)
    elif scores.get(LEARNED_SCORE):
        probability = learned_false_probability(scores)
    else:
        probability = false_probability_model.FITTED.probability(scores)
    return {**scores, "false_probability": max(probability, scores.get("elsewhere_share", 0.0))}


def doubt_of(scores: Mapping[str, float], config: VerificationConfig) -> str:
    """Return why a pose with this probability of being wrong is refused; an empty text if it is not."""
    found, limit = scores["false_probability"], config.max_false_probability
    if found <= limit:
        return ""
    if scores.get("elsewhere_share", 0.0) >= found:
        return (
            f"a share of {found:.3g} of what looked like this place when the map was made and tested was another "
            f"place; {limit:.3g} allowed (`verification.max_false_probability`)"
        )
    model = scene_doubt.FITTED if scores.get(SCENE_SCORE) else false_probability_model.FITTED
    score = model.weightiest(scores)
    return (
        f"the pose is wrong with probability {found:.3g}, {limit:.3g} allowed; most of the doubt is "
        f"{score} {scores[score]:.3g}"
    )


def focal_doubt_of(scores: Mapping[str, float], config: VerificationConfig) -> str:
    """Return why a pose is refused for the focal length that its matches fit; an empty text if it is not."""
    ratio, sigma = scores.get("focal_ratio", 1.0), scores.get("sigma_focal_ratio", 0.0)
    is_other = _is_other_focal(ratio, sigma, config.max_focal_change)
    if not is_other or scores.get("flat_share", 0.0) > FLAT:
        return ""
    return (
        f"the image fits a focal length {ratio:.2f} (+- {sigma:.2f}) times that of its calibration, "
        f"{config.max_focal_change:g} more or less allowed (`verification.max_focal_change`): was it cropped, zoomed, "
        "resized or taken in another mode of the camera? Calibrate that"
    )


def _focal_scores(
    problem: PoseProblem, estimate: PoseEstimate, scale_px: float, max_change: float
) -> dict[str, float]:
    """Return the focal length that the matches say over the calibration's, its standard deviation, how flat they are.

    The last is asked only where the first is far off: of something flat nearer and longer are the same.
    """
    found = focal_ratio(problem, estimate.map_from_camera, scale_px)
    if found is None:
        return {}
    scores = {"focal_ratio": found[0], "sigma_focal_ratio": found[1]}
    if _is_other_focal(*found, max_change):
        seen = problem.points3d[estimate.inlier_mask]
        scores["flat_share"] = flat_share(seen, estimate.map_from_camera.translation)
    return scores


def _is_other_focal(ratio: float, sigma: float, max_change: float) -> bool:
    return abs(ratio - 1.0) > max(max_change, _SURE_SIGMAS * sigma)


def _first_failed(
    checks: Sequence[_Check], scores: Mapping[str, float], config: VerificationConfig
) -> tuple[Outcome, str] | None:
    for check in checks:
        limit = getattr(config, check.limit)
        if check.fails(scores, limit):
            said = check.reason.format(found=scores[check.score], limit=limit, inliers=scores["inliers"])
            return check.outcome, said
    return None


def _measure(
    problem: PoseProblem,
    hypotheses: Sequence[Hypothesis],
    estimate: PoseEstimate,
    scale_px: float,
    num_trials: int,
    config: VerificationConfig,
) -> dict[str, float]:
    """Return the scores of a pose.

    Of a rig, views that see nothing of it count against its evidence only: they may be dark, or look where there is
    no map. What one view alone sees is judged as that of one camera. A landmark that several views were matched with
    counts once: what looks like another thing to one camera does so to the one beside it.
    """
    distinct = _first_of_landmark(problem)
    shown, inlier = problem.chosen(distinct), estimate.inlier_mask[distinct]
    residuals = shown.recognized_residuals(estimate.map_from_camera)
    views = range(len(problem.cameras))
    images = [matched_image(shown, residuals, view_idx) for view_idx in views]
    helping = [
        view_idx for view_idx in views if len(problem.cameras) == 1 or backs(images[view_idx], shown, config)
    ]
    coverage, num_matches = 0.0, 0
    for view_idx in helping or views:
        image, inlier_of_view = images[view_idx], inlier[shown.view_idxs == view_idx]
        seen = int(np.count_nonzero(estimate.inlier_mask & (problem.view_idxs == view_idx)))
        own_share = np.count_nonzero(inlier_of_view) / max(seen, 1)
        area = _hull_area(image.points_px[inlier_of_view]) / (image.size_wh[0] * image.size_wh[1])
        coverage += own_share * area
        num_matches += len(image.points_px)
    sigma_translation, sigma_rotation = largest_sigmas(estimate.covariance)
    rival_ratio, twin_ratio, lead = _compare_rivals(problem, hypotheses, scale_px)
    return {
        "inliers": float(estimate.num_inliers),
        "inlier_ratio": int(np.count_nonzero(inlier)) / max(num_matches, 1),
        "evidence": chance_evidence(images, cell_fraction(config), thresholds_px(shown), num_trials),
        "coverage": coverage,
        "rival_ratio": rival_ratio,
        "lead_over_rival": lead,
        "twin_ratio": twin_ratio,
        "sigma_translation_m": sigma_translation,
        "sigma_rotation_deg": float(np.rad2deg(sigma_rotation)),
    }


def _first_of_landmark(problem: PoseProblem) -> NDArray[np.bool_]:
    """Tell which matches [M] are the most similar one of their landmark; of one camera all are."""
    first = np.ones(len(problem.correspondences), np.bool_)
    if len(problem.cameras) == 1:
        return first
    landmarks = problem.correspondences.landmark_idxs
    rows = np.flatnonzero(landmarks >= 0)
    first[rows] = False
    first[rows[np.unique(landmarks[rows], return_index=True)[1]]] = True
    return first


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
        if rival.differs_from(best, FAR_POSE_DEPTH_FRACTION * depth, FAR_POSE_ANGLE_RAD)
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
