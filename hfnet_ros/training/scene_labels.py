"""The labels of a scene: its points clustered twice, parts and their leaves.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020,
    section 3 (hierarchical k-means, 25 times 25 labels; of combined scenes the first labels stand one after the other).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError

_ITERATIONS, _ATTEMPTS = 20, 3
# A leaf is not said to be smaller, whatever few points are in it.
_LEAST_SCALE_M = 0.05
_BLOCK = 65536  # points whose leaves are looked for at a time


@dataclass(frozen=True, eq=False)
class SceneLabels:
    """Parts and leaves of a scene. N leaves, C parts.

    Attributes:
        centers: [N, 3] float32 m, middle of each leaf; those of one part stand together.
        parents: [N] int32, part of each leaf, ascending.
        scales: [N] float32 m, median distance of a leaf's points from its middle, 5 cm at least.
        part_centers: [C, 3] float32 m.
    """

    centers: NDArray[np.float32]
    parents: NDArray[np.int32]
    scales: NDArray[np.float32]
    part_centers: NDArray[np.float32]

    @property
    def num_parts(self) -> int:
        """Number of parts, C."""
        return len(self.part_centers)

    @property
    def first_leaves(self) -> NDArray[np.int64]:
        """[C + 1] leaves of part c are those from first_leaves[c] on."""
        return np.searchsorted(self.parents, np.arange(self.num_parts + 1))

    @property
    def num_subclasses(self) -> int:
        """Leaves of the part that has most."""
        return int(np.diff(self.first_leaves).max())

    def of(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the leaf [P] of each point [P, 3]: the nearest of the nearest part."""
        leaves = np.empty(len(points), np.int64)
        first = self.first_leaves
        for start in range(0, len(points), _BLOCK):
            block = np.asarray(points[start : start + _BLOCK], np.float32)
            part = _nearest(block, self.part_centers)
            for label in np.unique(part):
                rows = np.flatnonzero(part == label)
                begin, end = first[label : label + 2]
                leaves[start + rows] = begin + _nearest(block[rows], self.centers[begin:end])
        return leaves

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SceneLabels:
        """Return labels as `arrays` gave them, copied: those of a map may be mapped from files.

        Raises:
            MappingError: one of them is missing.
        """
        names = ("centers", "parents", "scales", "part_centers")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise MappingError(
                f"the map's scene network does not hold {', '.join(missing)}, which training goes on from; train it "
                "anew"
            )
        centers, parents, scales, part_centers = (np.array(arrays[name]) for name in names)
        return cls(centers, parents, scales, part_centers)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return them as `SceneNetwork.arrays` holds them."""
        return {
            "centers": self.centers,
            "parents": self.parents,
            "scales": self.scales,
            "part_centers": self.part_centers,
        }


def make_labels(
    points: NDArray[np.floating], classes: int = 25, subclasses: int = 25, seed: int = 0
) -> SceneLabels:
    """Cluster points [P, 3], m, into parts and each part into leaves.

    A part of fewer points than `subclasses` has as many leaves as points.

    Raises:
        MappingError: there are fewer points than parts.
    """
    points = np.ascontiguousarray(points, np.float32)
    if len(points) < max(classes, 2):
        raise MappingError(
            f"{len(points)} points, {max(classes, 2)} needed to divide the scene into {classes} parts; map more "
            "images, or lower scene.classes"
        )
    part, part_centers = _cluster(points, classes, seed)
    centers, parents, scales = [], [], []
    for label in range(len(part_centers)):
        of_part = points[part == label]
        leaf, middles = _cluster(of_part, min(subclasses, len(np.unique(of_part, axis=0))), seed + 1 + label)
        distance = np.linalg.norm(of_part - middles[leaf], axis=1)
        centers.append(middles)
        parents.append(np.full(len(middles), label, np.int32))
        scales.append(
            [max(_LEAST_SCALE_M, float(np.median(distance[leaf == row]))) for row in range(len(middles))]
        )
    return SceneLabels(
        np.concatenate(centers),
        np.concatenate(parents),
        np.concatenate(scales).astype(np.float32),
        part_centers,
    )


def combine_labels(scenes: Sequence[SceneLabels]) -> SceneLabels:
    """Put the labels of several scenes of one frame one after the other, as for the paper's combined scenes."""
    offsets = np.cumsum([0] + [scene.num_parts for scene in scenes])
    return SceneLabels(
        np.concatenate([scene.centers for scene in scenes]),
        np.concatenate(
            [scene.parents + np.int32(offset) for scene, offset in zip(scenes, offsets, strict=False)]
        ),
        np.concatenate([scene.scales for scene in scenes]),
        np.concatenate([scene.part_centers for scene in scenes]),
    )


def _cluster(
    points: NDArray[np.float32], count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the cluster [P] of each point and the centres [K, 3]; a cluster that nothing is in is left out."""
    if count <= 1:
        return np.zeros(len(points), np.int64), points.mean(axis=0, keepdims=True)
    cv2.setRNGSeed(seed)
    unlabelled = np.zeros((len(points), 1), np.int32)
    criteria = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, _ITERATIONS, 1e-4)
    _, _, found = cv2.kmeans(points, count, unlabelled, criteria, _ATTEMPTS, cv2.KMEANS_PP_CENTERS)
    centers: NDArray[np.float32] = np.array(found, dtype=np.float32)
    cluster = _nearest(points, centers)
    used, cluster = np.unique(cluster, return_inverse=True)
    return cluster.astype(np.int64), np.ascontiguousarray(centers[used], np.float32)


def _nearest(points: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int64]:
    distance = (centers**2).sum(axis=1) - 2.0 * (points @ centers.T)
    return np.asarray(distance.argmin(axis=1), np.int64)
