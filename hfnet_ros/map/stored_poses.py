"""Poses as rows of numbers, which is how a map holds them: x y z (m), qx qy qz qw."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.array_files import ADVICE


def pose_rows(poses: Iterable[Rigid3]) -> NDArray[np.float64]:
    """Return poses as rows [N, 7]."""
    rows = [[*pose.translation, *pose.quat_xyzw] for pose in poses]
    return np.array(rows, np.float64).reshape(-1, 7)


def stored_pose(rows: NDArray[np.float64], row: int, array: str) -> Rigid3:
    """Return the pose of one row [7]; the arrays of a large map are not checked before they are read.

    Raises:
        MapFormatError: the numbers are no pose; names the array.
    """
    try:
        return Rigid3.from_quat(rows[row, 3:], rows[row, :3])
    except ValueError as error:
        raise MapFormatError(
            f"array '{array}' is no pose in row {row}: {error}: the map is damaged; {ADVICE}"
        ) from None
