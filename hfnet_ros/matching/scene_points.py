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
# Of what the network says of an image so much is in the parts that it shows; what is elsewhere is taken for mistaken.
_SHARE_OF_PARTS, _MOST_PARTS = 0.9, 12


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
        # Times what `_lift` makes of a keypoint: the cosine less the cost of the distance.
        ones = np.ones((len(offset), 1))
        self._lifted = np.ascontiguousarray(
            np.hstack([self._descriptors, offset, squared, ones]).T, np.float32
        )

    def match(self, features: ImageFeatures, coordinates: SceneCoordinates) -> Correspondences:
        """Match each keypoint with a landmark of the part that it is put in, no further away than the radius.

        Returns:
            Matches, most similar first, each keypoint and each landmark once; see `LandmarkMatcher.match`. They are
            with no landmark of the map, whose rows a network does not know.
        """
        descriptors = features.local.descriptors[coordinates.keypoint_idxs]
        points, rows = self._nearest_of_own_part(descriptors, coordinates)
        near = np.linalg.norm(coordinates.points3d[points] - self._xyz[rows], axis=1) <= self._radius_m
        return self._matches(descriptors, coordinates, points[near], rows[near])

    def match_in_parts(self, features: ImageFeatures, coordinates: SceneCoordinates) -> Correspondences:
        """Match each keypoint with a landmark of any part that the image shows; see `match`.

        For images that the network is mistaken about as often as not: where it puts a keypoint is but preferred.
        """
        descriptors = features.local.descriptors[coordinates.keypoint_idxs]
        return self._matches(descriptors, coordinates, *self._nearest_of_parts(descriptors, coordinates))

    def _matches(
        self,
        descriptors: Float32Array,
        coordinates: SceneCoordinates,
        points: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> Correspondences:
        """Return the pairs that look alike."""
        similarity = np.einsum("kd,kd->k", descriptors[points], self._descriptors[rows])
        kept = np.flatnonzero(similarity > self._min_similarity)
        kept = kept[np.argsort(-similarity[kept], kind="stable")]
        points, rows = points[kept], rows[kept]
        return Correspondences(
            coordinates.points2d[points],
            self._xyz[rows],
            coordinates.keypoint_idxs[points],
            np.full(len(rows), -1),
            similarity[kept],
        )

    def _nearest_of_own_part(
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
            own = np.hstack([descriptors[asked], self._lift(coordinates.points3d[asked], part)])
            alike = own @ self._lifted[:, start:stop]
            nearest = alike.argmax(axis=1)
            mutual = np.flatnonzero(alike[np.arange(len(asked)), nearest] == alike.max(axis=0)[nearest])
            found.append(
                np.stack([asked[mutual], start + nearest[mutual]])[:, _first_of_each(nearest[mutual])]
            )
        points, rows = np.concatenate(found, axis=1)
        return points, rows

    def _nearest_of_parts(
        self, descriptors: Float32Array, coordinates: SceneCoordinates
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows of coordinates and of landmarks that are each other's best one in all that the image shows.

        Beyond the radius all landmarks cost the same.
        """
        count = len(coordinates)
        best, nearest = np.full(count, -np.inf, np.float32), np.zeros(count, np.int64)
        best_of_landmark = np.full(len(self._xyz), -np.inf, np.float32)
        for part in self._shown_parts(coordinates):
            start, stop = self._first[part : part + 2]
            if start == stop:
                continue
            alike = descriptors @ self._descriptors[start:stop].T
            gain = self._lift(coordinates.points3d, part) @ self._lifted[-5:, start:stop]
            alike += np.maximum(gain, np.float32(-_COST_AT_RADIUS), out=gain)
            column = alike.argmax(axis=1)
            value = alike[np.arange(count), column]
            better = value > best
            best[better], nearest[better] = value[better], start + column[better]
            best_of_landmark[start:stop] = alike.max(axis=0)
        mutual = np.flatnonzero(np.isfinite(best) & (best == best_of_landmark[nearest]))
        mutual = mutual[_first_of_each(nearest[mutual])]
        return mutual, nearest[mutual]

    def _lift(self, points3d: NDArray[np.float64], part: int) -> Float32Array:
        """Return points [M, 3] so that times a landmark's (x, y, z, |x|^2, 1) they are the cost, negative [M, 5]."""
        offset = points3d - self._origins[part]
        squared = (offset**2).sum(axis=1, keepdims=True)
        lifted = np.hstack([-2.0 * offset, np.ones((len(offset), 1)), squared])
        return np.asarray(-self._cost_per_m2 * lifted, np.float32)

    def _shown_parts(self, coordinates: SceneCoordinates) -> list[int]:
        """Return the parts that most of what the network is sure of is in, the most certain ones first."""
        sure = np.bincount(self._parents[coordinates.leaves], weights=coordinates.confidence)
        order = np.argsort(-sure, kind="stable")
        told = np.cumsum(sure[order])
        count = int(np.searchsorted(told, _SHARE_OF_PARTS * told[-1])) + 1 if len(told) else 0
        shown: list[int] = order[: min(count, _MOST_PARTS)].tolist()
        return shown


def _first_of_each(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each row is first: of two equal keypoints that tie for one landmark."""
    return np.unique(rows, return_index=True)[1]
