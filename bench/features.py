"""How good are keypoints, descriptors and global descriptors, next to others, in one run?

    export HFNET_ROS_WEIGHTS=../shared/weights   # the folder of xfeat.pt, or: hfnet-ros weights fetch xfeat.pt
    python bench/features.py --photos photos --hfnet hfnet.onnx --alike teacher_alike-n.onnx \\
        --posed kitchen redkitchen/map redkitchen/map.tum redkitchen/query redkitchen/query.tum \\
        --split fox fox/images fox/images.tum --out features.json

Photos kept out of training are warped (easy, medium, hard) under a change of light: repeatability,
matching accuracy and homography accuracy. Generated rooms are seen from aside, and with the camera turned: how many
matches are right (within 5 px, by depth), and which share of all that is. Then retrieval on posed images, plain, under
strong light changes and at night: recall@1/5/10 over the queries that have a positive among the map's images. What
has no global descriptor gets VLAD with a vocabulary learned from the map. ORB is binary: no VLAD. Where there is a
head, the list of a map built by default (`retrieval.second_list`) is asked beside the head's alone. --walk takes walks
along one path whose images pair by their order, as by day and at night.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hfnet_ros.config import Config, ExtractorConfig, InferenceConfig, RetrievalConfig
from hfnet_ros.features.aggregation import describe_beside_head, fit_aggregation
from hfnet_ros.features.hfnet import HFNetExtractor
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.features.weights import find_weights
from hfnet_ros.features.xfeat import XFeatExtractor
from hfnet_ros.features.xfeat_network import load_xfeat_weights
from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.files.posed_images import pair_images_with_poses
from hfnet_ros.geometry import Camera, Rigid3
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.retrieval.descriptor_index import ExactIndex
from hfnet_ros.retrieval.index import search_in_turn
from hfnet_ros.scene import (
    QUERY_GAIT,
    Gait,
    Scene,
    SensorModel,
    build_apartment,
    demo_camera,
    look_at,
    mapping_walk,
    query_walk,
    render,
    render_depth,
)
from hfnet_ros.training.augmentation import draw_homography, transfer
from hfnet_ros.training.options import TeacherOptions
from hfnet_ros.training.teachers import AlikeTeacher
from hfnet_ros.training.views import is_held_out
from hfnet_ros.types import ImageFeatures, LocalFeatures

LEVELS = {"easy": 0.35, "medium": 0.7, "hard": 1.1}
KEYPOINTS = 1000
STRONG_LIGHT = SensorModel(
    noise_sigma=10.0,
    exposure_gain_range=(0.3, 2.6),
    gamma_range=(0.4, 2.4),
    vignetting=0.4,
    motion_blur_px=3.0,
)
MILD_LIGHT = SensorModel(noise_sigma=4.0, exposure_gain_range=(0.6, 1.6), gamma_range=(0.7, 1.5))
NIGHT = SensorModel(
    noise_sigma=14.0,
    exposure_gain_range=(0.08, 0.25),
    gamma_range=(0.8, 1.3),
    vignetting=0.3,
    motion_blur_px=3.0,
)
LIGHTS = {"plain": SensorModel.perfect(), "light": STRONG_LIGHT, "night": NIGHT}
# Of a second view: how far aside of the first one it is, m, and how far the camera is turned about its axis, deg.
WIDE_VIEWS = {
    "0.5 m": (0.5, 0.0),
    "1 m": (1.0, 0.0),
    "2 m": (2.0, 0.0),
    "30 deg": (0.3, 30.0),
    "90 deg": (0.3, 90.0),
}
SAME_PLACE = 2  # images
WIDE_PAIRS, WIDE_SEED, WIDE_PX = 24, 951, 5.0
# What shows the same: more than half of either view is in the other, at the set's typical depth. Nearness alone
# is a worse measure: 0.7 m aside and turned by 13 degrees shows more of the same than 0.3 m and 28 degrees.
ROOM_DEPTH_M, MIN_OVERLAP, HALF_VIEW = 2.5, 0.5, np.array([0.6, 0.45])
NEAR, TURNED_DEG = 0.2, 30.0  # of the depth
Describe = Callable[[np.ndarray], ImageFeatures]


@dataclass
class Posed:
    """Images of a map and of queries, and which of the map's [M] show the same as a query, [Q, M] by kind."""

    name: str
    mapped: list[np.ndarray]
    queries: list[np.ndarray]
    positive: dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--num-photos", type=int, default=60)
    parser.add_argument("--hfnet", type=Path, action="append", default=[])
    parser.add_argument("--alike", type=Path)
    parser.add_argument("--only", default="", help="comma-separated extractors, e.g. xfeat,hfnet")
    parser.add_argument("--retrieve", default="", help="those that also retrieve (default: all but orb)")
    parser.add_argument(
        "--posed", nargs=5, action="append", default=[], metavar=("NAME", "MAP", "TUM", "Q", "TUM")
    )
    parser.add_argument("--split", nargs=3, action="append", default=[], metavar=("NAME", "IMAGES", "TUM"))
    parser.add_argument("--walk", nargs=3, action="append", default=[], metavar=("NAME", "MAP", "QUERY"))
    parser.add_argument("--scenes", type=int, default=2, help="generated apartments")
    parser.add_argument("--every", type=int, default=3, help="take every so many posed images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    extractors = _extractors(options)
    results: dict[str, object] = {"photos": options.num_photos, "keypoints": KEYPOINTS}
    if options.photos:
        results["warped"] = _warped(extractors, options.photos, options.num_photos)
    if options.scenes:
        results["wide"] = _wide(extractors, options.scenes)
    results["retrieval"] = _retrieval(extractors, options)
    results["walks"] = _walks(extractors, options)
    results["milliseconds_640x480"] = _times(extractors)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


def _extractors(options: argparse.Namespace) -> dict[str, Describe]:
    config = Config(
        extractor=ExtractorConfig(max_keypoints=KEYPOINTS),
        inference=InferenceConfig(num_threads=options.threads),
    )
    found: dict[str, Describe] = {
        "xfeat": XFeatExtractor(load_xfeat_weights(find_weights("xfeat.pt")), config).extract,
        "sift": SiftExtractor(config).extract,
        "orb": _orb,
    }
    if options.alike:
        teacher = AlikeTeacher(options.alike, TeacherOptions(detection_threshold=0.02), config.inference)
        found["alike"] = lambda image: _with_multiples(image, lambda part: teacher.teach(part, KEYPOINTS))
    for path in options.hfnet:
        name = "hfnet" if len(options.hfnet) == 1 else f"hfnet:{path.stem}"
        found[name] = HFNetExtractor(path, config).extract
    wanted = [name for name in options.only.split(",") if name]
    return {name: describe for name, describe in found.items() if not wanted or name.split(":")[0] in wanted}


def _orb(image: np.ndarray) -> ImageFeatures:
    """Describe with ORB; bits as +-1 so that cosine and Hamming distance agree."""
    keypoints, packed = cv2.ORB.create(KEYPOINTS).detectAndCompute(image, None)
    if not keypoints:
        empty = np.empty((0, 256), np.float32)
        return ImageFeatures(
            LocalFeatures(np.empty((0, 2), np.float32), np.empty(0, np.float32), empty), None, "orb"
        )
    order = np.argsort([-keypoint.response for keypoint in keypoints], kind="stable")
    points = np.array([keypoints[index].pt for index in order], np.float32)
    bits = np.unpackbits(packed[order], axis=1).astype(np.float32) * 2.0 - 1.0
    scores = np.array([keypoints[index].response for index in order], np.float32)
    return ImageFeatures(LocalFeatures(points, scores, unit_rows(bits)), None, "orb")


def _with_multiples(image: np.ndarray, teach: Callable[[np.ndarray], LocalFeatures]) -> ImageFeatures:
    """Pad to multiples of 32; keypoints in the padding are dropped."""
    height, width = image.shape[:2]
    color = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    padded = cv2.copyMakeBorder(color, 0, -height % 32, 0, -width % 32, cv2.BORDER_REPLICATE)
    found = teach(padded)
    inside = (found.keypoints < np.array([width, height])).all(axis=1)
    kept = LocalFeatures(found.keypoints[inside], found.scores[inside], found.descriptors[inside])
    return ImageFeatures(kept, None, "alike")


def _warped(extractors: dict[str, Describe], folder: Path, count: int) -> dict[str, object]:
    photos = [path for position, path in enumerate(list_images(folder)) if is_held_out(position)]
    chosen = [photos[index] for index in np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)]
    rows: dict[str, dict[str, list[list[float]]]] = {
        name: {level: [] for level in LEVELS} for name in extractors
    }
    for number, path in enumerate(chosen):
        image = read_image(path)
        color = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        firsts = {name: describe(color).local for name, describe in extractors.items()}
        for index, (level, strength) in enumerate(LEVELS.items()):
            rng = np.random.default_rng([99, number, index])
            size_wh = (color.shape[1], color.shape[0])
            homography = draw_homography(size_wh, rng, strength)
            sensor = STRONG_LIGHT if level == "hard" else MILD_LIGHT
            warped = sensor.expose(cv2.warpPerspective(color, homography, size_wh), rng)
            for name, describe in extractors.items():
                rows[name][level].append(
                    _score_pair(firsts[name], describe(warped).local, homography, size_wh)
                )
    print(
        f"\n{len(chosen)} warped photos, {KEYPOINTS} keypoints: repeatability@3px, MMA@3px, MMA 1-10 px, matches,"
    )
    print("homography AUC@3/5/10 px")
    return {
        name: {level: _print_row(name, level, values) for level, values in levels.items()}
        for name, levels in rows.items()
    }


