"""Prepare a map's points for drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_MARGIN_SHARE = 0.04
_BREAK_STEPS = 6.0


def as_points(points: ArrayLike) -> FloatArray:
    """Return points as [N, 3] float64, without those that are not finite; nothing is [0, 3].

    Raises:
        ValueError: the points are not rows of three numbers.
    """
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 3))
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"points have shape {array.shape}, expected [N, 3]")
    return array[np.isfinite(array).all(axis=1)]


def view_box(
    landmark_xyz: FloatArray, keyframe_centers: FloatArray, more: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return low and high corners [3] around all positions and the bulk of the points.

    A few points triangulated at a hundred metres must not shrink the room to a dot.
    """
    corners = [positions for positions in (keyframe_centers, more) if len(positions)]
    if len(landmark_xyz):
        corners.append(np.percentile(landmark_xyz, [2.0, 98.0], axis=0))
    if not corners:
        return -np.ones(3), np.ones(3)
    everything = np.concatenate(corners)
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = np.maximum(_MARGIN_SHARE * (high - low).max(), 0.05)
    return low - margin, high + margin


def thin(points: FloatArray, most: int) -> FloatArray:
    """Return at most `most` rows, evenly spread over the rows given."""
    if len(points) <= most:
        return points
    return points[np.linspace(0, len(points) - 1, most).astype(np.int64)]


def break_jumps(centers: FloatArray) -> FloatArray:
    """Put a row of NaN where consecutive positions are too far apart to be one drive."""
    if len(centers) < 3:
        return centers
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    jumps = np.flatnonzero(steps > _BREAK_STEPS * max(float(np.median(steps)), 1e-6)) + 1
    return np.insert(centers, jumps, np.nan, axis=0)
