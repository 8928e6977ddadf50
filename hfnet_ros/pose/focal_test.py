"""Is the image of its calibration? Ask whether another focal length explains the matches better.

A camera that crops, zooms or runs in another mode at the same image size shows the place as from nearer or farther. In
rooms a pose that is off by a quarter of the depth then fits most matches within a few pixels, and nothing else about it
looks wrong. Points at different depths tell: the focal length is estimated beside the pose, from the pose on.

Reference: Hartley and Zisserman, "Multiple View Geometry in Computer Vision", section 7.4 (restricted camera
    estimation), reweighted as in section A6.8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.image_errors import turning
from hfnet_ros.pose.problem import PoseProblem

FloatArray = NDArray[np.float64]

_MAX_MATCHES = 400
# The pose explains a part of a zoomed image only: a wide scale reaches the rest.
_SCALE_FACTORS = (6.0, 6.0, 6.0, 2.0, 2.0, 1.0, 1.0)
_LEAST_DAMPING = 1e-9  # of the trace of the normal matrix
_LARGEST = 5.0  # times the calibration's, up or down


def focal_ratio(problem: PoseProblem, map_from_camera: Rigid3, scale_px: float) -> tuple[float, float] | None:
    """Return the focal length of the matches over that of the calibration, and its standard deviation.

    None of a rig, whose cameras tell by each other, and where the matches leave it open.

    Args:
        problem: the matches.
        map_from_camera: the pose.
        scale_px: scale of the robust cost that ranked it.
    """
    if not problem.is_one_camera:
        return None
    # Some of all: matches come place by place, and those of one wall leave it open.
    num_matches = len(problem.points3d)
    some = np.linspace(0, num_matches - 1, min(num_matches, _MAX_MATCHES)).astype(int)
    points = (problem.points3d[some] - map_from_camera.translation) @ map_from_camera.rotation
    slopes = problem.pinhole[some].T / problem.focal
    ratio, pose, sigma = 1.0, Rigid3.identity(), np.inf
    for factor in _SCALE_FACTORS:
        in_camera = (pose @ points).T
        in_front = in_camera[2] > 1e-6
        jacobian, errors = _linearized(in_camera[:, in_front], slopes[:, in_front], ratio)
        squares = np.einsum("in,in->n", errors, errors)
        # Cubed, it is the weight that belongs to the robust score.
        weights = 1.0 / (1.0 + squares / (factor * scale_px / problem.focal) ** 2) ** 3
        weighted = (weights * jacobian).reshape(7, -1)
        normal = weighted @ jacobian.reshape(7, -1).T
        trace = float(np.trace(normal))
        if not np.isfinite(trace) or trace <= 0.0:
            return None
        inverse = np.linalg.inv(normal + _LEAST_DAMPING * trace * np.eye(7))
        step = -inverse @ (weighted @ errors.ravel())
        pose = Rigid3.from_rotvec(step[3:6], step[:3]) @ pose
        ratio += float(step[6])
        if not 1.0 / _LARGEST < ratio < _LARGEST:
            return None
        variance = float(weights @ squares) / max(2.0 * float(weights.sum()) - 7.0, 1.0)
        sigma = float(np.sqrt(variance * inverse[6, 6]))
    return ratio, sigma


def _linearized(in_camera: FloatArray, slopes: FloatArray, ratio: float) -> tuple[FloatArray, FloatArray]:
    """Return derivatives [7, 2, N] by motion (x y z rx ry rz) and ratio, and errors [2, N], of points [3, N]."""
    depth = in_camera[2]
    seen = in_camera[:2] / depth
    moved = np.zeros((3, 2, len(depth)))
    moved[0, 0] = moved[1, 1] = ratio / depth
    moved[2] = -ratio * seen / depth
    turned = turning(in_camera[None, :, None], moved[None])[0]
    return np.concatenate([moved, turned, seen[None]]), ratio * seen - slopes