def _score_pair(
    first: LocalFeatures, second: LocalFeatures, homography: np.ndarray, size_wh: tuple[int, int]
) -> list[float]:
    """Return repeatability, MMA@3, mean MMA over 1 to 10 px, number of matches, corner error in px."""
    rows, columns, _ = mutual_nearest(first.descriptors, second.descriptors)
    moved = transfer(first.keypoints, homography)
    error = np.linalg.norm(moved[rows] - second.keypoints[columns], axis=1)
    error = np.nan_to_num(error, nan=np.inf)
    accuracy = [float(np.mean(error <= limit)) if len(error) else 0.0 for limit in range(1, 11)]
    off = corner_error(first.keypoints[rows], second.keypoints[columns], homography, size_wh)
    return [
        _repeatability(moved, second.keypoints, homography, size_wh),
        accuracy[2],
        float(np.mean(accuracy)),
        float(len(rows)),
        off,
    ]


def corner_error(
    first: np.ndarray, second: np.ndarray, homography: np.ndarray, size_wh: tuple[int, int]
) -> float:
    """Return by how many px the corners are off, in the mean, under a homography found of matching points [M, 2]."""
    if len(first) < 4:
        return np.inf
    cv2.setRNGSeed(0)
    found, _ = cv2.findHomography(first, second, cv2.USAC_MAGSAC, 3.0, maxIters=5000, confidence=0.9999)
    if found is None:
        return np.inf
    right, bottom = np.array(size_wh) - 1.0
    corners = np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])
    off = np.linalg.norm(transfer(corners, found) - transfer(corners, homography), axis=1).mean()
    return float(np.nan_to_num(off, nan=np.inf))


