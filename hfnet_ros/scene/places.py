"""Three places to localize in: an apartment, a corridor that repeats itself, a wall of posters."""

from __future__ import annotations

import numpy as np

from hfnet_ros.scene.construction import (
    WALLS,
    Looking,
    Opening,
    Repaint,
    SceneBuilder,
    against_wall,
    lamp_of,
)
from hfnet_ros.scene.model import Box, FloatArray, Scene, look_at
from hfnet_ros.scene.pictures import book_shelf, desk_top, door, drawers
from hfnet_ros.scene.textures import (
    Painter,
    brick,
    carpet,
    ceiling_panels,
    muted_color,
    octave_noise,
    plain_image,
    planks,
    plaster,
    stone,
    tiles,
    wallpaper,
    wood,
)
from hfnet_ros.types import ImageArray

_CEILING_M, _WALL_THICKNESS_M = 2.5, 0.14
_DOOR_WIDTH_M, _DOOR_HEIGHT_M, _DOOR_REACH_M = 1.1, 2.1, 0.8
_ENDS: tuple[Looking, ...] = ("+x", "-x")
_WALL_MATERIALS: tuple[Painter, ...] = (plaster, wallpaper, brick, plaster, stone, wallpaper, planks)
_FLOOR_MATERIALS: tuple[Painter, ...] = (planks, carpet, tiles, stone)
_NICHE_PITCH_M, _NICHE_WIDTH_M, _NICHE_DEPTH_M = 7.0, 2.8, 2.4


def build_apartment(
    seed: int, num_rooms: int = 3, *, boxes_per_room: int = 0, repaint: Repaint | None = None
) -> Scene:
    """Build rooms in a row along +x, joined by doorways, furnished along their walls.

    Args:
        seed: the same seed gives the same apartment.
        num_rooms: at least 1.
        boxes_per_room: that stand about, besides the furniture.
        repaint: see `SceneBuilder`.

    Raises:
        ValueError: there is no room.
    """
    if num_rooms < 1:
        raise ValueError(f"num_rooms is {num_rooms}, expected at least 1")
    rng = np.random.default_rng(seed)
    builder = SceneBuilder(rng, repaint=repaint)
    rooms: list[Box] = []
    left = 0.0
    for _ in range(num_rooms):
        width, depth = rng.uniform(4.8, 5.6), rng.uniform(4.4, 5.2)
        rooms.append(Box(np.array([left, 0.0, 0.0]), np.array([left + width, depth, _CEILING_M])))
        left += width + _WALL_THICKNESS_M
    openings = [_random_opening(rng) for _ in rooms[1:]]
    materials = rng.permutation(len(_WALL_MATERIALS))
    for index, room in enumerate(rooms):
        holes: dict[Looking, Opening] = {}
        if index > 0:
            holes["-x"] = openings[index - 1]
        if index < num_rooms - 1:
            holes["+x"] = openings[index]
        walls = [_WALL_MATERIALS[materials[(3 * index + side) % len(materials)]] for side in range(4)]
        builder.add_room(room, [*walls, ceiling_panels, _FLOOR_MATERIALS[index % 4]], holes)
        _furnish_room(builder, room, holes)
        builder.scatter_boxes(room, boxes_per_room)
    doorways = [
        _add_doorway(builder, before, opening) for before, opening in zip(rooms[:-1], openings, strict=True)
    ]
    return Scene(tuple(builder.rectangles), tuple(rooms), tuple(doorways), tuple(builder.obstacles))


def build_corridor(seed: int) -> Scene:
    """Build a corridor along +x with two niches on its +y side that are exact copies.

    `viewpoints` has "twin_a" and "twin_b": the same view into either niche, which no image
    taken there can tell apart, and "corridor", which looks along the unambiguous corridor.
    """
    rng = np.random.default_rng(seed)
    builder = SceneBuilder(rng)
    corridor = Box(np.zeros(3), np.array([13.6, 2.0, _CEILING_M]))
    niche = Box(np.array([2.0, 2.0, 0.0]), np.array([2.0 + _NICHE_WIDTH_M, 2.0 + _NICHE_DEPTH_M, _CEILING_M]))
    offset = np.array([_NICHE_PITCH_M, 0.0, 0.0])
    builder.add_room(corridor, [brick, plaster, plaster, wallpaper, ceiling_panels, planks], {}, omit=("+y",))
    for start, end in ((0.0, niche.lower[0]), (niche.upper[0], 9.0), (9.0 + _NICHE_WIDTH_M, 13.6)):
        part = Box(np.array([start, 0.0, 0.0]), np.array([end, 2.0, _CEILING_M]))
        builder.add_panel(part, "+y", wallpaper, lamp_of(corridor), inside=True)
        builder.add_pictures(part, "+y", (0.2, end - start - 0.1), 1.0)
    builder.add_pictures(corridor, "-y", (0.3, 13.2), 1.0)
    for looking in _ENDS:
        builder.add_panel(
            against_wall(corridor, looking, 0.5, (0.95, 0.04, 2.05), 0.0), looking, door, lamp_of(corridor)
        )
    first, obstacles = len(builder.rectangles), len(builder.obstacles)
    _build_niche(builder, niche)
    copies = [rectangle.shifted(offset) for rectangle in builder.rectangles[first:]]
    twin_obstacles = [box.shifted(offset) for box in builder.obstacles[obstacles:]]
    niches = (niche, niche.shifted(offset))
    eye, target = np.array([3.3, 1.9, 1.35]), np.array([3.45, 4.4, 1.2])
    viewpoints = {
        "twin_a": look_at(eye, target),
        "twin_b": look_at(eye + offset, target + offset),
        "corridor": look_at(np.array([0.8, 0.9, 1.35]), np.array([13.0, 1.1, 1.2])),
    }
    mouths = tuple(_reaching(box) for box in niches)
    return Scene(
        (*builder.rectangles, *copies),
        (corridor, *niches),
        mouths,
        (*builder.obstacles, *twin_obstacles),
        viewpoints,
    )


