"""Which keyframes are worth matching with each other.

All keyframes with all others would be quadratic and mostly in vain. With poses, partners are
near and look the same way, where near is meant in units of the scene's depth, so that it
works at any scale; without poses, partners look alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import MappingConfig
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.matches import filter_by_known_poses, match_pairs
from hfnet_ros.mapping.pair_matcher import PairMatcher
from hfnet_ros.mapping.views import View

FloatArray = NDArray[np.float64]
Pair = tuple[int, int]

_ANGLE_UNIT_DEG = 45.0  # a turn that costs as much as moving by half the scene's depth
_DISTANCE_UNIT_DEPTHS = 0.5
_NUM_PROBES = 24
_PROBE_RANK = 4  # this near a neighbour: near enough to match, far enough for a baseline
_MIN_PROBE_POINTS = 50
_MIN_PROBE_PARALLAX_DEG = 1.5
_MAX_EXHAUSTIVE_IMAGES = 60


def choose_pairs_by_pose(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matcher: PairMatcher,
    config: MappingConfig,
    num_threads: int,
) -> list[Pair]:
    """Choose for each view the `num_neighbors` that see most of the same things, ordered pairs.

    Args:
        views: features and poses.
        cameras: calibrations, by the views' `camera_idx`.
        matcher: finds how deep the scene is.
        config: number of neighbours and largest angle between viewing directions.
        num_threads: CPU threads.
    """
    distances, angles_deg = _distances_and_angles([view.map_from_camera for view in views])
    too_turned = angles_deg > config.max_view_angle_deg
    np.fill_diagonal(too_turned, True)
    depth = estimate_scene_depth(views, cameras, distances, angles_deg, matcher, config, num_threads)
    score = distances / (_DISTANCE_UNIT_DEPTHS * depth) + angles_deg / _ANGLE_UNIT_DEG
    return nearest_pairs(np.where(too_turned, np.inf, score), config.num_neighbors)


def choose_pairs_by_similarity(global_descriptors: NDArray[np.float32], num_neighbors: int) -> list[Pair]:
    """Choose pairs of images without poses: all of a few images, the most similar ones of many.

    Args:
        global_descriptors: [F, G] float32 unit norm.
        num_neighbors: images each image is matched with.
    """
    count = len(global_descriptors)
    if count <= _MAX_EXHAUSTIVE_IMAGES:
        return [(first, second) for first in range(count) for second in range(first + 1, count)]
    dissimilarity = 1.0 - (global_descriptors @ global_descriptors.T).astype(np.float64)
    np.fill_diagonal(dissimilarity, np.inf)
    return nearest_pairs(dissimilarity, num_neighbors)


def pairs_of_frames(stamps_ns: Sequence[int]) -> list[Pair]:
    """Return the pairs of images that cameras of a rig took at one time, by stamp."""
    by_stamp: dict[int, list[int]] = {}
    for idx, stamp_ns in enumerate(stamps_ns):
        by_stamp.setdefault(stamp_ns, []).append(idx)
    return [pair for members in by_stamp.values() for pair in itertools.combinations(members, 2)]


def estimate_scene_depth(
    views: Sequence[View],
    cameras: Sequence[Camera],
    distances: FloatArray,
    angles_deg: FloatArray,
    matcher: PairMatcher,
    config: MappingConfig,
    num_threads: int,
) -> float:
    """Return the median depth of points triangulated from a few probe pairs, in map units.

    Where the probes find too little, a stand-in of the right order: twice the median distance
    to the neighbours that will be matched anyway.
    """
    probes = _probe_pairs(distances, angles_deg)
    matches = match_pairs(matcher, [view.features for view in views], probes, 0.0, num_threads)
    agreeing = filter_by_known_poses(matches, views, cameras, config.max_epipolar_error_px)
    depths = [_pair_depths(views, cameras, pair, rows) for pair, rows in agreeing.items()]
    found = np.concatenate(depths) if depths else np.empty(0)
    if len(found) >= _MIN_PROBE_POINTS:
        return float(np.median(found))
    rank = min(config.num_neighbors, len(views) - 1)
    stand_in = 2.0 * float(np.median(np.sort(distances, axis=1)[:, rank]))
    return max(stand_in, 1e-6)


def _distances_and_angles(poses: Sequence[Rigid3]) -> tuple[FloatArray, FloatArray]:
    centers = np.array([pose.translation for pose in poses])
    axes = np.array([pose.rotation[:, 2] for pose in poses])
    distances = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    return distances, np.degrees(np.arccos(np.clip(axes @ axes.T, -1.0, 1.0)))


def nearest_pairs(score: FloatArray, num_neighbors: int) -> list[Pair]:
    """Return the pairs of each row with its lowest finite scores, each pair once, in order."""
    pairs = set()
    for row, order in enumerate(np.argsort(score, axis=1, kind="stable")[:, :num_neighbors]):
        pairs |= {(min(row, col), max(row, col)) for col in order.tolist() if np.isfinite(score[row, col])}
    return sorted(pairs)


def _probe_pairs(distances: FloatArray, angles_deg: FloatArray) -> list[Pair]:
    """Pair views spread over the sequence with a neighbour that looks the same way from aside."""
    count = len(distances)
    pairs = set()
    for row in np.unique(np.linspace(0, count - 1, min(count, _NUM_PROBES)).astype(int)).tolist():
        beside = np.where((angles_deg[row] < 30.0) & (distances[row] > 0.0), distances[row], np.inf)
        order = np.argsort(beside, kind="stable")
        order = order[np.isfinite(beside[order])]
        if len(order):
            partner = int(order[min(_PROBE_RANK, len(order)) - 1])
            pairs.add((min(row, partner), max(row, partner)))
    return sorted(pairs)


def _pair_depths(
    views: Sequence[View], cameras: Sequence[Camera], pair: Pair, rows: NDArray[np.int64]
) -> FloatArray:
    """Return the depths in the first view of matches with enough parallax.

    The law of sines in the triangle of the two centres and the point gives the distance along
    the first ray without solving for the point.
    """
    first, second = views[pair[0]], views[pair[1]]
    rays_a = cameras[first.camera_idx].unproject(first.keypoints[rows[:, 0]])
    rays_b = cameras[second.camera_idx].unproject(second.keypoints[rows[:, 1]])
    first_from_second = first.map_from_camera.inverse() @ second.map_from_camera
    rays_b = rays_b @ first_from_second.rotation.T
    baseline = first_from_second.translation
    sine_parallax = np.linalg.norm(np.cross(rays_a, rays_b), axis=1)
    along = np.linalg.norm(np.cross(baseline, rays_b), axis=1) / np.maximum(sine_parallax, 1e-9)
    # In front of both cameras: the parallax opens towards the first camera's side of the baseline.
    converging = np.sum(rays_a * baseline, axis=1) > np.sum(rays_b * baseline, axis=1)
    seen = converging & (sine_parallax > np.sin(np.radians(_MIN_PROBE_PARALLAX_DEG)))
    depths: FloatArray = (along * rays_a[:, 2])[seen]
    return depths
