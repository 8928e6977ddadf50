"""The scene as data: textured rectangles, and where a camera may be among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry import Rigid3
from hfnet_ros.types import ImageArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rectangle:
    """A flat textured rectangle, visible from its front only.

    Attributes:
        origin: [3] float64, m, map frame: the corner at the texture's top left.
        edge_u: [3] float64, m: from the texture's left edge to its right edge.
        edge_v: [3] float64, m: from the texture's top edge to its bottom edge.
        texture: [h, w, 3] BGR uint8; light is already painted in.

    Convention: texels are areas; texture coordinate u = 0 is the outer border of the first
        texel. Who stands in front sees the texture unmirrored, so `edge_u x edge_v` points
        away from the viewer.
    """

    origin: FloatArray
    edge_u: FloatArray
    edge_v: FloatArray
    texture: ImageArray

    @property
    def normal(self) -> FloatArray:
        """Return the unit normal [3] towards the side from which the rectangle is seen."""
        outward = np.cross(self.edge_v, self.edge_u)
        return np.asarray(outward / np.linalg.norm(outward), dtype=np.float64)

    def point_at(self, uv: FloatArray) -> FloatArray:
        """Return map points [N, 3] (m) at texture coordinates [N, 2] in [0, 1]."""
        return self.origin + uv[:, :1] * self.edge_u + uv[:, 1:] * self.edge_v

    def shifted(self, offset: FloatArray) -> Rectangle:
        """Return the same rectangle elsewhere; the texture is shared, not copied."""
        return Rectangle(self.origin + offset, self.edge_u, self.edge_v, self.texture)

    def cut(self, u_range: tuple[float, float], v_range: tuple[float, float]) -> Rectangle:
        """Return the part within two ranges of texture coordinates, with its part of the texture."""
        height, width = self.texture.shape[:2]
        columns = np.rint(np.array(u_range) * width).astype(int)
        rows = np.rint(np.array(v_range) * height).astype(int)
        part = self.texture[rows[0] : max(rows[1], rows[0] + 1), columns[0] : max(columns[1], columns[0] + 1)]
        origin = self.origin + u_range[0] * self.edge_u + v_range[0] * self.edge_v
        edge_u, edge_v = (u_range[1] - u_range[0]) * self.edge_u, (v_range[1] - v_range[0]) * self.edge_v
        return Rectangle(origin, edge_u, edge_v, part)


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """An axis-aligned box of the map frame; `lower` and `upper` are corners [3] float64, m."""

    lower: FloatArray
    upper: FloatArray

    @property
    def center(self) -> FloatArray:
        """Return the middle [3], m."""
        return 0.5 * (self.lower + self.upper)

    @property
    def size(self) -> FloatArray:
        """Return the extents [3], m."""
        return self.upper - self.lower

    def contains(self, points: FloatArray, margin_m: float = 0.0) -> NDArray[np.bool_]:
        """Tell for points [N, 3] whether they are inside by more than `margin_m` (may be negative)."""
        above = points > self.lower + margin_m
        below = points < self.upper - margin_m
        return np.asarray((above & below).all(axis=1))

    def shifted(self, offset: FloatArray) -> Box:
        """Return the same box elsewhere."""
        return Box(self.lower + offset, self.upper + offset)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A static indoor scene in the map frame (metres, z up).

    Attributes:
        rectangles: everything visible.
        rooms: boxes of air, in the order a visitor walks through them.
        doorways: boxes of air that connect rooms; they reach into both so that the union
            stays connected when a margin is taken off.
        obstacles: solid boxes inside rooms.
        viewpoints: T_map_camera of useful views by name.
    """

    rectangles: tuple[Rectangle, ...]
    rooms: tuple[Box, ...]
    doorways: tuple[Box, ...] = ()
    obstacles: tuple[Box, ...] = ()
    viewpoints: Mapping[str, Rigid3] = field(default_factory=dict)

    def is_free(self, points: FloatArray, margin_m: float = 0.0) -> NDArray[np.bool_]:
        """Tell for points [N, 3] whether a ball of radius `margin_m` there touches nothing."""
        points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        free = np.zeros(len(points), dtype=np.bool_)
        for box in (*self.rooms, *self.doorways):
            free |= box.contains(points, margin_m)
        for obstacle in self.obstacles:
            free &= ~obstacle.contains(points, -margin_m)
        return free


def look_at(eye: FloatArray, target: FloatArray, roll_rad: float = 0.0) -> Rigid3:
    """Return T_map_camera of a camera at `eye` [3] looking at `target` [3], m.

    Convention: optical frame, z forward, x right, y down; x is level unless rolled. Looking
    straight up or down leaves x undefined and is refused.

    Raises:
        ValueError: the target is straight above or below, or is the eye itself.
    """
    forward = np.asarray(target, dtype=np.float64) - eye
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError(f"no level view from {np.asarray(eye).tolist()} to {np.asarray(target).tolist()}")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    level = np.stack([right, np.cross(forward, right), forward], axis=1)
    roll = Rigid3.from_rotvec([0.0, 0.0, roll_rad], np.zeros(3))
    return Rigid3(level @ roll.rotation, np.array(eye, dtype=np.float64))
