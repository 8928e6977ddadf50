"""Keyframes matched with each other by LighterGlue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hfnet_ros.config import Config
from hfnet_ros.features.lighterglue import KeypointSet, check_known, load_lighterglue
from hfnet_ros.mapping.pair_match import PairMatch
from hfnet_ros.types import ImageFeatures

_MAX_KEYPOINTS = 1024  # twice as many take four times as long


def check_learned(extractor_id: str) -> None:
    """Refuse descriptors that the network does not know.

    Raises:
        ConfigError: says of which extractor they are.
    """
    check_known(extractor_id, "mapping.matcher 'learned'")


class LearnedPairMatcher:
    """LighterGlue between two keyframes, in one thread of its own, to which its engines belong."""

    def __init__(self, config: Config) -> None:
        """Find the network.

        Raises:
            WeightsError: it is nowhere.
        """
        self._network = load_lighterglue(config.inference)
        self._thread = ThreadPoolExecutor(1, "lighterglue")

    def match(self, first: ImageFeatures, second: ImageFeatures) -> PairMatch:
        """Return the matches of two images; see `PairMatcher.match`.

        Raises:
            ConfigError: the descriptors are not those that the network knows.
        """
        for features in (first, second):
            check_learned(features.extractor_id)
        asked = KeypointSet.of(first), KeypointSet.of(second)
        rows, _ = self._thread.submit(self._network.match, *asked, _MAX_KEYPOINTS).result()
        return PairMatch(rows)
