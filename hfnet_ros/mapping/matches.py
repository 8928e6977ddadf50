"""Matches between keyframes, and what the known poses say about them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera
from hfnet_ros.geometry.epipolar import epipolar_distances
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.pair_matcher import PairMatcher
from hfnet_ros.mapping.views import PairMatches, View
from hfnet_ros.types import ImageFeatures, Progress, ignore_progress

FloatArray = NDArray[np.float64]

MIN_PAIR_MATCHES = 15  # fewer say more about chance than about a shared view


def match_pairs(
    matcher: PairMatcher,
    features: Sequence[ImageFeatures],
    pairs: Sequence[tuple[int, int]],
    min_similarity: float,
    num_threads: int,
    progress: Progress = ignore_progress,
) -> PairMatches:
    """Match the images of each pair: keypoint rows [M, 2] by pair, pairs without any left out.

    Matches below `min_similarity` are left out if the matcher says how similar they are. One
    thread works on one pair. Threads inside a matrix product would wait for each other
    several times per pair, which on a busy machine took ten times as long.
    """
    matches: PairMatches = {}

    def match(pair: tuple[int, int]) -> NDArray[np.int64]:
        found = matcher.match(features[pair[0]], features[pair[1]])
        return found.rows if found.similarity is None else found.rows[found.similarity >= min_similarity]

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(num_threads) as pool:
        try:
            for done, (pair, rows) in enumerate(zip(pairs, pool.map(match, pairs), strict=True)):
                progress("match", done, len(pairs))
                if len(rows):
                    matches[pair] = rows
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    progress("match", len(pairs), len(pairs))
    return matches


def filter_by_known_poses(
    matches: PairMatches, views: Sequence[View], cameras: Sequence[Camera], max_error_px: float
) -> PairMatches:
    """Keep the matches that agree with the poses, of pairs with enough of them.

    Args:
        matches: keypoint rows [M, 2] by pair.
        views: keypoints and poses.
        cameras: calibrations, by the views' `camera_idx`.
        max_error_px: Sampson distance to the epipolar lines, at the reference focal length.
    """
    normalized = [cameras[view.camera_idx].undistort(view.keypoints) for view in views]
    kept: PairMatches = {}
    for (first, second), rows in matches.items():
        second_from_first = views[second].map_from_camera.inverse() @ views[first].map_from_camera
        error = sampson_errors(
            normalized[first][rows[:, 0]], normalized[second][rows[:, 1]], second_from_first
        )
        # Keypoints that no ray reaches have NaN here and fail the comparison.
        agreeing = rows[error <= max_error_px / REFERENCE_FOCAL_PX]
        if len(agreeing) >= MIN_PAIR_MATCHES:
            kept[first, second] = agreeing
    return kept


def sampson_errors(points_a: FloatArray, points_b: FloatArray, b_from_a: Rigid3) -> FloatArray:
    """Return first-order distances [M] to the epipolar constraint, in normalised image units.

    Two cameras at one place have no epipolar lines: then the distance is to the point where a
    pure rotation moves it.
    """
    length = np.linalg.norm(b_from_a.translation)
    if length < 1e-9:
        homogeneous_a = np.concatenate([points_a, np.ones((len(points_a), 1))], axis=1)
        rotated = homogeneous_a @ b_from_a.rotation.T
        distances: FloatArray = np.linalg.norm(rotated[:, :2] / rotated[:, 2:] - points_b, axis=1)
        return distances
    direction = Rigid3(b_from_a.rotation, b_from_a.translation / length)
    return np.abs(epipolar_distances(direction, points_a, points_b))
