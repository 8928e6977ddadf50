"""Keyframes matched with each other by LighterGlue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.features.lighterglue import KNOWN_EXTRACTORS, KeypointSet, load_lighterglue
from hfnet_ros.mapping.pair_matcher import PairMatch
from hfnet_ros.types import ImageFeatures

_MAX_KEYPOINTS = 1024  # twice as many take four times as long


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
            if not features.extractor_id.startswith(KNOWN_EXTRACTORS):
                raise ConfigError(
                    f"mapping.matcher 'learned' knows descriptors of XFeat, found '{features.extractor_id}'; take "
                    "--extractor xfeat or xfeat+hfnet, or mapping.matcher nearest"
                )
        sets = [
            KeypointSet(entry.local.keypoints, entry.local.descriptors, entry.extent_wh)
            for entry in (first.strongest(_MAX_KEYPOINTS), second.strongest(_MAX_KEYPOINTS))
        ]
        rows, _ = self._thread.submit(self._network.match, *sets).result()
        return PairMatch(rows)
