"""Match the keypoints of two keyframes; matchers by the name that `mapping.matcher` gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from hfnet_ros.config import PAIR_MATCHER_NAMES, Config
from hfnet_ros.mapping.pair_match import PairMatch
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.types import ImageFeatures


class PairMatcher(Protocol):
    """Finds matches between two images of a map."""

    def match(self, first: ImageFeatures, second: ImageFeatures) -> PairMatch:
        """Return the matches of two images; called by several threads at once.

        Tracks join the keypoints of many pairs by their rows. A matcher that moves points, as
        XFeat* does with those of the first image, returns the rows of the keypoints it started
        from; landmarks are triangulated from these keypoints, not from where it moved them.

        Raises:
            EngineError: a network failed.
        """
        ...


class NearestPairMatcher:
    """Keypoints whose descriptors are each other's most similar ones."""

    def match(self, first: ImageFeatures, second: ImageFeatures) -> PairMatch:
        """Return the matches in the order of the first image's keypoints."""
        rows_a, rows_b, similarity = mutual_nearest(first.local.descriptors, second.local.descriptors)
        return PairMatch(np.stack([rows_a, rows_b], axis=1), similarity)


# Makes a matcher for one build.
PairMatcherFactory = Callable[[Config], PairMatcher]
# Refuses descriptors, by the identity of their extractor, that a matcher does not know.
PairMatcherCheck = Callable[[Config, str], None]


def _learned(config: Config) -> PairMatcher:
    from hfnet_ros.mapping.learned_pairs import LearnedPairMatcher

    return LearnedPairMatcher(config)


def _check_learned(config: Config, extractor_id: str) -> None:  # noqa: ARG001
    from hfnet_ros.features.weights import LIGHTERGLUE, find_weights
    from hfnet_ros.mapping.learned_pairs import check_learned

    check_learned(extractor_id)
    find_weights(LIGHTERGLUE.file_name)


def _semidense(config: Config) -> PairMatcher:
    from hfnet_ros.mapping.semidense import create_semidense

    return create_semidense(config)


def _check_semidense(config: Config, extractor_id: str) -> None:  # noqa: ARG001
    _semidense(config)


_factories: dict[str, PairMatcherFactory] = {
    "nearest": lambda _: NearestPairMatcher(),
    "learned": _learned,
    "semidense": _semidense,
}


_checks: dict[str, PairMatcherCheck] = {
    "learned": _check_learned,
    "semidense": _check_semidense,
}


def register_pair_matcher(
    name: str, factory: PairMatcherFactory, check: PairMatcherCheck | None = None
) -> None:
    """Let `mapping.matcher` name another matcher from now on; of the same name the last one counts.

    Args:
        name: of the matcher.
        factory: makes it for one build.
        check: is asked before images are described, and raises ConfigError for descriptors that it does not know.
    """
    _factories[name] = factory
    _checks.pop(name, None)
    if check is not None:
        _checks[name] = check
    if name not in PAIR_MATCHER_NAMES:
        PAIR_MATCHER_NAMES.append(name)


def check_pair_matcher(config: Config, extractor_id: str) -> None:
    """Refuse a matcher that cannot match what an extractor describes, before hours of describing.

    Raises:
        ConfigError: `mapping.matcher` does not know these descriptors; says which, and what to do.
        WeightsError: its network is nowhere.
    """
    check = _checks.get(config.mapping.matcher)
    if check is not None:
        check(config, extractor_id)


def create_pair_matcher(config: Config) -> PairMatcher:
    """Make the matcher that `mapping.matcher` names.

    Raises:
        WeightsError: its network is nowhere.
    """
    return _factories[config.mapping.matcher](config)
