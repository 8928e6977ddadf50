"""Flat walls, asked as they are, with some of their pictures exchanged, and as posters that hang elsewhere.

For choosing what is asked of a flat scene, whose picture is as good as the scene; bench/trust.py has a wall of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from acceptance.asks import Ask, NearTruth
from acceptance.generated_scenes import CAMERA, pictures_at
from acceptance.scenes import REFINED, Picture
from acceptance.scenes import Scene as TestedScene
from acceptance.workspace import RememberingExtractor, Workspace
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import Rectangle, Scene, build_plane_wall, look_at
from hfnet_ros.trust.tested_build import build_map

SEEDS = (21, 22, 23, 24)
_EXCHANGED = (0.0, 0.3)
_LARGE_M2 = 4.0
_NUM_ASKED = 14


def wall_scenes() -> list[TestedScene]:
    """Return a scene for each wall."""
    return [_scene(seed) for seed in SEEDS]


@lru_cache(maxsize=4)
def _wall(seed: int, exchanged: float) -> Scene:
    """Return a wall some of whose pictures are those of another one."""
    wall, rng = build_plane_wall(seed), np.random.default_rng(seed)
    spare = [
        rectangle.texture for rectangle in build_plane_wall(seed + 100).rectangles if not _is_large(rectangle)
    ]
    rectangles = [
        replace(rectangle, texture=spare[int(rng.integers(len(spare)))])
        if rng.random() < exchanged and not _is_large(rectangle)
        else rectangle
        for rectangle in wall.rectangles
    ]
    return replace(wall, rectangles=tuple(rectangles))


def _is_large(rectangle: Rectangle) -> bool:
    return float(np.linalg.norm(np.cross(rectangle.edge_u, rectangle.edge_v))) >= _LARGE_M2


def _mapped() -> list[Rigid3]:
    return [
        look_at(np.array([x, 2.0 + 0.4 * (index % 3), 1.4]), np.array([x + lean, 5.0, 1.5]))
        for index, (x, lean) in enumerate(
            (x, lean) for x in np.arange(1.4, 8.7, 0.65) for lean in (-0.6, 0.8)
        )
    ]


def _asked(seed: int) -> list[Rigid3]:
    rng = np.random.default_rng(seed)
    return [
        look_at(np.array([x, y, z]), np.array([x + lean, 5.0, 1.5]))
        for x, y, z, lean in rng.uniform([1.5, 0.7, 1.1, -1.6], [8.5, 3.0, 1.7, 1.6], (_NUM_ASKED, 4))
    ]


def _scene(seed: int) -> TestedScene:
    def drawn(workspace: Workspace, exchanged: float, poses: Sequence[Rigid3], kind: str) -> list[Picture]:
        return pictures_at(workspace, partial(_wall, seed, exchanged), poses, f"wall-{seed}-{kind}")

    def mapped(workspace: Workspace) -> list[Picture]:
        return drawn(workspace, 0.0, _mapped(), "map")

    def build(workspace: Workspace, extractor: RememberingExtractor) -> VisualMap:
        images = [
            MappingImage(picture.name, row, 0, picture.read) for row, picture in enumerate(mapped(workspace))
        ]
        return build_map(PosedImages(images, _mapped(), [CAMERA]), extractor, workspace.config, REFINED)

    def asks(workspace: Workspace, _: VisualMap) -> list[Ask]:
        asked = []
        for exchanged in _EXCHANGED:
            kind = f"own, {exchanged:.0%} of the pictures exchanged" if exchanged else "own"
            pictures = drawn(workspace, exchanged, _asked(seed), f"own-{exchanged:.1f}")
            for picture, pose in zip(pictures, _asked(seed), strict=True):
                asked.append(Ask(picture.name, kind, picture.read, CAMERA, NearTruth(pose), True))
        return asked

    def pictures(workspace: Workspace) -> list[Picture]:
        return drawn(workspace, 0.0, _asked(seed), "own-0.0")

    return TestedScene(f"wall-{seed}", f"wall {seed}", build, asks, pictures, mapped)
