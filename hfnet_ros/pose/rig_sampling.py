"""First poses of a rig of cameras without PoseLib: OpenCV has no minimal solver for several centres.

Three matches of one camera give up to four poses of the rig (P3P); each is scored on the matches of all cameras. So
an outlier of one camera is judged by all, as with PoseLib, but the three matches of a sample must lie in one
camera: a camera with fewer than three matches seeds no poses, and a rig of such cameras alone has none.

Reference: Fischler and Bolles, "Random sample consensus", CACM 1981; Chum et al., "Locally optimized RANSAC", DAGM
    2003; Ke and Roumeliotis, "An efficient algebraic solution to the perspective-three-point problem", CVPR 2017,
    through OpenCV.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import rotations_from_rotvecs
from hfnet_ros.pose.problem import PoseProblem
from hfnet_ros.pose.refinement import refine_robustly

FloatArray = NDArray[np.float64]

_SAMPLE = 3
_MIN_INLIERS = 4
_BATCH = 100  # samples between two looks at whether there were enough, PoseLib's least number
_CONFIDENCE = 0.9999  # PoseLib's
_MAX_IMPROVED, _IMPROVING_STEPS = 3, 6
_MIN_DEPTH = 1e-6
_LENS = np.eye(3)


def sample_rig_pose(
    problem: PoseProblem, rows: NDArray[np.int64], threshold_px: float, max_iterations: int, seed: int
) -> Rigid3 | None:
    """Sample poses of a rig, improve the best of each batch locally; None where no four matches agree.

    Args:
        problem: matches of several views.
        rows: positions of the matches to explain.
        threshold_px: largest reprojection error of an inlier, px of the problem.
        max_iterations: samples at the most; fewer where the best pose is so good that a better one was not missed.
        seed: of the samples; equal seeds give equal poses.

    Returns:
        map_from_rig.
    """
    matches = problem.correspondences.chosen(rows)
    part = replace(problem, correspondences=matches, pinhole=problem.pinhole[rows], cones=None)
    views = [np.flatnonzero(part.view_idxs == view_idx) for view_idx in range(len(part.cameras))]
    weights = np.array([len(of_view) if len(of_view) >= _SAMPLE else 0 for of_view in views], np.float64)
    if not weights.any():
        return None
    weights /= weights.sum()
    rng = np.random.default_rng(seed)
    best, best_score, num_drawn = None, 0.0, 0
    while num_drawn < max_iterations and not _is_enough(part, best, views, weights, threshold_px, num_drawn):
        count = min(_BATCH, max_iterations - num_drawn)
        num_drawn += count
        found = _improved(part, _draw_poses(part, views, rng.multinomial(count, weights), rng), threshold_px)
        if found is not None and found[1] > best_score:
            best, best_score = found
    if best is None or np.count_nonzero(part.residuals(best) < threshold_px) < _MIN_INLIERS:
        return None
    return best


def _draw_poses(
    part: PoseProblem,
    views: list[NDArray[np.int64]],
    counts: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Return rotations [S, 3, 3] and translations [S, 3] of map_from_rig, of some samples of each view."""
    rotations, translations = [np.zeros((0, 3, 3))], [np.zeros((0, 3))]
    for view, of_view, count in zip(part.cameras, views, counts, strict=True):
        if not count:
            continue
        # The first of a random order of each row: three different matches.
        order = np.argpartition(rng.random((count, len(of_view))), _SAMPLE - 1, axis=1)
        samples = [of_view[row[:_SAMPLE]] for row in order]
        turns, shifts = _three_point_poses(part, samples)
        # map_from_rig = map_from_camera @ camera_from_rig
        map_from_camera = turns.transpose(0, 2, 1)
        camera_from_rig = view.rig_from_camera.inverse()
        rotations.append(map_from_camera @ camera_from_rig.rotation)
        offsets = (camera_from_rig.translation - shifts)[:, None]
        translations.append(np.squeeze(offsets @ turns, axis=1))
    return np.concatenate(rotations), np.concatenate(translations)


