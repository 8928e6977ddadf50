"""Match keypoints with the landmarks that a scene network keeps, near where it puts them.

Coordinates of a network are off by some pixels, and alike in a neighbourhood; a landmark is where it is. Which of the
few around there a keypoint shows, its descriptor says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.scene_points import ScenePoints
from hfnet_ros.types import Correspondences, ImageFeatures, SceneCoordinates

Float32Array = NDArray[np.float32]

# By so much more a landmark at the radius must look like a keypoint than one right where the network puts it.
_COST_AT_RADIUS = 0.07


class ScenePointMatcher:
    """Finds the landmark of a keypoint among those of the part that the network puts it in."""

    def __init__(
        self, points: ScenePoints, parents: NDArray[np.integer], radius_m: float, min_similarity: float
    ) -> None:
        """Take what a network keeps.

        Args:
            points: the landmarks.
            parents: [N] part of each leaf, ascending.
            radius_m: how far a landmark may be from where the network puts a keypoint.
            min_similarity: cosine below which a pair is dropped.
        """
        self._xyz = np.asarray(points.xyz, np.float64)
        self._parents = np.asarray(parents, np.int64)
        self._radius_m, self._min_similarity = radius_m, min_similarity
        self._cost_per_m2 = _COST_AT_RADIUS / radius_m**2
        part_of = self._parents[points.leaves]
        self._first = np.searchsorted(part_of, np.arange(self._parents.max(initial=-1) + 2))
        # Relative to the middle of each part float32 is exact enough.
        self._origins = np.stack(
            [
                self._xyz[start:stop].mean(axis=0) if stop > start else np.zeros(3)
                for start, stop in zip(self._first[:-1], self._first[1:], strict=True)
            ]
        )
        offset = self._xyz - self._origins[part_of]
        squared = (offset**2).sum(axis=1, keepdims=True)
        self._descriptors = points.descriptors[:]
        # Times a keypoint's (descriptor, x, y, z, 1): the cosine less the cost of the distance, but for the keypoint's
        # own |x|^2.
        self._lifted = np.ascontiguousarray(
            np.hstack([self._descriptors, self._cost_per_m2 * np.hstack([2.0 * offset, -squared])]).T,
            np.float32,
        )

    def match(self, features: ImageFeatures, coordinates: SceneCoordinates) -> Correspondences:
        """Return matches, most similar first, each keypoint and each landmark once; see `LandmarkMatcher.match`.

        They are with no landmark of the map, whose rows a network does not know.
        """
        descriptors = features.local.descriptors[coordinates.keypoint_idxs]
        points, rows = self._nearest(descriptors, coordinates)
        similarity = np.einsum("kd,kd->k", descriptors[points], self._descriptors[rows])
        distance = np.linalg.norm(coordinates.points3d[points] - self._xyz[rows], axis=1)
        kept = np.flatnonzero((similarity > self._min_similarity) & (distance <= self._radius_m))
        kept = kept[np.argsort(-similarity[kept], kind="stable")]
        points, rows = points[kept], rows[kept]
        return Correspondences(
            coordinates.points2d[points],
            self._xyz[rows],
            coordinates.keypoint_idxs[points],
            np.full(len(rows), -1),
            similarity[kept],
        )

    def _nearest(
        self, descriptors: Float32Array, coordinates: SceneCoordinates
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows of coordinates and of landmarks that are each other's best one, part by part."""
        part_of = self._parents[coordinates.leaves]
        found = [np.empty((2, 0), np.int64)]
        for part in np.unique(part_of).tolist():
            start, stop = self._first[part : part + 2]
            if start == stop:
                continue
            asked = np.flatnonzero(part_of == part)
            offset = coordinates.points3d[asked] - self._origins[part]
            own = np.hstack([descriptors[asked], offset, np.ones((len(asked), 1))]).astype(np.float32)
            alike = own @ self._lifted[:, start:stop]
            alike -= (self._cost_per_m2 * (offset**2).sum(axis=1, keepdims=True)).astype(np.float32)
            nearest = alike.argmax(axis=1)
            mutual = np.flatnonzero(alike[np.arange(len(asked)), nearest] == alike.max(axis=0)[nearest])
            # Two equal keypoints of a tie for one landmark.
            mutual = mutual[np.unique(nearest[mutual], return_index=True)[1]]
            found.append(np.stack([asked[mutual], start + nearest[mutual]]))
        points, rows = np.concatenate(found, axis=1)
        return points, rows
