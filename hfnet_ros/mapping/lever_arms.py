"""Where given poses put a camera, seen from where the images show it.

Poses of a map are often those of another camera on the same robot, or of a mounting measured by hand: constant in the
camera's axes, and then no error of the trajectory. Found from refined and given positions by least squares; kept if it
predicts keyframes that took no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.mapping.views import View

FloatArray = NDArray[np.float64]

_MIN_KEYFRAMES = 20
_NUM_BLOCKS = 10  # neighbours share what the trajectory is off by: whole stretches are held out
_NUM_STEPS = 10
_OUTLIER_SIGMAS = 3.0
_CHI3_MEDIAN = 1.538  # median length of a 3D normal vector over its deviation per axis
# In keyframes: an axis about which nothing turned is left at zero, not put where noise wants it.
_RIDGE = 1.0


def estimate_lever_arms(given: Sequence[View], refined: Sequence[View], num_cameras: int) -> FloatArray:
    """Return the lever arm of each camera [C, 3], m, optical axes; zero where held-out keyframes do not gain by it.

    Args:
        given: keyframes with their given poses.
        refined: the same with refined ones, brought onto the given ones.
        num_cameras: C.
    """
    arms = np.zeros((num_cameras, 3))
    for camera_idx in range(num_cameras):
        rows = [row for row, view in enumerate(given) if view.camera_idx == camera_idx]
        if len(rows) < _MIN_KEYFRAMES:
            continue
        before = np.array([given[row].map_from_camera.translation for row in rows])
        after = np.array([refined[row].map_from_camera.translation for row in rows])
        turns = np.array([refined[row].map_from_camera.rotation for row in rows])
        if _held_out_error(before - after, turns, with_arm=True) < _held_out_error(
            before - after, turns, with_arm=False
        ):
            arms[camera_idx] = _fit(before - after, turns)[:3]
    return arms


def _held_out_error(moved: FloatArray, turns: FloatArray, *, with_arm: bool) -> float:
    """Return the median error, m, of blocks of keyframes predicted from the others."""
    block = np.arange(len(moved)) * _NUM_BLOCKS // len(moved)
    errors = []
    for held_out in range(_NUM_BLOCKS):
        used, tested = block != held_out, block == held_out
        if with_arm:
            found = _fit(moved[used], turns[used])
        else:
            found = np.concatenate([np.zeros(3), np.median(moved[used], axis=0)])
        errors.append(np.linalg.norm(moved[tested] - turns[tested] @ found[:3] - found[3:], axis=1))
    return float(np.median(np.concatenate(errors)))


def _fit(moved: FloatArray, turns: FloatArray) -> FloatArray:
    """Return lever arm and common offset [6] with moved = turn @ arm + offset, robustly (Cauchy weights)."""
    design = np.concatenate([turns, np.broadcast_to(np.eye(3), turns.shape)], axis=2)
    weight, found = np.ones(len(moved)), np.zeros(6)
    for _ in range(_NUM_STEPS):
        hessian = np.einsum("k,kij,kil->jl", weight, design, design)
        hessian[:3, :3] += _RIDGE * np.eye(3)
        hessian[3:, 3:] += 1e-9 * np.eye(3)
        found = np.linalg.solve(hessian, np.einsum("k,kij,ki->j", weight, design, moved))
        error = np.linalg.norm(moved - design @ found, axis=1)
        scale = max(_OUTLIER_SIGMAS * float(np.median(error)) / _CHI3_MEDIAN, 1e-9)
        weight = 1.0 / (1.0 + (error / scale) ** 2)
    return found
