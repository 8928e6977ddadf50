"""Errors of matches in the real, distorted images, and what of them the depths of points are to blame for.

A point that few keyframes saw, or from nearly one direction, is known well across its rays and badly along them. From
aside that shows as an error of many pixels along one line, and least squares turns the camera to make up for it. What
lies along that line says little, and is weighed so.

Reference: Vakhitov et al., "Uncertainty-Aware Camera Pose Estimation from Points and Lines", CVPR 2021, section 3 (the
    covariance of a point in the residual).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import PoseProblem

FloatArray = NDArray[np.float64]

_SHORT = 1e-12  # px squared: where a depth shows nowhere


def turning(points: FloatArray, moving: FloatArray) -> FloatArray:
    """Return the derivative [S, 3, 2, M] by a turn of the points [S, 3, 1, M], of that by their motion."""
    x, y, z = np.moveaxis(points, 1, 0)
    by_x, by_y, by_z = np.moveaxis(moving, 1, 0)
    return np.stack([y * by_z - z * by_y, z * by_x - x * by_z, x * by_y - y * by_x], axis=1)


def image_errors(
    problem: PoseProblem, estimate: Rigid3, usable: NDArray[np.bool_], radius_px: float
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return errors [2, K] px of the K inliers, their derivative [6, 2, K], and which matches [M] these are.

    The derivative is by a motion (m, rad) of the points in the rig's frame. Pixels are of the problem's focal length.

    Args:
        problem: matches.
        estimate: map_from_rig.
        usable: [M] bool, matches that may be inliers.
        radius_px: largest error of an inlier.
    """
    # The radius in the undistorted image too: outside the lens's valid range a polynomial may
    # fold a point that is far away back into the picture.
    rows = np.flatnonzero(usable & (problem.residuals(estimate) < 4.0 * radius_px))
    points = (problem.points3d[rows] - estimate.translation) @ estimate.rotation
    residual, by_point = _project_in_views(problem, rows, points)
    with np.errstate(invalid="ignore"):
        near = np.einsum("ij,ij->i", residual, residual) < radius_px**2
    inlier = np.zeros(len(usable), np.bool_)
    inlier[rows[near]] = True
    moved = by_point[near].transpose(2, 1, 0)
    turned = turning(points[near].T[None, :, None], moved[None])[0]
    return residual[near].T, np.concatenate([moved, turned]), inlier


def _project_in_views(
    problem: PoseProblem, rows: NDArray[np.int64], points_rig: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return errors [K, 2] of some matches in distorted pixels, and their derivative by the point in the rig [K, 2, 3].

    Args:
        problem: all matches.
        rows: [K] those that are asked for.
        points_rig: [K, 3] their points in the rig's frame.
    """
    observed = problem.correspondences.points2d[rows]
    if problem.is_one_camera:
        pixels, by_point = problem.cameras[0].camera.project_with_jacobian(points_rig)
        return pixels - observed, by_point
    view_idxs = problem.view_idxs[rows]
    residual, by_rig = np.empty((len(rows), 2)), np.empty((len(rows), 2, 3))
    for view_idx, view in enumerate(problem.cameras):
        of_view = np.flatnonzero(view_idxs == view_idx)
        mounting, scale = view.rig_from_camera, problem.view_scale(view_idx)
        points = (points_rig[of_view] - mounting.translation) @ mounting.rotation
        pixels, by_point = view.camera.project_with_jacobian(points)
        residual[of_view] = (pixels - observed[of_view]) / scale
        # One product of all rows: numpy takes a stack of small matrices one by one.
        by_rig[of_view] = (by_point.reshape(-1, 3) @ (mounting.rotation.T / scale)).reshape(-1, 2, 3)
    return residual, by_rig


def weigh_by_depths(
    problem: PoseProblem,
    estimate: Rigid3,
    residual: FloatArray,
    jacobian: FloatArray,
    inlier: NDArray[np.bool_],
    scale_px: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weigh errors of inliers [2, K] and their derivative [6, 2, K] by how well depths are known, and robustly.

    The error of a keypoint that is off by a pixel (at the reference focal length), of a point whose depth is off by `a`
    pixels along a line, has the covariance I + a a'; its root is taken out of both. The robust weight is that of Geman
    and McClure.

    Args:
        problem: matches whose points' depths are known to `cones.depth_sigmas`.
        estimate: map_from_rig.
        residual: of `image_errors`, as what follows.
        jacobian: by motions of points in the rig's frame.
        inlier: [M] the K matches.
        scale_px: of the robust cost, at the reference focal length.

    Returns:
        Both, and the weights [K] of the squared errors.
    """
    assert problem.cones is not None and problem.cones.depth_sigmas is not None
    unit_px = problem.pixels(1.0)
    offsets = problem.cones.directions[inlier] * problem.cones.depth_sigmas[inlier, None]
    along = np.einsum("kim,mk->im", jacobian[:3], offsets @ estimate.rotation) / unit_px
    length = np.einsum("im,im->m", along, along)
    shrink = (1.0 - 1.0 / np.sqrt(1.0 + length)) / np.maximum(length, _SHORT)
    residual = residual - along * (shrink * np.einsum("im,im->m", along, residual))
    jacobian = jacobian - along * (shrink * np.einsum("im,kim->km", along, jacobian))[:, None]
    scale = scale_px * unit_px
    root = scale**2 / (scale**2 + np.einsum("im,im->m", residual, residual))
    return residual * root, jacobian * root, root**2
