"""How far a camera has rolled about its optical axis, against the direction that is up in a map."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Mean length of the cameras' upward axes from which they agree on one; rolls spread by 60 deg either way still do.
_AGREEING = 0.5
# Sine of the angle between the optical axis and up below which a camera has no roll: it looks along it.
_LEAST_SINE = 0.3


def common_up(rotations: FloatArray) -> FloatArray:
    """Return what is up, [3] of unit length, for cameras with poses in a map.

    That is the mean of their upward axes (-y of the optical frame). Cameras that roll anyhow have none; the axis that
    they look along least stands in for it, of its two directions the one that more upward axes have.

    Args:
        rotations: [F, 3, 3] map_from_camera.
    """
    mean = -rotations[:, :, 1].mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length >= _AGREEING:
        return mean / length
    forward = rotations[:, :, 2]
    axis: FloatArray = np.linalg.eigh(forward.T @ forward)[1][:, 0]
    return axis if float(mean @ axis) >= 0.0 else -axis


def roll_against(rotation: FloatArray, up: FloatArray) -> float:
    """Return by how much, rad, an upright camera was turned about its optical axis; 0 if it looks along `up`.

    R = R_upright Rz(roll): its image is upright after being turned by `roll` clockwise, which is Rz(roll) too.

    Args:
        rotation: [3, 3] map_from_camera.
        up: [3] unit length, map frame.
    """
    x, y, _ = up @ rotation
    return math.atan2(-x, -y) if math.hypot(x, y) >= _LEAST_SINE else 0.0
