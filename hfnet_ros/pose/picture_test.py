"""Is this the place, or a picture of it? Ask whether a camera without calibration explains the matches better.

A picture that hangs somewhere, a screen or a mirror shows the place through a homography: what the camera sees are
the rays of another camera, with another focal length, centre or handedness. A pose of the calibrated camera then
fits only in part, while a general projective camera fits all of it. At the place itself nothing is gained by that
freedom. A flat scene cannot tell: its picture is as good as the scene.

Reference: Hartley and Zisserman, "Multiple View Geometry in Computer Vision", section 7.1 (direct linear
    transformation), reweighted as in section A6.8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import PoseProblem, robust_scores

FloatArray = NDArray[np.float64]

_MAX_MATCHES = 600
# The calibrated pose explains a part of a picture: a wide scale reaches the rest, the usual one ends there.
_SCALE_FACTORS = (3.0, 1.0)
_NUM_REWEIGHTINGS = 8  # at the most
_SAME_SCORE = 1e-3  # of the pose's: it goes no further
_MIN_DEPTH = 1e-2  # of the mean


def uncalibrated_ratio(problem: PoseProblem, map_from_rig: Rigid3, scale_px: float) -> float:
    """Return the robust score of the best camera without calibration over that of the pose, at least 1.

    Of a rig, the view that sees most of the pose is asked.

    Args:
        problem: the matches.
        map_from_rig: the pose.
        scale_px: scale of the robust cost that ranked it.
    """
    explained = robust_scores(problem.residuals(map_from_rig), scale_px)
    views = np.bincount(problem.view_idxs, explained, minlength=len(problem.cameras))
    of_view = np.flatnonzero(problem.view_idxs == int(np.argmax(views)))[:_MAX_MATCHES]
    points = problem.in_cameras((problem.points3d - map_from_rig.translation) @ map_from_rig.rotation)[
        of_view
    ]
    slopes, scale = problem.pinhole[of_view] / problem.focal, scale_px / problem.focal
    depth = np.abs(points[:, 2])
    if len(points) == 0 or np.median(depth) < 1e-9:
        return 1.0
    homogeneous = np.column_stack([points / np.median(depth), np.ones(len(points))])
    normal = _NormalMatrix(homogeneous, slopes)
    calibrated = np.eye(3, 4)
    residuals, depths = _residuals(calibrated, homogeneous, slopes)
    own = float(np.sum(robust_scores(residuals, scale)))
    best = own
    for factor in _SCALE_FACTORS:
        found, far, last = residuals, depths, 0.0
        for _ in range(_NUM_REWEIGHTINGS):
            # Cubed, it is the weight that belongs to the robust score; by depth it is a distance in the image.
            flattened = 1.0 + (found / (factor * scale)) ** 2
            weights = 1.0 / (flattened * flattened * flattened * far * far)
            found, far = _residuals(_linear_camera(normal, weights), homogeneous, slopes)
            score = float(np.sum(robust_scores(found, scale)))
            best = max(best, score)
            if abs(score - last) < _SAME_SCORE * own:
                break
            last = score
    return best / max(own, 1e-9)


class _NormalMatrix:
    """What the normal matrix of the direct linear transformation is summed from, for any weights.

    Attributes:
        homogeneous: [N, 4] points.
        products: [N, 16] their products with themselves.
        moments: [N, 4] 1, x, y and x^2 + y^2 of the slopes, which each block of the matrix is weighted by.
    """

    def __init__(self, homogeneous: FloatArray, slopes: FloatArray) -> None:
        self.homogeneous = homogeneous
        self.products = (homogeneous[:, :, None] * homogeneous[:, None, :]).reshape(-1, 16)
        self.moments = np.column_stack([np.ones(len(slopes)), slopes, (slopes**2).sum(axis=1)])

    def weighted(self, weights: FloatArray) -> FloatArray:
        """Return the matrix [12, 12]."""
        plain, x, y, both = ((weights[:, None] * self.moments).T @ self.products).reshape(4, 4, 4)
        matrix = np.zeros((3, 4, 3, 4))
        matrix[0, :, 0, :] = matrix[1, :, 1, :] = plain
        matrix[0, :, 2, :] = matrix[2, :, 0, :] = -x
        matrix[1, :, 2, :] = matrix[2, :, 1, :] = -y
        matrix[2, :, 2, :] = both
        return matrix.reshape(12, 12)


def _linear_camera(normal: _NormalMatrix, weights: FloatArray) -> FloatArray:
    """Return the projection matrix [3, 4] with the least weighted algebraic error."""
    _, vectors = np.linalg.eigh(normal.weighted(weights))
    camera = vectors[:, 0].reshape(3, 4)
    # Its sign is free: what it explains is in front of it, whatever most of the matches are.
    return np.asarray(camera if weights @ (normal.homogeneous @ camera[2]) > 0.0 else -camera)


def _residuals(
    camera: FloatArray, homogeneous: FloatArray, slopes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return distances [N] to what a camera [3, 4] sees, infinite behind it, and depths [N] over their mean."""
    seen = camera @ homogeneous.T
    far = np.abs(seen[2])
    mean = max(float(far.mean()), 1e-12)
    in_front = seen[2] > 1e-6 * mean
    depth = np.where(in_front, seen[2], 1.0)
    distance = np.hypot(seen[0] / depth - slopes[:, 0], seen[1] / depth - slopes[:, 1])
    return np.where(in_front, distance, np.inf), np.maximum(far / mean, _MIN_DEPTH)
