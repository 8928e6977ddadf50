"""How near and how honest are poses in maps of few keyframes, by how their landmarks weigh?

    python bench/sparse.py [--seeds 400 401 402] [--every 18] [--weights even auto] [--pose-noise 0.01 0.3]

Maps generated apartments from each so-many-th pose of a walk (`--every`), and asks them for views half a metre to two
metres aside of it, for views from anywhere, and for views of another apartment. Prints by weights (`pose.weights`):
poses given; right ones (within 0.5 m and 10 deg), those within 5 cm and 5 deg, median errors, and the mean of their
squared errors by their covariances (ANEES; 1 is honest); wrong ones; poses given in the other apartment. Poses may be
given with noise, m and deg per axis, as of a motion capture system.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from matching import beside, off_by, picture

from hfnet_ros.config import Config
from hfnet_ros.evaluation.metrics import pose_error_vector
from hfnet_ros.features.extractor import create_mapping_extractor
from hfnet_ros.geometry import Rigid3
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import Scene, build_apartment, demo_camera, look_at, mapping_walk
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import Frame

ASIDE_EVERY, NUM_ANYWHERE, NUM_ELSEWHERE = 7, 40, 12
FALSE_M, FALSE_DEG = 0.5, 10.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[400, 401, 402], help="of the apartments")
    parser.add_argument("--every", type=int, default=18, help="so-many-th pose of the walk is a keyframe")
    parser.add_argument("--weights", nargs="+", default=["even", "auto"], help="pose.weights to compare")
    parser.add_argument("--pose-noise", type=float, nargs=2, default=[0.0, 0.0], metavar=("M", "DEG"))
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {weights: [] for weights in options.weights}
    asked = 0
    for seed in options.seeds:
        rng = np.random.default_rng([9, seed])
        scene, poses = apartment(seed, int(rng.integers(2, 5)), int(rng.integers(0, 8)))
        mapped = poses[:: options.every]
        visual_map = map_of(scene, mapped, shaken(mapped, *options.pose_noise, rng))
        views = [
            *beside(scene, demo_camera(), poses[ASIDE_EVERY // 2 :: ASIDE_EVERY], seed),
            *anywhere(scene, rng, NUM_ANYWHERE),
        ]
        other = build_apartment(seed + 5000, 2)
        foreign = list(anywhere(other, rng, NUM_ELSEWHERE))
        asked += len(views)
        for weights in options.weights:
            found[weights] += ask(visual_map, weights, scene, views)
            found[weights] += ask(visual_map, weights, other, foreign, is_here=False)
        print(f"apartment {seed}: {visual_map.num_keyframes} keyframes, {len(views)} views", flush=True)
    print(f"\n{asked} views of {len(options.seeds)} apartments, every {options.every}th pose mapped\n")
    print(
        "| weights | poses | right | 5 cm 5 deg | median | ANEES | wrong | elsewhere |\n" + "|---" * 8 + "|"
    )
    for weights, rows in found.items():
        print(row_of(weights, np.array(rows).reshape(-1, 3)), flush=True)


def apartment(seed: int, num_rooms: int, num_boxes: int) -> tuple[Scene, list[Rigid3]]:
    """Return an apartment, with fewer things standing about where the walk would run into them, and the walk."""
    for boxes in range(num_boxes, -1, -1):
        scene = build_apartment(seed, num_rooms, boxes_per_room=boxes)
        with contextlib.suppress(ValueError):
            return scene, [pose for _, pose in mapping_walk(scene)]
    raise ValueError(f"no walk leads through apartment {seed}")


def shaken(
    poses: Sequence[Rigid3], noise_m: float, noise_deg: float, rng: np.random.Generator
) -> list[Rigid3]:
    if not noise_m and not noise_deg:
        return list(poses)
    noise = np.array([noise_m] * 3 + [np.radians(noise_deg)] * 3) * rng.standard_normal((len(poses), 6))
    return [
        Rigid3(Rigid3.from_rotvec(off[3:], np.zeros(3)).rotation @ pose.rotation, pose.translation + off[:3])
        for pose, off in zip(poses, noise, strict=True)
    ]


def map_of(scene: Scene, poses: Sequence[Rigid3], given: Sequence[Rigid3] = ()) -> VisualMap:
    config = Config()
    images = [
        MappingImage(f"{row:03d}.png", row, 0, partial(picture, scene, demo_camera(), pose, row))
        for row, pose in enumerate(poses)
    ]
    with contextlib.closing(create_mapping_extractor(config)) as extractor:
        return build_map(
            PosedImages(images, list(given or poses), [demo_camera()]), extractor, config, BuildOptions()
        )


def anywhere(scene: Scene, rng: np.random.Generator, count: int) -> Iterator[Rigid3]:
    while count:
        room = scene.rooms[int(rng.integers(len(scene.rooms)))]
        eye = rng.uniform([*room.lower[:2], 0.4], [*room.upper[:2], 2.0])
        if scene.is_free(eye[None], 0.3)[0]:
            yaw, pitch = rng.uniform(0.0, 2.0 * np.pi), rng.normal(-0.1, 0.25)
            ahead = [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)]
            yield look_at(eye, eye + 2.0 * np.array(ahead), float(rng.normal(0.0, 0.1)))
            count -= 1


def ask(
    visual_map: VisualMap, weights: str, scene: Scene, views: Sequence[Rigid3], is_here: bool = True
) -> list[list[float]]:
    """Return of each pose that is given how far it is off, m and deg, and its squared error by its covariance."""
    model, rows = LandmarkModel(visual_map), []
    config = model.configured(Config.from_dict({"pose": {"weights": weights}}))
    with contextlib.closing(model.open(config, demo_camera().size_wh)) as opened:
        for number, truth in enumerate(views):
            frame = Frame(0, picture(scene, demo_camera(), truth, 1000 + number), demo_camera())
            answer = opened.localizer.localize(frame)
            if answer.estimate is not None:
                error = pose_error_vector(answer.estimate.map_from_camera, truth)
                squared = float(error @ np.linalg.solve(answer.estimate.covariance, error)) / len(error)
                rows.append([*off_by(answer, truth if is_here else None), squared])
    return rows


def row_of(weights: str, rows: np.ndarray) -> str:
    here = rows[np.isfinite(rows[:, 0])]
    right = here[(here[:, 0] <= FALSE_M) & (here[:, 1] <= FALSE_DEG)]
    near = np.mean((right[:, 0] <= 0.05) & (right[:, 1] <= 5.0))
    return (
        f"| {weights} | {len(here)} | {len(right)} | {near:.3f} | {100 * np.median(right[:, 0]):.2f} cm, "
        f"{np.median(right[:, 1]):.2f} deg | {right[:, 2].mean():.2f} | {len(here) - len(right)} | "
        f"{len(rows) - len(here)} |"
    )


if __name__ == "__main__":
    main()