def _repeatability(
    moved: np.ndarray, second: np.ndarray, homography: np.ndarray, size_wh: tuple[int, int]
) -> float:
    """Return the share of keypoints seen by both pictures that have one of the other within 3 px."""
    high = np.array(size_wh) - 1
    back = transfer(second, np.linalg.inv(homography))
    with np.errstate(invalid="ignore"):
        first_seen = moved[((moved >= 0) & (moved <= high)).all(axis=1)]
        second_seen = second[((back >= 0) & (back <= high)).all(axis=1)]
    if not len(first_seen) or not len(second_seen):
        return 0.0
    distance = np.linalg.norm(first_seen[:, None] - second_seen[None], axis=2)
    hits = (distance.min(axis=0) <= 3.0).sum() + (distance.min(axis=1) <= 3.0).sum()
    return float(hits / (len(first_seen) + len(second_seen)))


def _print_row(name: str, level: str, values: list[list[float]]) -> dict[str, float]:
    table = np.array(values)
    auc = [area_under_curve(table[:, 4], limit) for limit in (3.0, 5.0, 10.0)]
    names = ("repeatability", "mma3", "mma", "matches", "auc3", "auc5", "auc10")
    row = dict(zip(names, [*table[:, :4].mean(axis=0).tolist(), *auc], strict=True))
    cells = " ".join(f"{value:6.3f}" if value < 10 else f"{value:6.0f}" for value in row.values())
    print(f"  {name:16s} {level:7s} {cells}", flush=True)
    return row


