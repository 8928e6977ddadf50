"""Competing camera poses for one set of matches, best first.

RANSAC with local optimisation stops at the first good minimum. A scene that is nearly a plane
has two, and one place in the map may look like another. So several answers are gathered,
refined with a robust cost, and ranked by it on all matches.

Reference: Collins and Bartoli, "Infinitesimal plane-based pose estimation", IJCV 2014 (the two poses of a
plane), through OpenCV.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import PoseConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.absolute_pose import absolute_pose_method
from hfnet_ros.pose.problem import MIN_MATCHES, PoseProblem, robust_scores
from hfnet_ros.pose.refinement import refine_robustly
from hfnet_ros.pose.view_poses import (
    ViewPoses,
    is_not_missed,
    poses_of_views,
    promising,
)

FloatArray = NDArray[np.float64]

_ORBIT_ANGLES_RAD = tuple(np.deg2rad([-24.0, -12.0, 12.0, 24.0]))
_WINNER_ITERATIONS, _RIVAL_ITERATIONS = 8, 6
# Of all matches: another pose would have to explain the same ones, and only a plane's other pose
# does. A twin place, which would, is looked for separately.
_CLEAR_MAJORITY = 0.6
_MAX_RIVAL_MATCHES = 192  # enough to slide into a minimum; the winners are refined on all
_FEWER_SAMPLES = 8  # of a short search, and of one among all matches after each view was asked for itself
_CONTENDER_RATIO = 0.8
_MAX_CONTENDERS = 4
_COPY_RADIUS_PX = 20.0
_COPY_DIFFERENCE_PX = 2.0
_MAX_PLANE_INLIERS = 400  # enough to fix the two poses of a plane, few enough to be quick


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A candidate pose.

    Attributes:
        map_from_camera: the pose, of the rig where there are several views, refined robustly on all matches.
        residuals: [M] px; very large where the landmark could not be recognised from there.
        score: sum over the matches of 1 / (1 + e^2 / c^2)^2, comparable within one problem.
    """

    map_from_camera: Rigid3
    residuals: FloatArray
    score: float

    def differs_from(self, other: Hypothesis, distance_m: float, angle_rad: float) -> bool:
        """Tell whether it is another pose, not the same one estimated a little differently."""
        first, second = self.map_from_camera, other.map_from_camera
        return first.translation_to(second) > distance_m or first.rotation_to(second) > angle_rad


@dataclass(frozen=True, eq=False)
class FirstPoses:
    """Poses of a rig that are known before its problem is solved.

    Attributes:
        of_views: what each view says alone.
        candidates: the best of that, refined and scored on the matches of all views; none where that is still to do.
        others: the rest of it.
    """

    of_views: ViewPoses = field(default_factory=dict)
    candidates: tuple[Hypothesis, ...] = ()
    others: tuple[Rigid3, ...] = ()

    def of_others(self, view_idxs: Collection[int]) -> FirstPoses:
        """Return what views say alone but for some, of matches that are others in the end."""
        others = {view_idx: poses for view_idx, poses in self.of_views.items() if view_idx not in view_idxs}
        return FirstPoses(others)

    @property
    def best(self) -> Hypothesis | None:
        """The candidate that explains most; None where there is none."""
        return best_of(self.candidates)


NO_FIRST_POSES = FirstPoses()


def best_of(candidates: Sequence[Hypothesis]) -> Hypothesis | None:
    """Return the candidate that explains most; None where there is none."""
    return max(candidates, key=lambda hypothesis: hypothesis.score, default=None)


def first_poses(
    problem: PoseProblem, config: PoseConfig, threshold_px: float, scale_px: float, known: FirstPoses
) -> FirstPoses:
    """Return what each view of a rig says alone, and the best of that on the matches of all.

    Args:
        problem: matches of one place.
        config: how poses are found.
        threshold_px: RANSAC's inlier threshold.
        scale_px: scale of the robust cost.
        known: of these views as far as their matches are the same.
    """
    if known.candidates:
        return known
    of_views = poses_of_views(problem, config, threshold_px, known.of_views)
    found = [pose for poses in of_views.values() for pose in poses]
    is_promising = promising(problem, found, scale_px)
    starts = [pose for pose, is_good in zip(found, is_promising, strict=True) if is_good]
    others = [pose for pose, is_good in zip(found, is_promising, strict=True) if not is_good]
    return FirstPoses(of_views, tuple(score_hypotheses(problem, starts, scale_px)), tuple(others))


