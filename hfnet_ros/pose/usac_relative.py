"""Poses of a second camera beside a first by OpenCV's USAC: the second solver, where PoseLib is not installed.

Reference: Nister, "An efficient solution to the five-point relative pose problem", PAMI 2004; Malis and Vargas,
    "Deeper understanding of the homography decomposition for vision-based control", INRIA 2007; both through OpenCV.
"""

from __future__ import annotations

import logging

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.epipolar import epipolar_distances
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.usac import usac_params

FloatArray = NDArray[np.float64]

_MIN_MATCHES = 6  # of five OpenCV returns one of up to ten poses, whichever
_MIN_LENGTH = 1e-9  # of a baseline, where the distance of the plane is one
_MAX_REFINED, _CONTENDER_RATIO = 3, 0.8
_REFINEMENTS = 3

_logger = logging.getLogger(__name__)


def usac_relative_pose(
    points_a: FloatArray, points_b: FloatArray, threshold: float, max_iterations: int, seed: int
) -> tuple[Rigid3, NDArray[np.bool_]] | None:
    """Sample essential matrices from five matches, take the pose before which most of them lie.

    Args:
        points_a: [M, 2] normalised image coordinates in the first camera.
        points_b: [M, 2] in the second.
        threshold: largest Sampson distance of an inlier, in the same unit.
        max_iterations: samples at the most.
        seed: of the samples; equal seeds give equal poses.

    Returns:
        b_from_a, its translation of length one, and [M] bool, the matches within the threshold that meet in front
        of both cameras; None where nothing is found.
    """
    if len(points_a) < _MIN_MATCHES:
        return None
    starts = _essential_poses(points_a, points_b, usac_params(threshold, max_iterations, seed))
    # OpenCV stops at the first pose that most matches agree with; a plane has two of them.
    starts += _plane_poses(points_a, points_b, usac_params(threshold, max_iterations, seed))
    if not starts:
        return None
    counts = [agreeing_matches(start, points_a, points_b, threshold).sum() for start in starts]
    order = [row for row in np.argsort(counts)[::-1] if counts[row] >= _CONTENDER_RATIO * max(counts)]
    likely = [starts[row] for row in order[:_MAX_REFINED]]
    found = [_refined(start, points_a, points_b, threshold) for start in likely]
    distances = [np.abs(epipolar_distances(pose, points_a, points_b)) for pose in found]
    best = found[int(np.argmin([np.sum(np.minimum(some, threshold) ** 2) for some in distances]))]
    return best, agreeing_matches(best, points_a, points_b, threshold)


def _essential_poses(points_a: FloatArray, points_b: FloatArray, params: cv2.UsacParams) -> list[Rigid3]:
    """Return the four poses of the essential matrix that most matches agree with."""
    lens = np.eye(3)
    try:
        essential, _ = cv2.findEssentialMat(points_a, points_b, lens, lens, None, None, params)
    except cv2.error as error:
        _logger.debug("no essential matrix of %d matches: %s", len(points_a), error)
        return []
    if essential is None or essential.shape != (3, 3) or not np.isfinite(essential).all():
        return []
    first, second, direction = (np.asarray(part, np.float64) for part in cv2.decomposeEssentialMat(essential))
    return [Rigid3(turn, sign * direction.ravel()) for turn in (first, second) for sign in (1.0, -1.0)]


def _plane_poses(points_a: FloatArray, points_b: FloatArray, params: cv2.UsacParams) -> list[Rigid3]:
    """Return the poses of the plane that most matches lie on."""
    try:
        homography, _ = cv2.findHomography(points_a, points_b, params)
    except cv2.error as error:
        _logger.debug("no plane of %d matches: %s", len(points_a), error)
        return []
    if homography is None or not np.isfinite(homography).all():
        return []
    _, turns, offsets, _ = cv2.decomposeHomographyMat(homography, np.eye(3))
    lengths = [float(np.linalg.norm(offset)) for offset in offsets]
    return [
        Rigid3(np.asarray(turn, np.float64), np.asarray(offset.ravel() / length, np.float64))
        for turn, offset, length in zip(turns, offsets, lengths, strict=True)
        if length > _MIN_LENGTH and np.isfinite(turn).all()
    ]


def _refined(b_from_a: Rigid3, points_a: FloatArray, points_b: FloatArray, threshold: float) -> Rigid3:
    """Minimise the truncated Sampson distances over rotation and direction.

    OpenCV's own last step fits the essential matrix linearly, which a plane leaves undetermined.
    """
    from scipy.optimize import least_squares  # slow to import, and asked for when maps are made only

    def moved(step: FloatArray) -> Rigid3:
        turn = Rigid3.from_rotvec(step[:3], np.zeros(3))
        direction = b_from_a.translation + step[3:] @ tangent
        return Rigid3(turn.rotation @ b_from_a.rotation, direction / np.linalg.norm(direction))

    def distances(step: FloatArray) -> FloatArray:
        return epipolar_distances(moved(step), points_a[near], points_b[near])

    for _ in range(_REFINEMENTS):
        tangent = np.linalg.svd(b_from_a.translation[None])[2][1:]
        near = np.abs(epipolar_distances(b_from_a, points_a, points_b)) < threshold
        if np.count_nonzero(near) < _MIN_MATCHES:
            break
        b_from_a = moved(least_squares(distances, np.zeros(5), method="lm", max_nfev=60).x)
    return b_from_a


def agreeing_matches(
    b_from_a: Rigid3, points_a: FloatArray, points_b: FloatArray, threshold: float
) -> NDArray[np.bool_]:
    """Tell which matches [M] of two cameras lie within a Sampson distance and meet in front of both.

    Args:
        b_from_a: pose of the first camera in the second.
        points_a: [M, 2] normalised image coordinates in the first.
        points_b: [M, 2] in the second.
        threshold: in the same unit.
    """
    distances = np.abs(epipolar_distances(b_from_a, points_a, points_b))
    ones = np.ones((len(points_a), 1))
    rays_a, rays_b = np.hstack([points_a, ones]) @ b_from_a.rotation.T, np.hstack([points_b, ones])
    return (distances < threshold) & _meet_in_front(rays_a, rays_b, b_from_a.translation)


def _meet_in_front(rays_a: FloatArray, rays_b: FloatArray, baseline: FloatArray) -> NDArray[np.bool_]:
    """Tell where s a + t = r b, solved by least squares for s and r, has both of them positive."""
    aa, bb, ab = (
        np.sum(one * other, axis=1) for one, other in ((rays_a, rays_a), (rays_b, rays_b), (rays_a, rays_b))
    )
    along_a, along_b = rays_a @ baseline, rays_b @ baseline
    # The determinant aa bb - ab^2 is positive; its sign alone would decide.
    return (ab * along_b - bb * along_a > 0) & (aa * along_b - ab * along_a > 0)
