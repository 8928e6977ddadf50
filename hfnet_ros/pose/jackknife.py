"""How far a pose moves when a part of its images is left out, where neighbouring matches err alike.

Least squares takes errors for independent. Those of matches on furniture that was moved by some centimetres are not,
and the pose gives way to them by many of its standard deviations.

Reference: Bell and McCaffrey, "Bias Reduction in Standard Errors for Linear Regression with Multi-Stage Samples",
    Survey Methodology 2002 (the jackknife of clusters in closed form).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.pose.problem import PoseProblem

FloatArray = NDArray[np.float64]

_PARTS_WH = (3, 2)  # of an image
_MIN_PARTS, _MIN_INLIERS = 3, 20  # of fewer chance decides
# Of a part: the others may not see a direction at all, and the pose would move along it without bound.
_LEFT_OUT = 0.95


def widen_beyond(covariance: FloatArray, spread: FloatArray, expected: FloatArray) -> FloatArray:
    """Return a covariance [6, 6] and what a spread [6, 6] has beyond an expected one, in each of their common axes."""
    root = np.linalg.cholesky(expected)
    ratio = np.linalg.solve(root, np.linalg.solve(root, spread).T)
    squares, axes = np.linalg.eigh(ratio)
    if squares[-1] <= 1.0:
        return covariance
    axes = root @ axes
    return np.asarray(covariance + (axes * np.maximum(squares - 1.0, 0.0)) @ axes.T)


def spread_of_parts(
    problem: PoseProblem, inlier: NDArray[np.bool_], residual: FloatArray, jacobian: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the covariance [6, 6] of a least-squares pose by how far it moves without each part of the images.

    And what that is on average of white noise of one pixel: more than the covariance where parts are few or alone see a
    direction. With g = J' r of a part, J' J = N, and H of all, cov(g) = N - N H^-1 N.

    Args:
        problem: the matches.
        inlier: [M] the K matches.
        residual: [2, K] px.
        jacobian: [6, 2, K] by motions of points in the rig's frame.
    """
    parts = _parts_of_images(problem, inlier)
    nums = np.bincount(parts)
    ends = np.cumsum(nums[nums > 0])
    if len(ends) < _MIN_PARTS or ends[-1] < _MIN_INLIERS:
        return np.zeros((6, 6)), np.zeros((6, 6))
    order = np.argsort(parts, kind="stable")
    rows, errors = jacobian[:, :, order], residual[:, order]
    normals, gradients = np.empty((len(ends), 6, 6)), np.empty((len(ends), 6, 1))
    for part, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        of_part = rows[:, :, start:end].reshape(6, -1)
        normals[part] = of_part @ of_part.T
        gradients[part] = of_part @ errors[:, start:end].reshape(-1, 1)
    everything = normals.sum(axis=0)
    of_noise = normals - normals @ np.linalg.solve(everything, normals)
    inverse = np.linalg.inv(everything - _LEFT_OUT * normals)
    moved = (inverse @ gradients)[:, :, 0]
    scale = 1.0 - 1.0 / len(moved)
    return scale * moved.T @ moved, scale * (inverse @ of_noise @ inverse).sum(axis=0)


def _parts_of_images(problem: PoseProblem, inlier: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return in which part of which image each inlier [K] lies, as a number."""
    views = problem.view_idxs[inlier]
    sizes = np.array([view.camera.size_wh for view in problem.cameras], np.float64)
    cells = (problem.correspondences.points2d[inlier] * (_PARTS_WH / sizes)[views]).astype(np.int64)
    columns, rows = np.clip(cells, 0, np.array(_PARTS_WH) - 1).T
    return np.asarray((views * _PARTS_WH[1] + rows) * _PARTS_WH[0] + columns)
