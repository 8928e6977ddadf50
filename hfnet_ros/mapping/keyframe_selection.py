"""Which images of a sequence become keyframes: neighbours that show the same add only time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3


def select_every(count: int, every: int) -> list[int]:
    """Return the positions 0, every, 2 every, ... below `count`.

    Raises:
        MappingError: `every` is not positive.
    """
    if every < 1:
        raise MappingError(f"every {every}th image was asked for, expected 1 or more")
    return list(range(0, count, every))


def select_by_motion(
    map_from_camera: Sequence[Rigid3], min_distance_m: float, min_angle_deg: float
) -> list[int]:
    """Return the positions of images that moved or turned enough since the last one selected.

    Args:
        map_from_camera: poses in the order they were taken; the first is always selected.
        min_distance_m: an image this far from the last selected one is selected.
        min_angle_deg: as is one turned by this much.

    Raises:
        MappingError: a limit is negative or not finite, or both are zero.
    """
    limits = (min_distance_m, min_angle_deg)
    if not all(math.isfinite(limit) and limit >= 0.0 for limit in limits) or not any(limits):
        raise MappingError(
            f"minimum distance {min_distance_m:g} m and angle {min_angle_deg:g} deg select nothing sensible; "
            "expected numbers from 0 up, not both 0"
        )
    # A limit of zero would select every image, whatever the other one says.
    distance = min_distance_m or math.inf
    angle = math.radians(min_angle_deg) or math.inf
    selected: list[int] = []
    for position, pose in enumerate(map_from_camera):
        if selected:
            last = map_from_camera[selected[-1]]
            if pose.translation_to(last) < distance and pose.rotation_to(last) < angle:
                continue
        selected.append(position)
    return selected
