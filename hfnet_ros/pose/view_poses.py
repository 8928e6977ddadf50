"""What each view of a rig says alone: poses of the rig sampled among the view's own matches.

Where one view of three sees the map, three matches drawn from all of them are all its own once in 27 times. So each
view is sampled by itself, and what it finds is judged on the matches of all: the poses are starts for that of the rig,
and the word of each view where they contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hfnet_ros.config import PoseConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.absolute_pose import MAX_SAMPLED_MATCHES, absolute_pose_method
from hfnet_ros.pose.problem import MIN_MATCHES, PoseProblem, robust_scores

# By view: poses of the rig that are sampled among its matches, mostly one or none.
ViewPoses = Mapping[int, Sequence[Rigid3]]

_FEWER_SAMPLES = 4
_PROMISING_SHARE = 0.5  # of the best start's score, before any is refined on the matches of all views
_MISSED = 1e-4  # PoseLib's


def poses_of_views(
    problem: PoseProblem, config: PoseConfig, threshold_px: float, known: ViewPoses
) -> dict[int, Sequence[Rigid3]]:
    """Return what each view says alone; nothing of one with too few matches.

    Args:
        problem: matches of several views.
        config: how poses are found.
        threshold_px: largest reprojection error of an inlier.
        known: what views said of the same matches before.
    """
    sample, found = absolute_pose_method(config), dict(known)
    for view_idx in range(len(problem.cameras)):
        own = problem.view_idxs == view_idx
        if view_idx not in found and np.count_nonzero(own) >= MIN_MATCHES:
            found[view_idx] = sample(problem, own, threshold_px, num_samples(config), config.seed)
    return found


def num_samples(config: PoseConfig) -> int:
    """Return how many samples are drawn among the matches of a view."""
    return config.max_iterations // _FEWER_SAMPLES


def promising(problem: PoseProblem, starts: Sequence[Rigid3], scale_px: float) -> list[bool]:
    """Tell which starts explain nearly as much of all matches as the best of them."""
    if len(starts) < 2:
        return [True] * len(starts)
    scores = robust_scores(problem.recognized_residuals_of(starts), scale_px).sum(axis=1)
    return (scores >= _PROMISING_SHARE * scores.max()).tolist()


def is_not_missed(problem: PoseProblem, pose: Rigid3, threshold_px: float, config: PoseConfig) -> bool:
    """Tell whether a pose explains so much of a view that its samples would not have missed a better one."""
    fits, missed = problem.residuals(pose) < threshold_px, 1.0
    for view_idx in range(len(problem.cameras)):
        own = problem.rows_of(view_idx)[:MAX_SAMPLED_MATCHES]
        if len(own) >= MIN_MATCHES:
            missed *= (1.0 - float(np.mean(fits[own])) ** 3) ** num_samples(config)
    return missed < _MISSED
