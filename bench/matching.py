"""Does a learned matcher find what nearest neighbours do not? On a walk aside of the one that was mapped.

    export HFNET_ROS_WEIGHTS=weights    # the folder of xfeat.pt and lighterglue_L3.onnx
    python bench/matching.py --apartments 2 --methods nearest auto learned

Maps generated apartments from a walk through them (XFeat, with what keyframes saw), and asks with views half a metre to
two metres aside of it, which look at the same things from there. By the true poses: right matches of a query (within
5 px), recall within 25 cm and 5 deg, poses that are off by more than 0.5 m or 10 deg, milliseconds. Maps and images of
your own: `hfnet-ros map build --keep-observations`, `evaluate --params FILE` with `matching.method`. Asserts nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import NetworkExtractor, create_mapping_extractor, with_extractor_of
from hfnet_ros.geometry import Rigid3
from hfnet_ros.localization.landmark_model import create_query_extractor, searching
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import (
    Gait,
    Scene,
    SensorModel,
    build_apartment,
    demo_camera,
    look_at,
    mapping_walk,
    render,
)
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import Frame, Localization

FIRST_SEED = 971
ASIDE_M, AHEAD_M, CLEARANCE_M = (0.5, 2.0), 2.5, 0.3
RIGHT_PX = 5.0
CAMERA = demo_camera()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--apartments", type=int, default=2)
    parser.add_argument("--queries", type=int, default=40, help="in each (default: 40)")
    parser.add_argument("--extractor", default="xfeat", choices=("xfeat", "xfeat+hfnet", "hfnet"))
    parser.add_argument("--methods", nargs="+", default=["nearest", "auto", "learned"])
    parser.add_argument(
        "--keypoints", type=int, default=512, help="matching.learned_keypoints (default: 512)"
    )
    parser.add_argument("--keyframes", type=int, default=3, help="matching.learned_keyframes (default: 3)")
    options = parser.parse_args()
    rows: dict[str, list[list[float]]] = {method: [] for method in options.methods}
    for seed in range(FIRST_SEED, FIRST_SEED + options.apartments):
        config = Config.from_dict(
            {"extractor": {"name": options.extractor}, "mapping": {"keep_observations": True}}
        )
        scene, rng = build_apartment(seed, 2, boxes_per_room=2), np.random.default_rng(seed)
        extractor = create_mapping_extractor(config)
        walk = [pose for _, pose in mapping_walk(scene, Gait(rate_hz=1.0))]
        visual_map = mapped(scene, walk, extractor, config, rng)
        queries = [
            (Frame(0, SensorModel().expose(render(scene, CAMERA, pose), rng), CAMERA), pose)
            for pose in aside(scene, walk, rng, options.queries)
        ]
        for method in options.methods:
            rows[method] += asked(visual_map, queries, method, options)
    print(f"{len(rows[options.methods[0]])} views {ASIDE_M[0]} to {ASIDE_M[1]} m aside, {options.extractor}")
    print("             right matches   recall   false    ms p50    p95")
    for method, values in rows.items():
        right, found, false, ms = np.array(values).T
        p50, p95 = np.percentile(ms, [50, 95])
        print(
            f"  {method:10s} {np.mean(right):13.0f} {np.mean(found):8.3f} {np.sum(false):7.0f} {p50:9.0f} {p95:6.0f}"
        )


def mapped(
    scene: Scene, walk: list[Rigid3], extractor: NetworkExtractor, config: Config, rng: np.random.Generator
) -> VisualMap:
    pictures = [SensorModel().expose(render(scene, CAMERA, pose), rng) for pose in walk]
    images = [
        MappingImage(f"{number}.png", number, 0, lambda number=number: pictures[number])
        for number in range(len(walk))
    ]
    return build_map(PosedImages(images, walk, [CAMERA]), extractor, config, BuildOptions(intrinsics="off"))


def aside(scene: Scene, walk: list[Rigid3], rng: np.random.Generator, count: int) -> Iterator[Rigid3]:
    """Yield views from aside of a walk that look at what it looked at."""
    while count:
        pose = walk[int(rng.integers(len(walk)))]
        target = pose.translation + AHEAD_M * pose.rotation[:, 2]
        step = rng.uniform(*ASIDE_M) * rng.choice([-1.0, 1.0]) * pose.rotation[:, 0]
        eye = pose.translation + step * (1.0, 1.0, 0.0)
        if scene.is_free(eye[None], CLEARANCE_M)[0]:
            count -= 1
            yield look_at(eye, target)


def asked(
    visual_map: VisualMap, queries: list[tuple[Frame, Rigid3]], method: str, options: argparse.Namespace
) -> list[list[float]]:
    """Return right matches, whether it was found, whether it is false, and milliseconds of each query."""
    config = with_extractor_of(Config(), visual_map.extractor_id)
    matching = dataclasses.replace(
        config.matching,
        method=method,
        learned_keypoints=options.keypoints,
        learned_keyframes=options.keyframes,
    )
    config, rows = dataclasses.replace(config, matching=matching), []
    extractor = create_query_extractor(visual_map, config)
    with searching(visual_map, extractor, config, CAMERA.size_wh) as localizer:
        localizer.localize(queries[0][0])
        for frame, truth in queries:
            started = time.perf_counter()
            answer = localizer.localize(frame)
            ms = 1e3 * (time.perf_counter() - started)
            rows.append([*judged(answer, truth), ms])
    extractor.close()
    return rows


def judged(answer: Localization, truth: Rigid3) -> tuple[float, float, float]:
    matches, right = answer.correspondences, 0
    if matches is not None and len(matches):
        pixels = CAMERA.project(truth.inverse() @ matches.points3d)
        right = int((np.linalg.norm(pixels - matches.points2d, axis=1) < RIGHT_PX).sum())
    if answer.estimate is None:
        return right, 0.0, 0.0
    off_m = answer.estimate.map_from_camera.translation_to(truth)
    off_deg = np.rad2deg(answer.estimate.map_from_camera.rotation_to(truth))
    return right, float(off_m < 0.25 and off_deg < 5.0), float(off_m > 0.5 or off_deg > 10.0)


if __name__ == "__main__":
    main()
