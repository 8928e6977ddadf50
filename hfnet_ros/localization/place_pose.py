"""One image in one place: match, estimate, verify."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.localization.timing import StageClock
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher, LandmarkSet, MutualNearestMatcher
from hfnet_ros.matching.visual_words import assign_words
from hfnet_ros.pose.hypotheses import MIN_MATCHES, gather_hypotheses
from hfnet_ros.pose.problem import PoseProblem, make_problem
from hfnet_ros.pose.refinement import refine_on_inliers, rotate_to_map
from hfnet_ros.pose.verification import verify_pose
from hfnet_ros.types import Correspondences, LocalFeatures, Outcome, Place, PoseEstimate

_MIN_RESIDUAL_PX = 1.0  # keypoints of XFeat sit on whole pixels


@dataclass(frozen=True, eq=False)
class PoseAttempt:
    """What one place gave.

    Attributes:
        outcome: LOCALIZED if `estimate` may be believed.
        estimate: the pose that was judged, also when it was refused; None when there was none.
        score: robust score of the pose, comparable between places of one image.
    """

    outcome: Outcome
    reason: str
    correspondences: Correspondences
    estimate: PoseEstimate | None = None
    score: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Sort key: how far an attempt came."""
        return self.outcome is Outcome.LOCALIZED, self.score, len(self.correspondences)

    def is_elsewhere(self, other: PoseAttempt) -> bool:
        """Tell whether both poses exist and are not one: several standard deviations apart."""
        if self.estimate is None or other.estimate is None:
            return False
        mine, theirs = self.estimate, other.estimate
        spread = np.sqrt(np.trace(mine.covariance[:3, :3]) + np.trace(theirs.covariance[:3, :3]))
        turn = np.sqrt(np.trace(mine.covariance[3:, 3:]) + np.trace(theirs.covariance[3:, 3:]))
        first, second = mine.map_from_camera, theirs.map_from_camera
        return first.translation_to(second) > 5.0 * spread or first.rotation_to(second) > 5.0 * turn


class PlacePoseEstimator:
    """Estimates poses against the landmarks of places of one map."""

    def __init__(self, visual_map: VisualMap, config: Config, matcher: LandmarkMatcher | None = None) -> None:
        """Take the map and the way to match (mutual nearest neighbours unless given)."""
        self._map = visual_map
        self._config = config
        vocabulary = visual_map.aggregation.get("vocabulary")
        self._matcher = matcher or MutualNearestMatcher(config.matching, vocabulary)
        self._words = (
            None if vocabulary is None else assign_words(visual_map.landmark_descriptors, vocabulary)
        )
        consistency = visual_map.consistency
        assumed = config.pose.assumed_residual_px
        measured = consistency.residual_px if consistency.num_keyframes else assumed
        residual_px = float(np.clip(measured, _MIN_RESIDUAL_PX, assumed))
        self._threshold_px = config.pose.ransac_sigmas * residual_px
        self._scale_px = config.pose.robust_sigmas * residual_px
        self._map_error = np.zeros((6, 6))
        if consistency.pose_covariance:
            self._map_error = np.array(consistency.pose_covariance).reshape(6, 6)

    def estimate(self, query: LocalFeatures, camera: Camera, place: Place, clock: StageClock) -> PoseAttempt:
        """Match the query with a place's landmarks and judge the best pose."""
        with clock.stage("match"):
            landmarks = self._landmarks_of(place)
            correspondences = self._matcher.match(query, landmarks)
        needed = max(MIN_MATCHES, self._config.verification.min_inliers)
        if len(correspondences) < needed:
            reason = f"{len(correspondences)} matches, {needed} needed"
            return PoseAttempt(Outcome.TOO_FEW_MATCHES, reason, correspondences)
        with clock.stage("pose"):
            return self._estimate_and_verify(self._problem(correspondences, camera))

    def _estimate_and_verify(self, problem: PoseProblem) -> PoseAttempt:
        scale_px = problem.pixels(self._scale_px)
        hypotheses = gather_hypotheses(
            problem, self._config.pose, problem.pixels(self._threshold_px), scale_px
        )
        fit = None
        if hypotheses:
            best = hypotheses[0]
            usable = problem.recognizable(best.map_from_camera)
            fit = refine_on_inliers(problem, best.map_from_camera, usable, scale_px)
        if fit is None:
            reason = f"no pose explains four of {len(problem.correspondences)} matches"
            return PoseAttempt(Outcome.NO_CONSENSUS, reason, problem.correspondences)
        covariance = rotate_to_map(fit.camera_covariance + self._map_error, fit.map_from_camera)
        num_trials = self._config.pose.num_hypotheses * self._config.pose.max_iterations
        verification = verify_pose(
            problem, hypotheses, fit, covariance, scale_px, num_trials, self._config.verification
        )
        estimate = PoseEstimate(fit.map_from_camera, covariance, fit.inlier_mask, fit.rmse_px)
        return PoseAttempt(
            verification.outcome,
            verification.reason,
            problem.correspondences,
            estimate,
            hypotheses[0].score,
            verification.scores,
        )

    def _landmarks_of(self, place: Place) -> LandmarkSet:
        """Return the landmarks the place's frames see; those seen most when there are too many."""
        counts = np.asarray(self._map.visibility[list(place.keyframe_idxs)].sum(axis=0)).ravel()
        idxs = np.flatnonzero(counts)
        limit = self._config.matching.max_landmarks
        if len(idxs) > limit:
            idxs = np.sort(idxs[np.argsort(-counts[idxs], kind="stable")[:limit]])
        words = None
        if self._words is not None:
            idxs = idxs[np.argsort(self._words[idxs], kind="stable")]
            words = self._words[idxs]
        return LandmarkSet(idxs, self._map.landmark_xyz[idxs], self._map.landmark_descriptors[idxs], words)

    def _problem(self, correspondences: Correspondences, camera: Camera) -> PoseProblem:
        rows: NDArray[np.int64] = correspondences.landmark_idxs
        return make_problem(
            correspondences,
            camera,
            self._map.landmark_view_directions[rows],
            self._map.landmark_distance_ranges[rows],
            float(np.deg2rad(self._config.verification.max_view_change_deg)),
            self._config.verification.max_scale_change,
        )
