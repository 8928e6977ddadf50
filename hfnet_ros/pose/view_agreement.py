"""Do the views of a rig say the same? Those that do not are found here, by what each of them says alone.

A camera that was knocked, an image that is late or frozen, or a place that looks like another one in one view has many
matches that agree with each other, on a pose that is not that of the other views. A pose of all of them would lie
between, or be that of whoever sees more; how much it sees says nothing about whether its clock and its mounting are
right. So views vote: what most of them agree on is the answer, whoever contradicts it is left out and named, and of
two that contradict each other nobody knows which is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.pose.evidence import backs, cell_fraction, chance_evidence, matched_image, thresholds_px
from hfnet_ros.pose.hypotheses import Hypothesis
from hfnet_ros.pose.problem import MIN_MATCHES, PoseProblem, robust_score
from hfnet_ros.pose.view_poses import ViewPoses, num_samples

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
        residuals: [M] of all matches at that pose; None where the best pose is its own.
    """

    view_idx: int
    score: float
    residuals: FloatArray | None


def undecided_reason(vote: Vote) -> str:
    """Return why there is no answer, one sentence."""
    numbers = " and ".join(str(view_idx) for view_idx in vote.undecided)
    return f"the views {numbers} contradict each other, and no third one says which of them is right"


class ViewVote:
    """Asks each view of a problem where the rig is."""

    def __init__(self, pose: PoseConfig, limits: VerificationConfig, scale_px: float) -> None:
        """Take how poses are found, the size of cells and the scale of the robust cost."""
        self._pose = pose
        self._limits = limits
        self._scale_px = scale_px

    def of(
        self,
        problem: PoseProblem,
        best: Hypothesis,
        alone: ViewPoses,
        doubted: frozenset[int] = frozenset(),
    ) -> Vote:
        """Return what the views say.

        Args:
            problem: matches of several views.
            best: the pose that explains most of them.
            alone: what each view says alone.
            doubted: views whose word counts less than that of another.
        """
        found = [self._witness(problem, view_idx, best, alone) for view_idx in range(len(problem.cameras))]
        witnesses = {each.view_idx: each for each in found if each is not None}
        if all(each.residuals is None for each in witnesses.values()):
            return Vote()
        at_best = self._side(problem, best.residuals, witnesses)
        others = [
            self._side(problem, each.residuals, witnesses) | {each.view_idx}
            for each in witnesses.values()
            if each.residuals is not None
        ]

        def weight(side: frozenset[int]) -> tuple[int, int]:
            return len(side), len(side - doubted)

        # Of equal ones that of the best pose.
        first = max([at_best, *others], key=weight)
        if all(weight(first) > weight(side) for side in [at_best, *others] if not side <= first):
            return Vote(left_out=tuple(sorted(witnesses.keys() - first)))
        return Vote(undecided=tuple(sorted(witnesses)))

    def _witness(
        self, problem: PoseProblem, view_idx: int, best: Hypothesis, alone: ViewPoses
    ) -> _Witness | None:
        """Return what a view says alone; None where that is not enough to be taken at its word."""
        own = problem.view_idxs == view_idx
        if np.count_nonzero(own) < MIN_MATCHES:
            return None
        score = robust_score(best.residuals[own], self._scale_px)
        residuals = None
        for found in alone.get(view_idx, ()):
            there = problem.recognized_residuals(found)
            its_own = robust_score(there[own], self._scale_px)
            if score < _AGREEING_SHARE * its_own:
                score, residuals = its_own, there
        seen = [matched_image(problem, best.residuals if residuals is None else residuals, view_idx)]
        num_trials = num_samples(self._pose)
        evidence = chance_evidence(seen, cell_fraction(self._limits), thresholds_px(problem), num_trials)
        return _Witness(view_idx, score, residuals) if evidence >= _WITNESS_EVIDENCE else None

    def _side(
        self, problem: PoseProblem, residuals: FloatArray, witnesses: Mapping[int, _Witness]
    ) -> frozenset[int]:
        """Return the views that agree with a pose, or back it with what little they see."""
        side = set()
        for view_idx in range(len(problem.cameras)):
            if view_idx in witnesses:
                explained = robust_score(residuals[problem.view_idxs == view_idx], self._scale_px)
                agrees = explained >= _AGREEING_SHARE * witnesses[view_idx].score
            else:
                agrees = backs(matched_image(problem, residuals, view_idx), problem, self._limits)
            if agrees:
                side.add(view_idx)
        return frozenset(side)


def without(problem: PoseProblem, view_idxs: Sequence[int]) -> PoseProblem:
    """Return a problem without the matches of some views; the others keep their numbers."""
    return problem.chosen(~np.isin(problem.view_idxs, view_idxs))
