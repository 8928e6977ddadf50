"""How far do things that were moved since a map was made take poses, and does the covariance say so?

    python bench/moved.py [--seeds 60 61 62 63] [--moved 0 0.05 0.1 0.15 0.2 0.3]

Maps generated apartments of one room from every fourth pose of a walk, moves each box by so many metres to some side,
and asks for views of boxes from 1.2 to 2.8 m. Prints by how far boxes were moved: poses given; right ones (within
0.5 m), their errors and standard deviations, the mean of their squared errors by their covariances (ANEES; 1 is
honest), and how many are beyond 16 times what is honest.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import replace

import numpy as np
from matching import picture
from sparse import FALSE_M, apartment, map_of

from hfnet_ros.config import Config
from hfnet_ros.evaluation.metrics import pose_error_vector
from hfnet_ros.geometry import Rigid3
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.scene import Box, Rectangle, Scene, demo_camera, look_at
from hfnet_ros.types import Frame

EVERY, NUM_VIEWS, NUM_BOXES = 4, 12, 4
NEAR_M, MARGIN_M, MAX_TRIES = (1.2, 2.8), 0.35, 5000
FAR_BEYOND = 16.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[60, 61, 62, 63], help="of the apartments")
    parser.add_argument(
        "--moved", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.15, 0.2, 0.3], help="metres"
    )
    options = parser.parse_args()
    found: dict[float, list[list[float]]] = {moved_m: [] for moved_m in options.moved}
    for seed in options.seeds:
        scene, poses = apartment(seed, 1, NUM_BOXES)
        visual_map, views = map_of(scene, poses[::EVERY]), views_of_boxes(scene, seed)
        for moved_m in options.moved:
            found[moved_m] += ask(visual_map, with_boxes_moved(scene, moved_m, seed), views)
        print(f"apartment {seed}: {visual_map.num_keyframes} keyframes, {len(views)} views", flush=True)
    print("\n| moved | poses | right | median, largest error | median sigma | ANEES, median | beyond |")
    print("|---" * 7 + "|")
    for moved_m, rows in found.items():
        print(row_of(moved_m, np.array(rows).reshape(-1, 3)))


def with_boxes_moved(scene: Scene, moved_m: float, seed: int) -> Scene:
    """Return a scene with each box moved so far to some side, the same for each distance."""
    rng = np.random.default_rng([3, seed])
    angles = rng.uniform(0.0, 2.0 * np.pi, len(scene.obstacles))
    shifts = moved_m * np.column_stack([np.cos(angles), np.sin(angles), np.zeros(len(angles))])
    rectangles = list(scene.rectangles)
    for row, rectangle in enumerate(rectangles):
        boxes = (idx for idx, box in enumerate(scene.obstacles) if is_side_of(box, rectangle))
        if (idx := next(boxes, None)) is not None:
            rectangles[row] = rectangle.shifted(shifts[idx])
    return replace(scene, rectangles=tuple(rectangles))


def is_side_of(box: Box, rectangle: Rectangle) -> bool:
    corners = rectangle.point_at(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    return bool(box.contains(corners, -1e-6).all())


def views_of_boxes(scene: Scene, seed: int) -> list[Rigid3]:
    rng, views = np.random.default_rng([77, seed]), []
    for _ in range(MAX_TRIES):
        box = scene.obstacles[int(rng.integers(len(scene.obstacles)))]
        middle = 0.5 * (np.asarray(box.lower) + np.asarray(box.upper))
        angle, distance = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(*NEAR_M)
        eye = np.array([*(middle[:2] + distance * np.array([np.cos(angle), np.sin(angle)])), 0.0])
        eye[2] = rng.uniform(0.9, 1.6)
        if scene.is_free(eye[None], MARGIN_M)[0]:
            aside = [rng.normal(0.0, 0.3), rng.normal(0.0, 0.3), rng.uniform(0.0, 0.6)]
            views.append(look_at(eye, middle + aside))
        if len(views) == NUM_VIEWS:
            break
    return views


def ask(visual_map: VisualMap, scene: Scene, views: list[Rigid3]) -> list[list[float]]:
    """Return of each pose its error and its standard deviation, m, and its squared error by its covariance."""
    model, rows = LandmarkModel(visual_map), []
    with contextlib.closing(model.open(model.configured(Config()), demo_camera().size_wh)) as opened:
        for number, truth in enumerate(views):
            image = picture(scene, demo_camera(), truth, 1000 + number)
            estimate = opened.localizer.localize(Frame(0, image, demo_camera())).estimate
            if estimate is not None:
                error = pose_error_vector(estimate.map_from_camera, truth)
                squared = float(error @ np.linalg.solve(estimate.covariance, error)) / len(error)
                sigma = float(np.sqrt(np.trace(estimate.covariance[:3, :3])))
                rows.append([float(np.linalg.norm(error[:3])), sigma, squared])
    return rows


def row_of(moved_m: float, rows: np.ndarray) -> str:
    right = rows[rows[:, 0] <= FALSE_M]
    if len(right) == 0:
        return f"| {100 * moved_m:.0f} cm | {len(rows)} | 0 | | | | |"
    return (
        f"| {100 * moved_m:.0f} cm | {len(rows)} | {len(right)} | {100 * np.median(right[:, 0]):.1f}, "
        f"{100 * right[:, 0].max():.0f} cm | {100 * np.median(right[:, 1]):.1f} cm | {right[:, 2].mean():.2f}, "
        f"{np.median(right[:, 2]):.2f} | {np.count_nonzero(right[:, 2] > FAR_BEYOND)} |"
    )


if __name__ == "__main__":
    main()
