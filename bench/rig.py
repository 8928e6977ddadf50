"""What does a rig of three cameras bring, and what does one of them that fails cost?

    python bench/rig.py --cache DIR [--extractor hfnet] [--thin 1] [--parts walk strangers]
    python bench/rig.py --cache DIR --euroc ../shared/data/euroc_v101 --parts euroc
    python bench/rig.py --cache DIR --parts time [--threads 2]

A generated apartment with blank walls, mapped by the front camera in the light, half of the map taken away; a rig of
three cameras (front, left, right; two lenses, one fisheye) walks it in the dark. Prints how many poses the rig and
each camera alone find, how far off, and how many are false (0.5 m or 10 deg). With a camera that fails: rig_faults.py.
Pictures, features and maps are kept in the cache. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from acceptance.workspace import RememberingExtractor, Workspace

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import create_extractor
from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.files.rig_yaml import read_rig
from hfnet_ros.files.tum import read_tum
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import (
    Gait,
    Scene,
    SensorModel,
    build_apartment,
    demo_camera,
    mapping_walk,
    query_walk,
    render,
)
from hfnet_ros.scene.textures import plaster
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import Localization, Query, RigCamera, View

NAMES = ("front", "left", "right")
_DEG = np.pi / 180.0
RIG = (
    RigCamera(demo_camera((480, 360)), Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, 0.12])),
    RigCamera(
        Camera(
            DistortionModel.RATIONAL_POLYNOMIAL,
            (480, 360),
            np.array([300.0, 301.0]),
            np.array([241.0, 178.0]),
            np.array([0.3, 0.05, 1e-3, -1e-3, 0.01, 0.6, 0.15, 0.02]),
        ),
        Rigid3.from_rotvec([0.0, -75.0 * _DEG, 0.0], [-0.14, 0.02, 0.03]),
    ),
    RigCamera(
        Camera(
            DistortionModel.EQUIDISTANT,
            (480, 360),
            np.array([210.0, 210.0]),
            np.array([238.5, 181.0]),
            np.array([0.02, -0.01, 0.003, -0.001]),
        ),
        Rigid3.from_rotvec([0.0, 80.0 * _DEG, 0.0], [0.15, -0.01, 0.02]),
    ),
)
# Images a second of the walk that is rendered; a query is every fifth.
RATE_HZ, STEP, FIRST = 10.0, 5, 40
DARK = SensorModel(noise_sigma=3.0, exposure_gain_range=(0.07, 0.2), motion_blur_px=2.5)
FALSE_M, FALSE_DEG = 0.5, 10.0


def rig_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark of the rig is told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--extractor", default="hfnet")
    parser.add_argument("--seed", type=int, default=21, help="of the apartment")
    parser.add_argument("--thin", type=int, default=1, help="ask every n-th only")
    return parser


def workspace_of(options: argparse.Namespace, euroc: Path | None = None) -> Workspace:
    """Return where what is drawn and built lies, with the parameters of the extractor asked for."""
    base = Config()
    config = dataclasses.replace(base, extractor=dataclasses.replace(base.extractor, name=options.extractor))
    return Workspace(euroc or Path(), options.cache, config, options.thin)


def main() -> None:
    parser = rig_parser(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--euroc", type=Path)
    parser.add_argument("--parts", nargs="+", default=["walk", "strangers"])
    options = parser.parse_args()
    workspace = workspace_of(options, options.euroc)
    parts: dict[str, Callable[[Workspace, argparse.Namespace], None]] = {
        "walk": _walk,
        "strangers": _strangers,
        "euroc": _euroc,
        "time": _time,
    }
    for part in options.parts:
        print(f"\n## {part}", flush=True)
        parts[part](workspace, options)


# --- the scene ---


@lru_cache(maxsize=4)
def scene(seed: int) -> Scene:
    """Three rooms in which most pictures, shelves and walls are bare plaster."""

    def bare(rng: np.random.Generator, painter: Callable) -> Callable:
        return plaster if rng.random() < 0.6 else painter

    return build_apartment(seed, num_rooms=3, repaint=bare)


@lru_cache(maxsize=4)
def query_poses(seed: int) -> list[Rigid3]:
    gait = Gait(height_m=1.27, look_offset_rad=0.26, speed_m_s=0.6, pitch_rad=-0.03, rate_hz=RATE_HZ)
    front_from_rig = RIG[0].rig_from_camera.inverse()
    return [pose @ front_from_rig for _, pose in query_walk(scene(seed), gait)]


def picture(
    workspace: Workspace,
    seed: int,
    camera_idx: int,
    row: int,
    turned_deg: float = 0.0,
    sensor: SensorModel = DARK,
) -> np.ndarray:
    """Return what a camera sees at a step of the walk, turned to its side by an angle."""
    view = RIG[camera_idx]
    kind = (f"-turned{turned_deg:g}" if turned_deg else "") + ("" if sensor is DARK else "-light")
    name = f"rig{seed}-{NAMES[camera_idx]}-{row:04d}{kind}"

    def draw() -> np.ndarray:
        turn = Rigid3.from_rotvec([0.0, turned_deg * _DEG, 0.0], np.zeros(3))
        pose = query_poses(seed)[row] @ view.rig_from_camera @ turn
        rng = np.random.default_rng(10 * row + camera_idx)
        return sensor.expose(render(scene(seed), view.camera, pose, 2), rng)

    return workspace.drawn(name, draw)()


def _map(workspace: Workspace, seed: int, extractor: RememberingExtractor) -> VisualMap:
    """Return the map of what the front camera saw on a walk in the light, every second four seconds of it."""
    path = workspace.map_path(f"rig{seed}")
    if path.exists():
        return load_map(path)
    walked = mapping_walk(scene(seed))
    rows = [row for row in range(0, len(walked), 3) if row // 20 % 2 == 0]
    poses, camera = [walked[row][1] for row in rows], RIG[0].camera

    def draw(row: int) -> np.ndarray:
        return SensorModel().expose(
            render(scene(seed), camera, walked[row][1], 2), np.random.default_rng(row)
        )

    images = [
        MappingImage(f"{row:06d}", row, 0, workspace.drawn(f"rig{seed}-map-{row:06d}", partial(draw, row)))
        for row in rows
    ]
    built = build_map(PosedImages(images, poses, [camera]), extractor, workspace.config)
    save_map(built, path)
    return built


def asked_rows(workspace: Workspace, seed: int) -> list[int]:
    return list(range(FIRST, len(query_poses(seed)), STEP * workspace.thin))


# --- asking ---


@dataclasses.dataclass
class Score:
    """Answers of one way to ask, with their errors where there is a pose."""

    asked: int = 0
    errors: dict[int, tuple[float, float]] = dataclasses.field(default_factory=dict)
    named: int = 0
    blamed: int = 0

    def add(self, answer: Localization, truth: Rigid3, faulty: int | None = None) -> None:
        self.asked += 1
        if answer.estimate is not None:
            pose = answer.estimate.map_from_camera
            self.errors[answer.stamp_ns] = pose.translation_to(truth), np.rad2deg(pose.rotation_to(truth))
        for view_idx, share in enumerate(answer.views):
            self.named += view_idx == faulty and share.problem != ""
            self.blamed += view_idx != faulty and share.contradicts

    def row(self, name: str) -> str:
        errors = np.array(list(self.errors.values())).reshape(-1, 2)
        false = (errors[:, 0] > FALSE_M) | (errors[:, 1] > FALSE_DEG)
        good = (errors[:, 0] <= 0.25) & (errors[:, 1] <= 5.0)
        median = np.median(errors, axis=0) if len(errors) else [np.nan, np.nan]
        return (
            f"| {name} | {self.asked} | {len(errors) / self.asked:.0%} | {good.sum() / self.asked:.0%} "
            f"| {false.sum()} | {100 * median[0]:.1f} cm | {median[1]:.2f} deg | {self.named} | {self.blamed} |"
        )


def _print_common(scores: dict[str, Score], name: str) -> None:
    """Print the errors of one way to ask beside those of the others where both have a pose."""
    for other, score in scores.items():
        common = sorted(score.errors.keys() & scores[name].errors.keys())
        if other != name and common:
            own, its = (
                np.median([found.errors[row] for row in common], axis=0) for found in (scores[name], score)
            )
            print(
                f"{len(common)} queries answered by both: {name} {100 * own[0]:.1f} cm {own[1]:.2f} deg, "
                f"{other} {100 * its[0]:.1f} cm {its[1]:.2f} deg"
            )


HEAD = (
    "| asked | queries | poses | within 0.25 m, 5 deg | false | median | median | fault named | others blamed |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def query(
    workspace: Workspace, seed: int, row: int, cameras: Sequence[int], sensor: SensorModel = DARK
) -> Query:
    pictures = [picture(workspace, seed, each, row, sensor=sensor) for each in cameras]
    return Query(row, tuple(View(RIG[each], image) for each, image in zip(cameras, pictures, strict=True)))


@contextlib.contextmanager
def localizing(workspace: Workspace, seed: int):
    with contextlib.closing(RememberingExtractor(workspace)) as extractor:
        visual_map = _map(workspace, seed, extractor)
        # Nothing here rolls: what is refused upright is refused.
        config = dataclasses.replace(
            workspace.config, retrieval=dataclasses.replace(workspace.config.retrieval, max_turned=0)
        )
        yield Localizer(visual_map, extractor, config)


def _walk(workspace: Workspace, options: argparse.Namespace) -> None:
    seed = options.seed
    ways = {name: (index,) for index, name in enumerate(NAMES)} | {"rig": (0, 1, 2)}
    scores = {name: Score() for name in ways}
    with localizing(workspace, seed) as localizer:
        for row in asked_rows(workspace, seed):
            truth = query_poses(seed)[row]
            for name, cameras in ways.items():
                scores[name].add(localizer.localize(query(workspace, seed, row, cameras)), truth)
    print(HEAD)
    for name, score in scores.items():
        print(score.row(name))
    _print_common(scores, "rig")


def _strangers(workspace: Workspace, options: argparse.Namespace) -> None:
    """Ask with rigs that walk another apartment, in the dark and in the light: every pose is false."""
    other, nowhere = options.seed + 1, Rigid3(np.eye(3), np.array([1e3, 0.0, 0.0]))
    print(HEAD)
    with localizing(workspace, options.seed) as localizer:
        for light, sensor in (("dark", DARK), ("light", SensorModel())):
            for name, cameras in (("front", (0,)), ("rig", (0, 1, 2))):
                score = Score()
                for row in asked_rows(workspace, other):
                    score.add(localizer.localize(query(workspace, other, row, cameras, sensor)), nowhere)
                print(score.row(f"{name} elsewhere, {light}"), flush=True)


# --- stereo ---


def _euroc(workspace: Workspace, _: argparse.Namespace) -> None:
    data = workspace.data
    rig = read_rig(data / "rig.yaml")
    names = list(rig)
    with contextlib.closing(RememberingExtractor(workspace)) as extractor:
        for mapped, every in ((names[:1], 5), (names, 5), (names[:1], 8), (names[:1], 2)):
            images, poses = [], []
            for camera_idx, name in enumerate(mapped):
                paths = list_images(data / "map" / name)[::every]
                images += [
                    MappingImage(f"{name}/{path.name}", row, camera_idx, partial(read_image, path))
                    for row, path in enumerate(paths)
                ]
                poses += [pose.map_from_camera for pose in read_tum(data / f"map_{name}.tum")][::every]
            source = PosedImages(images, poses, [rig[name].camera for name in mapped])
            localizer = Localizer(build_map(source, extractor, workspace.config), extractor, workspace.config)
            print(
                f"\nmap of every {every}th image of {' and '.join(mapped)}: {len(images)} keyframes\n\n{HEAD}"
            )
            truths = [pose.map_from_camera for pose in read_tum(data / f"query_{names[0]}.tum")]
            scores = {" + ".join(asked): Score() for asked in (names[:1], names[1:2], names)}
            for label, score in scores.items():
                asked = label.split(" + ")
                files = [list_images(data / "query" / name) for name in asked]
                for row, truth in enumerate(truths):
                    views = (
                        View(rig[name], read_image(paths[row]))
                        for name, paths in zip(asked, files, strict=True)
                    )
                    score.add(localizer.localize(Query(row, tuple(views))), truth)
                print(score.row(label), flush=True)
            _print_common(scores, " + ".join(names))


# --- time ---


def _time(workspace: Workspace, options: argparse.Namespace) -> None:
    """Ask one view and three in turn, with the network."""
    with contextlib.closing(RememberingExtractor(workspace)) as remembering:
        visual_map = _map(workspace, options.seed, remembering)
    inference = dataclasses.replace(workspace.config.inference, num_threads=options.threads)
    config = dataclasses.replace(
        workspace.config,
        inference=inference,
        retrieval=dataclasses.replace(workspace.config.retrieval, max_turned=0),
    )
    times: dict[str, list[dict[str, float]]] = {"front": [], "rig": []}
    with contextlib.closing(create_extractor(config)) as extractor:
        localizer = Localizer(visual_map, extractor, config)
        for row in [0, *asked_rows(workspace, options.seed)[::4]]:
            queries = {"front": (0,), "rig": (0, 1, 2)}
            for name, cameras in queries.items():
                asked = query(workspace, options.seed, row, cameras)
                started = time.perf_counter()
                answer = localizer.localize(asked)
                seconds = {**answer.timings_s, "total": time.perf_counter() - started}
                times[name].append(seconds)
    print(f"{options.threads} threads, medians of {len(times['rig']) - 1} queries, ms")
    for name, found in times.items():
        stages = {stage: 1e3 * np.median([each[stage] for each in found[1:]]) for stage in found[0]}
        print(name, "  ".join(f"{stage} {value:.1f}" for stage, value in stages.items()))
    ratios = [rig["total"] / one["total"] for rig, one in zip(times["rig"], times["front"], strict=True)]
    print(f"a rig takes {np.median(ratios[1:]):.2f} times as long as one view (median of pairs)")


if __name__ == "__main__":
    main()
