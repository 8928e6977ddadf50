"""When a camera counts as mounted otherwise than is said, and what it is called."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Of the median: five deviations of its noise, and what given poses of good maps differ by all the same.
_MIN_SIGMAS, _MIN_ANGLE_RAD = 5.0, np.radians(0.5)


def is_beyond_noise(rotvec: NDArray[np.float64], sigma_rad: float) -> bool:
    """Tell whether a camera is turned by more than noise: a rotation [3], rad, and the deviation of its angle."""
    return bool(np.linalg.norm(rotvec) > max(_MIN_ANGLE_RAD, _MIN_SIGMAS * sigma_rad))


def camera_name(image_name: str, camera_idx: int) -> str:
    """Return what a camera is called: the folder of its images, if they have one."""
    return image_name.rpartition("/")[0] or f"camera {camera_idx}"