def _three_point_poses(part: PoseProblem, samples: list[NDArray[np.int64]]) -> tuple[FloatArray, FloatArray]:
    """Return rotations [S, 3, 3] and translations [S, 3] of camera_from_map."""
    rotvecs, shifts = [np.zeros((0, 3))], [np.zeros((0, 3))]
    center = np.median(part.points3d, axis=0)
    points, rays = part.points3d - center, part.pinhole / part.focal
    for sample in samples:
        try:
            count, turns, offsets = cv2.solveP3P(
                points[sample], rays[sample], _LENS, None, flags=cv2.SOLVEPNP_AP3P
            )
        except cv2.error:  # three points on a line, or twice the same
            continue
        if count:
            rotvecs.append(np.reshape(turns, (-1, 3)))
            shifts.append(np.reshape(offsets, (-1, 3)))
    rotvec, shift = np.concatenate(rotvecs), np.concatenate(shifts)
    finite = np.isfinite(rotvec).all(axis=1) & np.isfinite(shift).all(axis=1)
    rotations = rotations_from_rotvecs(rotvec[finite])
    return rotations, shift[finite] - rotations @ center


def _improved(
    part: PoseProblem, drawn: tuple[FloatArray, FloatArray], threshold_px: float
) -> tuple[Rigid3, float] | None:
    """Return the best pose of a batch after refinement, and its score."""
    if not len(drawn[0]):
        return None
    order = np.argsort(-_scores(part, *drawn, threshold_px), kind="stable")[:_MAX_IMPROVED]
    starts = [Rigid3(drawn[0][row], drawn[1][row]) for row in order]
    refined = starts + refine_robustly(part, starts, threshold_px, _IMPROVING_STEPS)
    rotations = np.stack([pose.rotation for pose in refined])
    scores = _scores(part, rotations, np.stack([pose.translation for pose in refined]), threshold_px)
    return refined[int(scores.argmax())], float(scores.max())


def _scores(
    part: PoseProblem, rotations: FloatArray, translations: FloatArray, threshold_px: float
) -> FloatArray:
    """Return sum(max(0, 1 - e^2 / t^2)) over the matches of all cameras for each pose [S] (MSAC)."""
    total = np.zeros(len(rotations))
    for view_idx, view in enumerate(part.cameras):
        of_view = part.view_idxs == view_idx
        mounting = view.rig_from_camera
        # camera_from_map of all poses, so that one product of matrices takes the points to all of them
        turns = rotations @ mounting.rotation
        centers = np.einsum("si,sij->sj", translations, rotations) + mounting.translation
        offsets = centers @ mounting.rotation
        points = (part.points3d[of_view] @ turns.transpose(1, 0, 2).reshape(3, -1)).reshape(-1, len(turns), 3)
        x, y, depth = np.moveaxis(points - offsets, 2, 0)
        scale = part.focal / np.maximum(depth, _MIN_DEPTH)
        column, row = part.pinhole[of_view].T[:, :, None]
        agreement = 1.0 - ((x * scale - column) ** 2 + (y * scale - row) ** 2) / threshold_px**2
        total += np.sum(np.where(depth > _MIN_DEPTH, np.maximum(agreement, 0.0), 0.0), axis=0)
    return total


def _is_enough(
    part: PoseProblem,
    best: Rigid3 | None,
    views: list[NDArray[np.int64]],
    weights: FloatArray,
    threshold_px: float,
    num_drawn: int,
) -> bool:
    """Tell whether a sample of inliers of `best` alone must have been among those drawn."""
    if best is None:
        return False
    inlier = part.residuals(best) < threshold_px
    shares = np.array([inlier[of_view].mean() if len(of_view) else 0.0 for of_view in views])
    miss = 1.0 - float(weights @ shares**_SAMPLE)
    return bool(miss**num_drawn < 1.0 - _CONFIDENCE)
