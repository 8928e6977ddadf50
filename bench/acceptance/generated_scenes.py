"""Generated scenes with exact poses: rooms, changed rooms, twins, a repeated wall, a nearly flat one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from acceptance.asks import Ask, NearTruth
from acceptance.scenes import REFINED, Picture
from acceptance.scenes import Scene as TestedScene
from acceptance.workspace import RememberingExtractor, Workspace
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import (
    Box,
    Rectangle,
    Scene,
    SensorModel,
    build_apartment,
    build_corridor,
    build_plane_wall,
    demo_camera,
    look_at,
    mapping_walk,
    query_walk,
    render,
)
from hfnet_ros.trust.tested_build import build_map

CAMERA = demo_camera((480, 360))
_MAPPED_ROOMS = 2
_MOVED_M = np.array([0.0, 0.55, 0.0])
_LARGE_WALL_M2 = 4.0
_REPEATS, _REPEAT_M = 3, 3.2

Poses = Sequence[Rigid3]


def generated_scenes() -> list[TestedScene]:
    return [_apartment(), _twins(), _repeated_wall(), _near_plane()]


def _picture(scene: Scene, map_from_camera: Rigid3, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return SensorModel().expose(render(scene, CAMERA, map_from_camera), rng)


def pictures_at(workspace: Workspace, make: Callable[[], Scene], poses: Poses, name: str) -> list[Picture]:
    return [
        Picture(
            f"{name}-{index:03d}",
            workspace.drawn(
                f"{name}-{index:03d}", lambda pose=pose, seed=index: _picture(make(), pose, seed)
            ),
            CAMERA,
        )
        for index, pose in enumerate(poses)
    ]


def asked_at(
    workspace: Workspace,
    make: Callable[[], Scene],
    poses: Poses,
    name: str,
    kind: str,
    is_answerable: bool = True,
) -> list[Ask]:
    pictures = pictures_at(workspace, make, poses, name)
    return [
        Ask(picture.name, kind, picture.read, CAMERA, NearTruth(pose), is_answerable)
        for picture, pose in zip(pictures, poses, strict=True)
    ]


def _tested(
    name: str,
    make: Callable[[], Scene],
    mapped: Callable[[], Poses],
    own: Callable[[], Poses],
    more: Callable[[Workspace], list[Ask]],
) -> TestedScene:
    def build(workspace: Workspace, extractor: RememberingExtractor) -> VisualMap:
        poses = mapped()
        images = [
            MappingImage(picture.name, row, 0, picture.read)
            for row, picture in enumerate(pictures_at(workspace, make, poses, f"{name}-map"))
        ]
        return build_map(PosedImages(images, poses, [CAMERA]), extractor, workspace.config, REFINED)

    return TestedScene(
        name,
        name,
        build,
        lambda workspace, _: [*asked_at(workspace, make, own(), f"{name}-own", "own"), *more(workspace)],
        lambda workspace: pictures_at(workspace, make, own(), f"{name}-own"),
        lambda workspace: pictures_at(workspace, make, mapped(), f"{name}-map"),
    )


@lru_cache(maxsize=1)
def _rooms() -> Scene:
    return build_apartment(11, num_rooms=3)


def _apartment() -> TestedScene:
    """Map two of three rooms; ask there, in the third one, and where furniture and walls have changed."""

    def of_rooms(poses: Poses, are_mapped: bool) -> list[Rigid3]:
        border = _rooms().rooms[_MAPPED_ROOMS - 1].upper[0]
        return [pose for pose in poses if (pose.translation[0] < border) == are_mapped]

    def mapped() -> list[Rigid3]:
        return of_rooms([pose for _, pose in mapping_walk(_rooms())], True)[::4]

    def walked(are_mapped: bool) -> list[Rigid3]:
        return of_rooms([pose for _, pose in query_walk(_rooms())], are_mapped)

    def more(workspace: Workspace) -> list[Ask]:
        # Through the door a mapped room may be in view: then a pose near the true one is right.
        third = asked_at(
            workspace, _rooms, walked(False)[::3], "apartment-third", "other half", is_answerable=False
        )
        changed = []
        for kind, make in (("boxes moved", _with_boxes_moved), ("walls repainted", _with_walls_repainted)):
            name = "apartment-" + kind.replace(" ", "-")
            changed += asked_at(workspace, make, walked(True)[::7], name, kind)
        return third + changed

    return _tested("apartment", _rooms, mapped, lambda: walked(True)[::5], more)


@lru_cache(maxsize=1)
def _with_boxes_moved() -> Scene:
    """Every second piece of furniture half a metre along y, others where they were."""
    scene = _rooms()
    moved = scene.obstacles[::2]
    rectangles = [
        rectangle.shifted(_MOVED_M) if any(_is_side_of(box, rectangle) for box in moved) else rectangle
        for rectangle in scene.rectangles
    ]
    return replace(scene, rectangles=tuple(rectangles))


def _is_side_of(box: Box, rectangle: Rectangle) -> bool:
    corners = rectangle.point_at(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    return bool(box.contains(corners, -1e-6).all())


@lru_cache(maxsize=1)
def _with_walls_repainted() -> Scene:
    """Every wall, floor and ceiling gets the texture of another apartment's; furniture and pictures stay."""
    scene, other = _rooms(), build_apartment(12, num_rooms=3)
    spare = [rectangle.texture for rectangle in other.rectangles if _area(rectangle) > _LARGE_WALL_M2]
    painted, count = [], 0
    for rectangle in scene.rectangles:
        if _area(rectangle) > _LARGE_WALL_M2:
            rectangle = replace(rectangle, texture=spare[count % len(spare)])
            count += 1
        painted.append(rectangle)
    return replace(scene, rectangles=tuple(painted))


