"""How recall falls with the distance from what the map has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3

FloatArray = NDArray[np.float64]

DISTANCE_EDGES_M = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, np.inf)
ANGLE_EDGES_DEG = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 180.0)
# A metre aside changes a view of a room about as much as a turn of thirty degrees.
_METRE_IN_DEG = 30.0


@dataclass(frozen=True, slots=True)
class RecallBin:
    """Queries whose nearest keyframe lies in a range.

    Attributes:
        low: start of the range, m or deg.
        high: end of the range, which belongs to the next; None is no end.
        queries: how many, with or without a pose.
        localized: how many have a pose.
        right: how many have a pose within the threshold.
        false_fixes: how many have a wrong pose.
    """

    low: float
    high: float | None
    queries: int
    localized: int
    right: int
    false_fixes: int


@dataclass(frozen=True, slots=True, eq=False)
class NearestKeyframeRecall:
    """Recall by distance (m) and by angle (deg) to the nearest keyframe.

    Attributes:
        right_within: name of the threshold a right pose is within.
        distance_m: ranges of the distance.
        angle_deg: ranges of the angle.
    """

    right_within: str
    distance_m: list[RecallBin]
    angle_deg: list[RecallBin]


def nearest_keyframes(
    camera_poses: Sequence[Rigid3], keyframe_poses: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return distance [N] (m) and angle [N] (deg) from each true camera pose to its nearest keyframe.

    The nearest keyframe has the smallest sum of distance and angle, 1 m counting as 30 deg.

    Args:
        camera_poses: N true map_from_camera.
        keyframe_poses: [F, 7] x y z qx qy qz qw, map_from_camera; F is 1 or more.

    Raises:
        ValueError: there is no keyframe.
    """
    if len(keyframe_poses) == 0:
        raise ValueError("found no keyframe, expected 1 or more")
    quats = keyframe_poses[:, 3:] / np.linalg.norm(keyframe_poses[:, 3:], axis=1, keepdims=True)
    distances, angles = np.empty(len(camera_poses)), np.empty(len(camera_poses))
    for row, pose in enumerate(camera_poses):
        metres = np.linalg.norm(keyframe_poses[:, :3] - pose.translation, axis=1)
        cosines = np.minimum(np.abs(quats @ pose.quat_xyzw), 1.0)
        degrees = np.degrees(2.0 * np.arccos(cosines))
        nearest = int(np.argmin(metres + degrees / _METRE_IN_DEG))
        distances[row], angles[row] = metres[nearest], degrees[nearest]
    return distances, angles


def recall_by_range(
    values: FloatArray,
    edges: Sequence[float],
    is_localized: Sequence[bool],
    is_right: Sequence[bool],
    is_false: Sequence[bool],
) -> list[RecallBin]:
    """Count queries [N] in ranges of a value; empty ranges beyond the last query are left out.

    The last range includes its end.
    """
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    flags = np.array([is_localized, is_right, is_false], dtype=bool).reshape(3, -1)
    bins = []
    for number in range(int(places.max(initial=-1)) + 1):
        inside = places == number
        localized, right, false = (int(count) for count in (flags & inside).sum(axis=1))
        high = float(edges[number + 1])
        bins.append(
            RecallBin(
                float(edges[number]),
                high if np.isfinite(high) else None,
                int(inside.sum()),
                localized,
                right,
                false,
            )
        )
    return bins
