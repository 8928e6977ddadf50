"""Matchers by the name that `matching.method` gives them."""

from __future__ import annotations

from collections.abc import Callable

from hfnet_ros.config import MATCHER_NAMES, Config
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher, MutualNearestMatcher

# Makes a matcher for one map; called by the thread that will use it.
MatcherFactory = Callable[[VisualMap, Config], LandmarkMatcher]

# Methods that compare descriptors. `learned` and `auto` do so beside the network that the localizer asks.
COMPARING_METHODS = ("nearest", "learned", "auto")

_factories: dict[str, MatcherFactory] = dict.fromkeys(
    COMPARING_METHODS, lambda _, config: MutualNearestMatcher(config.matching)
)


def register_matcher(name: str, factory: MatcherFactory) -> None:
    """Let `matching.method` name another matcher from now on; of the same name the last one counts."""
    _factories[name] = factory
    if name not in MATCHER_NAMES:
        MATCHER_NAMES.append(name)


def create_matcher(visual_map: VisualMap, config: Config) -> LandmarkMatcher:
    """Make the matcher that `matching.method` names, for a map."""
    return _factories[config.matching.method](visual_map, config)
