"""The part of a map that one place is: its landmarks, and what its keyframes saw of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.visual_map import VisualMap


@dataclass(frozen=True, eq=False)
class KeyframeObservations:
    """What one keyframe saw of the map's landmarks.

    Attributes:
        points2d: [N, 2] float32 px of the keyframe's image.
        landmark_idxs: [N] int64 rows of the map.
        size_wh: of the image, px.
        descriptors: [N, D] float32 unit norm, of these very observations; None where the map does not keep them
            (`mapping.keep_observations`).
    """

    points2d: NDArray[np.float32]
    landmark_idxs: NDArray[np.int64]
    size_wh: tuple[int, int]
    descriptors: NDArray[np.float32] | None


class PlaceView:
    """Landmarks of a place, read from the map where they are asked for: what a matcher matches with.

    Attributes:
        idxs: [L] int64 rows of the map, in ascending order of their visual words.
        words: [L] uint16 of each landmark.
        vocabulary: [K, D] visual words; none where all landmarks are to be compared.
        keyframe_idxs: keyframes of the place, most similar to the query first.
    """

    def __init__(
        self, visual_map: VisualMap, idxs: NDArray[np.int64], keyframe_idxs: tuple[int, ...] = ()
    ) -> None:
        """View some landmarks, in any order, of a map that has its search structure."""
        self._map = visual_map
        self.vocabulary, words = visual_map.words_of(idxs)
        self.words: NDArray[np.uint16] = words
        if np.any(words[1:] < words[:-1]):
            order = np.argsort(words, kind="stable")
            idxs, self.words = idxs[order], words[order]
        self.idxs = idxs
        self.keyframe_idxs = keyframe_idxs

    def __len__(self) -> int:
        """Return the number of landmarks, L."""
        return len(self.idxs)

    @cached_property
    def xyz(self) -> NDArray[np.float64]:
        """[L, 3] m, map frame.

        Raises:
            MapFormatError: the map is damaged there.
        """
        points = self._map.landmark_xyz[self.idxs]
        if not np.isfinite(points).all():
            raise MapFormatError("array 'landmark_xyz' is not finite; `hfnet-ros map verify` tells where")
        return points

    @cached_property
    def descriptors(self) -> NDArray[np.float32]:
        """[L, D] float32 unit norm."""
        return self._map.landmark_descriptors[self.idxs]

    def observations(self, keyframe_idx: int) -> KeyframeObservations:
        """Return what a keyframe of the place saw.

        Raises:
            MapFormatError: the map is damaged there.
        """
        start, stop = self._map.observation_offsets[keyframe_idx : keyframe_idx + 2]
        described = self._map.observation_descriptors
        return KeyframeObservations(
            self._map.observation_xy[start:stop],
            self._map.observation_landmark_idx[start:stop].astype(np.int64),
            self._map.cameras[self._map.camera_idx_of(keyframe_idx)].refined.size_wh,
            None if described is None else described[start:stop],
        )
