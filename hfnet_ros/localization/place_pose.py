"""One image in one place: match, estimate, verify."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.features.aggregation import learn_words
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.timing import StageClock
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher, LandmarkSet, MutualNearestMatcher
from hfnet_ros.matching.visual_words import assign_words
from hfnet_ros.pose.hypotheses import MIN_MATCHES, gather_hypotheses, quick_hypothesis
from hfnet_ros.pose.problem import PoseProblem, make_problem, robust_score
from hfnet_ros.pose.refinement import refine_on_inliers, rotate_to_map
from hfnet_ros.pose.verification import verify_pose
from hfnet_ros.types import Correspondences, LocalFeatures, Outcome, Place, PoseEstimate

_VIEW_MARGIN = 0.1  # of the image's width and height
_MAX_TWIN_KEYPOINTS = 150
_MIN_RESIDUAL_PX = 1.0  # keypoints of XFeat sit on whole pixels
_MIN_SORTED_LANDMARKS = 2000  # fewer are compared as fast as they are sorted


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


class PlacePoseEstimator:
    """Estimates poses against the landmarks of places of one map."""

    def __init__(self, visual_map: VisualMap, config: Config, matcher: LandmarkMatcher | None = None) -> None:
        """Take the map and the way to match (mutual nearest neighbours unless given)."""
        self._map = visual_map
        self._config = config
        vocabulary = visual_map.aggregation.get("vocabulary")
        if vocabulary is None and visual_map.num_landmarks >= _MIN_SORTED_LANDMARKS:
            # An extractor with a global head needs no vocabulary to describe images, only to match fast.
            count = config.retrieval.vocabulary_size
            vocabulary = learn_words(visual_map.landmark_descriptors, count, config.pose.seed)
        self._matcher = matcher or MutualNearestMatcher(config.matching, vocabulary)
        self._words = None
        self._order = np.arange(visual_map.num_landmarks)
        if vocabulary is not None:
            words = assign_words(visual_map.landmark_descriptors, vocabulary)
            self._order = np.argsort(words, kind="stable")
            self._words = words[self._order]
        # Sorted by word once, so that a place's landmarks are read nearly in order.
        self._descriptors = visual_map.landmark_descriptors[self._order]
        self._xyz = visual_map.landmark_xyz[self._order]
        self._rank = np.empty(visual_map.num_landmarks, np.int32)
        self._rank[self._order] = np.arange(visual_map.num_landmarks, dtype=np.int32)
        consistency = visual_map.consistency
        assumed = config.pose.assumed_residual_px
        measured = consistency.residual_px if consistency.num_keyframes else assumed
        residual_px = float(np.clip(measured, _MIN_RESIDUAL_PX, assumed))
        self._threshold_px = config.pose.ransac_sigmas * residual_px
        self._scale_px = config.pose.robust_sigmas * residual_px
        self._reprojection_scale, self._map_error = visual_map.covariance_model

    def estimate(
        self, query: LocalFeatures, camera: Camera, place: Place, others: Sequence[Place], clock: StageClock
    ) -> PoseAttempt:
        """Match the query with a place's landmarks and judge the best pose.

        Args:
            query: keypoints and descriptors of the image.
            camera: its calibration.
            place: where to look.
            others: the other places that look like the image, each a possible twin.
            clock: takes the time of the stages `match` and `pose`.
        """
        with clock.stage("match"):
            landmarks = self._landmarks_of([place])
            correspondences = self._matcher.match(query, landmarks)
        needed = max(MIN_MATCHES, self._config.verification.min_inliers)
        if len(correspondences) < needed:
            reason = f"{len(correspondences)} matches, {needed} needed"
            return PoseAttempt(Outcome.TOO_FEW_MATCHES, reason, correspondences)
        with clock.stage("pose"):
            problem = self._problem(correspondences, camera)
            attempt = self._estimate_and_verify(problem)
            if attempt.outcome is not Outcome.LOCALIZED or attempt.estimate is None:
                return attempt
            return self._refuse_twin(attempt, attempt.estimate, problem, query, [place, *others])

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
        covariance = rotate_to_map(
            self._reprojection_scale * fit.camera_covariance + self._map_error, fit.map_from_camera
        )
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

    def _refuse_twin(
        self,
        attempt: PoseAttempt,
        estimate: PoseEstimate,
        problem: PoseProblem,
        query: LocalFeatures,
        places: Sequence[Place],
    ) -> PoseAttempt:
        """Ask whether the same keypoints fit as well with everything in view of the pose taken away.

        Where two places look the same, mutual matches go to the one that was mapped better, and
        hide the other.
        """
        pose, mask = estimate.map_from_camera, estimate.inlier_mask
        keypoints = problem.correspondences.keypoint_idxs[mask][:_MAX_TWIN_KEYPOINTS]
        unseen = self._landmarks_of(places, unseen_from=(pose, problem.camera))
        correspondences = self._matcher.match(query.chosen(keypoints), unseen)
        elsewhere = self._problem(correspondences, problem.camera)
        scale_px = problem.pixels(self._scale_px)
        twin = quick_hypothesis(elsewhere, self._config.pose, problem.pixels(self._threshold_px), scale_px)
        residuals = problem.residuals(pose)[mask][:_MAX_TWIN_KEYPOINTS]
        own_score = robust_score(residuals, scale_px)
        ratio = 0.0 if twin is None else twin.score / max(own_score, 1e-9)
        scores = {**attempt.scores, "rematch_ratio": ratio}
        limit = self._config.verification.max_rematch_ratio
        if ratio <= limit:
            return dataclasses.replace(attempt, scores=scores)
        reason = f"the inliers fit another place {ratio:.2f} times as well, {limit:.2f} allowed"
        return dataclasses.replace(attempt, outcome=Outcome.ILL_CONDITIONED, reason=reason, scores=scores)

    def _landmarks_of(
        self, places: Sequence[Place], unseen_from: tuple[Rigid3, Camera] | None = None
    ) -> LandmarkSet:
        """Return the landmarks that the places' frames see, sorted by visual word.

        Those in view of `unseen_from` are left out. When there are still too many, those that
        most frames see are kept.
        """
        frames = [keyframe_idx for place in places for keyframe_idx in place.keyframe_idxs]
        seen = self._rank[np.concatenate([self._map.landmarks_seen_by(frame) for frame in frames])]
        mask = np.zeros(self._map.num_landmarks, np.bool_)
        mask[seen] = True
        ranks = np.flatnonzero(mask)
        if unseen_from is not None:
            ranks = ranks[~_in_view(self._xyz[ranks], *unseen_from)]
        limit = self._config.matching.max_landmarks
        if len(ranks) > limit:
            counts = np.bincount(seen, minlength=self._map.num_landmarks)[ranks]
            ranks = np.sort(ranks[np.argsort(-counts, kind="stable")[:limit]])
        idxs = self._order[ranks]
        words = None if self._words is None else self._words[ranks]
        descriptors = self._descriptors[ranks if self._matcher.needs_descriptors else ranks[:0]]
        return LandmarkSet(idxs, self._xyz[ranks], descriptors, words)

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


def _in_view(points_map: NDArray[np.float64], map_from_camera: Rigid3, camera: Camera) -> NDArray[np.bool_]:
    """Tell which points [N, 3] a camera there looks at, walls or not."""
    low, high = _view_bounds(camera)
    points = (points_map - map_from_camera.translation) @ map_from_camera.rotation
    slopes = points[:, :2] / np.maximum(points[:, 2], 1e-9)[:, None]
    return (points[:, 2] > 0.0) & (slopes > low).all(axis=1) & (slopes < high).all(axis=1)


@lru_cache(maxsize=8)
def _view_bounds(camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and largest x/z, y/z [2] in a camera's image, with a margin.

    A lens whose border no ray reaches sees everything in front of it.
    """
    right, bottom = np.array(camera.size_wh) - 1.0
    along = np.linspace(0.0, 1.0, 17)
    border = np.concatenate(
        [np.stack([along * right, np.full(17, y)], axis=1) for y in (0.0, bottom)]
        + [np.stack([np.full(17, x), along * bottom], axis=1) for x in (0.0, right)]
    )
    slopes = camera.undistort(border)
    if not np.isfinite(slopes).all():
        return np.full(2, -np.inf), np.full(2, np.inf)
    low, high = slopes.min(axis=0), slopes.max(axis=0)
    margin = _VIEW_MARGIN * (high - low)
    return low - margin, high + margin
