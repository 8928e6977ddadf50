"""Buildings whose storeys differ by their pictures only, each with maps of a few images of one storey.

For choosing what a map that could not be tested is held to; none of them is among the scenes of bench/trust.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from acceptance.asks import Ask, NearTruth, always_wrong
from acceptance.generated_scenes import CAMERA, pictures_at
from acceptance.scenes import REFINED, Picture
from acceptance.scenes import Scene as TestedScene
from acceptance.workspace import RememberingExtractor, Workspace
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import Scene, build_apartment, mapping_walk, query_walk
from hfnet_ros.scene.textures import Painter
from hfnet_ros.trust.tested_build import build_map

SEEDS = (101, 102, 103, 104, 105, 106)
NUMS_MAPPED = (3, 4, 6, 8, 12, 20)
# Of all that is painted, the share that looks otherwise on another storey.
_OTHERWISE = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0)
_STEP = 4  # poses of the walk from one keyframe to the next, 0.4 m
_NEAR_M, _NEAR_RAD = 0.8, np.deg2rad(30.0)
_MAX_ASKED = 7


def storey_scenes() -> list[TestedScene]:
    """Return a scene for each building and number of keyframes."""
    return [_scene(seed, count) for seed in SEEDS for count in NUMS_MAPPED]


@lru_cache(maxsize=8)
def _storey(seed: int, storey: int) -> Scene:
    number = 0

    def repaint(_: np.random.Generator, planned: Painter) -> Painter:
        """Paint every panel by its own chance, so that storeys have the same shape."""
        nonlocal number
        number += 1
        is_other = np.random.default_rng([seed, number]).random() < _OTHERWISE[storey]
        chance = np.random.default_rng([seed, number, storey if is_other else 0])
        return lambda _, size_wh: planned(chance, size_wh)

    return build_apartment(seed, num_rooms=1, repaint=repaint)


def _walk(seed: int) -> list[Rigid3]:
    return [pose for _, pose in mapping_walk(_storey(seed, 0))][::_STEP]


def _mapped(seed: int, count: int) -> slice:
    start = (7 * seed + 3 * count) % max(len(_walk(seed)) - count, 1)
    return slice(start, start + count)


def _query_walk(seed: int) -> list[Rigid3]:
    return [pose for _, pose in query_walk(_storey(seed, 0))]


def _near(seed: int, count: int) -> list[int]:
    keyframes = _walk(seed)[_mapped(seed, count)]
    near = [
        row
        for row, pose in enumerate(_query_walk(seed))
        if any(
            pose.translation_to(keyframe) < _NEAR_M and pose.rotation_to(keyframe) < _NEAR_RAD
            for keyframe in keyframes
        )
    ]
    return [near[idx] for idx in np.linspace(0, len(near) - 1, min(_MAX_ASKED, len(near))).astype(int)]


def _scene(seed: int, count: int) -> TestedScene:
    def drawn(workspace: Workspace, storey: int, poses: Sequence[Rigid3], kind: str) -> list[Picture]:
        return pictures_at(
            workspace, partial(_storey, seed, storey), poses, f"storeys-{seed}-{storey}-{kind}"
        )

    def mapped(workspace: Workspace) -> list[Picture]:
        return drawn(workspace, 0, _walk(seed), "map")[_mapped(seed, count)]

    def build(workspace: Workspace, extractor: RememberingExtractor) -> VisualMap:
        images = [
            MappingImage(picture.name, row, 0, picture.read) for row, picture in enumerate(mapped(workspace))
        ]
        source = PosedImages(images, _walk(seed)[_mapped(seed, count)], [CAMERA])
        return build_map(source, extractor, workspace.config, REFINED)

    def asks(workspace: Workspace, _: VisualMap) -> Sequence[Ask]:
        poses, asked = _query_walk(seed), []
        for storey, share in enumerate(_OTHERWISE):
            pictures = drawn(workspace, storey, poses, "own")
            for row in _near(seed, count):
                judge = always_wrong if storey else NearTruth(poses[row])
                kind = f"storey, {share:.0%} otherwise" if storey else "own"
                asked.append(Ask(pictures[row].name, kind, pictures[row].read, CAMERA, judge, not storey))
        return asked

    def pictures(workspace: Workspace) -> list[Picture]:
        return drawn(workspace, 0, _query_walk(seed), "own")

    return TestedScene(f"storeys-{seed}-{count:02d}", f"building {seed}", build, asks, pictures, mapped)
