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

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import VerificationConfig
from hfnet_ros.pose.problem import PoseProblem

FloatArray = NDArray[np.float64]

THRESHOLDS_PX = (3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # at the reference focal length
_MINIMAL_SAMPLE = 3
_REFERENCE_WIDTH_PX = 640.0
_BACKING_EVIDENCE = 3.0  # decades against chance


@dataclass(frozen=True, eq=False)
class MatchedImage:
    """Matches of one image.

    Attributes:
        points_px: [M, 2] matched keypoints.
        residuals_px: [M] their distance from where the pose puts the landmark.
        size_wh: image size, px.
        pixel_scale: px of this image in which one of the thresholds' pixels is shown.
        cells: by the side of a cell, what `_cells_of` has found; shared by all poses that explain the same matches.
    """

    points_px: FloatArray
    residuals_px: FloatArray
    size_wh: tuple[int, int]
    pixel_scale: float = 1.0
    cells: dict[float, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)


def chance_evidence(
    images: Sequence[MatchedImage],
    cell_fraction: float,
    thresholds_px: FloatArray,
    num_trials: int,
    minimal_sample: int = _MINIMAL_SAMPLE,
) -> float:
    """Return -log10 of the number of false alarms, the largest over the thresholds.

    A match is by chance within e of any given place with probability p = pi e^2 / (W H). A cell
    with m matches then holds an inlier with 1 - (1 - p)^m, and the number of such cells, over all images of a
    query, is a sum of independent coins, whose upper tail Chernoff's bound limits.

    Args:
        images: at least one.
        cell_fraction: side of a cell as a part of the longer side of its image.
        thresholds_px: distances tried.
        num_trials: poses tried.
        minimal_sample: matches that the pose goes through by construction; none of a pose that others found.
    """
    images = [image for image in images if len(image.points_px)]
    if not images:
        return 0.0
    occupied, expected = np.zeros(len(thresholds_px), np.int64), np.zeros(len(thresholds_px))
    for image in images:
        cell, matches_per_cell = _cells_of(image, cell_fraction)
        nearest = np.full(len(matches_per_cell), np.inf)
        np.fmin.at(nearest, cell, image.residuals_px)
        radii = thresholds_px[:, None] * image.pixel_scale
        occupied += np.count_nonzero(nearest < radii, axis=1)
        probability = np.minimum(1.0, np.pi * radii**2 / (image.size_wh[0] * image.size_wh[1]))
        expected += (1.0 - (1.0 - probability) ** matches_per_cell).sum(axis=1)
    best = max(map(_tail_decades, (occupied - minimal_sample).tolist(), expected.tolist()))
    return float(best - np.log10(max(num_trials, 1) * len(thresholds_px)))


def matched_image(problem: PoseProblem, residuals: FloatArray, view_idx: int) -> MatchedImage:
    """Return the matches of one view, with residuals [M] of all in px of the problem."""
    of_view = problem.rows_of(view_idx)
    points, scale = problem.correspondences.points2d[of_view], problem.view_scale(view_idx)
    size_wh = problem.cameras[view_idx].camera.size_wh
    return MatchedImage(points, residuals[of_view] * scale, size_wh, scale, problem.cells[view_idx])


def thresholds_px(problem: PoseProblem) -> FloatArray:
    """Return the distances to try, px of a problem."""
    return np.array([problem.pixels(threshold) for threshold in THRESHOLDS_PX])


def cell_fraction(limits: VerificationConfig) -> float:
    """Return the side of a cell as a part of the longer side of its image."""
    return limits.cell_size_px / _REFERENCE_WIDTH_PX


def backs(seen: MatchedImage, problem: PoseProblem, limits: VerificationConfig) -> bool:
    """Tell whether chance is no explanation for what a view sees of a pose that others found."""
    found = chance_evidence([seen], cell_fraction(limits), thresholds_px(problem), 1, minimal_sample=0)
    return found >= _BACKING_EVIDENCE


def _cells_of(image: MatchedImage, cell_fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cell [M] of each match, numbered from 0, and how many matches each cell has."""
    if cell_fraction in image.cells:
        return image.cells[cell_fraction]
    cell_px = cell_fraction * max(image.size_wh)
    columns = int(np.ceil(image.size_wh[0] / cell_px))
    cells = np.floor(np.clip(image.points_px, 0.0, None) / cell_px).astype(np.int64)
    _, cell, counts = np.unique(cells[:, 1] * columns + cells[:, 0], return_inverse=True, return_counts=True)
    image.cells[cell_fraction] = cell, counts
    return cell, counts


def _tail_decades(count: int, expected: float) -> float:
    """Return -log10 of Chernoff's bound for a sum of coins with this mean to reach `count`."""
    if count <= expected or expected <= 0.0:
        return 0.0
    return float((count * np.log(count / expected) - count + expected) / np.log(10.0))
