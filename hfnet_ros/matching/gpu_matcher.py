"""Matching on the GPU, exhaustively, behind the face of the CPU's matcher."""

from __future__ import annotations

import numpy as np

from hfnet_ros.config import MatchingConfig
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.matching.landmark_matcher import SAME_PLACE_FRACTION, as_correspondences
from hfnet_ros.types import Correspondences, ImageFeatures


class GpuMatcher:
    """Mutual nearest neighbours among all landmarks of a place, whose descriptors the GPU holds.

    The CPU saves time by comparing within visual words; here all are compared. Otherwise the matches are
    those of `MutualNearestMatcher`, but for what float16 makes of two similarities that are nearly equal.
    """

    def __init__(self, landmarks: GpuLandmarks, config: MatchingConfig) -> None:
        """Take the map's landmarks; not owned."""
        self._landmarks = landmarks
        self._config = config

    def match(self, features: ImageFeatures, place: PlaceView) -> Correspondences:
        """Return matches, most similar first; see `LandmarkMatcher.match`.

        Raises:
            EngineError: the GPU failed.
        """
        config = self._config
        same_place_m = 0.0
        if config.ratio < 1.0 and len(place):
            same_place_m = SAME_PLACE_FRACTION * float(np.ptp(place.xyz, axis=0).max())
        keypoints, rows, similarity = self._landmarks.match(
            features.local.descriptors[: config.max_query_keypoints],
            place.idxs,
            min_similarity=config.min_similarity,
            ratio=config.ratio,
            same_place_m=same_place_m,
        )
        return as_correspondences(features.local, place, keypoints, rows, similarity)
