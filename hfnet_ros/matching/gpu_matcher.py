"""Matching on the GPU, exhaustively, behind the face of the CPU's matcher."""

from __future__ import annotations

import numpy as np

from hfnet_ros.config import MatchingConfig
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.matching.landmark_matcher import SAME_PLACE_FRACTION, LandmarkSet, as_correspondences
from hfnet_ros.types import Correspondences, LocalFeatures


class GpuMatcher:
    """Mutual nearest neighbours among all landmarks of a set, whose descriptors the GPU holds.

    The CPU saves time by comparing within visual words; here all are compared. Otherwise the matches are
    those of `MutualNearestMatcher`, but for what float16 makes of two similarities that are nearly equal.
    """

    needs_descriptors = False

    def __init__(self, landmarks: GpuLandmarks, config: MatchingConfig) -> None:
        """Take the map's landmarks; not owned."""
        self._landmarks = landmarks
        self._config = config

    def match(self, query: LocalFeatures, landmarks: LandmarkSet) -> Correspondences:
        """Return matches, most similar first; see `LandmarkMatcher.match`.

        Raises:
            EngineError: the GPU failed.
        """
        config = self._config
        same_place_m = 0.0
        if config.ratio < 1.0 and len(landmarks.idxs):
            same_place_m = SAME_PLACE_FRACTION * float(np.ptp(landmarks.xyz, axis=0).max())
        keypoints, rows, similarity = self._landmarks.match(
            query.descriptors[: config.max_query_keypoints],
            landmarks.idxs,
            min_similarity=config.min_similarity,
            ratio=config.ratio,
            same_place_m=same_place_m,
        )
        return as_correspondences(query, landmarks, keypoints, rows, similarity)
