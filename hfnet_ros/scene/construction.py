"""Bricks and mortar: panels, boxes, rooms with openings and furnished walls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from hfnet_ros.scene.model import Box, FloatArray, Rectangle
from hfnet_ros.scene.pictures import book_shelf, drawers, painting, poster, window
from hfnet_ros.scene.textures import Painter, carpet, wood
from hfnet_ros.types import ImageArray

Looking = Literal["+x", "-x", "+y", "-y", "+z", "-z"]
WALLS: tuple[Looking, ...] = ("+x", "-x", "+y", "-y")

# Directions on a panel, right and down, as seen by someone who looks along the key.
_RIGHT_DOWN: dict[Looking, tuple[Looking, Looking]] = {
    "+x": ("-y", "-z"),
    "-x": ("+y", "-z"),
    "+y": ("+x", "-z"),
    "-y": ("-x", "-z"),
    "+z": ("+x", "+y"),
    "-z": ("+x", "-y"),
}
_PICTURES: tuple[Painter, ...] = (poster, poster, poster, painting, painting, window)
_CLUTTER: tuple[Painter, ...] = (wood, drawers, book_shelf, carpet, poster)
_AMBIENT, _DIFFUSE, _LAMP_RANGE_SQ = 0.55, 0.8, 7.0
_LAMP_BELOW_CEILING_M = 0.3
_MIN_TEXTURE_PX = 32


def direction(looking: Looking) -> FloatArray:
    """Return the unit vector [3] of an axis name."""
    vector = np.zeros(3)
    vector["xyz".index(looking[1])] = 1.0 if looking[0] == "+" else -1.0
    return vector


def panel(box: Box, looking: Looking, inside: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return origin, edge_u, edge_v [3] of the side of `box` that is seen looking along an axis.

    From inside one looks at the far side, from outside at the near one.
    """
    right, down = _RIGHT_DOWN[looking]
    edge_u, edge_v, along = direction(right), direction(down), direction(looking)
    far = along if inside else -along
    high = (far - edge_u - edge_v) > 0.0
    origin = np.where(high, box.upper, box.lower)
    return origin, edge_u * box.size, edge_v * box.size


@dataclass(frozen=True, slots=True)
class Opening:
    """A hole in a wall: where it starts and ends along the wall's map axis, and its top, m."""

    start_m: float
    end_m: float
    height_m: float


@dataclass(frozen=True, slots=True)
class Furniture:
    """A box to put against a wall.

    Attributes:
        size_m: width, depth, height.
        front: paints the front.
        sides: paints the other faces.
    """

    size_m: tuple[float, float, float]
    front: Painter
    sides: Painter = wood


FURNITURE: tuple[Furniture, ...] = (
    Furniture((0.95, 0.32, 2.0), book_shelf),
    Furniture((1.2, 0.42, 0.85), drawers),
    Furniture((1.3, 0.3, 1.15), book_shelf),
    Furniture((0.7, 0.45, 1.4), drawers),
    Furniture((1.5, 0.5, 0.7), carpet, carpet),
)


# Given a source of chance and what would be painted, chooses what is.
Repaint = Callable[[np.random.Generator, Painter], Painter]


