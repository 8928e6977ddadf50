"""What a scene-coordinate network says of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SceneCoordinates:
    """Points of an image and where in the scene they are. M points.

    Attributes:
        keypoint_idxs: [M] int64, row in the image's features; -1 of a point that is no keypoint.
        points2d: [M, 2] float64, px of the original image.
        points3d: [M, 3] float64, m, in the frame of the map's `keyframe_poses`.
        sigmas_m: [M] float64, standard deviation of `points3d` per axis as the network sees it, m.
        confidence: [M] float32, probability that the labels are right, 0 to 1.
        leaves: [M] int64, the finest label.
    """

    keypoint_idxs: NDArray[np.int64]
    points2d: NDArray[np.float64]
    points3d: NDArray[np.float64]
    sigmas_m: NDArray[np.float64]
    confidence: NDArray[np.float32]
    leaves: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.points2d)

    def chosen(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> SceneCoordinates:
        """Return some of the points, in the order of `rows`."""
        return SceneCoordinates(
            self.keypoint_idxs[rows],
            self.points2d[rows],
            self.points3d[rows],
            self.sigmas_m[rows],
            self.confidence[rows],
            self.leaves[rows],
        )
