"""What an image says of its calibration once its pose is taken out; `tracking.lens_check` asks many of them.

Reference: Triggs et al., "Bundle Adjustment - A Modern Synthesis" (2000), section 6.1 (Schur complement).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.pose.image_errors import turning
from hfnet_ros.pose.problem import PoseProblem
from hfnet_ros.types import LensRest, PoseEstimate

FloatArray = NDArray[np.float64]

_MIN_INLIERS = 20
_STEEPEST = 1.2  # slope of a ray; further out a radial term of third degree says little
_OUTLYING = 9.0  # squared, over the median: from where a match counts less
_DAMPING = 1e-9  # of the trace of the pose's normal matrix


def lens_rest(problem: PoseProblem, estimate: PoseEstimate) -> LensRest | None:
    """Return what is left of a calibration that is off; None of a rig, whose cameras tell by each other, and of few.

    Args:
        problem: the matches.
        estimate: the pose, and which of them are inliers.
    """
    if not problem.is_one_camera:
        return None
    pose, inliers = estimate.map_from_camera, estimate.inlier_mask
    points = (problem.points3d[inliers] - pose.translation) @ pose.rotation
    slopes = problem.pinhole[inliers] / problem.focal
    usable = (points[:, 2] > 0.0) & (np.abs(slopes).max(axis=1, initial=0.0) < _STEEPEST)
    if np.count_nonzero(usable) < _MIN_INLIERS:
        return None
    points, slopes = points[usable].T, slopes[usable].T
    seen = points[:2] / points[2]
    errors = slopes - seen
    both = _derivatives(points, seen)
    squares = np.einsum("in,in->n", errors, errors)
    weights = 1.0 / (1.0 + squares / max(_OUTLYING * float(np.median(squares)), 1e-12))
    variance = float(weights @ squares) / max(2.0 * float(weights.sum()) - 10.0, 1.0)
    if variance <= 0.0:
        return None
    weighted = (weights / variance * both).reshape(10, -1)
    normal, right = weighted @ both.reshape(10, -1).T, weighted @ errors.ravel()
    of_pose = normal[:6, :6] + _DAMPING * np.trace(normal[:6, :6]) * np.eye(6)
    taken_out = np.linalg.solve(of_pose, np.column_stack([normal[:6, 6:], right[:6]]))
    return LensRest(
        normal[6:, 6:] - normal[6:, :6] @ taken_out[:, :4],
        right[6:] - normal[6:, :6] @ taken_out[:, 4],
        # A camera moves against what the points do.
        -taken_out[:, :4],
        float(np.median(points[2])),
    )


def _derivatives(points: FloatArray, seen: FloatArray) -> FloatArray:
    """Return derivatives [10, 2, N] of rays by motion (x y z rx ry rz), focal length, centre and radial distortion."""
    moved, by_lens = np.zeros((3, *seen.shape)), np.zeros((4, *seen.shape))
    moved[0, 0] = moved[1, 1] = 1.0 / points[2]
    moved[2] = -seen / points[2]
    by_lens[0], by_lens[3] = seen, seen * np.einsum("in,in->n", seen, seen)
    by_lens[1, 0] = by_lens[2, 1] = 1.0
    return np.concatenate([moved, turning(points[None, :, None], moved[None])[0], by_lens])