def build_plane_wall(seed: int) -> Scene:
    """Build a hall whose only textured thing is the wall at y = 5, flat to four centimetres.

    The other walls are left out (black) and floor and ceiling are faint: nearly all points a
    camera finds lie in one plane. `viewpoints` has "frontal" and "oblique".
    """
    rng = np.random.default_rng(seed)
    builder = SceneBuilder(rng)
    hall = Box(np.zeros(3), np.array([10.0, 5.0, 3.2]))
    # The lamp hangs in front of the wall: one in the middle of the hall would leave it dark.
    builder.add_room(hall, [plaster] * 4 + [_faint, _faint], {}, omit=("+x", "-x", "-y", "+y"))
    builder.add_panel(hall, "+y", plaster, np.array([5.0, 1.0, 2.5]), inside=True)
    for bottom in (0.15, 1.2, 2.2):
        builder.add_pictures(hall, "+y", (0.1, 9.9), bottom)
    viewpoints = {
        "frontal": look_at(np.array([5.0, 2.4, 1.5]), np.array([5.0, 5.0, 1.5])),
        "oblique": look_at(np.array([3.0, 2.8, 1.4]), np.array([5.2, 5.0, 1.5])),
    }
    return Scene(tuple(builder.rectangles), (hall,), viewpoints=viewpoints)


def _build_niche(builder: SceneBuilder, niche: Box) -> None:
    builder.add_room(niche, [wallpaper, stone, plaster, plaster, ceiling_panels, tiles], {}, omit=("-y",))
    builder.add_box(
        against_wall(niche, "+y", 0.25, (0.9, 0.35, 1.9), 0.0), lamp_of(niche), book_shelf, wood, "+y"
    )
    for side in _ENDS:
        builder.add_pictures(niche, side, (0.5, 2.2), 0.95)
    builder.add_pictures(niche, "+y", (1.3, 2.7), 0.95)


def _faint(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    cloud = octave_noise(rng, size_wh, 256.0, 64.0)
    gray = plain_image(size_wh, muted_color(rng)).astype(np.float32) + 2.0 * cloud[:, :, None]
    return np.clip(gray, 0, 255).astype(np.uint8)


def _random_opening(rng: np.random.Generator) -> Opening:
    start = float(rng.uniform(1.5, 1.9))
    return Opening(start, start + _DOOR_WIDTH_M, _DOOR_HEIGHT_M)


def _furnish_room(builder: SceneBuilder, room: Box, openings: dict[Looking, Opening]) -> None:
    for looking in WALLS:
        builder.furnish_wall(room, looking, openings.get(looking))
        if looking not in openings:
            builder.add_pictures(room, looking, (0.1, 0.65), 1.1)
    # Something in the middle of the room: parallax that walls alone do not give.
    half = np.array([0.38, 0.3, 0.0])
    height = np.array([0.0, 0.0, float(builder.rng.uniform(0.55, 0.75))])
    floor = np.array([room.center[0], room.center[1], 0.0])
    builder.add_box(Box(floor - half, floor + half + height), lamp_of(room), desk_top, drawers, "-z")


def _add_doorway(builder: SceneBuilder, before: Box, opening: Opening) -> Box:
    """Line the hole between two rooms and return the air in it."""
    lower = np.array([before.upper[0], opening.start_m, 0.0])
    upper = np.array([before.upper[0] + _WALL_THICKNESS_M, opening.end_m, opening.height_m])
    hole = Box(lower, upper)
    lamp: FloatArray = np.array([hole.center[0], hole.center[1], 1.9])
    for looking in ("+y", "-y", "+z", "-z"):
        builder.add_panel(hole, looking, wood, lamp, inside=True)
    reach = np.array([_DOOR_REACH_M, 0.0, 0.0])
    return Box(lower - reach, upper + reach)


def _reaching(niche: Box) -> Box:
    reach = np.array([0.0, _DOOR_REACH_M, 0.0])
    return Box(niche.lower - reach, niche.upper - np.array([0.0, _NICHE_DEPTH_M, 0.0]) + reach)
