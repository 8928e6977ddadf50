"""Named areas of a map: boxes, such as a floor or a wing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError

Box = tuple[float, ...]  # xmin ymin zmin xmax ymax zmax, m, map frame

# A list of areas is words with spaces between.
_NAME = re.compile(r"[^\s,]{1,64}")


def extent_of(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [2, 3] smallest and largest position, m, of poses [F, 7]: x y z, qx qy qz qw."""
    positions = poses[:, :3]
    return np.stack([positions.min(axis=0), positions.max(axis=0)])


def check_area_name(name: str) -> None:
    """Refuse what cannot be the name of an area.

    Raises:
        MapFormatError: says what can.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name) and name.isprintable()):
        raise MapFormatError(
            f"{name!r} cannot be the name of an area, expected up to 64 printable characters without spaces and "
            "commas; name it otherwise"
        )


def inside(box: Box, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which positions [..., 3], m, are in a box."""
    within = (positions >= box[:3]) & (positions <= box[3:])
    return np.asarray(within.all(axis=-1), np.bool_)


def areas_from_json(entry: Any) -> dict[str, Box]:
    """Return the areas of a map's manifest; none of one that does not say.

    Raises:
        MapFormatError: they cannot be; the caller names the file.
    """
    if entry is None:
        return {}
    if not isinstance(entry, Mapping):
        raise MapFormatError(f"'areas' is {type(entry).__name__}, expected names and boxes")
    return {name: checked_box(name, numbers) for name, numbers in entry.items()}


def checked_box(name: str, numbers: Any) -> Box:
    """Return a box.

    Raises:
        MapFormatError: the name, or the six numbers, cannot be one's.
    """
    check_area_name(name)
    try:
        box = np.array(numbers, np.float64)
    except (TypeError, ValueError, OverflowError):
        box = np.empty(0)
    if box.shape != (6,) or not np.isfinite(box).all() or not (box[:3] < box[3:]).all():
        raise MapFormatError(
            f"the box of area '{name}' is {numbers}, expected xmin ymin zmin xmax ymax zmax in metres, each smallest "
            "below its largest"
        )
    return tuple(box.tolist())
