"""Smooth walks of a hand-held or robot-mounted camera through the free space of a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from hfnet_ros.geometry import Rigid3
from hfnet_ros.scene.model import Box, FloatArray, Scene, look_at

StampedPose = tuple[int, Rigid3]

_FINE_STEP_M = 0.01
_LOOP_TO_WALL_M = 1.5
_DOOR_APPROACH_M = 0.55


@dataclass(frozen=True, slots=True)
class Gait:
    """How the camera is carried along a path.

    Attributes:
        speed_m_s: constant speed along the path.
        rate_hz: images per second.
        height_m: mean height of the camera above z = 0.
        bob_m: slow rise and fall around it.
        look_offset_rad: mean angle from the direction of motion to the view, left positive.
        sway_rad: slow looking left and right around it.
        pitch_rad: mean elevation of the view, up positive.
        nod_rad: slow change of elevation.
        roll_rad: slow roll about the view.
        clearance_m: closest approach of the camera to anything solid.
    """

    speed_m_s: float = 0.5
    rate_hz: float = 5.0
    height_m: float = 1.35
    bob_m: float = 0.05
    look_offset_rad: float = 0.0
    sway_rad: float = 0.3
    pitch_rad: float = -0.06
    nod_rad: float = 0.05
    roll_rad: float = 0.025
    clearance_m: float = 0.25


def walk(
    scene: Scene, waypoints: FloatArray, gait: Gait | None = None, seed: int = 0, start_ns: int = 0
) -> list[StampedPose]:
    """Carry a camera along a spline through waypoints.

    Args:
        scene: whose walls and furniture must not be touched.
        waypoints: [K, 2] m, map frame, K >= 2, no two in a row equal.
        gait: how the camera moves and looks; `Gait()` if not given.
        seed: phases of sway, bob, nod and roll.
        start_ns: stamp of the first pose.

    Returns:
        (stamp_ns, T_map_camera) at the gait's rate; optical frame (z forward, x right, y down).

    Raises:
        ValueError: the path comes closer than `clearance_m` to something, or leaves the rooms.
    """
    gait = gait or Gait()
    path = _resample(np.asarray(waypoints, dtype=np.float64), gait.speed_m_s / gait.rate_hz)
    seconds = np.arange(len(path)) / gait.rate_hz
    phase = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, 4)
    # Incommensurable periods: the same attitude does not come back at the same place.
    waves = np.sin(2.0 * np.pi * seconds[:, None] / np.array([9.1, 6.3, 7.7, 5.3]) + phase)
    yaw = path[:, 2] + gait.look_offset_rad + gait.sway_rad * waves[:, 0]
    pitch, roll = gait.pitch_rad + gait.nod_rad * waves[:, 1], gait.roll_rad * waves[:, 2]
    eyes = np.column_stack([path[:, :2], gait.height_m + gait.bob_m * waves[:, 3]])
    free = scene.is_free(eyes, gait.clearance_m)
    if not free.all():
        where = np.round(eyes[np.flatnonzero(~free)[0]], 2).tolist()
        raise ValueError(f"path comes closer than {gait.clearance_m:g} m to something solid at {where}")
    forward = np.stack([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)], axis=1)
    period_ns = 1e9 / gait.rate_hz
    return [
        (start_ns + round(index * period_ns), look_at(eye, eye + ahead, float(turn)))
        for index, (eye, ahead, turn) in enumerate(zip(eyes, forward, roll, strict=True))
    ]


QUERY_GAIT = Gait(height_m=1.27, look_offset_rad=0.26, speed_m_s=0.6, pitch_rad=-0.03)


def mapping_walk(scene: Scene, gait: Gait | None = None) -> list[StampedPose]:
    """Walk once around every room and on through its door: the images a map is built from.

    Raises:
        ValueError: the path touches something.
    """
    return walk(scene, _tour(scene, 0.0, 0.0), gait, seed=1)


def query_walk(
    scene: Scene, gait: Gait | None = None, start_ns: int = 3_600_000_000_000
) -> list[StampedPose]:
    """Walk the same rooms an hour later on another path, 0.2 to 0.6 m beside the mapping one.

    Height and view direction differ as well (about 15 degrees to the left, other sway).

    Raises:
        ValueError: the path touches something.
    """
    return walk(scene, _tour(scene, 0.32, -0.2), gait or QUERY_GAIT, seed=2, start_ns=start_ns)


def _tour(scene: Scene, wider_m: float, door_shift_m: float) -> FloatArray:
    """Waypoints [K, 2]: one and a half turns around each room's middle, then through its +x door."""
    points: list[FloatArray] = []
    doors = [box.center[:2] + np.array([0.0, door_shift_m]) for box in scene.doorways]
    for index, room in enumerate(scene.rooms):
        last = index == len(scene.rooms) - 1
        entry = np.array([room.lower[0], room.center[1]]) if index == 0 else doors[index - 1]
        leave = None if last else doors[index]
        points += _loop(room, wider_m, entry, leave)
        if not last:
            approach = np.array([_DOOR_APPROACH_M, 0.0])
            points += [doors[index] - approach, doors[index], doors[index] + approach]
    return np.array(points)


def _loop(room: Box, wider_m: float, entry: FloatArray, leave: FloatArray | None) -> list[FloatArray]:
    """Turn left around the middle of a room, starting near `entry`, ending near `leave`."""
    center = room.center[:2]
    start = float(np.arctan2(*(entry - center)[::-1]))
    turn = 2.0 * np.pi
    if leave is not None:
        turn += (float(np.arctan2(*(leave - center)[::-1])) - start) % (2.0 * np.pi)
    # Joining the circle head-on would ask for a right angle: leave out its first and last bit.
    angles = start + np.linspace(0.45, turn - 0.45, 3 + int(turn / 0.5))
    # Towards the room's corners, and only there, the distance between two tours may vary freely.
    radii = 0.5 * room.size[:2] - _LOOP_TO_WALL_M + wider_m * (1.0 + 0.45 * np.sin(2.0 * angles[:, None]))
    return list(center + radii * np.column_stack([np.cos(angles), np.sin(angles)]))


def _resample(waypoints: FloatArray, step_m: float) -> FloatArray:
    """Return x, y and heading [N, 3] every `step_m` along a cubic spline through waypoints [K, 2].

    Knots at the square root of the chord length keep the curve free of loops and overshoot
    (Lee, Choosing nodes in parametric curve interpolation, 1989).
    """
    chords = np.linalg.norm(np.diff(waypoints, axis=0), axis=1)
    knots = np.concatenate([[0.0], np.cumsum(np.sqrt(chords))])
    spline = CubicSpline(knots, waypoints)
    fine = np.linspace(0.0, knots[-1], max(2, int(2.0 * chords.sum() / _FINE_STEP_M)))
    curve = spline(fine)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.interp(np.arange(0.0, length[-1], step_m), length, fine)
    velocity = spline(at, 1)
    heading = np.unwrap(np.arctan2(velocity[:, 1], velocity[:, 0]))
    return np.column_stack([spline(at), heading])
