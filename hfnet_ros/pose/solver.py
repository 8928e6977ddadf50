"""2D-3D matches in, a judged pose out, wherever the matches come from.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large Scale", CVPR 2019,
    section 3.1 (localization of a query in a place).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.absolute_pose import absolute_pose_method
from hfnet_ros.pose.evidence import backs, cell_fraction, chance_evidence, matched_image, thresholds_px
from hfnet_ros.pose.hypotheses import (
    NO_FIRST_POSES,
    FirstPoses,
    Hypothesis,
    best_of,
    first_poses,
    quick_hypothesis,
    sample_hypotheses,
    with_rivals,
)
from hfnet_ros.pose.lens_test import lens_rest
from hfnet_ros.pose.near_rivals import widen_by_near_rivals
from hfnet_ros.pose.problem import (
    MIN_MATCHES,
    ErrorModel,
    ObserverCones,
    PoseProblem,
    make_problem,
    robust_score,
)
from hfnet_ros.pose.refinement import refine_on_inliers
from hfnet_ros.pose.verification import verify_pose
from hfnet_ros.pose.view_agreement import (
    CONTRADICTS,
    UNDECIDED,
    ViewVote,
    Vote,
    undecided_reason,
    without,
)
from hfnet_ros.pose.view_poses import ViewPoses
from hfnet_ros.types import (
    Correspondences,
    Evidence,
    Localization,
    Outcome,
    PoseEstimate,
    RigCamera,
    ViewShare,
)

_NO_SCORES: Mapping[str, float] = MappingProxyType({})
_MIN_RESIDUAL_PX = 1.0  # keypoints of XFeat sit on whole pixels


class PoseSolver:
    """Estimates a pose from matches, by competing hypotheses, and verifies it."""

    def __init__(self, pose: PoseConfig, verification: VerificationConfig, errors: ErrorModel) -> None:
        """Take the parameters, and what the points that will come are off by.

        Raises:
            ConfigError: the method that they name cannot be used here.
        """
        absolute_pose_method(pose)
        self._pose = pose
        self._verification = verification
        self._errors = errors
        residual_px = float(np.clip(errors.residual_px, _MIN_RESIDUAL_PX, pose.assumed_residual_px))
        self._threshold_px = pose.ransac_sigmas * residual_px
        self._scale_px = pose.robust_sigmas * residual_px

    def solve(
        self,
        matches: Correspondences,
        cameras: Sequence[RigCamera],
        cones: ObserverCones | None = None,
        num_versions: int = 1,
        doubted: frozenset[int] = frozenset(),
        more_scores: Mapping[str, float] = _NO_SCORES,
    ) -> Localization:
        """Estimate, refine and verify the pose of a rig.

        Args:
            matches: of any views of the rig; most similar first.
            cameras: of the views.
            cones: from where the points were seen before, as far as that is known.
            num_versions: see `solve_problem`, as for what follows.
            doubted: views.
            more_scores: of the matches.

        Returns:
            An answer without stamp, place and timings. Its correspondences are the matches that a ray leads to.
        """
        problem = self.problem(matches, cameras, cones)
        return self.solve_problem(problem, NO_FIRST_POSES, num_versions, doubted, more_scores)

    def solve_problem(
        self,
        problem: PoseProblem,
        first: FirstPoses = NO_FIRST_POSES,
        num_versions: int = 1,
        doubted: frozenset[int] = frozenset(),
        more_scores: Mapping[str, float] = _NO_SCORES,
    ) -> Localization:
        """Estimate, refine and verify the pose of a rig.

        Views vote: one that contradicts more of the others is left out, and where two contradict each other there is
        no pose.

        Args:
            problem: matches of any views of the rig.
            first: what is known of its poses.
            num_versions: of the query that are tried; the poses of all are charged to the evidence against chance.
            doubted: views whose word counts less than that of another.
            more_scores: what else is known of the matches, for the probability that the pose is wrong.

        Returns:
            An answer without stamp, place and timings.
        """
        matches, num_views = problem.correspondences, len(problem.cameras)
        needed = max(MIN_MATCHES, self._verification.min_inliers)
        if len(matches) < needed:
            reason = f"{len(matches)} matches, {needed} needed"
            return _refused(Outcome.TOO_FEW_MATCHES, reason, matches, num_views)
        first, vote = self.first_poses(problem, first), Vote()
        candidates = self._sampled(problem, first)
        if num_views > 1 and (chance := self._nothing_but_chance(problem, candidates)):
            return chance
        hypotheses = self._with_rivals(problem, candidates, first)
        if hypotheses and num_views > 1:
            vote = self._ask_views(problem, hypotheses[0], first.of_views, doubted)
        if vote.left_out:
            num_versions *= math.comb(num_views, len(vote.left_out))
            problem = without(problem, vote.left_out)
            first = self.first_poses(problem, first.of_others(vote.left_out))
            hypotheses = self._with_rivals(problem, self._sampled(problem, first), first)
        answer = self._judge(problem, hypotheses, num_versions, more_scores)
        if vote.undecided and answer.is_valid:
            answer = answer.refused(undecided_reason(vote))
        return replace(answer, views=_with_problems(answer.views, matches, vote))

    def _judge(
        self,
        problem: PoseProblem,
        hypotheses: Sequence[Hypothesis],
        num_versions: int,
        more_scores: Mapping[str, float],
    ) -> Localization:
        """Refine and verify the best hypothesis."""
        scale_px, estimate = self._scale(problem), None
        if hypotheses:
            best = hypotheses[0].map_from_camera
            usable = problem.recognizable(best)
            estimate = refine_on_inliers(problem, best, usable, scale_px, self._errors)
        if estimate is None:
            reason = f"no pose explains four of {len(problem.correspondences)} matches"
            return _refused(Outcome.NO_CONSENSUS, reason, problem.correspondences, len(problem.cameras))
        num_trials = num_versions * self._pose.num_hypotheses * self._pose.max_iterations
        verified = verify_pose(
            problem,
            hypotheses,
            estimate,
            scale_px,
            num_trials,
            self._verification,
            map_scores={
                **more_scores,
                "self_tested": float(self._errors.is_self_tested),
                "elsewhere_share": self._errors.elsewhere_share(estimate.map_from_camera.translation),
            },
        )
        evidence = Evidence(
            num_matches=len(problem.correspondences),
            num_inliers=estimate.num_inliers,
            reason=verified.reason,
            scores=verified.scores,
            score=hypotheses[0].score,
        )
        is_valid = verified.outcome is Outcome.LOCALIZED
        if is_valid:
            estimate = widen_by_near_rivals(problem, estimate, hypotheses, scale_px)
        return Localization(
            0,
            verified.outcome,
            estimate if is_valid else None,
            None,
            evidence,
            {},
            problem.correspondences,
            views=self._agreeing(problem, estimate),
            lens=lens_rest(problem, estimate) if is_valid else None,
        )

    def _agreeing(self, problem: PoseProblem, estimate: PoseEstimate) -> tuple[ViewShare, ...]:
        """Return the shares of the views in a pose, with which of them agree with it."""
        shares = _shares(problem.correspondences, len(problem.cameras), estimate.inlier_mask)
        if len(shares) == 1:
            return (replace(shares[0], agrees=True),)
        residuals = problem.recognized_residuals(estimate.map_from_camera)
        return tuple(
            replace(
                share,
                agrees=share.num_inliers >= MIN_MATCHES
                and backs(matched_image(problem, residuals, view_idx), problem, self._verification),
            )
            for view_idx, share in enumerate(shares)
        )

    def _ask_views(
        self, problem: PoseProblem, best: Hypothesis, alone: ViewPoses, doubted: frozenset[int]
    ) -> Vote:
        """Return which views contradict the others; see `view_agreement`."""
        views = ViewVote(self._pose, self._verification, self._scale(problem))
        return views.of(problem, best, alone, doubted)

    def first_poses(self, problem: PoseProblem, known: FirstPoses = NO_FIRST_POSES) -> FirstPoses:
        """Return what each view of a rig says alone and the best of it, unverified; of one camera nothing.

        Args:
            problem: matches of its views.
            known: of these views as far as their matches are the same.
        """
        if len(problem.cameras) == 1:
            return NO_FIRST_POSES
        return first_poses(problem, self._pose, self._threshold(problem), self._scale(problem), known)

    def _sampled(self, problem: PoseProblem, first: FirstPoses) -> list[Hypothesis]:
        return sample_hypotheses(problem, self._pose, self._threshold(problem), self._scale(problem), first)

    def _with_rivals(
        self, problem: PoseProblem, candidates: Sequence[Hypothesis], first: FirstPoses
    ) -> list[Hypothesis]:
        return with_rivals(
            problem, candidates, self._pose, self._threshold(problem), self._scale(problem), first
        )

    def _nothing_but_chance(
        self, problem: PoseProblem, candidates: Sequence[Hypothesis]
    ) -> Localization | None:
        """Refuse a rig's matches of which chance explains as much as the best pose: nothing that comes of it would do.

        In three apartments no answer came of 342 such poses of 607; the evidence of none reached 9 decades in the end.
        """
        best = best_of(candidates)
        if best is None:
            return None
        images = [
            matched_image(problem, best.residuals, view_idx) for view_idx in range(len(problem.cameras))
        ]
        num_trials = self._pose.num_hypotheses * self._pose.max_iterations
        found = chance_evidence(images, cell_fraction(self._verification), thresholds_px(problem), num_trials)
        if found > min(0.0, self._verification.min_evidence):
            return None
        fits = self.is_fitting(problem, best.residuals)
        reason = f"chance explains the {np.count_nonzero(fits)} matches that fit the best pose"
        refused = _refused(
            Outcome.TOO_FEW_INLIERS, reason, problem.correspondences, len(problem.cameras), fits
        )
        return replace(refused, evidence=replace(refused.evidence, score=best.score))

    def solve_quickly(self, problem: PoseProblem) -> Hypothesis | None:
        """Return a pose by a short search, unverified: how well could other points be the answer?"""
        return quick_hypothesis(problem, self._pose, self._threshold(problem), self._scale(problem))

    def score(self, inliers: Correspondences, map_from_rig: Rigid3, cameras: Sequence[RigCamera]) -> float:
        """Return the robust score of a pose's own inliers, comparable with that of `solve_quickly`."""
        problem = make_problem(inliers, cameras)
        return robust_score(problem.residuals(map_from_rig), self._scale(problem))

    def fitting(self, problem: PoseProblem, map_from_rig: Rigid3) -> Correspondences:
        """Return the matches that a pose explains."""
        fits = problem.recognized_residuals(map_from_rig) < self._scale(problem)
        return problem.correspondences.chosen(fits)

    def is_fitting(self, problem: PoseProblem, residuals: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which matches [M] a pose explains that leaves residuals [M]."""
        return residuals < self._scale(problem)

    def left_over(self, problem: PoseProblem, map_from_rig: Rigid3) -> PoseProblem:
        """Return a problem without the matches that a pose explains."""
        return problem.chosen(problem.recognized_residuals(map_from_rig) >= self._scale(problem))

    def problem(
        self, matches: Correspondences, cameras: Sequence[RigCamera], cones: ObserverCones | None
    ) -> PoseProblem:
        """Return matches in the form that poses are found in, with the lens taken out."""
        limits = self._verification
        view_change_rad = float(np.deg2rad(limits.max_view_change_deg))
        return make_problem(matches, cameras, cones, view_change_rad, limits.max_scale_change)

    def _threshold(self, problem: PoseProblem) -> float:
        return problem.pixels(self._threshold_px)

    def _scale(self, problem: PoseProblem) -> float:
        return problem.pixels(self._scale_px)


def _refused(
    outcome: Outcome,
    reason: str,
    matches: Correspondences,
    num_views: int,
    fits: NDArray[np.bool_] | None = None,
) -> Localization:
    """Return an answer without a pose, and without scores; `fits` tells which of the matches [M] agree with one."""
    fits = np.zeros(len(matches), np.bool_) if fits is None else fits
    evidence = Evidence(num_matches=len(matches), num_inliers=int(np.count_nonzero(fits)), reason=reason)
    return Localization(
        0, outcome, None, None, evidence, {}, matches, views=_shares(matches, num_views, fits)
    )


def _with_problems(
    shares: Sequence[ViewShare], matches: Correspondences, vote: Vote
) -> tuple[ViewShare, ...]:
    """Return the shares with what the views contradict, and the matches of those that were left out."""
    named = []
    for view_idx, share in enumerate(shares):
        if view_idx in vote.left_out:
            num_matches = int(np.count_nonzero(matches.views == view_idx))
            share = replace(share, num_matches=num_matches, problem=CONTRADICTS, contradicts=True)
        elif view_idx in vote.undecided:
            share = replace(share, problem=UNDECIDED, contradicts=True)
        named.append(share)
    return tuple(named)


def _shares(matches: Correspondences, num_views: int, inlier: NDArray[np.bool_]) -> tuple[ViewShare, ...]:
    """Return how many of the matches, and of the inliers, each view has."""
    num_matches = np.bincount(matches.views, minlength=num_views)
    num_inliers = np.bincount(matches.views[inlier], minlength=num_views)
    return tuple(
        ViewShare(num_matches=matched, num_inliers=fitting)
        for matched, fitting in zip(num_matches.tolist(), num_inliers.tolist(), strict=True)
    )
