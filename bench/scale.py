"""What a map costs as it grows: opening it, holding it, asking it.

    python bench/scale.py --map kitchen.map --images query --camera camera.yaml --every 5 --work /tmp/scale

Tiles a real map to 100, 1,000, 10,000 and 100,000 keyframes: each tile is moved, its global descriptors are rotated
(a signed permutation of their numbers, another for each tile), so that it is another place that is as large as the
real one. Each map is written, then opened and asked in a process of its own, with features that were extracted
before: neither the network nor its memory is in the figures. Each query is of the tile whose rotation its descriptor
gets. Prints a line per size and the growth from step to step; asserts nothing. 100,000 keyframes take some 5 GB of
disk, 12 GB of memory while they are written, and ten minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.search_structure import SearchStructure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap, with_search

SIZES = (100, 1_000, 10_000, 100_000)
NUM_QUERIES = 50
TILE_SPACING_M = 100.0


def rotation_of(tile: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return permutation and signs [G] of a tile; the first one's leave everything as it is."""
    if tile == 0:
        return np.arange(size), np.ones(size, np.int8)
    rng = np.random.default_rng(tile)
    return rng.permutation(size), rng.choice(np.array([-1, 1], np.int8), size)


def offset_of(tile: int) -> np.ndarray:
    side = 1000
    return np.array([TILE_SPACING_M * (tile % side), TILE_SPACING_M * (tile // side), 0.0])


def tiled(base: VisualMap, count: int) -> VisualMap:
    """Return the map `count` times, each in another place."""
    base = with_search(base)
    search = base.search
    assert search is not None
    num_keyframes, num_landmarks = base.num_keyframes, base.num_landmarks

    def repeated(array: np.ndarray) -> np.ndarray:
        return np.tile(array, (count,) + (1,) * (array.ndim - 1))

    def counted(idx: np.ndarray, step: int) -> np.ndarray:
        return (idx[None] + step * np.arange(count, dtype=np.int64)[:, None]).ravel().astype(idx.dtype)

    def offsets(of_one: np.ndarray) -> np.ndarray:
        steps = of_one[-1] * np.arange(count, dtype=np.int64)
        return np.append((of_one[None, :-1] + steps[:, None]).ravel(), of_one[-1] * count)

    codes = base.global_descriptors.codes
    turned = np.empty((count, *codes.shape), np.int8)
    moved = np.empty((count, num_landmarks, 3))
    poses = np.empty((count, num_keyframes, 7))
    given = np.empty((count, num_keyframes, 7))
    for tile in range(count):
        order, signs = rotation_of(tile, codes.shape[1])
        turned[tile] = codes[:, order] * signs
        moved[tile] = base.landmark_xyz + offset_of(tile)
        poses[tile] = base.keyframe_poses
        poses[tile, :, :3] += offset_of(tile)
        given[tile] = base.given_poses
        given[tile, :, :3] += offset_of(tile)
    described = UnitVectors(turned.reshape(-1, codes.shape[1]))
    structure = SearchStructure(
        search.words,
        repeated(search.landmark_words),
        offsets(search.covisible_offsets),
        counted(search.covisible_keyframe_idx, num_keyframes),
        repeated(search.covisible_counts),
    )
    return dataclasses.replace(
        base,
        keyframe_names=[f"{tile}/{name}" for tile in range(count) for name in base.keyframe_names],
        keyframe_stamps_ns=repeated(base.keyframe_stamps_ns),
        keyframe_camera_idx=repeated(base.keyframe_camera_idx),
        keyframe_poses=poses.reshape(-1, 7),
        observation_offsets=offsets(base.observation_offsets),
        observation_landmark_idx=counted(base.observation_landmark_idx, num_landmarks),
        observation_xy=PixelPositions(repeated(base.observation_xy.codes), base.observation_xy.steps_per_px),
        landmark_xyz=moved.reshape(-1, 3),
        landmark_descriptors=UnitVectors(repeated(base.landmark_descriptors.codes)),
        landmark_view_directions=repeated(base.landmark_view_directions),
        landmark_distance_ranges=repeated(base.landmark_distance_ranges),
        landmark_colors=repeated(base.landmark_colors),
        global_descriptors=described,
        observation_descriptors=None,
        given=base.given and dataclasses.replace(base.given, keyframe_poses=given.reshape(-1, 7)),
        search=structure,
        codes=None,
    )


def extract(options: argparse.Namespace, file: Path) -> None:
    """Write the features of the queries."""
    from hfnet_ros.config import Config
    from hfnet_ros.features.extractor import create_extractor, with_extractor_of
    from hfnet_ros.files.images import list_images, read_image

    visual_map = load_map(options.map)
    extractor = create_extractor(with_extractor_of(Config(), visual_map.extractor_id))
    arrays: dict[str, np.ndarray] = {}
    for number, path in enumerate(list_images(options.images)[:: options.every][:NUM_QUERIES]):
        features = extractor.extract(read_image(path))
        if features.global_descriptor is None:
            sys.exit(
                "the map's extractor has no global head: a VLAD cannot be rotated; take hfnet or xfeat+hfnet"
            )
        arrays[f"{number}.keypoints"] = features.local.keypoints
        arrays[f"{number}.scores"] = features.local.scores
        arrays[f"{number}.descriptors"] = features.local.descriptors
        arrays[f"{number}.global"] = features.global_descriptor
    extractor.close()
    np.savez(file, **arrays)


def measure(path: Path, features_file: Path, camera_file: Path, num_keyframes_of_one: int) -> dict[str, Any]:
    """Open a map and ask it, in this process."""
    from hfnet_ros.config import Config
    from hfnet_ros.files.camera_yaml import read_camera_yaml
    from hfnet_ros.localization.landmark_model import LandmarkModel
    from hfnet_ros.localization.localizer import Localizer
    from hfnet_ros.retrieval.index import create_index
    from hfnet_ros.types import ImageFeatures, LocalFeatures

    stored = dict(np.load(features_file))
    camera, config = read_camera_yaml(camera_file), Config()
    before = resident_mb()
    started = time.perf_counter()
    visual_map = LandmarkModel.load(path).visual_map
    localizer = Localizer(visual_map, Described(visual_map.extractor_id), config)
    opened_s, opened_mb = time.perf_counter() - started, resident_mb()
    num_tiles = visual_map.num_keyframes // num_keyframes_of_one
    rng = np.random.default_rng(1)
    times_ms, right, found_of_tile = [], 0, 0
    queries = [name.split(".")[0] for name in stored if name.endswith(".global")]
    size = visual_map.global_descriptors.shape[1]
    descriptors = []
    for number in queries:
        tile = int(rng.integers(num_tiles))
        order, signs = rotation_of(tile, size)
        local = LocalFeatures(
            *(stored[f"{number}.{part}"] for part in ("keypoints", "scores", "descriptors"))
        )
        turned = stored[f"{number}.global"][order] * signs
        descriptors.append(turned)
        features = ImageFeatures(local, turned, visual_map.extractor_id)
        start = time.perf_counter()
        answer = localizer.localize_features(features, camera, 0)
        times_ms.append(1e3 * (time.perf_counter() - start))
        if answer.estimate is not None:
            right += 1
            position = answer.estimate.map_from_camera.translation - offset_of(tile)
            found_of_tile += bool(np.abs(position[:2]).max() < 0.5 * TILE_SPACING_M)
    asked_mb = resident_mb()
    index = create_index(visual_map.global_descriptors, visual_map.codes, config.retrieval)
    return {
        "keyframes": visual_map.num_keyframes,
        "open_s": opened_s,
        "opened_mb": opened_mb,
        "before_mb": before,
        "asked_mb": asked_mb,
        "p50_ms": float(np.percentile(times_ms, 50)),
        "p95_ms": float(np.percentile(times_ms, 95)),
        "max_ms": float(np.max(times_ms)),
        "localized": right,
        "in_its_tile": found_of_tile,
        "queries": len(queries),
        "recall_at_10": recall_at(10, index, visual_map.global_descriptors, descriptors),
    }


def recall_at(count: int, index: Any, database: UnitVectors, descriptors: list[np.ndarray]) -> float:
    """Return the share of the exact `count` nearest that the index finds; reads all descriptors by parts."""
    asked = np.stack(descriptors)
    similarity = [database[start : start + 8192] @ asked.T for start in range(0, len(database), 8192)]
    exact = np.concatenate(similarity)
    shared = 0
    for query, descriptor in enumerate(descriptors):
        nearest = set(np.argsort(-exact[:, query], kind="stable")[:count].tolist())
        shared += len(nearest & {hit.keyframe_idx for hit in index.search(descriptor, count)})
    return shared / (count * len(descriptors))


class Described:
    """Stands where a localizer wants an extractor and only features will come."""

    backend = "none"

    def __init__(self, extractor_id: str) -> None:
        self.extractor_id = extractor_id

    def extract(self, _image: Any) -> Any:
        raise RuntimeError("features were expected, not an image")

    def close(self) -> None:
        pass


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--camera", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tiled maps")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--keep", action="store_true", help="leave the tiled maps there")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    features = options.work / "features.npz"
    if options.measure:
        print(json.dumps(measure(options.map, features, options.camera, options.measure)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    extract(options, features)
    base = load_map(options.map)
    print(
        f"{'keyframes':>10s} {'open s':>8s} {'MB opened':>10s} {'MB asked':>9s} {'p50 ms':>8s} {'p95 ms':>8s} "
        f"{'max ms':>8s} {'localized':>10s} {'recall@10':>10s}"
    )
    before: dict[str, Any] | None = None
    for size in options.sizes:
        count = max(1, round(size / base.num_keyframes))
        path = options.work / f"{size}.map"
        save_map(tiled(base, count), path)
        command = [sys.executable, __file__, "--map", str(path), "--images", str(options.images)]
        command += ["--camera", str(options.camera), "--work", str(options.work)]
        command += ["--measure", str(base.num_keyframes)]
        best = min((_asked(command) for _ in range(3)), key=lambda run: run["p50_ms"])
        print(
            f"{best['keyframes']:10d} {best['open_s']:8.3f} {best['opened_mb']:10.0f} {best['asked_mb']:9.0f} "
            f"{best['p50_ms']:8.1f} {best['p95_ms']:8.1f} {best['max_ms']:8.1f} "
            f"{best['in_its_tile']:6d} of {best['queries']} {best['recall_at_10']:9.3f}"
        )
        if before is not None:
            growth = {
                name: best[name] / before[name] for name in ("open_s", "opened_mb", "asked_mb", "p50_ms")
            }
            print(" " * 10 + "   ".join(f"{name} x {value:.2f}" for name, value in growth.items()))
        before = best
        if not options.keep:
            subprocess.run(["rm", "-r", str(path)], check=True)


def _asked(command: list[str]) -> dict[str, Any]:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
