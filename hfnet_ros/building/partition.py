"""Cut posed keyframes into sub-maps by position, with a margin in which neighbours overlap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3

FloatArray = NDArray[np.float64]

MIN_KEYFRAMES = 10  # in the core of a sub-map
NAME = re.compile(r"sub-map-[0-9]+")  # what sub-maps are called here
# A sub-map takes in at most this share of its core from its neighbours, the nearest first.
_MAX_MARGIN = 0.5


@dataclass(frozen=True, eq=False)
class SubMapPlan:
    """The keyframes of one sub-map.

    Attributes:
        name: of the sub-map.
        keyframes: ascending positions among all keyframes, those of the margin too.
        core: those of them that are in the core of no other sub-map.
    """

    name: str
    keyframes: NDArray[np.int64]
    core: NDArray[np.int64]


def partition_by_position(
    map_from_camera: Sequence[Rigid3], stamps_ns: Sequence[int], num_sub_maps: int, num_neighbors: int
) -> list[SubMapPlan]:
    """Return overlapping sub-maps; each keyframe is in the core of one.

    The longest side of what is left is cut where the numbers of keyframes are as the numbers of sub-maps on both sides.
    Then each takes in what is near: as near as keyframes are matched, whatever the unit of length.

    Args:
        map_from_camera: poses of F keyframes.
        stamps_ns: of the keyframes; those of one time are of one rig and stay together.
        num_sub_maps: how many to make.
        num_neighbors: keyframes that each is matched with.

    Raises:
        MappingError: there are too few keyframes.
    """
    count = len(map_from_camera)
    if num_sub_maps < 1 or count < MIN_KEYFRAMES * num_sub_maps:
        raise MappingError(
            f"{num_sub_maps} sub-maps of {count} keyframes are asked for, expected 1 to "
            f"{max(1, count // MIN_KEYFRAMES)}: a sub-map needs {MIN_KEYFRAMES} keyframes; take fewer sub-maps or more "
            "keyframes"
        )
    centers = np.array([pose.translation for pose in map_from_camera])
    _, first, frame_of = np.unique(np.asarray(stamps_ns, np.int64), return_index=True, return_inverse=True)
    # In the order of the keyframes, at the first camera of each rig.
    order = np.argsort(np.argsort(first))
    frame_of = order[frame_of.ravel()]
    frame_centers = centers[np.sort(first)]
    radius = _matching_radius(frame_centers, num_neighbors)
    plans = []
    cores = _cut(frame_centers, np.arange(len(frame_centers)), num_sub_maps)
    for number, core in enumerate(cores):
        frames = np.concatenate([core, _margin(frame_centers, core, radius)])
        plans.append(
            SubMapPlan(
                f"sub-map-{number:0{len(str(num_sub_maps - 1))}d}",
                np.flatnonzero(np.isin(frame_of, frames)),
                np.flatnonzero(np.isin(frame_of, core)),
            )
        )
    return plans


def overlapping(plans: Sequence[SubMapPlan]) -> list[tuple[int, int]]:
    """Return the pairs of sub-maps that have keyframes in common."""
    members = [set(plan.keyframes.tolist()) for plan in plans]
    return [
        (first, second)
        for first in range(len(plans))
        for second in range(first + 1, len(plans))
        if not members[first].isdisjoint(members[second])
    ]


def _cut(centers: FloatArray, rows: NDArray[np.int64], num_parts: int) -> list[NDArray[np.int64]]:
    if num_parts == 1:
        return [np.sort(rows)]
    axis = int(np.argmax(np.ptp(centers[rows], axis=0)))
    along = rows[np.argsort(centers[rows, axis], kind="stable")]
    num_before = num_parts // 2
    place = round(len(rows) * num_before / num_parts)
    return [
        *_cut(centers, np.sort(along[:place]), num_before),
        *_cut(centers, np.sort(along[place:]), num_parts - num_before),
    ]


def _matching_radius(centers: FloatArray, num_neighbors: int) -> float:
    """Return how far the neighbours that a keyframe is matched with are, at the median."""
    rank = min(num_neighbors, len(centers) - 1)
    distances, _ = cKDTree(centers).query(centers, k=[rank + 1])
    return float(np.median(distances))


def _margin(centers: FloatArray, core: NDArray[np.int64], radius: float) -> NDArray[np.int64]:
    outside = np.setdiff1d(np.arange(len(centers)), core)
    if not len(outside):
        return outside
    distances, _ = cKDTree(centers[core]).query(centers[outside])
    nearest = np.argsort(distances, kind="stable")[: int(_MAX_MARGIN * len(core))]
    return np.sort(outside[nearest[distances[nearest] <= radius]])