class SceneBuilder:
    """Collect rectangles, painting each as it is put up.

    Args:
        rng: source of every random choice.
        texels_per_m: texture resolution.
        repaint: may put another painter in the place of one; None paints as planned.
    """

    def __init__(
        self, rng: np.random.Generator, texels_per_m: float = 190.0, repaint: Repaint | None = None
    ) -> None:
        self.rng = rng
        self._repaint = repaint
        self.rectangles: list[Rectangle] = []
        self.obstacles: list[Box] = []
        self._texels_per_m = texels_per_m

    def add_panel(
        self,
        box: Box,
        looking: Looking,
        painter: Painter,
        lamp: FloatArray,
        inside: bool = False,
        opening: Opening | None = None,
        detail: float = 1.0,
    ) -> None:
        """Add one side of a box, lit by a lamp at `lamp` [3] m, with at most one opening."""
        origin, edge_u, edge_v = panel(box, looking, inside)
        metres = np.array([np.linalg.norm(edge_u), np.linalg.norm(edge_v)])
        width, height = np.maximum(np.rint(metres * self._texels_per_m * detail), _MIN_TEXTURE_PX).astype(int)
        if self._repaint is not None:
            painter = self._repaint(self.rng, painter)
        painted = Rectangle(origin, edge_u, edge_v, painter(self.rng, (int(width), int(height))))
        lit = Rectangle(origin, edge_u, edge_v, _lit_texture(painted, lamp))
        self.rectangles += [lit] if opening is None else _pierce(lit, opening)

    def add_box(
        self, box: Box, lamp: FloatArray, front: Painter, sides: Painter, front_looking: Looking = "+y"
    ) -> None:
        """Add a solid box seen from outside; its bottom is left out."""
        for looking in (*WALLS, "-z"):
            painter = front if looking == front_looking else sides
            self.add_panel(box, looking, painter, lamp, detail=1.3 if looking == front_looking else 1.0)
        self.obstacles.append(box)

    def add_room(
        self,
        box: Box,
        materials: Sequence[Painter],
        openings: dict[Looking, Opening],
        omit: Sequence[Looking] = (),
    ) -> None:
        """Add walls (+x -x +y -y), ceiling and floor, in this order of `materials`, except `omit`."""
        lamp = lamp_of(box)
        for looking, painter in zip((*WALLS, "+z", "-z"), materials, strict=True):
            if looking not in omit:
                detail = 0.6 if looking == "+z" else 1.0
                self.add_panel(box, looking, painter, lamp, True, openings.get(looking), detail)

    def furnish_wall(
        self, room: Box, looking: Looking, opening: Opening | None, corner_m: float = 0.7
    ) -> None:
        """Put furniture along one wall and pictures above it, leaving corners and openings free."""
        length = float(np.linalg.norm(panel(room, looking, inside=True)[1]))
        position = corner_m
        while position < length - corner_m - 0.5:
            piece = FURNITURE[int(self.rng.integers(len(FURNITURE)))]
            width, _, height = piece.size_m
            width = min(width, length - corner_m - position)
            if _blocks(room, looking, opening, (position - 0.15, position + width + 0.15)):
                position += 0.15
                continue
            if self.rng.random() < 0.75:
                self._place_furniture(room, looking, piece, position, width)
            else:
                height = 0.6
            if height < 1.3:
                self.add_pictures(room, looking, (position, position + width), max(height + 0.2, 0.95))
            position += width + float(self.rng.uniform(0.05, 0.5))

    def add_pictures(self, room: Box, looking: Looking, span_m: tuple[float, float], bottom_m: float) -> None:
        """Hang pictures of mixed sizes side by side, one to four centimetres off the wall."""
        position = span_m[0]
        while position < span_m[1] - 0.3:
            width = min(float(self.rng.uniform(0.35, 1.0)), span_m[1] - position)
            height = min(float(self.rng.uniform(0.4, 0.95)), float(room.size[2]) - bottom_m - 0.15)
            bottom = bottom_m + float(self.rng.uniform(0.0, 0.15))
            depth = float(self.rng.uniform(0.01, 0.04))
            painter = _PICTURES[int(self.rng.integers(len(_PICTURES)))]
            frame = against_wall(room, looking, position, (width, depth, height), bottom)
            self.add_panel(frame, looking, painter, lamp_of(room), detail=1.8)
            position += width + float(self.rng.uniform(0.06, 0.3))

    def scatter_boxes(self, room: Box, count: int) -> None:
        """Put boxes of any size on the floor, wherever chance has it: what stands about in a room that is used."""
        for _ in range(count):
            width, depth = self.rng.uniform(0.2, 0.9, 2)
            height = float(self.rng.uniform(0.2, 1.6))
            corner = self.rng.uniform(room.lower[:2] + 0.1, room.upper[:2] - 0.1 - np.array([width, depth]))
            lower = np.array([*corner, room.lower[2]])
            front, sides = (_CLUTTER[int(self.rng.integers(len(_CLUTTER)))] for _ in range(2))
            looking = WALLS[int(self.rng.integers(len(WALLS)))]
            box = Box(lower, lower + np.array([width, depth, height]))
            self.add_box(box, lamp_of(room), front, sides, looking)

    def _place_furniture(
        self, room: Box, looking: Looking, piece: Furniture, position: float, width: float
    ) -> None:
        _, depth, height = piece.size_m
        height *= float(self.rng.uniform(0.85, 1.1))
        box = against_wall(room, looking, position, (width, depth, height), 0.0)
        self.add_box(box, lamp_of(room), piece.front, piece.sides, looking)


