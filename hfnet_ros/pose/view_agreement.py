"""Do the views of a rig say the same? Those that do not are found here, by what each of them says alone.

A camera that was knocked, an image that is late or frozen, or a place that looks like another one in one view has many
matches that agree with each other, on a pose that is not that of the other views. A pose of all of them would lie
between, or be that of whoever sees more; how much it sees says nothing about whether its clock and its mounting are
right. So views vote: what most of them agree on is the answer, whoever contradicts it is left out and named, and of
two that contradict each other nobody knows which is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.pose.absolute_pose import absolute_pose_method
from hfnet_ros.pose.evidence import backs, cell_fraction, chance_evidence, matched_image, thresholds_px
from hfnet_ros.pose.hypotheses import MIN_MATCHES, Hypothesis, score_hypotheses
from hfnet_ros.pose.problem import PoseProblem, robust_score

FloatArray = NDArray[np.float64]

# Decades against chance from which a view alone is taken at its word.
_WITNESS_EVIDENCE = 10.0
CONTRADICTS = (
    "contradicts the other views: its image is not of their time, its mounting or calibration is not what it was, or "
    "it looks like another place"
)
UNDECIDED = "contradicts another view, and no third one says which of them is right"
# A view agrees with a pose that explains this share of what its own pose does.
_AGREEING_SHARE = 0.5
_FEWER_SAMPLES = 4


@dataclass(frozen=True)
class Vote:
    """What the views of a problem say.

    Attributes:
        left_out: views that contradict what more of the others agree on; none where all agree.
        undecided: views that contradict each other, no more of them saying one thing than another.
    """

    left_out: tuple[int, ...] = ()
    undecided: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class _Witness:
    """A view that knows alone where the rig is.

    Attributes:
        view_idx: which.
        score: robust score of its own pose on its own matches.
        at: that pose, refined on the matches of all views.
    """

    view_idx: int
    score: float
    at: Hypothesis


def undecided_reason(vote: Vote) -> str:
    """Return why there is no answer, one sentence."""
    numbers = " and ".join(str(view_idx) for view_idx in vote.undecided)
    return f"the views {numbers} contradict each other, and no third one says which of them is right"


class ViewVote:
    """Asks each view of a problem where the rig is."""

    def __init__(
        self, pose: PoseConfig, limits: VerificationConfig, threshold_px: float, scale_px: float
    ) -> None:
        """Take how poses are found, the size of cells, RANSAC's inlier threshold and the scale of the robust cost."""
        self._pose = pose
        self._limits = limits
        self._threshold_px, self._scale_px = threshold_px, scale_px

    def of(self, problem: PoseProblem, best: Hypothesis) -> Vote:
        """Return what the views say.

        Args:
            problem: matches of several views.
            best: the pose that explains most of them.
        """
        found = [self._witness(problem, view_idx, best) for view_idx in range(len(problem.cameras))]
        witnesses = [witness for witness in found if witness is not None]
        known = frozenset(witness.view_idx for witness in witnesses)
        # Refined on all matches the pose of a witness may have slid to another one.
        own = [self._side(problem, each.at, witnesses) | {each.view_idx} for each in witnesses]
        sides = [self._side(problem, best, witnesses), *own]
        # The first of the largest: of equal ones that of the best pose.
        first = max(sides, key=len)
        if known <= first:
            return Vote()
        most = max(len(side) for side in sides if not side <= first)
        return Vote(left_out=tuple(known - first)) if len(first) > most else Vote(undecided=tuple(known))

    def _witness(self, problem: PoseProblem, view_idx: int, best: Hypothesis) -> _Witness | None:
        """Return what a view says alone; None where that is not enough to be taken at its word."""
        own = of_view(problem, view_idx)
        if len(own.correspondences) < MIN_MATCHES:
            return None
        everything = np.ones(len(own.correspondences), np.bool_)
        sample, iterations = absolute_pose_method(self._pose), self._pose.max_iterations // _FEWER_SAMPLES
        starts = [best.map_from_camera]
        starts += sample(own, everything, self._threshold_px, iterations, self._pose.seed)
        alone = max(score_hypotheses(own, starts, self._scale_px), key=lambda each: each.score)
        seen = [matched_image(own, alone.residuals, view_idx)]
        thresholds = thresholds_px(own)
        if chance_evidence(seen, cell_fraction(self._limits), thresholds, iterations) < _WITNESS_EVIDENCE:
            return None
        (at,) = score_hypotheses(problem, [alone.map_from_camera], self._scale_px)
        return _Witness(view_idx, alone.score, at)

    def _side(self, problem: PoseProblem, at: Hypothesis, witnesses: Sequence[_Witness]) -> frozenset[int]:
        """Return the views that agree with a pose, or back it with what little they see."""
        own_scores = {witness.view_idx: witness.score for witness in witnesses}
        side = set()
        for view_idx in range(len(problem.cameras)):
            if view_idx in own_scores:
                of_view = problem.view_idxs == view_idx
                explained = robust_score(at.residuals[of_view], self._scale_px)
                agrees = explained >= _AGREEING_SHARE * own_scores[view_idx]
            else:
                seen = matched_image(problem, at.residuals, view_idx)
                agrees = backs(seen, problem, self._limits)
            if agrees:
                side.add(view_idx)
        return frozenset(side)


def of_view(problem: PoseProblem, view_idx: int) -> PoseProblem:
    """Return the part of a problem that one view sees, of the whole rig."""
    return without(problem, [other for other in range(len(problem.cameras)) if other != view_idx])


def without(problem: PoseProblem, view_idxs: Sequence[int]) -> PoseProblem:
    """Return a problem without the matches of some views; the others keep their numbers."""
    return problem.chosen(~np.isin(problem.view_idxs, view_idxs))
