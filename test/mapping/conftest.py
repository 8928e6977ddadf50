"""A small world whose truth is known: points in a box, seen by cameras on a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hfnet_ros.config import Config, InferenceConfig
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage, View
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import ImageFeatures, LocalFeatures

SIZE_WH = (320, 240)
UPRIGHT = 99  # beside the number of an image; a mirrored one has it on the other side


def make_camera(
    model: DistortionModel = DistortionModel.PLUMB_BOB,
    distortion: tuple[float, ...] = (),
    focal: float = 260.0,
) -> Camera:
    return Camera(model, SIZE_WH, np.array([focal, focal]), np.array([159.5, 119.5]), np.array(distortion))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_view(keypoints: np.ndarray, descriptors: np.ndarray, camera_idx: int, pose: Rigid3) -> View:
    scores = np.linspace(1.0, 0.5, len(keypoints), dtype=np.float32)
    local = LocalFeatures(keypoints.astype(np.float32), scores, descriptors.astype(np.float32))
    return View(ImageFeatures(local, None, "synthetic-1"), camera_idx, pose)


@dataclass
class World:
    """Views of points; keypoint n of view v shows `points[seen[v][n]]`."""

    points: np.ndarray
    cameras: list[Camera]
    views: list[View]
    seen: list[np.ndarray]


def make_world(
    cameras: list[Camera] | None = None,
    num_views: int = 12,
    num_points: int = 500,
    noise_px: float = 0.3,
    scale: float = 1.0,
    seed: int = 0,
    is_moved: bool = True,
    mountings: list[Rigid3] | None = None,
) -> World:
    """Views move sideways past a box of points, turning to keep it in sight, or turn only; cameras take turns.

    With mountings, all cameras of a rig look before it moves on.
    """
    rng = np.random.default_rng(seed)
    cameras = cameras or [make_camera()]
    points = rng.uniform([-2.5, -1.5, 2.0], [2.5, 1.5, 5.0], (num_points, 3)) * scale
    looks = rng.normal(size=(num_points, 32))
    views, seen = [], []
    steps = np.linspace(-1.0, 1.0, num_views // len(mountings or [0])).repeat(len(mountings or [0]))
    for number, along in enumerate(steps):
        center = is_moved * scale * np.array([1.2 * along, 0.15 * np.sin(3 * along), 0.2 * np.cos(5 * along)])
        map_from_camera = Rigid3.from_rotvec([0.03 * np.sin(4 * along), -0.3 * along, 0.1 * along], center)
        camera = cameras[number % len(cameras)]
        if mountings:
            map_from_camera = map_from_camera @ mountings[number % len(cameras)]
        pixels = camera.project(map_from_camera.inverse() @ points)
        inside = ((pixels >= 0) & (pixels <= np.array(SIZE_WH) - 1)).all(axis=1)
        # Beyond the fold of a distortion polynomial points come back into the image.
        inside &= np.isfinite(camera.undistort(np.where(inside[:, None], pixels, 0.0))).all(axis=1)
        shown = rng.permutation(np.flatnonzero(inside))
        keypoints = pixels[shown] + noise_px * rng.normal(size=(len(shown), 2))
        descriptors = unit_rows(looks[shown] + 0.2 * rng.normal(size=(len(shown), 32)))
        views.append(make_view(keypoints, descriptors, number % len(cameras), map_from_camera))
        seen.append(shown)
    return World(points, cameras, views, seen)


class SyntheticExtractor:
    """Recognises the image of a view by its first pixel and returns its features; in a mirrored one it sees none."""

    extractor_id = "synthetic-1"
    backend = "none"

    def __init__(self, world: World, with_global: bool = True) -> None:
        self._world = world
        self._with_global = with_global

    def extract(self, image: np.ndarray) -> ImageFeatures:
        number = int(image[0, 0, 0])
        is_mirrored = image[0, -2, 0] == UPRIGHT or number >= len(self._world.views)
        local, angle = self._world.views[0 if is_mirrored else number].features.local, 0.05 * number
        if is_mirrored:
            local = local.chosen(np.arange(0))
        descriptor = np.array([np.cos(angle), np.sin(angle)], np.float32) if self._with_global else None
        return ImageFeatures(local, descriptor, self.extractor_id)

    def close(self) -> None:
        pass


def make_images(world: World) -> list[MappingImage]:
    def reader(number: int) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            image = np.full((SIZE_WH[1], SIZE_WH[0], 3), (10, 20, 30), np.uint8)
            image[0, 0, 0], image[0, 1, 0] = number, UPRIGHT
            return image

        return read

    return [
        MappingImage(f"{number:03d}.png", 1000 * number, view.camera_idx, reader(number))
        for number, view in enumerate(world.views)
    ]


def poses_of(world: World) -> list[Rigid3]:
    return [view.map_from_camera for view in world.views]


@pytest.fixture(scope="session")
def config() -> Config:
    return replace(Config(), inference=InferenceConfig(num_threads=2))


def build_part(world: World, rows: slice, frame_id: str = "map", **extractor: bool) -> VisualMap:
    """Map of a part of the world's views."""
    return build_map(
        PosedImages(make_images(world)[rows], poses_of(world)[rows], world.cameras),
        SyntheticExtractor(world, **extractor),
        replace(Config(), inference=InferenceConfig(num_threads=2)),
        BuildOptions(frame_id=frame_id, intrinsics="off", refine_poses="off", self_test=False),
    )


class Kit:
    """What tests need of the helpers above: test modules cannot import each other."""

    make_world = staticmethod(make_world)
    make_camera = staticmethod(make_camera)
    make_view = staticmethod(make_view)
    make_images = staticmethod(make_images)
    upright = UPRIGHT
    make_extractor = SyntheticExtractor
    poses_of = staticmethod(poses_of)
    build_part = staticmethod(build_part)


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