def sample_hypotheses(
    problem: PoseProblem,
    config: PoseConfig,
    threshold_px: float,
    scale_px: float,
    first: FirstPoses = NO_FIRST_POSES,
) -> list[Hypothesis]:
    """Return candidate poses without their rivals; none when there are too few matches.

    Args:
        problem: matches of one place.
        config: number of runs, iterations, seed.
        threshold_px: RANSAC's inlier threshold.
        scale_px: scale of the robust cost.
        first: of a rig. Matches of all views are sampled only if that may have missed something.
    """
    if len(problem.correspondences) < MIN_MATCHES:
        return []
    candidates, best = list(first.candidates), first.best
    if best is None or not is_not_missed(problem, best.map_from_camera, threshold_px, config):
        sampled = _sampled(problem, config, threshold_px, bool(first.of_views))
        candidates += score_hypotheses(problem, sampled, scale_px)
    return candidates


def with_rivals(
    problem: PoseProblem,
    candidates: Sequence[Hypothesis],
    config: PoseConfig,
    threshold_px: float,
    scale_px: float,
    first: FirstPoses = NO_FIRST_POSES,
) -> list[Hypothesis]:
    """Return candidate poses and those that might explain the matches as well, best score first."""
    best = best_of(candidates)
    if best is None:
        return []
    rivals = [*_rival_starts(problem, best, config, threshold_px), *first.others]
    scored = score_hypotheses(problem, rivals, scale_px, _MAX_RIVAL_MATCHES)
    return _polish_winners(problem, [*candidates, *scored], scale_px)


def _sampled(problem: PoseProblem, config: PoseConfig, threshold_px: float, is_asked: bool) -> list[Rigid3]:
    """Return poses sampled among all matches; with fewer samples where each view was asked for itself."""
    found: list[Rigid3] = []
    everything = np.ones(len(problem.correspondences), np.bool_)
    estimate = absolute_pose_method(config)
    iterations = config.max_iterations // _FEWER_SAMPLES if is_asked else config.max_iterations
    for run in range(config.num_hypotheses):
        found += estimate(problem, everything, threshold_px, iterations, config.seed + run)
    return found


