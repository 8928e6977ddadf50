"""Match the keypoints of an image to the landmarks of a place."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import MatchingConfig
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.matching.visual_words import (
    FEW_PAIRS,
    mutual_nearest_in_words,
    mutual_nearest_of_views,
    nearest_words,
)
from hfnet_ros.types import Correspondences, ImageFeatures, LocalFeatures

SAME_PLACE_FRACTION = 0.01  # of the extent of the landmarks: triangulated twice, not two places
_REMEMBERED = 12  # views
_NUM_RIVALS = 8  # most similar landmarks among which a second place is looked for


class LandmarkMatcher(Protocol):
    """Finds 2D-3D matches between one image and one place."""

    def match(self, features: ImageFeatures, place: PlaceView) -> Correspondences:
        """Return matches, most similar first, each keypoint and each landmark at most once.

        A matcher takes from the place what it needs: descriptors of landmarks, or what each of its keyframes saw
        itself, which it then leads back to landmarks. Its points2d may be other than the keypoints, where it
        found better ones.

        Args:
            features: of the image; fewer than were found in it where only some are asked for.
            place: may hold no landmark.

        Raises:
            EngineError: a network failed.
            MapFormatError: the map is damaged there, or does not hold what this matcher compares.
        """
        ...


@dataclass(frozen=True, eq=False)
class _WordsOf:
    """Words of a view's descriptors; neither these nor the map's vocabulary are kept."""

    descriptors: weakref.ref[NDArray[np.float32]]
    vocabulary: weakref.ref[NDArray[np.float32]]
    words: NDArray[np.uint16]


@runtime_checkable
class ViewsMatcher(Protocol):
    """A matcher that takes all views of a rig sooner than one after the other."""

    def match_views(self, features: Sequence[ImageFeatures], place: PlaceView) -> list[Correspondences]:
        """Return what `LandmarkMatcher.match` does for each of the views, up to the last digits of similarities."""
        ...


class MutualNearestMatcher:
    """Mutual nearest neighbours, with an optional landmark-aware ratio test.

    Reference: Lowe, IJCV 2004, section 7.1 (ratio test); Sarlin et al., CVPR 2019, section 4
        (landmark-aware: a second-best match at the same landmark is no ambiguity).
    """

    def __init__(self, config: MatchingConfig) -> None:
        """Keep the parameters."""
        self._config = config
        # Of views of the last queries: each place asks for the same.
        self._words: deque[_WordsOf] = deque(maxlen=_REMEMBERED)

    def match(self, features: ImageFeatures, place: PlaceView) -> Correspondences:
        """Return matches, most similar first; within visual words where the map has some."""
        descriptors = features.local.descriptors[: self._config.max_query_keypoints]
        return self._checked(features, place, *self._nearest(features.local.descriptors, descriptors, place))

    def match_views(self, features: Sequence[ImageFeatures], place: PlaceView) -> list[Correspondences]:
        """Return the matches of each view; see `ViewsMatcher`."""
        count = self._config.max_query_keypoints
        num_pairs = sum(min(len(view.local), count) for view in features) * len(place)
        seeing = [view for view in features if len(view.local)]
        if len(seeing) < 2 or len(place.vocabulary) == 0 or num_pairs <= FEW_PAIRS:
            return [self.match(view, place) for view in features]
        descriptors = [view.local.descriptors[:count] for view in seeing]
        words = [
            self._words_of(view.local.descriptors, some, place.vocabulary)
            for view, some in zip(seeing, descriptors, strict=True)
        ]
        found = iter(
            mutual_nearest_of_views(
                descriptors,
                place.descriptors,
                place.words,
                len(place.vocabulary),
                words,
                self._config.min_similarity,
            )
        )
        return [
            self._checked(view, place, *next(found)) if len(view.local) else self.match(view, place)
            for view in features
        ]

    def _checked(
        self,
        features: ImageFeatures,
        place: PlaceView,
        keypoints: NDArray[np.int64],
        rows: NDArray[np.int64],
        similarity: NDArray[np.float32],
    ) -> Correspondences:
        """Return the nearest pairs that pass the ratio test, if it is asked for."""
        descriptors = features.local.descriptors[: self._config.max_query_keypoints]
        if self._config.ratio < 1.0 and len(keypoints):
            clear = self._passes_ratio(descriptors[keypoints], rows, similarity, place)
            keypoints, rows, similarity = keypoints[clear], rows[clear], similarity[clear]
        return as_correspondences(features.local, place, keypoints, rows, similarity)

    def _nearest(
        self, of_view: NDArray[np.float32], descriptors: NDArray[np.float32], place: PlaceView
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        if len(place.vocabulary) == 0:
            return mutual_nearest(descriptors, place.descriptors, self._config.min_similarity)
        return mutual_nearest_in_words(
            descriptors,
            place.descriptors,
            place.words,
            place.vocabulary,
            self._config.words_per_keypoint,
            self._config.min_similarity,
            self._words_of(of_view, descriptors, place.vocabulary) if len(descriptors) else None,
        )

    def _words_of(
        self, of_view: NDArray[np.float32], descriptors: NDArray[np.float32], vocabulary: NDArray[np.float32]
    ) -> NDArray[np.uint16]:
        """Return the words that the first descriptors of a view are compared in."""
        for known in self._words:
            if known.descriptors() is of_view and known.vocabulary() is vocabulary:
                return known.words
        words = nearest_words(descriptors, vocabulary, self._config.words_per_keypoint)
        self._words.append(_WordsOf(weakref.ref(of_view), weakref.ref(vocabulary), words))
        return words

    def _passes_ratio(
        self,
        descriptors: NDArray[np.float32],
        rows: NDArray[np.integer],
        similarity: NDArray[np.float32],
        place: PlaceView,
    ) -> NDArray[np.bool_]:
        """Compare d1/d2 with d^2 = 2 (1 - cos); second-best only among other points of the scene."""
        all_similarity = descriptors @ place.descriptors.T
        extent = float(np.ptp(place.xyz, axis=0).max())
        clear = np.ones(len(rows), np.bool_)
        count = min(_NUM_RIVALS, len(place))
        for match, row in enumerate(rows):
            second = np.argpartition(-all_similarity[match], count - 1)[:count]
            distance = np.linalg.norm(place.xyz[second] - place.xyz[row], axis=1)
            others = second[distance > SAME_PLACE_FRACTION * extent]
            if len(others) == 0 and count < len(place):  # copies of the best hide every rival
                distance = np.linalg.norm(place.xyz - place.xyz[row], axis=1)
                others = np.flatnonzero(distance > SAME_PLACE_FRACTION * extent)
            if len(others):
                best_other = float(all_similarity[match, others].max())
                clear[match] = 1.0 - similarity[match] < self._config.ratio**2 * (1.0 - best_other)
        return clear


def as_correspondences(
    local: LocalFeatures,
    place: PlaceView,
    keypoints: NDArray[np.int64],
    rows: NDArray[np.int64],
    similarity: NDArray[np.float32],
) -> Correspondences:
    """Return pairs of keypoints and landmarks of a place [K] as matches, most similar first."""
    order = np.argsort(-similarity, kind="stable")
    keypoints, rows, similarity = keypoints[order], rows[order], similarity[order]
    return Correspondences(
        points2d=local.keypoints[keypoints].astype(np.float64),
        points3d=place.xyz[rows],
        keypoint_idxs=keypoints.astype(np.int64),
        landmark_idxs=place.idxs[rows],
        similarity=similarity,
    )