def area_under_curve(errors: np.ndarray, limit: float) -> float:
    """Return the area under recall over error up to a limit, 0 to 1."""
    return float(np.mean(np.clip(1.0 - errors / limit, 0.0, 1.0)))


def _wide(extractors: dict[str, Describe], num_scenes: int) -> dict[str, object]:
    """Match pairs of views of generated rooms: right matches, and their share of all, by how the views differ."""
    print("\nrooms from aside, and turned: right matches, share of all matches")
    camera, sensor = demo_camera(), SensorModel()
    rows: dict[str, dict[str, list[list[float]]]] = {
        name: {kind: [] for kind in WIDE_VIEWS} for name in extractors
    }
    for seed in range(WIDE_SEED, WIDE_SEED + num_scenes):
        scene, rng = build_apartment(seed, 3, boxes_per_room=4), np.random.default_rng(seed)
        for first, others in _wide_poses(scene, rng, WIDE_PAIRS):
            image, depth = (
                sensor.expose(render(scene, camera, first), rng),
                render_depth(scene, camera, first),
            )
            found = {name: describe(image).local for name, describe in extractors.items()}
            for kind, second in others.items():
                seen = sensor.expose(render(scene, camera, second), rng)
                for name, describe in extractors.items():
                    rows[name][kind].append(
                        _right_matches(
                            found[name], describe(seen).local, depth, second.inverse() @ first, camera
                        )
                    )
    scores = {
        name: {kind: np.mean(values, axis=0).round(3).tolist() for kind, values in kinds.items()}
        for name, kinds in rows.items()
    }
    for name, kinds in scores.items():
        cells = "   ".join(f"{kind} {right:4.0f} {share:.3f}" for kind, (right, share) in kinds.items())
        print(f"  {name:16s} {cells}", flush=True)
    return scores


def _wide_poses(
    scene: Scene, rng: np.random.Generator, count: int
) -> Iterator[tuple[Rigid3, dict[str, Rigid3]]]:
    """Yield poses and others that look at the same point from aside, turned as `WIDE_VIEWS` says."""
    while count:
        room = scene.rooms[int(rng.integers(len(scene.rooms)))]
        eye = rng.uniform(room.lower, room.upper)
        eye[2] = rng.uniform(0.9, 1.6)
        yaw = float(rng.uniform(0.0, 2.0 * np.pi))
        ahead = np.array([np.cos(yaw), np.sin(yaw), -0.05])
        aside = np.array([-ahead[1], ahead[0], 0.0]) * rng.choice([-1.0, 1.0])
        target = eye + 2.5 * ahead
        eyes = {kind: eye + metres * aside for kind, (metres, _) in WIDE_VIEWS.items()}
        if not scene.is_free(np.array([eye, *eyes.values()]), 0.3).all():
            continue
        count -= 1
        yield (
            look_at(eye, target),
            {
                kind: look_at(eyes[kind], target, np.deg2rad(turned))
                for kind, (_, turned) in WIDE_VIEWS.items()
            },
        )


def _right_matches(
    first: LocalFeatures, second: LocalFeatures, depth: np.ndarray, second_from_first: Rigid3, camera: Camera
) -> list[float]:
    """Return the number of mutual matches that are where depth says, and their share of all."""
    rows, columns, _ = mutual_nearest(first.descriptors, second.descriptors)
    pixels = first.keypoints[rows]
    nearest = np.clip(np.rint(pixels), 0, np.array(camera.size_wh) - 1).astype(int)
    rays = np.column_stack([camera.undistort(pixels), np.ones(len(rows))])
    there = camera.project(second_from_first @ (rays * depth[nearest[:, 1], nearest[:, 0]][:, None]))
    off = np.nan_to_num(np.linalg.norm(there - second.keypoints[columns], axis=1), nan=np.inf)
    right = int((off < WIDE_PX).sum())
    return [float(right), right / max(len(rows), 1)]


