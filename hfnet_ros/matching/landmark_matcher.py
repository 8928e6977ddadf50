"""Match query keypoints to the landmarks of a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import MatchingConfig
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.matching.visual_words import mutual_nearest_in_words
from hfnet_ros.types import Correspondences, LocalFeatures

SAME_PLACE_FRACTION = 0.01  # of the extent of the landmarks: triangulated twice, not two places
_NUM_RIVALS = 8  # most similar landmarks among which a second place is looked for


@dataclass(frozen=True, eq=False)
class LandmarkSet:
    """Landmarks to match with, as rows of the map.

    Attributes:
        idxs: [L] int64 rows in the map.
        xyz: [L, 3] float64 m.
        descriptors: [L, D] float32 unit norm; [0, D] for a matcher that holds the map's itself.
        words: [L] int32 ascending, visual word of each; None where the map has no vocabulary.
    """

    idxs: NDArray[np.int64]
    xyz: NDArray[np.float64]
    descriptors: NDArray[np.float32]
    words: NDArray[np.int32] | None = None


class LandmarkMatcher(Protocol):
    """Finds 2D-3D matches; a learned matcher has the same face."""

    @property
    def needs_descriptors(self) -> bool:
        """Tell whether landmarks must come with their descriptors."""
        ...

    def match(self, query: LocalFeatures, landmarks: LandmarkSet) -> Correspondences:
        """Return matches, most similar first, each keypoint and each landmark at most once."""
        ...


class MutualNearestMatcher:
    """Mutual nearest neighbours, with an optional landmark-aware ratio test.

    Reference: Lowe, IJCV 2004, section 7.1 (ratio test); Sarlin et al., CVPR 2019, section 4
        (landmark-aware: a second-best match at the same landmark is no ambiguity).
    """

    needs_descriptors = True

    def __init__(self, config: MatchingConfig, vocabulary: NDArray[np.float32] | None = None) -> None:
        """Keep the parameters, and the map's vocabulary [K, D] to match within its words."""
        self._config = config
        self._vocabulary = vocabulary

    def match(self, query: LocalFeatures, landmarks: LandmarkSet) -> Correspondences:
        """Return matches, most similar first."""
        count = self._config.max_query_keypoints
        descriptors = query.descriptors[:count]
        keypoints, rows, similarity = self._nearest(descriptors, landmarks)
        if self._config.ratio < 1.0 and len(keypoints):
            clear = self._passes_ratio(descriptors[keypoints], rows, similarity, landmarks)
            keypoints, rows, similarity = keypoints[clear], rows[clear], similarity[clear]
        return as_correspondences(query, landmarks, keypoints, rows, similarity)

    def _nearest(
        self, descriptors: NDArray[np.float32], landmarks: LandmarkSet
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        if self._vocabulary is None or landmarks.words is None:
            return mutual_nearest(descriptors, landmarks.descriptors, self._config.min_similarity)
        return mutual_nearest_in_words(
            descriptors,
            landmarks.descriptors,
            landmarks.words,
            self._vocabulary,
            self._config.words_per_keypoint,
            self._config.min_similarity,
        )

    def _passes_ratio(
        self,
        descriptors: NDArray[np.float32],
        rows: NDArray[np.integer],
        similarity: NDArray[np.float32],
        landmarks: LandmarkSet,
    ) -> NDArray[np.bool_]:
        """Compare d1/d2 with d^2 = 2 (1 - cos); second-best only among other points of the scene."""
        all_similarity = descriptors @ landmarks.descriptors.T
        extent = float(np.ptp(landmarks.xyz, axis=0).max())
        clear = np.ones(len(rows), np.bool_)
        count = min(_NUM_RIVALS, len(landmarks.idxs))
        for match, row in enumerate(rows):
            second = np.argpartition(-all_similarity[match], count - 1)[:count]
            distance = np.linalg.norm(landmarks.xyz[second] - landmarks.xyz[row], axis=1)
            others = second[distance > SAME_PLACE_FRACTION * extent]
            if len(others) == 0 and count < len(landmarks.idxs):  # copies of the best hide every rival
                distance = np.linalg.norm(landmarks.xyz - landmarks.xyz[row], axis=1)
                others = np.flatnonzero(distance > SAME_PLACE_FRACTION * extent)
            if len(others):
                best_other = float(all_similarity[match, others].max())
                clear[match] = 1.0 - similarity[match] < self._config.ratio**2 * (1.0 - best_other)
        return clear


def as_correspondences(
    query: LocalFeatures,
    landmarks: LandmarkSet,
    keypoints: NDArray[np.int64],
    rows: NDArray[np.int64],
    similarity: NDArray[np.float32],
) -> Correspondences:
    """Return pairs of keypoints and rows of a set [K] as matches, most similar first."""
    order = np.argsort(-similarity, kind="stable")
    keypoints, rows, similarity = keypoints[order], rows[order], similarity[order]
    return Correspondences(
        points2d=query.keypoints[keypoints].astype(np.float64),
        points3d=landmarks.xyz[rows],
        keypoint_idxs=keypoints.astype(np.int64),
        landmark_idxs=landmarks.idxs[rows],
        similarity=similarity,
    )
