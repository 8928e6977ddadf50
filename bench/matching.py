"""What does a learned matcher find that nearest neighbours do not, and at what cost?

    python bench/matching.py --data ../shared/data --cache /tmp/matching [--sets aside-6 euroc-5] [--photos 100]

Builds maps of XFeat that keep observations, asks each with every matcher in turn, and prints a table: correct
matches by the true pose (5 px), recall (25 cm, 5 deg), false fixes (a pose more than 0.5 m or 10 deg off, or any of a
photograph of another place), how often the learned matcher answered, and ms per query. `--build` names the matcher
of keyframes.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from asked_images import image_of_size, photo_paths, query_images

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import create_mapping_extractor
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.images import read_image
from hfnet_ros.files.posed_images import pair_images_with_poses
from hfnet_ros.geometry import Rigid3
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import (
    Scene,
    SensorModel,
    build_apartment,
    demo_camera,
    look_at,
    mapping_walk,
    render,
    render_depth,
)
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import Frame, ImageArray, Localization

METHODS = ("nearest", "learned", "auto")
CORRECT_PX = 5.0
ASIDE_ASKED, ASIDE_MARGIN_M = 6, 0.3


@dataclass
class Asked:
    """A map, and images of known pose; of photographs of other places None."""

    source: PosedImages
    images: Sequence[tuple[ImageArray, Rigid3 | None]]
    camera: Camera


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of redkitchen, euroc_v101 and photos"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for maps; those there are taken")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--photos", type=int, default=60, help="photographs asked in the map of RedKitchen")
    parser.add_argument("--build", choices=("nearest", "learned"), default="nearest")
    parser.add_argument("--seed", type=int, default=21, help="of the generated apartment")
    parser.add_argument("--keyframes", type=int, default=Config().matching.learned_keyframes)
    options = parser.parse_args()
    print(
        "| set | matcher | queries | correct matches | of | recall | false | by learned | p50 ms | p95 ms |\n"
        f"{'|---' * 10}|"
    )
    for name in options.sets:
        asked = SETS[name](options)
        visual_map = map_of(asked.source, options, name)
        for method in options.methods:
            print(_row(name, method, visual_map, asked, options.keyframes), flush=True)


def map_of(source: PosedImages, options: argparse.Namespace, name: str) -> VisualMap:
    of_map = name.removesuffix("-hard").removesuffix("-photos")
    seed = f"-{options.seed}" if name.startswith("aside") else ""
    path = options.cache / f"{of_map}{seed}-{options.build}.map"
    if not path.exists():
        config = Config.from_dict(
            {
                "extractor": {"name": "xfeat"},
                "mapping": {"keep_observations": True, "matcher": options.build},
            }
        )
        with contextlib.closing(create_mapping_extractor(config)) as extractor:
            save_map(build_map(source, extractor, config, BuildOptions()), path)
    return load_map(path)


def _row(name: str, method: str, visual_map: VisualMap, asked: Asked, num_keyframes: int) -> str:
    model = LandmarkModel(visual_map)
    matching = {"method": method, "learned_keyframes": num_keyframes}
    config = model.configured(Config.from_dict({"matching": matching}))
    xyz = visual_map.given_landmark_xyz()
    correct, found, off, milliseconds, num_learned = [], [], [], [], 0
    with contextlib.closing(model.open(config, asked.camera.size_wh)) as opened:
        opened.localizer.localize(Frame(0, asked.images[0][0], asked.camera))  # reads the map
        for image, truth in asked.images:
            started = time.perf_counter()
            answer = opened.localizer.localize(Frame(0, image, asked.camera))
            milliseconds.append(1e3 * (time.perf_counter() - started))
            num_learned += answer.is_valid and answer.matched_by == "learned"
            off.append(off_by(answer, truth))
            if truth is not None and answer.correspondences is not None:
                found.append(len(answer.correspondences))
                correct.append(_num_correct(answer, truth, xyz, visual_map.refined(asked.camera)))
    errors = np.array(off)  # [N, 2] m, deg; NaN without a pose
    near = (errors[:, 0] <= 0.25) & (errors[:, 1] <= 5.0)
    wrong = (errors[:, 0] > 0.5) | (errors[:, 1] > 10.0)
    mean = [f"{np.mean(values):.0f}" if values else "-" for values in (correct, found)]
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return (
        f"| {name} | {method} | {len(off)} | {mean[0]} | {mean[1]} | {near.mean():.2f} | {wrong.sum()} | "
        f"{num_learned} | {p50:.0f} | {p95:.0f} |"
    )


def off_by(answer: Localization, truth: Rigid3 | None) -> tuple[float, float]:
    if answer.estimate is None:
        return np.nan, np.nan
    if truth is None:
        return np.inf, np.inf
    pose = answer.estimate.map_from_camera
    return pose.translation_to(truth), float(np.rad2deg(pose.rotation_to(truth)))


def _num_correct(answer: Localization, truth: Rigid3, xyz: np.ndarray, camera: Camera) -> int:
    """Count the matches that the true pose explains, with landmarks where the given poses put them."""
    matches = answer.correspondences
    assert matches is not None
    in_camera = truth.inverse() @ xyz[matches.landmark_idxs]
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.linalg.norm(camera.project(in_camera) - matches.points2d, axis=1)
    return int(np.count_nonzero((in_camera[:, 2] > 0.0) & (distance < CORRECT_PX)))


def _posed(
    options: argparse.Namespace, folder: str, every: int, side: str = ""
) -> tuple[PosedImages, Camera]:
    root = options.data / folder
    camera = read_camera_yaml(root / f"camera{side and '_' + side}.yaml")
    posed = pair_images_with_poses(root / "map" / side, root / f"map{side and '_' + side}.tum")[::every]
    return PosedImages.of_files(posed, camera), camera


def _with_images(paths: Sequence[tuple[Path, Rigid3]]) -> list[tuple[ImageArray, Rigid3 | None]]:
    return [(read_image(path), truth) for path, truth in paths]


def _redkitchen(options: argparse.Namespace, queries: str = "query", every: str = "5") -> Asked:
    source, camera = _posed(options, "redkitchen", 5)
    root = options.data / "redkitchen"
    images = query_images(str(root / queries), str(root / f"{queries}.tum"), every)
    return Asked(source, _with_images(images), camera)


def _photos(options: argparse.Namespace) -> Asked:
    source, camera = _posed(options, "redkitchen", 5)
    paths = photo_paths(str(options.data / "photos"), str(options.photos))
    return Asked(source, [(image_of_size(path, camera.size_wh), None) for path in paths], camera)


def _euroc(options: argparse.Namespace, every: int) -> Asked:
    source, camera = _posed(options, "euroc_v101", every, "left")
    root = options.data / "euroc_v101"
    images = query_images(str(root / "query" / "left"), str(root / "query_left.tum"), "1")
    return Asked(source, _with_images(images), camera)


def _aside(options: argparse.Namespace, every: int) -> Asked:
    """Look from half a metre to two metres beside the mapping path at what was seen from it."""
    scene, camera = build_apartment(options.seed), demo_camera()
    poses = [pose for _, pose in mapping_walk(scene)]
    mapped = poses[::every]
    images = [
        MappingImage(f"{index:03d}.png", index, 0, partial(picture, scene, camera, pose, index))
        for index, pose in enumerate(mapped)
    ]
    asked = [
        (picture(scene, camera, pose, 1000 + index), pose)
        for index, pose in enumerate(
            beside(scene, camera, poses[ASIDE_ASKED // 2 :: ASIDE_ASKED], options.seed)
        )
    ]
    return Asked(PosedImages(images, mapped, [camera]), asked, camera)


def beside(scene: Scene, camera: Camera, poses: Sequence[Rigid3], seed: int) -> Iterator[Rigid3]:
    rng = np.random.default_rng(seed)
    for pose in poses:
        depth = float(np.median(render_depth(scene, camera, pose)))
        target = pose @ np.array([0.0, 0.0, depth])
        for _ in range(20):
            sideways = rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 2.0)
            eye = pose @ np.array([sideways, 0.0, rng.uniform(-0.3, 0.3)])
            if scene.is_free(eye, ASIDE_MARGIN_M).all() and np.linalg.norm(target - eye) > 0.8:
                yield look_at(eye, target)
                break


def picture(scene: Scene, camera: Camera, pose: Rigid3, seed: int) -> ImageArray:
    return SensorModel().expose(render(scene, camera, pose), np.random.default_rng(seed))


SETS = {
    "redkitchen": _redkitchen,
    "redkitchen-hard": partial(_redkitchen, queries="hard", every="1"),
    "redkitchen-photos": _photos,
    "aside-6": partial(_aside, every=6),
    "aside-18": partial(_aside, every=18),
    "euroc-3": partial(_euroc, every=3),
    "euroc-5": partial(_euroc, every=5),
    "euroc-8": partial(_euroc, every=8),
}

if __name__ == "__main__":
    main()
