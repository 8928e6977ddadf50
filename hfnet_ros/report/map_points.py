"""Prepare a map's points for drawing."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hfnet_ros.map.map_points import MapPoints

Row = TypeVar("Row", bound=np.generic)
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


def points_with_colors(map_points: MapPoints) -> tuple[FloatArray, NDArray[np.uint8] | None]:
    """Return finite landmarks [N, 3] and their colours [N, 3]; None without colours or landmarks.

    Raises:
        ValueError: points are not [L, 3], or there is not one colour per landmark.
    """
    raw = np.asarray(map_points.landmark_xyz, dtype=np.float64)
    points = as_points(raw)
    if map_points.landmark_colors is None or len(raw) == 0:
        return points, None
    colors = np.asarray(map_points.landmark_colors, dtype=np.uint8)
    if colors.shape != raw.shape:
        raise ValueError(f"colours have shape {colors.shape}, expected {raw.shape}: one RGB per landmark")
    return points, colors[np.isfinite(raw).all(axis=1)]


def axes_from_above(box: tuple[FloatArray, FloatArray]) -> tuple[int, int]:
    """Return which axes point to the right and up: the longer of x and y lies."""
    extent = box[1] - box[0]
    return (0, 1) if extent[0] >= extent[1] else (1, 0)


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


def thin(rows: NDArray[Row], most: int) -> NDArray[Row]:
    """Return at most `most` rows, evenly spread over the rows given."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def break_jumps(centers: FloatArray) -> FloatArray:
    """Put a row of NaN where consecutive positions are too far apart to be one drive."""
    if len(centers) < 3:
        return centers
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    jumps = np.flatnonzero(steps > _BREAK_STEPS * max(float(np.median(steps)), 1e-6)) + 1
    return np.insert(centers, jumps, np.nan, axis=0)
