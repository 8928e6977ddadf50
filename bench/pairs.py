"""How well do two images tell how they lie to each other, by XFeat and by XFeat*?

    export HFNET_ROS_WEIGHTS=../shared/weights   # the folder of xfeat.pt, or: hfnet-ros weights fetch xfeat.pt
    python bench/pairs.py --photos photos --num-pairs 40

XFeat: 4096 keypoints, each other's most similar ones. XFeat*: 10,000 cells, refined; once more with cells and
offsets read as the published code does. Photographs are warped under a change of light (`bench/features.py`): area
under the curve of the corners' mean error, 3/5/10 px, of a homography by MAGSAC. Pairs of a generated apartment
share between a fifth and half of what they see, from half a metre apart: area under the curve of the larger of the
errors of rotation and direction, 5/10/20 deg, of an essential matrix by PoseLib, 2.5 px, as published evaluations do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import poselib
from features import LEVELS, MILD_LIGHT, STRONG_LIGHT, area_under_curve, corner_error
from threadpoolctl import threadpool_limits

from hfnet_ros.config import Config, ExtractorConfig, InferenceConfig
from hfnet_ros.features.fine_matcher import load_fine_matcher
from hfnet_ros.features.weights import find_weights
from hfnet_ros.features.xfeat import XFeatExtractor
from hfnet_ros.features.xfeat_network import load_xfeat_weights
from hfnet_ros.features.xfeat_star import SemiDenseExtractor
from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.semidense import match_cells
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.scene import (
    Gait,
    SensorModel,
    build_apartment,
    demo_camera,
    mapping_walk,
    query_walk,
    render,
    render_depth,
)
from hfnet_ros.training.augmentation import draw_homography

MIN_SIDE = 240  # smaller photographs have next to no cells
MIN_BASELINE_M, OVERLAP = 0.5, (0.2, 0.5)
MAX_ERROR_PX = 2.5
Points = tuple[np.ndarray, np.ndarray]
Found = dict[str, Points]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--num-pairs", type=int, default=40, help="of each kind")
    parser.add_argument("--seeds", type=int, nargs="+", default=[911, 912], help="apartments")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    match = _matcher(options.threads, seconds)
    with threadpool_limits(1, "blas"):
        if options.photos:
            for level in LEVELS:
                _print(
                    f"photos, {level}", _warped(match, options.photos, level, options.num_pairs), (3, 5, 10)
                )
        seconds.clear()
        _print("apartment", _rendered(match, options.seeds, options.num_pairs), (5, 10, 20))
    print(
        {name: round(1e3 * float(np.median(values))) for name, values in seconds.items()}, "ms a 640x480 pair"
    )


def _matcher(threads: int, seconds: dict[str, list[float]]) -> Callable[[np.ndarray, np.ndarray], Found]:
    path = find_weights("xfeat.pt")
    weights, fine = load_xfeat_weights(path), load_fine_matcher(path)
    config = Config(
        extractor=ExtractorConfig(max_keypoints=4096), inference=InferenceConfig(num_threads=threads)
    )
    sparse, dense = XFeatExtractor(weights, config), SemiDenseExtractor(weights, config)

    def match(first: np.ndarray, second: np.ndarray) -> Found:
        start = time.perf_counter()
        a, b = sparse.extract(first).local, sparse.extract(second).local
        rows_a, rows_b, _ = mutual_nearest(a.descriptors, b.descriptors)
        middle = time.perf_counter()
        cells_a, cells_b = dense.cells(first), dense.cells(second)
        found = match_cells(cells_a, cells_b, fine)
        end = time.perf_counter()
        seconds.setdefault("XFeat", []).append(middle - start)
        seconds.setdefault("XFeat*", []).append(end - middle)
        # The published code adds offsets 1 px shorter to upper left corners, 4 px from the middles, and no half pixel.
        size_a, size_b = cells_a.pixel_sizes[found.rows[:, 0]], cells_b.pixel_sizes[found.rows[:, 1]]
        return {
            "XFeat": (a.keypoints[rows_a], b.keypoints[rows_b]),
            "XFeat*": (found.points_first, found.points_second),
            "XFeat*, published corners": (
                found.points_first + 0.5 - 5.0 * size_a,
                found.points_second + 0.5 - 4.0 * size_b,
            ),
        }

    return match


def _warped(
    match: Callable[[np.ndarray, np.ndarray], Found], folder: Path, level: str, count: int
) -> dict[str, list[tuple[float, int]]]:
    """Return the mean error of corners, px, and the number of matches of each pair."""
    errors: dict[str, list[tuple[float, int]]] = {}
    photos = [path for path in list_images(folder) if min(read_image(path).shape[:2]) >= MIN_SIDE]
    for number, index in enumerate(np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)):
        image = read_image(photos[index])
        color = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        rng = np.random.default_rng([7, number])
        size_wh = (color.shape[1], color.shape[0])
        homography = draw_homography(size_wh, rng, LEVELS[level])
        sensor = STRONG_LIGHT if level == "hard" else MILD_LIGHT
        warped = sensor.expose(cv2.warpPerspective(color, homography, size_wh), rng)
        for name, points in match(color, warped).items():
            errors.setdefault(name, []).append((corner_error(*points, homography, size_wh), len(points[0])))
    return errors


def _rendered(
    match: Callable[[np.ndarray, np.ndarray], Found], seeds: list[int], count: int
) -> dict[str, list[tuple[float, int]]]:
    """Return the error of the pose, deg, and the number of matches of each pair."""
    errors: dict[str, list[tuple[float, int]]] = {}
    for seed in seeds:
        for first, second, second_from_first in _pairs(seed, count // len(seeds)):
            for name, points in match(first, second).items():
                errors.setdefault(name, []).append((_pose_error(*points, second_from_first), len(points[0])))
    return errors


def _pairs(seed: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray, Rigid3]]:
    scene, sensor, rng = build_apartment(seed, 3), SensorModel(), np.random.default_rng(seed)
    camera = demo_camera()
    poses = [pose for walk in (mapping_walk, query_walk) for _, pose in walk(scene, Gait(rate_hz=0.7))]
    small = camera.resized((80, 60))
    depths = [render_depth(scene, small, pose) for pose in poses]
    drawn = 0
    while drawn < count:
        one, other = (int(index) for index in rng.integers(len(poses), size=2))
        if poses[one].translation_to(poses[other]) < MIN_BASELINE_M:
            continue
        shares = [
            _share_seen(small, poses[a], depths[a], poses[b], depths[b])
            for a, b in ((one, other), (other, one))
        ]
        if OVERLAP[0] <= min(shares) < OVERLAP[1]:
            drawn += 1
            images = [sensor.expose(render(scene, camera, poses[idx]), rng) for idx in (one, other)]
            yield images[0], images[1], poses[other].inverse() @ poses[one]


def _share_seen(
    camera, first: Rigid3, first_depth: np.ndarray, second: Rigid3, second_depth: np.ndarray
) -> float:
    """Return the share of the first view that the second one sees, walls considered."""
    rows, columns = np.indices(first_depth.shape)
    slopes = camera.undistort(np.stack([columns.ravel(), rows.ravel()], axis=1))
    rays = np.column_stack([slopes, np.ones(len(slopes))])
    seen = (second.inverse() @ first) @ (rays * first_depth.reshape(-1, 1))
    at = camera.project(seen)
    width, height = camera.size_wh
    with np.errstate(invalid="ignore"):
        inside = ((at >= 0) & (at <= [width - 1, height - 1])).all(axis=1)
    x, y = np.rint(np.where(inside[:, None], at, 0.0)).astype(int).T
    return float((inside & (np.abs(second_depth[y, x] / seen[:, 2] - 1.0) < 0.05)).mean())


def _pose_error(first: np.ndarray, second: np.ndarray, second_from_first: Rigid3) -> float:
    """Return the larger of the errors of rotation and of the direction of translation, deg."""
    camera = demo_camera()
    focal = float(camera.focal.mean())
    rays = [camera.undistort(points) * focal for points in (first, second)]
    known = np.isfinite(np.concatenate(rays, axis=1)).all(axis=1)
    if known.sum() < 8:
        return np.inf
    pinhole = {"model": "SIMPLE_PINHOLE", "width": 640, "height": 480, "params": [focal, 0.0, 0.0]}
    options = {
        "max_epipolar_error": MAX_ERROR_PX,
        "success_prob": 0.99999,
        "min_iterations": 20,
        "max_iterations": 1000,
    }
    found, _ = poselib.estimate_relative_pose(rays[0][known], rays[1][known], pinhole, pinhole, options, {})
    truth = second_from_first.translation / np.linalg.norm(second_from_first.translation)
    direction = np.degrees(np.arccos(np.clip(truth @ found.t / np.linalg.norm(found.t), -1.0, 1.0)))
    cosine = (np.trace(found.R.T @ second_from_first.rotation) - 1.0) / 2.0
    # Of an essential matrix the sign is chosen by points in front of both cameras; published evaluations give it away.
    return float(max(min(direction, 180.0 - direction), np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))


def _print(kind: str, errors: dict[str, list[tuple[float, int]]], limits: tuple[int, ...]) -> None:
    for name, values in errors.items():
        off, matches = np.array(values).T
        areas = " ".join(f"{100.0 * area_under_curve(off, limit):5.1f}" for limit in limits)
        print(
            f"{kind:16s} {len(off):3d} pairs  {name:26s} AUC@{limits} {areas}   {matches.mean():5.0f} matches",
            flush=True,
        )


if __name__ == "__main__":
    main()
