"""Does a city of look-alike flats make wrong poses, and how does that grow with the map?

    python bench/city.py --data ../shared/data --cache /tmp/city [--flats 10 100 1000] [--queries 10000]

Bases are generated apartments, mapped along one walk and asked along another (and, with --real, RedKitchen and EuRoC
V1_01 of --data); a city repeats them with parts of each flat replaced (`city_flats.py` says how, and what is
simulated). Every fifth flat of a base has an exact twin in every other such flat, further ones share 90, 70, 40 and
0 % of what is in them. Queries ask random flats with the default configuration, network outside, no prediction. A
pose more than half a metre or ten degrees off is false; of the rest the reason is counted. Prints a table by size of
the city and share replaced; asserts nothing. A thousand flats take some 5 GB of disk.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from asked_images import photo_paths
from city_flats import SHARES, Base, City, Flat, encoded
from numpy.typing import NDArray
from scale import Described
from scene_sets import asked_of

from hfnet_ros.config import Config
from hfnet_ros.evaluation.reasons import Reasons
from hfnet_ros.features.aggregation import fit_aggregation
from hfnet_ros.features.extractor import create_extractor, create_mapping_extractor, with_extractor_of
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.files.images import read_image
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.search_structure import SearchStructure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap, with_search
from hfnet_ros.map.visual_words import assign_words
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import ImageFeatures, LocalFeatures

GENERATED = tuple(f"walk-6@{seed}" for seed in (81, 82, 83, 84))
REAL = ("redkitchen", "euroc-1")
FALSE_M, FALSE_DEG = 0.5, 10.0
ALIAS = re.compile(r"another place|another pose|rival|twin|rematch|lead")


def base_of(name: str, options: argparse.Namespace) -> Base:
    """Return a base with its images; what was computed before is taken from the cache."""
    path, asked_file = options.cache / f"{name}.map", options.cache / f"{name}.asked.npz"
    asked = asked_of(name, options.data)
    if not path.exists():
        with contextlib.closing(create_mapping_extractor(Config())) as extractor:
            save_map(build_map(asked.source, extractor, Config(), BuildOptions()), path)
    visual_map = load_map(path)
    if not asked_file.exists():
        config = with_extractor_of(Config(), visual_map.extractor_id)
        with contextlib.closing(create_extractor(config)) as extractor:
            _write_features(asked_file, [extractor.extract(image) for image, _ in asked.images])
    base = Base(visual_map, asked.camera)
    for features, (_, pose) in zip(_read_features(asked_file, visual_map), asked.images, strict=True):
        if pose is not None:
            base.ask(features, pose)
    return base


def _write_features(file: Path, described: list[ImageFeatures]) -> None:
    arrays = {}
    for number, features in enumerate(described):
        parts = {name: getattr(features.local, name) for name in ("keypoints", "scores", "descriptors")}
        parts["head"] = features.global_descriptor
        arrays |= {f"{number}.{name}": value for name, value in parts.items()}
    np.savez(file, **arrays)


def _read_features(file: Path, visual_map: VisualMap) -> list[ImageFeatures]:
    stored = dict(np.load(file))
    return [
        ImageFeatures(
            LocalFeatures(*(stored[f"{number}.{name}"] for name in ("keypoints", "scores", "descriptors"))),
            stored[f"{number}.head"],
            visual_map.extractor_id,
        )
        for number in range(len(stored) // 4)
    ]


def head_pool(bases: list[Base], options: argparse.Namespace) -> NDArray[np.float32]:
    """Return global descriptors of photographs of other places, that no two flats need look alike."""
    file = options.cache / "pool.npy"
    if not file.exists():
        config = with_extractor_of(Config(), bases[0].map.extractor_id)
        with contextlib.closing(create_extractor(config)) as extractor:
            found = [
                extractor.extract(read_image(path)).global_descriptor
                for path in photo_paths(str(options.data / "photos"), "300")
            ]
        np.save(file, unit_rows(np.stack(found)))
    return np.load(file)


def write_city(city: City, count: int, path: Path) -> None:
    """Write the map of so many flats; its large arrays go through files, not through memory."""
    work = path.with_suffix(".arrays")
    work.mkdir(parents=True, exist_ok=True)
    flats = [Flat(city, number) for number in range(count)]
    maps = [with_search(flat.base.map) for flat in flats]

    def array(name: str, of: str | None = None) -> Any:
        firsts = [np.asarray(getattr(one, of or name)) for one in maps[: len(city.bases)]]
        rows = sum(len(firsts[flat.base_idx]) for flat in flats)
        return np.lib.format.open_memmap(
            work / f"{name}.npy", "w+", firsts[0].dtype, (rows, *firsts[0].shape[1:])
        )

    names = (
        "landmark_view_directions",
        "landmark_distance_ranges",
        "landmark_colors",
        "observation_landmark_idx",
    )
    arrays = {name: array(name) for name in names}
    xyz = array("landmark_xyz")
    dim = city.bases[0].descriptors.shape[1]
    codes = np.lib.format.open_memmap(work / "codes.npy", "w+", np.int8, (len(xyz), dim))
    words = np.lib.format.open_memmap(work / "words.npy", "w+", np.uint16, (len(xyz),))
    pixels = np.lib.format.open_memmap(
        work / "xy.npy", "w+", np.uint16, (len(arrays["observation_landmark_idx"]), 2)
    )
    keyframe_sums = np.cumsum([0, *(one.num_keyframes for one in maps)])
    landmark_sums = np.cumsum([0, *(one.num_landmarks for one in maps)])
    observation_sums = np.cumsum([0, *(one.num_observations for one in maps)])
    pair_sums = np.cumsum([0, *(len(one.search.covisible_keyframe_idx) for one in maps)])
    global_codes, poses, given = [], [], []
    for row, (flat, one) in enumerate(zip(flats, maps, strict=True)):
        rows, seen = slice(*landmark_sums[row : row + 2]), slice(*observation_sums[row : row + 2])
        described = flat.landmark_descriptors()
        codes[rows] = encoded(described)
        words[rows] = assign_words(described, city.aggregation.vocabulary)
        xyz[rows] = one.landmark_xyz + flat.origin
        for name in names[:3]:
            arrays[name][rows] = getattr(one, name)
        arrays["observation_landmark_idx"][seen] = one.observation_landmark_idx + landmark_sums[row]
        pixels[seen] = one.observation_xy.codes
        global_codes.append(encoded(flat.globals(described)))
        for moved, known in ((poses, one.keyframe_poses), (given, one.given_poses)):
            there = np.array(known)
            there[:, :3] += flat.origin
            moved.append(there)
    cameras = [camera for base in city.bases for camera in base.map.cameras]
    first_camera = np.cumsum([0, *(len(base.map.cameras) for base in city.bases)])
    global_descriptors = UnitVectors(np.concatenate(global_codes))

    def offsets(name: str, sums: NDArray[np.int64]) -> NDArray[np.int64]:
        parts = [
            np.asarray(getattr(one if name == "observation_offsets" else one.search, name))[:-1] + start
            for one, start in zip(maps, sums, strict=False)
        ]
        return np.concatenate([*parts, sums[-1:]])

    search = SearchStructure(
        city.aggregation.vocabulary,
        words,
        offsets("covisible_offsets", pair_sums),
        np.concatenate(
            [
                one.search.covisible_keyframe_idx + start
                for one, start in zip(maps, keyframe_sums, strict=False)
            ]
        ).astype(np.int32),
        np.concatenate([one.search.covisible_counts for one in maps]),
    )
    first = maps[0]
    whole = dataclasses.replace(
        first,
        cameras=tuple(cameras),
        keyframe_names=[
            f"{flat.number}/{name}"
            for flat, one in zip(flats, maps, strict=True)
            for name in one.keyframe_names
        ],
        keyframe_stamps_ns=np.concatenate([one.keyframe_stamps_ns for one in maps]),
        keyframe_camera_idx=np.concatenate(
            [
                one.keyframe_camera_idx + first_camera[flat.base_idx]
                for flat, one in zip(flats, maps, strict=True)
            ]
        ).astype(np.int32),
        keyframe_poses=np.concatenate(poses),
        observation_offsets=offsets("observation_offsets", observation_sums),
        observation_xy=PixelPositions(pixels, first.observation_xy.steps_per_px),
        landmark_xyz=xyz,
        landmark_descriptors=UnitVectors(codes),
        global_descriptors=global_descriptors,
        observation_descriptors=None,
        aggregation=city.aggregation.arrays(),
        consistency=dataclasses.replace(first.consistency, look_alikes=(), num_elsewhere=0),
        calibration=None,
        given=None,
        codes=None,
        search=search,
        scene=None,
        **arrays,
    )
    save_map(whole, path)
    shutil.rmtree(work)


def ask(
    city: City, path: Path, count: int, num_queries: int, config: Config, seed: int
) -> list[dict[str, Any]]:
    """Ask random flats, each with a random image of its base."""
    visual_map = load_map(path)
    localizer = Localizer(visual_map, Described(visual_map.extractor_id), config)
    flat_of = lru_cache(maxsize=256)(lambda number: Flat(city, number))
    rng, rows = np.random.default_rng(seed), []
    for query in range(num_queries):
        flat = flat_of(int(rng.integers(count)))
        image = flat.base.asked[int(rng.integers(len(flat.base.asked)))]
        features, truth = flat.asked(image)
        started = time.perf_counter()
        answer = localizer.localize_features(features, flat.base.camera, query)
        row = {
            "flat": flat.number,
            "share": flat.share,
            "ms": 1e3 * (time.perf_counter() - started),
            "outcome": answer.outcome.value,
            "reason": "" if answer.is_valid else answer.evidence.reason,
            "scores": dict(answer.evidence.scores),
            "error_m": np.inf,
            "error_deg": np.inf,
        }
        place = answer.place
        row["in_flat"] = place is not None and any(
            visual_map.keyframe_names[idx].startswith(f"{flat.number}/") for idx in place.keyframe_idxs
        )
        if answer.estimate is not None:
            found = answer.estimate.map_from_camera
            row["error_m"] = float(np.linalg.norm(found.translation - truth.translation))
            turned = found.rotation.T @ truth.rotation
            row["error_deg"] = float(
                np.degrees(np.arccos(np.clip((np.trace(turned) - 1.0) / 2.0, -1.0, 1.0)))
            )
        row["valid"] = answer.is_valid
        row["false"] = answer.is_valid and not (row["error_m"] < FALSE_M and row["error_deg"] < FALSE_DEG)
        rows.append(row)
    return rows


def table_rows(count: int, keyframes: int, rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for share in (*sorted({row["share"] for row in rows}), None):
        some = [row for row in rows if share is None or row["share"] == share]
        refused = [row for row in some if not row["valid"]]
        alias = sum(bool(ALIAS.search(row["reason"])) for row in refused)
        in_flat = np.mean([row["in_flat"] for row in some]) if some else 0.0
        times = [row["ms"] for row in some] or [0.0]
        lines.append(
            f"| {count} | {keyframes} | {'all' if share is None else f'{share:.0%}'} | {len(some)} | "
            f"{sum(row['valid'] and not row['false'] for row in some)} | {sum(row['false'] for row in some)} | "
            f"{alias} | {len(refused) - alias} | {in_flat:.2f} | {np.percentile(times, 50):.1f} | "
            f"{np.percentile(times, 99):.1f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of photos (and redkitchen, euroc_v101)"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for maps; those there are taken")
    parser.add_argument("--bases", nargs="+", default=GENERATED)
    parser.add_argument("--real", action="store_true", help="RedKitchen and EuRoC V1_01, too")
    parser.add_argument("--flats", type=int, nargs="+", default=(10, 100, 1000))
    parser.add_argument("--queries", type=int, default=2000, help="of each size")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=SHARES, help="replaced, of a base's flats in turn"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, help="write what each query gave there (JSON lines)")
    parser.add_argument(
        "--keep", action="store_true", help="leave the cities' maps there, take those that are"
    )
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    bases = [base_of(name, options) for name in (*options.bases, *(REAL if options.real else ()))]
    config = Config()
    learned = [features for base in bases for features, _ in base.remembered]
    aggregation = fit_aggregation(learned, config.retrieval, options.seed)
    city = City(bases, aggregation, head_pool(bases, options), options.seed, options.shares)
    print(
        "| flats | keyframes | replaced | queries | right | false | refused: looks like elsewhere | other refusals | "
        f"asked in its flat | p50 ms | p99 ms |\n{'|---' * 11}|"
    )
    for count in options.flats:
        path = options.cache / f"city-{count}-{options.seed}-{len(options.shares)}.map"
        if not path.exists():
            write_city(city, count, path)
        rows = ask(city, path, count, options.queries, config, options.seed + 1)
        keyframes = load_map(path).num_keyframes
        print("\n".join(table_rows(count, keyframes, rows)), flush=True)
        reasons = Reasons()
        for row in rows:
            if not row["valid"]:
                reasons.add(str(row["flat"]), f"{row['outcome']}: {row['reason']}")
        print(
            "".join(f"    {line}\n" for line in reasons.sentences(len(rows), "queries")[:12]),
            end="",
            flush=True,
        )
        if options.rows:
            with options.rows.open("a") as out:
                out.writelines(json.dumps({"flats": count, **row}, default=float) + "\n" for row in rows)
        if not options.keep:
            shutil.rmtree(path)


if __name__ == "__main__":
    main()