def quick_hypothesis(
    problem: PoseProblem, config: PoseConfig, threshold_px: float, scale_px: float
) -> Hypothesis | None:
    """Return one candidate pose by a short search; None when there are too few matches or none agree."""
    if len(problem.correspondences) < MIN_MATCHES:
        return None
    everything = np.ones(len(problem.correspondences), np.bool_)
    estimate = absolute_pose_method(config)
    found = estimate(problem, everything, threshold_px, config.max_iterations // _FEWER_SAMPLES, config.seed)
    return best_of(score_hypotheses(problem, found, scale_px))


def score_hypotheses(
    problem: PoseProblem, starts: Sequence[Rigid3], scale_px: float, max_matches: int | None = None
) -> list[Hypothesis]:
    """Refine poses robustly, on a part of the matches if asked, and score them on all matches."""
    if not starts:
        return []
    iterations = _WINNER_ITERATIONS if max_matches is None else _RIVAL_ITERATIONS
    refined = refine_robustly(problem, starts, scale_px, iterations, max_matches)
    residuals = problem.recognized_residuals_of(refined)
    scores = robust_scores(residuals, scale_px).sum(axis=1).tolist()
    return [Hypothesis(*found) for found in zip(refined, residuals, scores, strict=True)]


def _polish_winners(problem: PoseProblem, candidates: list[Hypothesis], scale_px: float) -> list[Hypothesis]:
    """Refine the best few different ones on all matches, so that chance does not decide a close race."""
    ranked = sorted(candidates, key=lambda hypothesis: -hypothesis.score)
    contenders: list[Hypothesis] = []
    for candidate in ranked:
        if candidate.score < _CONTENDER_RATIO * ranked[0].score or len(contenders) == _MAX_CONTENDERS:
            break
        if not any(_is_copy(candidate, contender) for contender in contenders):
            contenders.append(candidate)
    if len(contenders) == 1:
        return ranked
    polished = score_hypotheses(problem, [contender.map_from_camera for contender in contenders], scale_px)
    return sorted(polished + ranked, key=lambda hypothesis: -hypothesis.score)


def _is_copy(candidate: Hypothesis, other: Hypothesis) -> bool:
    """Tell whether two hypotheses slid into one minimum: their residuals say the same."""
    both = np.isfinite(candidate.residuals) & np.isfinite(other.residuals)
    close = both & (np.minimum(candidate.residuals, other.residuals) < _COPY_RADIUS_PX)
    difference = np.abs(candidate.residuals[close] - other.residuals[close])
    return bool(close.any()) and float(np.median(difference)) < _COPY_DIFFERENCE_PX


def _rival_starts(
    problem: PoseProblem, best: Hypothesis, config: PoseConfig, threshold_px: float
) -> Iterator[Rigid3]:
    """Yield starts where another pose might hide: the plane's other pose, and the other matches."""
    inlier = best.residuals < threshold_px
    yield from _plane_poses(problem, inlier)
    if np.mean(inlier) > _CLEAR_MAJORITY:
        return
    yield from _orbit_poses(problem, best.map_from_camera, inlier)
    for left_over in _left_over(problem, inlier):
        estimate = absolute_pose_method(config)
        yield from estimate(problem, left_over, threshold_px, config.max_iterations // 4, config.seed)


def _left_over(problem: PoseProblem, inlier: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Yield the matches [M] that a pose does not explain: of a rig those of each view that sees it, by themselves.

    What else the others see they say alone.
    """
    for view_idx in range(len(problem.cameras)):
        own = problem.view_idxs == view_idx
        is_seeing = len(problem.cameras) == 1 or np.count_nonzero(own & inlier) >= MIN_MATCHES
        if is_seeing and np.count_nonzero(own & ~inlier) >= MIN_MATCHES:
            yield own & ~inlier


def _plane_poses(problem: PoseProblem, inlier: NDArray[np.bool_]) -> list[Rigid3]:
    """Return both poses of the plane through the inliers' points, in the view that has most of them."""
    views = np.bincount(problem.view_idxs[inlier], minlength=len(problem.cameras))
    view_idx = int(views.argmax())
    rows = np.flatnonzero(inlier & (problem.view_idxs == view_idx))[:_MAX_PLANE_INLIERS]
    if len(rows) < MIN_MATCHES:
        return []
    points = problem.points3d[rows]
    center = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - center, full_matrices=False)
    axes = axes * np.sign(np.linalg.det(axes))  # rows: in the plane, in the plane, normal
    on_plane = (points - center) @ axes.T
    on_plane[:, 2] = 0.0
    count, rotvecs, translations, _ = cv2.solvePnPGeneric(
        on_plane, problem.pinhole[rows] / problem.focal, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
    )
    camera_from_rig = problem.cameras[view_idx].rig_from_camera.inverse()
    poses = []
    for index in range(count):
        camera_from_plane = Rigid3.from_rotvec(rotvecs[index].ravel(), translations[index].ravel())
        plane_from_map = Rigid3(axes, -axes @ center)
        map_from_camera = (camera_from_plane @ plane_from_map).inverse()
        poses.append(map_from_camera if problem.is_one_camera else map_from_camera @ camera_from_rig)
    return [pose for pose in poses if np.isfinite(pose.matrix).all()]


def _orbit_poses(problem: PoseProblem, pose: Rigid3, inlier: NDArray[np.bool_]) -> list[Rigid3]:
    """Swing a camera around the middle of what it sees.

    Under a narrow view turning the camera and moving it sideways look nearly the same, so the
    cost has its other minima along such an arc.
    """
    if not inlier.any():
        return []
    pivot = np.median(problem.points3d[inlier], axis=0)
    poses = []
    for axis in (pose.rotation[:, 0], pose.rotation[:, 1]):
        for angle in _ORBIT_ANGLES_RAD:
            swing = Rigid3.from_rotvec(axis * angle, np.zeros(3))
            poses.append(Rigid3(swing.rotation @ pose.rotation, pivot + swing @ (pose.translation - pivot)))
    return poses
