"""What other poses near by, which explain matches that the best one leaves over, add to its covariance.

Poses far off that explain nearly as much are `verification`'s to refuse. One near by is no other place: most often a
piece of furniture was moved, and of matches on it and matches on the walls each group fits a pose of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import pose_difference
from hfnet_ros.pose.hypotheses import Hypothesis
from hfnet_ros.pose.problem import PoseProblem
from hfnet_ros.pose.verification import FAR_POSE_ANGLE_RAD, FAR_POSE_DEPTH_FRACTION
from hfnet_ros.types import PoseEstimate

FloatArray = NDArray[np.float64]

# Matches are a pose's own where the other misses them by so many radii: of less both may be one pose, not refined to
# the end.
_MISSED_RADII = 1.25
_MIN_OWN, _MIN_OWN_SHARE = 12, 0.05  # of a rival, chance explains fewer; share of the inliers
_RIVAL_BEYOND = 4.0  # squared standard deviations: a rival so near is within what is reported


def widen_by_near_rivals(
    problem: PoseProblem, estimate: PoseEstimate, hypotheses: Sequence[Hypothesis], radius_px: float
) -> PoseEstimate:
    """Return a pose with a covariance that holds the poses near by that matches of their own speak for.

    Of the matches that only one of the two explains, the rival's share is taken for the probability that it is right.

    Args:
        problem: the matches.
        estimate: verified.
        hypotheses: all poses that were tried, best first; the first one led to `estimate`.
        radius_px: largest error of an inlier.
    """
    pose, covariance = estimate.map_from_camera, estimate.covariance
    rivals = _rivals(hypotheses, radius_px)
    far_m = _far_m(problem, estimate) if rivals else 0.0
    for rival, share in rivals:
        offset = pose_difference(pose, rival.map_from_camera)
        if np.linalg.norm(offset[:3]) >= far_m or np.linalg.norm(offset[3:]) >= FAR_POSE_ANGLE_RAD:
            continue
        squared = share * float(offset @ np.linalg.solve(covariance, offset))
        if squared > _RIVAL_BEYOND:
            beyond = share * (1.0 - _RIVAL_BEYOND / squared)
            covariance = covariance + beyond * np.outer(offset, offset)
    return replace(estimate, covariance=covariance)


def _rivals(hypotheses: Sequence[Hypothesis], radius_px: float) -> list[tuple[Hypothesis, float]]:
    """Return the hypotheses that have enough matches of their own, and their shares, likeliest first."""
    residuals = np.stack([hypothesis.residuals for hypothesis in hypotheses])
    explains, misses = residuals < radius_px, residuals > _MISSED_RADII * radius_px
    num_own = np.count_nonzero(explains & misses[0], axis=1)
    num_lost = np.count_nonzero(explains[0] & misses, axis=1)
    needed = max(_MIN_OWN, _MIN_OWN_SHARE * int(np.count_nonzero(explains[0])))
    # A better one would have been the best.
    shares = np.minimum(num_own / np.maximum(num_own + num_lost, 1), 0.5)
    ranked = np.argsort(-shares, kind="stable").tolist()
    return [(hypotheses[row], float(shares[row])) for row in ranked if num_own[row] >= needed]


def _far_m(problem: PoseProblem, estimate: PoseEstimate) -> float:
    """Return from what distance on `verification` takes a pose for another one, m."""
    inliers = problem.points3d[estimate.inlier_mask]
    distances = np.linalg.norm(inliers - estimate.map_from_camera.translation, axis=1)
    return FAR_POSE_DEPTH_FRACTION * float(np.median(distances))
