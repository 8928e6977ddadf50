"""The learned matcher of a map, where there can be one."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, HfnetRosError
from hfnet_ros.features.lighterglue import KeypointSet, LighterGlue, check_known, load_lighterglue
from hfnet_ros.map.place_view import KeyframeObservations, PlaceView
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.by_keyframe import KeyframeMatcher
from hfnet_ros.matching.landmark_matcher import MutualNearestMatcher
from hfnet_ros.types import Correspondences, ImageFeatures

_logger = logging.getLogger(__name__)

LEARNED, AUTO = "learned", "auto"


class LearnedMatcher:
    """LighterGlue between an image and the prior frames of a place."""

    def __init__(self, visual_map: VisualMap, config: Config) -> None:
        """Find the network; nothing is loaded before the first image.

        Raises:
            ConfigError: the map's descriptors are not those that the network knows, or it does not hold what its
                keyframes saw.
            WeightsError: the network is nowhere.
        """
        asked = f"matching.method '{config.matching.method}'"
        check_known(visual_map.extractor_id, asked, "a map of ")
        if visual_map.observation_descriptors is None:
            raise ConfigError(
                f"{asked} compares images with what keyframes saw, which the map "
                "does not hold; build it anew with `mapping.keep_observations` on, or set it to nearest"
            )
        self._network: LighterGlue = load_lighterglue(config.inference)
        self._config = config.matching
        scout = MutualNearestMatcher(config.matching)
        self._by_keyframe = KeyframeMatcher(self._compare, config.matching.learned_keyframes, scout)

    def match(self, features: ImageFeatures, place: PlaceView) -> Correspondences:
        """Return matches, surest first; see `LandmarkMatcher.match`."""
        return self._by_keyframe.match(features.strongest(self._config.max_query_keypoints), place)

    def _compare(
        self, features: ImageFeatures, seen: KeyframeObservations
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        assert seen.descriptors is not None
        observed = KeypointSet(seen.points2d, seen.descriptors, seen.size_wh)
        return self._network.match(KeypointSet.of(features), observed, self._config.learned_keypoints)

    def close(self) -> None:
        """Free the network; calling it again does nothing."""
        self._network.close()


def create_learned_matcher(visual_map: VisualMap, config: Config) -> LearnedMatcher | None:
    """Return the matcher that `matching.method` asks for; None if it asks for none, or `auto` and there can be none.

    Raises:
        ConfigError: `learned` is asked for, and the map is not one for it.
        WeightsError: or its network is nowhere.
    """
    if config.matching.method == LEARNED:
        return LearnedMatcher(visual_map, config)
    if config.matching.method != AUTO:
        return None
    try:
        return LearnedMatcher(visual_map, config)
    except HfnetRosError as error:
        _logger.warning("matching.method auto compares descriptors only: %s", error)
        return None