def lamp_of(room: Box) -> FloatArray:
    """Return where a room's lamp hangs, [3] m."""
    return np.array([room.center[0], room.center[1], room.upper[2] - _LAMP_BELOW_CEILING_M])


def against_wall(
    room: Box, looking: Looking, position_m: float, size_m: tuple[float, float, float], bottom_m: float
) -> Box:
    """Return a box of width, depth, height standing at a room's wall.

    Args:
        room: the room.
        looking: direction in which one sees that wall from inside.
        position_m: distance of the box's left side from the wall's left end.
        size_m: width along the wall, depth into the room, height.
        bottom_m: height of its lower side above the floor.
    """
    origin, edge_u, _ = panel(room, looking, inside=True)
    along, into_room = edge_u / np.linalg.norm(edge_u), -direction(looking)
    floor = np.array([origin[0], origin[1], room.lower[2] + bottom_m])
    near = floor + position_m * along
    far = near + size_m[0] * along + size_m[1] * into_room + np.array([0.0, 0.0, size_m[2]])
    return Box(np.minimum(near, far), np.maximum(near, far))


def _opening_in_wall(
    rectangle_origin: FloatArray, edge_u: FloatArray, opening: Opening
) -> tuple[float, float]:
    axis = int(np.argmax(np.abs(edge_u)))
    ends = (np.array([opening.start_m, opening.end_m]) - rectangle_origin[axis]) / edge_u[axis]
    return float(ends.min()), float(ends.max())


def _blocks(room: Box, looking: Looking, opening: Opening | None, span_m: tuple[float, float]) -> bool:
    if opening is None:
        return False
    origin, edge_u, _ = panel(room, looking, inside=True)
    left, right = np.array(_opening_in_wall(origin, edge_u, opening)) * np.linalg.norm(edge_u)
    return bool(span_m[0] < right and span_m[1] > left)


def _pierce(wall: Rectangle, opening: Opening) -> list[Rectangle]:
    left, right = _opening_in_wall(wall.origin, wall.edge_u, opening)
    lintel = 1.0 - opening.height_m / float(np.linalg.norm(wall.edge_v))
    parts = [((0.0, left), (0.0, 1.0)), ((right, 1.0), (0.0, 1.0)), ((left, right), (0.0, lintel))]
    return [wall.cut(u, v) for u, v in parts if u[1] - u[0] > 1e-6 and v[1] - v[0] > 1e-6]


def _lit_texture(rectangle: Rectangle, lamp: FloatArray) -> ImageArray:
    """Multiply a texture with ambient light and Lambert's cosine law for one near lamp."""
    steps = (np.arange(16) + 0.5) / 16
    uv = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    to_lamp = lamp - rectangle.point_at(uv)
    distance = np.linalg.norm(to_lamp, axis=1)
    cosine = np.maximum(to_lamp @ rectangle.normal / np.maximum(distance, 1e-6), 0.0)
    light = _AMBIENT + _DIFFUSE * cosine / (1.0 + distance**2 / _LAMP_RANGE_SQ)
    height, width = rectangle.texture.shape[:2]
    grid = light.reshape(16, 16).astype(np.float32)
    shade = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
    lit = cv2.multiply(rectangle.texture, cv2.merge([shade, shade, shade]), dtype=cv2.CV_8U)
    return np.asarray(lit, dtype=np.uint8)
