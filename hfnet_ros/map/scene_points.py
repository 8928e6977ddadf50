"""The landmarks that a scene network keeps of each leaf: what its coordinates are made exact with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.unit_vectors import UnitVectors

# Among the arrays of a network; all of them, or none.
XYZ, DESCRIPTORS, LEAVES = "point_xyz", "point_descriptors", "point_leaves"


@dataclass(frozen=True, eq=False)
class ScenePoints:
    """Some landmarks of a scene, P of them.

    Attributes:
        xyz: [P, 3] float32 m, frame of the map's `keyframe_poses`.
        descriptors: [P, D].
        leaves: [P] int32 leaf of each, ascending.
    """

    xyz: NDArray[np.float32]
    descriptors: UnitVectors
    leaves: NDArray[np.int32]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> ScenePoints | None:
        """Return the landmarks among the arrays of a network; None where it keeps none."""
        if XYZ not in arrays:
            return None
        return cls(arrays[XYZ], UnitVectors(arrays[DESCRIPTORS]), arrays[LEAVES])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return them as `SceneNetwork.arrays` holds them."""
        return {XYZ: self.xyz, DESCRIPTORS: self.descriptors.codes, LEAVES: self.leaves}


def most_seen_of_leaves(
    leaves: NDArray[np.integer], num_seeing: NDArray[np.integer], most: int
) -> NDArray[np.int64]:
    """Return rows of landmarks [L], by leaf: of each leaf so many at the most, those that most keyframes see."""
    order = np.lexsort((-num_seeing, leaves))
    ordered = leaves[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < most].astype(np.int64)