def _retrieval(extractors: dict[str, Describe], options: argparse.Namespace) -> dict[str, object]:
    print("\nretrieval: recall@1/5/10 by overlap of views, recall@1 by nearness")
    found: dict[str, object] = {}
    for posed in _posed_sets(options):
        counted = {kind: int(positive.any(axis=1).sum()) for kind, positive in posed.positive.items()}
        print(
            f" {posed.name}: {len(posed.mapped)} map images, {len(posed.queries)} queries, count: {counted}"
        )
        for name, describe in _retrieving(extractors, options).items():
            mapped = [describe(image) for image in posed.mapped]
            aggregate = _aggregation(mapped)
            database = np.stack([aggregate(features) for features in mapped])
            row = {}
            for kind, sensor in LIGHTS.items():
                images = (
                    sensor.expose(image, np.random.default_rng([5, number]))
                    for number, image in enumerate(posed.queries)
                )
                described = np.stack([aggregate(describe(image)) for image in images])
                order = np.argsort(-(described @ database.T), axis=1, kind="stable")
                row[kind] = [_recall(posed.positive["overlap"], order[:, :top]) for top in (1, 5, 10)]
                row[kind].append(_recall(posed.positive["near"], order[:, :1]))
            found[f"{posed.name}/{name}"] = row
            cells = "   ".join(
                f"{kind} " + " ".join(f"{value:.3f}" for value in values) for kind, values in row.items()
            )
            print(f"  {name:16s} {cells}", flush=True)
    return found


def _retrieving(extractors: dict[str, Describe], options: argparse.Namespace) -> dict[str, Describe]:
    """Return the extractors that are asked to retrieve; ORB has no VLAD."""
    wanted = options.retrieve.split(",") if options.retrieve else None
    return {
        name: describe
        for name, describe in extractors.items()
        if name != "orb" and (wanted is None or name.split(":")[0] in wanted)
    }


def _walks(extractors: dict[str, Describe], options: argparse.Namespace) -> dict[str, object]:
    """Return recall@1/5/10/20 within `SAME_PLACE` images of the same number along two walks."""
    if not options.walk:
        return {}
    print(f"\nwalks: recall@1/5/10/20, {SAME_PLACE} images to either side are right")
    found: dict[str, object] = {}
    for name, map_dir, query_dir in options.walk:
        images = [[read_image(path) for path in list_images(Path(folder))] for folder in (map_dir, query_dir)]
        numbers = [np.arange(len(walk)) for walk in images]
        positive = np.abs(numbers[1][:, None] - numbers[0]) <= SAME_PLACE
        for extractor, describe in _retrieving(extractors, options).items():
            mapped, asked = [[describe(image) for image in walk] for walk in images]
            for kind, ranked in _ranked(mapped, asked).items():
                row = [_recall(positive, ranked[:, :top]) for top in (1, 5, 10, 20)]
                found[f"{name}/{extractor}{kind}"] = row
                print(
                    f"  {name:16s} {extractor + kind:16s} " + " ".join(f"{value:.2f}" for value in row),
                    flush=True,
                )
    return found


def _ranked(mapped: Sequence[ImageFeatures], asked: Sequence[ImageFeatures]) -> dict[str, np.ndarray]:
    """Return the 20 map images [Q, 20] that are most like each query, by the descriptors that a map would have."""
    aggregate = _aggregation(mapped)
    database = np.stack([aggregate(features) for features in mapped])
    queries = [aggregate(features) for features in asked]
    ranked = {"": np.argsort(-(np.stack(queries) @ database.T), axis=1, kind="stable")[:, :20]}
    if mapped[0].global_descriptor is not None:
        aggregation, size = fit_aggregation(mapped, RetrievalConfig(), 0), database.shape[1]
        both = np.stack([describe_beside_head(aggregation, features) for features in mapped])
        index = ExactIndex(both)
        hits = [
            search_in_turn(index.search_lists, describe_beside_head(aggregation, features), size, both, 20)
            for features in asked
        ]
        ranked["+keypoints"] = np.array([[hit.keyframe_idx for hit in row] for row in hits])
    return ranked


def _recall(positive: np.ndarray, chosen: np.ndarray) -> float:
    """Return the share of queries with a positive that find one among the chosen."""
    found = np.take_along_axis(positive, chosen, axis=1).any(axis=1)
    return float(found[positive.any(axis=1)].mean())


