"""Poses as rows of numbers, which is how a map holds them: x y z (m), qx qy qz qw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.rigid3 import MIN_QUAT_LENGTH, Rigid3
from hfnet_ros.geometry.rotations import rotations_from_quats
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


def stored_poses(
    rows: NDArray[np.float64], some: Sequence[int] | NDArray[np.integer], array: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rotations [K, 3, 3] and translations [K, 3] of some rows.

    Raises:
        MapFormatError: as `stored_pose`.
    """
    read = rows[np.asarray(some, np.intp)]
    if not (np.isfinite(read).all() and ((read[:, 3:] ** 2).sum(axis=1) > MIN_QUAT_LENGTH**2).all()):
        for row in some:
            stored_pose(rows, int(row), array)
    return rotations_from_quats(read[:, 3:]), read[:, :3]
