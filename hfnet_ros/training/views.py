"""What teachers and student look at: views of photos and of generated apartments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.scene import Scene, build_apartment, look_at, render, render_depth
from hfnet_ros.scene.construction import Repaint
from hfnet_ros.scene.textures import Painter
from hfnet_ros.training.options import DataOptions
from hfnet_ros.types import ImageArray

GROUP_SIZE = 3  # views of a scene that look at the same things
_FIRST_SCENE_SEED = 5000  # far from the seeds of demo, tests and evaluation
_HELD_OUT_EVERY, _HELD_OUT_REMAINDER = 10, 7
_FOCAL = 0.78  # of the generated camera, in image widths: about 65 degrees across
_CLEARANCE_M = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One picture to learn from.

    Attributes:
        image: [H, W, 3] BGR uint8.
        group: number of the photo, or of the group of scene views; views of one group match.
        scene: number of the generated scene; -1 for photos.
        depth: [H, W] float32, m, NaN where nothing is; None for photos.
        map_from_camera: of scene views.
    """

    image: ImageArray
    group: int
    scene: int = -1
    depth: NDArray[np.float32] | None = None
    map_from_camera: Rigid3 | None = None


def is_held_out(position: int) -> bool:
    """Tell for a photo's position in its sorted folder whether it is kept for evaluation."""
    return position % _HELD_OUT_EVERY == _HELD_OUT_REMAINDER


@lru_cache(maxsize=4)
def training_photos(options: DataOptions) -> list[Path]:
    """Return the photos that may be learned from."""
    if not options.photos:
        return []
    allowed = [path for position, path in enumerate(list_images(options.photos)) if not is_held_out(position)]
    if options.max_photos and len(allowed) > options.max_photos:
        chosen = np.linspace(0, len(allowed) - 1, options.max_photos).astype(int)
        allowed = [allowed[index] for index in chosen]
    return allowed


def view_camera(view_wh: tuple[int, int]) -> Camera:
    """Return the pinhole camera of generated views."""
    width, height = view_wh
    focal = _FOCAL * width
    return Camera(
        DistortionModel.NONE,
        view_wh,
        np.array([focal, focal]),
        np.array([(width - 1) / 2.0, (height - 1) / 2.0]),
        np.zeros(0),
    )


ViewJob = tuple[str, int]  # "photo" or "scene" and its number


def view_jobs(options: DataOptions) -> list[ViewJob]:
    """Return the photos, then the scenes, whose views are drawn independently of each other."""
    photos = [("photo", number) for number in range(len(training_photos(options)))]
    return photos + [("scene", number) for number in range(options.scenes)]


def draw_views(job: ViewJob, options: DataOptions, seed: int) -> Iterator[View]:
    """Yield the views of one photo or one generated scene."""
    kind, number = job
    return _photo_views(number, options, seed) if kind == "photo" else _scene_views(number, options, seed)


def _photo_views(group: int, options: DataOptions, seed: int) -> Iterator[View]:
    """Yield `views_per_photo` views: the whole photo first, then parts at higher resolution."""
    image = read_image(training_photos(options)[group])
    color = image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    rng = np.random.default_rng([seed, group])
    for number in range(options.views_per_photo):
        share = 1.0 if number == 0 else float(rng.uniform(0.5, 0.85))
        yield View(_cut_out(color, options.view_wh, share, rng), group)


def _scene_views(number: int, options: DataOptions, seed: int) -> Iterator[View]:
    """Yield groups of views of a generated apartment, with depth and pose."""
    camera = view_camera(options.view_wh)
    scene = build_apartment(
        _FIRST_SCENE_SEED + seed + number,
        2 + number % 2,
        boxes_per_room=options.boxes_per_room,
        repaint=_hang_photos(options) if options.photo_share > 0.0 else None,
    )
    rng = np.random.default_rng([seed, 1, number])
    groups = options.views_per_scene // GROUP_SIZE
    for index in range(groups):
        for pose in _draw_group(scene, rng, options.aside_m):
            image, depth = render(scene, camera, pose, 2), render_depth(scene, camera, pose)
            yield View(image, number * groups + index, number, depth, pose)


def _cut_out(
    image: ImageArray, view_wh: tuple[int, int], share: float, rng: np.random.Generator
) -> ImageArray:
    """Cut the largest part of the view's aspect, or `share` of it anywhere, and resize it."""
    height, width = image.shape[:2]
    scale = min(width / view_wh[0], height / view_wh[1]) * share
    part_w, part_h = min(width, round(view_wh[0] * scale)), min(height, round(view_wh[1] * scale))
    left, top = int(rng.integers(width - part_w + 1)), int(rng.integers(height - part_h + 1))
    part = image[top : top + part_h, left : left + part_w]
    interpolation = cv2.INTER_AREA if part_w > view_wh[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, view_wh, interpolation=interpolation), np.uint8)


def _hang_photos(options: DataOptions) -> Repaint:
    """Return what paints parts of the photos that may be learned from on some surfaces."""
    photos = training_photos(options)

    def paint(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
        image = read_image(photos[int(rng.integers(len(photos)))])
        color = image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
        return _cut_out(color, size_wh, float(rng.uniform(0.6, 1.0)), rng)

    def repaint(rng: np.random.Generator, painter: Painter) -> Painter:
        return paint if photos and rng.random() < options.photo_share else painter

    return repaint


def _draw_group(scene: Scene, rng: np.random.Generator, aside_m: float) -> list[Rigid3]:
    """Draw a view and its neighbours, looking at about the same point."""
    eye = _draw_eye(scene, rng, None, aside_m)
    yaw, pitch = float(rng.uniform(0.0, 2.0 * np.pi)), float(rng.normal(-0.08, 0.15))
    ahead = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    target = eye + float(rng.uniform(1.5, 3.5)) * ahead
    poses = [look_at(eye, target, float(rng.normal(0.0, 0.05)))]
    for _ in range(GROUP_SIZE - 1):
        beside = _draw_eye(scene, rng, eye, aside_m)
        aim = target + rng.normal(0.0, 0.35, 3)
        poses.append(look_at(beside, aim, float(rng.normal(0.0, 0.12))))
    return poses


def _draw_eye(
    scene: Scene, rng: np.random.Generator, near: NDArray[np.float64] | None, aside_m: float
) -> NDArray[np.float64]:
    while True:
        if near is None:
            room = scene.rooms[int(rng.integers(len(scene.rooms)))]
            eye = rng.uniform(room.lower, room.upper)
            eye[2] = rng.uniform(0.7, 1.7)
        else:
            eye = near + rng.uniform([-aside_m, -aside_m, -0.3], [aside_m, aside_m, 0.3])
        if scene.is_free(eye[None], _CLEARANCE_M)[0]:
            return np.asarray(eye)