def _area(rectangle: Rectangle) -> float:
    return float(np.linalg.norm(np.cross(rectangle.edge_u, rectangle.edge_v)))


@lru_cache(maxsize=1)
def _corridor() -> Scene:
    return build_corridor(4)


def _turned(pose: Rigid3, along: float, deeper: float, yaw: float) -> Rigid3:
    turn = Rigid3.from_rotvec([0.0, 0.0, yaw], np.zeros(3)).rotation
    return Rigid3(turn @ pose.rotation, pose.translation + np.array([along, deeper, 0.05 * along]))


def _twins() -> TestedScene:
    """Map two niches that are copies, one of them better; views into either could only be answered by luck."""

    def mapped() -> list[Rigid3]:
        scene = _corridor()
        poses = [
            _turned(scene.viewpoints[niche], along, deeper, 0.3 * along)
            for niche, offsets in (
                ("twin_a", ((0.1, -0.35), (-0.45, -0.1), (0.5, 0.05), (0.0, 0.4), (0.3, -0.2), (-0.2, 0.2))),
                ("twin_b", ((-0.3, -0.2), (0.35, -0.3), (0.05, 0.3))),
            )
            for along, deeper in offsets
        ]
        xs = np.arange(0.7, 12.6, 0.7)
        ahead = [look_at(np.array([x, 0.9, 1.35]), np.array([x + 4.0, 1.1, 1.2])) for x in xs if x < 10.5]
        back = [look_at(np.array([x, 1.1, 1.35]), np.array([x - 4.0, 0.8, 1.2])) for x in xs if x > 3.0]
        return [*poses, *ahead, *back]

    def own() -> list[Rigid3]:
        xs = np.arange(1.0, 10.0, 0.6)
        ahead = [look_at(np.array([x, 1.1, 1.3]), np.array([x + 4.0, 0.9, 1.25])) for x in xs]
        back = [look_at(np.array([x + 2.8, 0.85, 1.3]), np.array([x - 1.0, 1.1, 1.2])) for x in xs[::2]]
        return [*ahead, *back]

    def more(workspace: Workspace) -> list[Ask]:
        rng, scene = np.random.default_rng(0), _corridor()
        poses = [
            _turned(scene.viewpoints[niche], *rng.uniform([-0.4, -0.3, -0.2], [0.4, 0.3, 0.2]))
            for niche in ("twin_a", "twin_b")
            for _ in range(15)
        ]
        return asked_at(workspace, _corridor, poses, "twins-twin", "twin", is_answerable=False)

    return _tested("twins", _corridor, mapped, own, more)


