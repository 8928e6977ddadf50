"""By how much is the rig elsewhere by the matches of one view than by those of all? Tells of cameras that sit askew."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from hfnet_ros.config import PoseConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import make_problem
from hfnet_ros.pose.refinement import refine_on_inliers, refine_robustly
from hfnet_ros.types import Correspondences, Localization, RigCamera, ViewOffset

# Of the noise of a match, step by step: a view that is a few degrees off is given its own matches back. One that
# contradicts the others is further off.
_WIDTHS, _WIDER = (4.0, 1.0), (16.0, 8.0)
# The pose is near, and the map is off by more than some hundred matches are.
_ITERATIONS, _MAX_MATCHES = 4, 250
_MIN_INLIERS = 20  # of a pose whose covariance is to be believed
_RADIUS_SIGMAS, _MIN_SIGMA_PX = 3.0, 1.0


def with_offsets(
    answer: Localization, matches: Correspondences, cameras: Sequence[RigCamera], pose: PoseConfig
) -> Localization:
    """Return a valid answer whose views say where the rig is by their own matches.

    Only views that agree with the answer, or contradict it, and only where there are two: one would be compared with
    itself.

    Args:
        answer: to the query.
        matches: of all views, also of those that it leaves out.
        cameras: of the views, with calibrations as they were used.
        pose: tells the noise of a match.
    """
    assert answer.estimate is not None
    seeing = [view_idx for view_idx, share in enumerate(answer.views) if share.agrees or share.contradicts]
    if len(seeing) < 2:
        return answer
    shares = list(answer.views)
    for view_idx in seeing:
        own = dataclasses.replace(matches.chosen(matches.views == view_idx), view_idxs=None)
        widths = (*_WIDER, *_WIDTHS) if shares[view_idx].contradicts else _WIDTHS
        offset = _offset_of(own, cameras[view_idx], answer.estimate.map_from_camera, pose, widths)
        shares[view_idx] = dataclasses.replace(shares[view_idx], offset=offset)
    return dataclasses.replace(answer, views=tuple(shares))


def _offset_of(
    matches: Correspondences, camera: RigCamera, joint: Rigid3, config: PoseConfig, widths: Sequence[float]
) -> ViewOffset | None:
    """Return what one view says; None where that is not enough for a pose."""
    problem, found = make_problem(matches, [camera]), joint
    scale_px = problem.pixels(config.robust_sigmas * _MIN_SIGMA_PX)
    around = np.flatnonzero(problem.residuals(joint) < 4.0 * widths[0] * scale_px)
    some = around[:: -(-max(len(around), 1) // _MAX_MATCHES)]
    problem = problem.chosen(np.isin(np.arange(len(problem.correspondences)), some))
    for width in widths:
        (found,) = refine_robustly(problem, [found], width * scale_px, _ITERATIONS)
    residuals = problem.residuals(found)
    near = residuals[residuals < scale_px]
    if len(near) < _MIN_INLIERS:
        return None
    # Of a length in two axes the median is 1.18 sigmas of one.
    sigma_px = max(float(np.median(near)) / 1.18, problem.pixels(_MIN_SIGMA_PX))
    everything = np.ones(len(problem.correspondences), np.bool_)
    estimate = refine_on_inliers(
        problem, found, everything, _RADIUS_SIGMAS * sigma_px, iterations=_ITERATIONS
    )
    if estimate is None or estimate.num_inliers < _MIN_INLIERS:
        return None
    offset = joint.inverse() @ estimate.map_from_camera
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = estimate.map_from_camera.rotation.T
    return ViewOffset(
        np.concatenate([offset.translation, offset.rotvec]), turn @ estimate.covariance @ turn.T
    )