def _aggregation(mapped: Sequence[ImageFeatures]) -> Callable[[ImageFeatures], np.ndarray]:
    if mapped[0].global_descriptor is not None:
        return lambda features: np.asarray(features.global_descriptor)
    return fit_aggregation(mapped, RetrievalConfig(), 0).describe


def _posed_sets(options: argparse.Namespace):
    for name, map_dir, map_tum, query_dir, query_tum in options.posed:
        mapped = _read(map_dir, map_tum)[:: options.every]
        queries = _read(query_dir, query_tum)[:: options.every]
        yield _posed(name, mapped, queries, ROOM_DEPTH_M)
    for name, images, tum in options.split:
        everything = _read(images, tum)
        centers = np.array([pose.translation for _, pose in everything])
        spread = float(np.median(np.linalg.norm(centers - centers.mean(axis=0), axis=1)))
        yield _posed(name, everything[::2], everything[1::2], spread)
    camera = demo_camera()
    for seed in range(901, 901 + options.scenes):
        scene, sensor, rng = build_apartment(seed, 3), SensorModel(), np.random.default_rng(seed)
        walks = (
            mapping_walk(scene, Gait(rate_hz=1.0)),
            query_walk(scene, dataclasses.replace(QUERY_GAIT, rate_hz=0.7)),
        )
        mapped, queries = (
            [(sensor.expose(render(scene, camera, pose), rng), pose) for _, pose in walk] for walk in walks
        )
        yield _posed(f"apartment-{seed}", mapped, queries, ROOM_DEPTH_M)


def _read(folder: str, tum: str) -> list[tuple[np.ndarray, Rigid3]]:
    return [
        (read_image(image.path), image.map_from_camera)
        for image in pair_images_with_poses(Path(folder), Path(tum))
    ]


def _posed(
    name: str, mapped: list[tuple[np.ndarray, Rigid3]], queries: list[tuple[np.ndarray, Rigid3]], depth: float
) -> Posed:
    near = np.array(
        [
            [
                query.translation_to(pose) < NEAR * depth and np.rad2deg(query.rotation_to(pose)) < TURNED_DEG
                for _, pose in mapped
            ]
            for _, query in queries
        ]
    )
    overlap = np.array([[_overlap(query, pose, depth) for _, pose in mapped] for _, query in queries])
    images = [image for image, _ in mapped], [image for image, _ in queries]
    return Posed(name, *images, {"overlap": overlap >= MIN_OVERLAP, "near": near})


def _overlap(first: Rigid3, second: Rigid3, depth: float) -> float:
    """Return the smaller share of either view that the other one sees, if all lies at about one depth."""
    return min(_share_seen(first, second, depth), _share_seen(second, first, depth))


def _share_seen(first: Rigid3, second: Rigid3, depth: float) -> float:
    across, down = np.meshgrid(np.linspace(-1, 1, 8) * HALF_VIEW[0], np.linspace(-1, 1, 6) * HALF_VIEW[1])
    rays = np.stack([across.ravel(), down.ravel(), np.ones(across.size)], axis=1)
    points = np.concatenate([rays * depth * factor for factor in (0.7, 1.0, 1.4)])
    seen = (second.inverse() @ first) @ points
    ahead = seen[:, 2] > 0.05 * depth
    slopes = np.abs(seen[:, :2] / np.where(ahead, seen[:, 2], 1.0)[:, None])
    return float((ahead & (slopes <= HALF_VIEW).all(axis=1)).mean())


def _times(extractors: dict[str, Describe]) -> dict[str, float]:
    """Return the median milliseconds of a 640x480 image, turn by turn."""
    scene = build_apartment(901, 1)
    image = render(scene, demo_camera(), mapping_walk(scene)[0][1])
    seconds: dict[str, list[float]] = {name: [] for name in extractors}
    for _ in range(20):
        for name, describe in extractors.items():
            start = time.perf_counter()
            describe(image)
            seconds[name].append(time.perf_counter() - start)
    found = {name: round(float(np.median(values)) * 1e3, 1) for name, values in seconds.items()}
    print(f"\nmedian ms, 640x480: {found}")
    return found


if __name__ == "__main__":
    main()
