"""How far two cameras' views of a point miss each other.

Reference: Hartley and Zisserman, "Multiple View Geometry in Computer Vision", section 11.4.3 (Sampson error).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3, skew

FloatArray = NDArray[np.float64]


def epipolar_distances(b_from_a: Rigid3, points_a: FloatArray, points_b: FloatArray) -> FloatArray:
    """Return signed first-order distances [M] to the epipolar constraint, in normalised image units.

    Args:
        b_from_a: pose of the first camera in the second, its translation of length one.
        points_a: [M, 2] normalised image coordinates in the first camera.
        points_b: [M, 2] in the second.
    """
    ones = np.ones((len(points_a), 1))
    rays_a, rays_b = np.hstack([points_a, ones]), np.hstack([points_b, ones])
    essential = skew(b_from_a.translation) @ b_from_a.rotation
    return sampson_distances(rays_b, rays_b @ essential, rays_a @ essential.T)


def sampson_distances(rays_b: FloatArray, lines_a: FloatArray, lines_b: FloatArray) -> FloatArray:
    """Return signed first-order distances [M] to the epipolar constraint, in normalised image units.

    Args:
        rays_b: [M, 3] (x, y, 1) in the second camera.
        lines_a: [M, 3] their epipolar lines in the first one.
        lines_b: [M, 3] epipolar lines in the second one of what the first one sees.
    """
    algebraic = np.sum(rays_b * lines_b, axis=1)
    gradient = np.sqrt(np.sum(lines_b[:, :2] ** 2, axis=1) + np.sum(lines_a[:, :2] ** 2, axis=1))
    distances: FloatArray = algebraic / np.maximum(gradient, 1e-12)
    return distances
