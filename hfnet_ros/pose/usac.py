"""Camera poses among points by OpenCV's USAC: the second solver, where PoseLib is not installed.

OpenCV computes in single precision and accepts points behind the camera. So points are centred before they are
given to it, and which matches agree is counted here.

Reference: Raguram et al., "USAC: A universal framework for random sample consensus", PAMI 2013; Ding et al.,
    "Revisiting the P3P problem", CVPR 2023; both through OpenCV.
"""

from __future__ import annotations

import logging

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3

FloatArray = NDArray[np.float64]

_CONFIDENCE = 0.9999  # PoseLib's
_MIN_MATCHES = 4  # of three OpenCV returns one of up to four poses, whichever
_MIN_DEPTH = 1e-6

_logger = logging.getLogger(__name__)


def usac_absolute_pose(
    pinhole: FloatArray,
    points3d: FloatArray,
    focal: float,
    threshold_px: float,
    max_iterations: int,
    seed: int,
) -> tuple[Rigid3, NDArray[np.bool_]] | None:
    """Sample poses from three matches (P3P), improve each best one locally; None where nothing is found.

    Args:
        pinhole: [M, 2] undistorted pixels relative to the principal point.
        points3d: [M, 3] m, map frame.
        focal: px, of `pinhole`.
        threshold_px: largest reprojection error of an inlier.
        max_iterations: samples at the most.
        seed: of the samples; equal seeds give equal poses.

    Returns:
        map_from_camera and [M] bool, the matches in front of it within the threshold.
    """
    if len(pinhole) < _MIN_MATCHES:
        return None
    center = np.median(points3d, axis=0)
    lens = np.diag([focal, focal, 1.0])
    params = usac_params(threshold_px, max_iterations, seed)
    try:
        found, _, rotvec, translation, _ = cv2.solvePnPRansac(
            points3d - center, pinhole, lens, None, params=params
        )
    except cv2.error as error:
        _logger.debug("no pose of %d matches: %s", len(pinhole), error)
        return None
    if not found or not (np.isfinite(rotvec).all() and np.isfinite(translation).all()):
        return None
    map_from_camera = Rigid3.from_rotvec(rotvec.ravel(), translation.ravel()).inverse()
    map_from_camera = Rigid3(map_from_camera.rotation, map_from_camera.translation + center)
    points = (points3d - map_from_camera.translation) @ map_from_camera.rotation
    depth = np.maximum(points[:, 2:], _MIN_DEPTH)
    errors = np.linalg.norm(focal * points[:, :2] / depth - pinhole, axis=1)
    return map_from_camera, (points[:, 2] > _MIN_DEPTH) & (errors < threshold_px)


def usac_params(threshold: float, max_iterations: int, seed: int) -> cv2.UsacParams:
    """Return how OpenCV samples.

    Args:
        threshold: largest error of an inlier, in the unit of the image points.
        max_iterations: samples at the most.
        seed: of the samples.
    """
    params = cv2.UsacParams()
    params.threshold = threshold
    params.maxIterations = max_iterations
    params.confidence = _CONFIDENCE
    params.randomGeneratorState = seed
    params.isParallel = False  # would make the answer depend on the machine's load
    params.sampler = cv2.SAMPLING_UNIFORM
    params.score = cv2.SCORE_METHOD_MSAC
    params.loMethod = cv2.LOCAL_OPTIM_INNER_LO
    return params