@lru_cache(maxsize=1)
def _repeating() -> Scene:
    """A hall whose wall at y = 5 shows the same pictures three times; its ends are unlike."""
    wall = build_plane_wall(7)
    kept = [r for r in wall.rectangles if r.point_at(np.array([[0.5, 0.5]]))[0, 0] < _REPEAT_M]
    pictures = [r for r in kept if _area(r) < _LARGE_WALL_M2]
    walls = [r for r in wall.rectangles if _area(r) >= _LARGE_WALL_M2]
    copies = [
        rectangle.shifted(np.array([_REPEAT_M * step, 0.0, 0.0]))
        for step in range(_REPEATS)
        for rectangle in pictures
    ]
    ends = build_apartment(13, num_rooms=1)
    room = ends.rooms[0]
    end = np.array([_REPEATS * _REPEAT_M - room.lower[0], 5.0 - room.upper[1], 0.0])
    furnished = [
        r.shifted(end) for r in ends.rectangles if r.point_at(np.array([[0.5, 0.5]]))[0, 0] > room.center[0]
    ]
    return Scene((*walls, *copies, *furnished), wall.rooms)


def _repeated_wall() -> TestedScene:
    facing = [(x, 2.2 + 0.5 * (index % 2)) for index, x in enumerate(np.arange(0.8, 9.0, 0.55))]

    def views(points: Sequence[tuple[float, float]], lean: float) -> list[Rigid3]:
        return [
            look_at(np.array([x, y, 1.5]), np.array([x + (lean if index % 2 else -lean), 5.0, 1.5]))
            for index, (x, y) in enumerate(points)
        ]

    def to_the_end(shift: float) -> list[Rigid3]:
        return [
            look_at(np.array([x, 2.4 + shift, 1.5]), np.array([12.5, 3.0 + shift, 1.3]))
            for x in np.arange(5.0 + shift, 10.0, 0.45)
        ]

    return _tested(
        "repeated_wall",
        _repeating,
        lambda: [*views(facing, 0.5), *to_the_end(0.0)],
        lambda: to_the_end(0.25),
        lambda workspace: asked_at(
            workspace,
            _repeating,
            views([(x + 0.2, y - 0.1) for x, y in facing], 0.3),
            "repeated_wall-twin",
            "twin",
            is_answerable=False,
        ),
    )


@lru_cache(maxsize=1)
def _plane() -> Scene:
    return build_plane_wall(5)


def _near_plane() -> TestedScene:
    """A wall that is flat to four centimetres, seen from two to four metres, straight and aslant."""

    def mapped() -> list[Rigid3]:
        return [
            look_at(np.array([x, 1.9 + 0.45 * (index % 3), 1.4]), np.array([x + lean, 5.0, 1.5]))
            for index, (x, lean) in enumerate(
                (x, lean) for x in np.arange(1.5, 8.6, 0.6) for lean in (-0.7, 0.7)
            )
        ]

    def own() -> list[Rigid3]:
        rng = np.random.default_rng(3)
        return [
            look_at(np.array([x, y, z]), np.array([x + lean, 5.0, 1.5]), float(rng.uniform(-0.05, 0.05)))
            for x, y, z, lean in rng.uniform([1.5, 0.7, 1.1, -1.6], [8.5, 3.0, 1.7, 1.6], (40, 4))
        ]

    return _tested("near_plane", _plane, mapped, own, lambda _: [])
