"""Match an image with what each prior frame itself saw, and lead the matches back to landmarks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.place_view import KeyframeObservations, PlaceView
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher, as_correspondences
from hfnet_ros.types import Correspondences, ImageFeatures

# Takes an image and what a keyframe saw; returns rows [M, 2] of both, and how sure each match is [M].
CompareWithKeyframe = Callable[
    [ImageFeatures, KeyframeObservations], tuple[NDArray[np.int64], NDArray[np.float32]]
]


class KeyframeMatcher:
    """Compares an image with the prior frames of a place one by one.

    A landmark that several of them match is matched with the keypoint that one is most sure of.
    """

    def __init__(
        self, compare: CompareWithKeyframe, num_keyframes: int, scout: LandmarkMatcher | None = None
    ) -> None:
        """Take what compares, and with how many prior frames.

        Args:
            compare: an image with what a keyframe saw.
            num_keyframes: prior frames that it is asked about.
            scout: a quick matcher: frames that saw most of what it finds come first; without one, those most similar.
        """
        self._compare = compare
        self._num_keyframes = num_keyframes
        self._scout = scout

    def match(self, features: ImageFeatures, place: PlaceView) -> Correspondences:
        """Return matches, surest first; see `LandmarkMatcher.match`.

        Raises:
            MapFormatError: the map does not hold what its keyframes saw.
        """
        order = np.argsort(place.idxs, kind="stable")
        found = [np.empty((0, 3))]
        for seen in self._observations(features, place) if len(place) else ():
            if seen.descriptors is None:
                raise MapFormatError(
                    "the map does not hold what its keyframes saw, which this matcher compares images with; build it "
                    "anew with `mapping.keep_observations` on, or set matching.method to nearest"
                )
            rows, scores = self._compare(features, seen)
            landmarks = seen.landmark_idxs[rows[:, 1]]
            at = order[np.minimum(np.searchsorted(place.idxs, landmarks, sorter=order), len(place) - 1)]
            known = place.idxs[at] == landmarks
            found.append(np.column_stack([scores, rows[:, 0], at])[known])
        best = np.concatenate(found)
        best = best[np.argsort(-best[:, 0], kind="stable")]
        for column in (1, 2):  # each keypoint and each landmark once
            best = best[np.sort(np.unique(best[:, column], return_index=True)[1])]
        return as_correspondences(
            features.local,
            place,
            best[:, 1].astype(np.int64),
            best[:, 2].astype(np.int64),
            best[:, 0].astype(np.float32),
        )

    def _observations(self, features: ImageFeatures, place: PlaceView) -> list[KeyframeObservations]:
        """Return what the prior frames saw that are compared with."""
        frames = place.keyframe_idxs
        if self._scout is None or len(frames) <= self._num_keyframes:
            return [place.observations(frame) for frame in frames[: self._num_keyframes]]
        matched = self._scout.match(features, place).landmark_idxs
        seen = [place.observations(frame) for frame in frames]
        shared = [np.count_nonzero(np.isin(matched, one.landmark_idxs, kind="sort")) for one in seen]
        return [seen[row] for row in np.argsort(-np.array(shared), kind="stable")[: self._num_keyframes]]
