"""How unlikely chance is as the explanation of a pose's inliers.

Counting inliers proves little: unrelated photographs reach dozens, in clusters on repeated
texture. The a-contrario argument asks instead how often matches scattered at random would give
as much. Three corrections make it hold on real images:

- inliers count once per image cell, because neighbouring matches are not independent;
- three matches are set aside, because a pose goes through three points by construction;
- the number of poses and thresholds tried is charged.

Reference: Moisan and Stival, "A probabilistic criterion to detect rigid point matches between
two images and estimate the fundamental matrix", IJCV 2004; Moulon et al., "Adaptive structure
from motion with a contrario model estimation", ACCV 2012.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

THRESHOLDS_PX = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # at the reference focal length
_MINIMAL_SAMPLE = 3


def chance_evidence(
    points_px: FloatArray,
    residuals_px: FloatArray,
    size_wh: tuple[int, int],
    cell_px: float,
    thresholds_px: FloatArray,
    num_trials: int,
) -> float:
    """Return -log10 of the number of false alarms, the largest over the thresholds.

    A match is by chance within e of any given place with probability p = pi e^2 / (W H). A cell
    with m matches then holds an inlier with 1 - (1 - p)^m, and the number of such cells is a sum
    of independent coins, whose upper tail Chernoff's bound limits.

    Args:
        points_px: [M, 2] matched keypoints.
        residuals_px: [M] their distance from where the pose puts the landmark.
        size_wh: image size, px.
        cell_px: side of a cell.
        thresholds_px: distances tried.
        num_trials: poses tried.
    """
    if len(points_px) == 0:
        return 0.0
    columns = int(np.ceil(size_wh[0] / cell_px))
    cells = np.floor(np.clip(points_px, 0.0, None) / cell_px).astype(np.int64)
    _, cell, matches_per_cell = np.unique(
        cells[:, 1] * columns + cells[:, 0], return_inverse=True, return_counts=True
    )
    best = -np.inf
    for threshold in thresholds_px:
        occupied = len(np.unique(cell[residuals_px < threshold]))
        probability = min(1.0, np.pi * threshold**2 / (size_wh[0] * size_wh[1]))
        expected = float(np.sum(1.0 - (1.0 - probability) ** matches_per_cell))
        best = max(best, _tail_decades(occupied - _MINIMAL_SAMPLE, expected))
    return float(best - np.log10(max(num_trials, 1) * len(thresholds_px)))


def _tail_decades(count: int, expected: float) -> float:
    """Return -log10 of Chernoff's bound for a sum of coins with this mean to reach `count`."""
    if count <= expected or expected <= 0.0:
        return 0.0
    return float((count * np.log(count / expected) - count + expected) / np.log(10.0))
