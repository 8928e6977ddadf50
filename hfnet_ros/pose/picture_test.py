"""Is this the place, or a picture of it? Ask whether a camera without calibration explains the matches better.

A picture that hangs somewhere, a screen or a mirror shows the place through a homography: what the camera sees are
the rays of another camera, with another focal length, centre or handedness. A pose of the calibrated camera then
fits only in part, while a general projective camera fits all of it. At the place itself nothing is gained by that
freedom. A flat scene cannot tell: its picture is as good as the scene.

The least squares of such a camera are begun at the pose: what it explains leads to what it does not, step by step. The
direct linear transformation, which has no beginning, ends among the wrong matches where these are most, or where the
scene is nearly flat.

Reference: Hartley and Zisserman, "Multiple View Geometry in Computer Vision", section 7.2 (geometric error of a
    projective camera), damped and reweighted as in section A6.2 and A6.8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import PoseProblem, robust_scores

FloatArray = NDArray[np.float64]

_MAX_MATCHES = 600
# The calibrated pose explains a part of a picture: a wide scale reaches the rest, the usual one ends there.
_SCALE_FACTORS = (6.0, 2.0, 1.0)
_NUM_STEPS = 4  # at the most, at each of these scales
_SAME_SCORE = 5e-3  # of the pose's: it goes no further
# Of the diagonal of the normal matrix: what hardly changes what is seen, as the depth of something flat, stays.
_DAMPING = 1e-3
_LEAST_DAMPING = 1e-9  # of its trace: the camera as a whole has no scale
_TINY = 1e-300  # where nothing is in front of the camera nothing moves it


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
    view_idx = int(np.argmax(views))
    of_view = np.flatnonzero(problem.view_idxs == view_idx)[:_MAX_MATCHES]
    mounting = problem.cameras[view_idx].rig_from_camera
    points = ((problem.points3d - map_from_rig.translation) @ map_from_rig.rotation)[of_view]
    if not problem.is_one_camera:
        points = (points - mounting.translation) @ mounting.rotation
    slopes, scale = problem.pinhole[of_view] / problem.focal, scale_px / problem.focal
    depth = np.abs(points[:, 2])
    if len(points) == 0 or np.median(depth) < 1e-9:
        return 1.0
    homogeneous = np.column_stack([points / np.median(depth), np.ones(len(points))])
    products = (homogeneous[:, :, None] * homogeneous[:, None, :]).reshape(-1, 16)
    seen = _look(np.eye(3, 4), homogeneous, slopes)
    best = last = own = seen.score(scale)
    for factor in _SCALE_FACTORS:
        for _ in range(_NUM_STEPS):
            seen = _look(_step(seen, homogeneous, products, factor * scale), homogeneous, slopes)
            score = seen.score(scale)
            best, last, step = max(best, score), score, abs(score - last)
            if step < _SAME_SCORE * own:
                break
    return best / max(own, 1e-9)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a camera without calibration sees of N points.

    Attributes:
        camera: [3, 4] projection matrix, of which the points are one deep on average.
        slopes: [2, N] where it sees them; of what is behind it anything.
        errors: [2, N] these less where they were seen.
        squares: [N] squared distances, infinite behind it.
        depths: [N] 1 for what is behind it.
    """

    camera: FloatArray
    slopes: FloatArray
    errors: FloatArray
    squares: FloatArray
    depths: FloatArray

    def score(self, scale: float) -> float:
        flattened = 1.0 + self.squares / scale**2
        return float(np.sum(1.0 / (flattened * flattened)))


def _look(camera: FloatArray, homogeneous: FloatArray, slopes: FloatArray) -> _Seen:
    """Return what a camera [3, 4] sees of points [N, 4] that were seen at slopes [N, 2]."""
    rays = camera @ homogeneous.T
    mean = max(float(np.abs(rays[2]).mean()), 1e-12)
    camera, rays = camera / mean, rays / mean
    in_front = rays[2] > 1e-6
    depths = np.where(in_front, rays[2], 1.0)
    found = rays[:2] / depths
    errors = found - slopes.T
    squares = np.where(in_front, errors[0] * errors[0] + errors[1] * errors[1], np.inf)
    return _Seen(camera, found, errors, squares, depths)


def _step(seen: _Seen, homogeneous: FloatArray, products: FloatArray, scale: float) -> FloatArray:
    """Return the camera [3, 4] after a damped step of Gauss and Newton.

    Args:
        seen: by the camera before it.
        homogeneous: [N, 4] points.
        products: [N, 16] of these with themselves: every block of the normal matrix is a weighted sum of them.
        scale: of the robust cost, as a slope.
    """
    flattened = 1.0 + seen.squares / scale**2
    # Cubed, it is the weight that belongs to the robust score; a slope moves by one over the depth.
    pull = 1.0 / (flattened * flattened * flattened * seen.depths)
    weights = pull / seen.depths
    x, y = seen.slopes
    moments = np.stack([weights, weights * x, weights * y, weights * (x * x + y * y)])
    plain, by_x, by_y, both = (moments @ products).reshape(4, 4, 4)
    normal = np.zeros((12, 12))
    normal[:4, :4] = normal[4:8, 4:8] = plain
    normal[:4, 8:] = normal[8:, :4] = -by_x
    normal[4:8, 8:] = normal[8:, 4:8] = -by_y
    normal[8:, 8:] = both
    off_x, off_y = seen.errors * pull
    slope = np.stack([off_x, off_y, -(off_x * x + off_y * y)]) @ homogeneous
    diagonal = normal.ravel()[::13]
    normal.ravel()[::13] = (1.0 + _DAMPING) * diagonal + _LEAST_DAMPING * diagonal.sum() + _TINY
    return seen.camera - np.linalg.solve(normal, slope.ravel()).reshape(3, 4)
