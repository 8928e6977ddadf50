"""What finds matches in a map, one after the other until there is a pose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.localization.answers import merge_views
from hfnet_ros.localization.learned_matching import AUTO, LEARNED, create_learned_matcher
from hfnet_ros.localization.scene_matching import (
    BOTH,
    GUIDED,
    GuidedMatcher,
    SceneMatcher,
    method_of,
)
from hfnet_ros.map.manifest import SCENE
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher, ViewsMatcher
from hfnet_ros.pose.learned_doubt import LEARNED_SCORE
from hfnet_ros.pose.scene_doubt import SCENE_SCORE
from hfnet_ros.types import Correspondences, ImageFeatures, Place

_MatchView = Callable[[ImageFeatures, PlaceView], Correspondences]
MatchViews = Callable[[Sequence[ImageFeatures], PlaceView], Correspondences]


@dataclass(frozen=True)
class Matcher:
    """What finds matches.

    Attributes:
        name: as `matching.method` has it, or `scene` or `guided` by a scene-coordinate network.
        match: does it, for the views of a query and a place.
        num_tried: matchers tried with it; the poses of all are charged to the evidence against chance, and what may be
            doubted of an answer is shared among them.
        scores: that have its poses doubted in a way of their own, 1; none of poses of landmarks, whoever keeps these.
    """

    name: str
    match: MatchViews
    num_tried: int
    scores: Mapping[str, float]


class MatchersInTurn:
    """The matchers of one map; belongs to the thread that made it.

    Attributes:
        compare: matches by descriptors alone.
        first: is asked in every place.
        more: are asked where the first finds no pose, in this order, in the place where most was seen.
    """

    def __init__(self, visual_map: VisualMap, config: Config, comparing: LandmarkMatcher) -> None:
        """Open what `localization.method` and `matching.method` ask for.

        Raises:
            ConfigError: the map is not one for it.
            WeightsError: a network is nowhere.
            MapFormatError: the map's own network is damaged.
        """
        method = method_of(visual_map, config)
        self.compare: MatchViews = _views_matching(comparing.match, comparing)
        self._scene = (
            SceneMatcher(visual_map.scene, config) if method in (SCENE, BOTH) and visual_map.scene else None
        )
        self._learned = create_learned_matcher(visual_map, config) if method != SCENE else None
        found: list[tuple[str, _MatchView]] = []
        if method == SCENE and self._scene is not None:
            found.append((SCENE, self._scene.match))
            if self._scene.asks_keyframes:
                found.append((SCENE, self._scene.match_more))
        elif config.matching.method == LEARNED and self._learned is not None:
            found.append((LEARNED, self._learned.match))
        else:
            found.append(
                ("nearest" if config.matching.method == AUTO else config.matching.method, comparing.match)
            )
        if method == BOTH and self._scene is not None:
            found.append((GUIDED, GuidedMatcher(self._scene, comparing, config).match))
        if self._learned is not None and found[0][0] != LEARNED:
            found.append((LEARNED, self._learned.match))
        is_coarse = self._scene is not None and not self._scene.keeps_landmarks
        scores = {LEARNED: {LEARNED_SCORE: 1.0}, SCENE: {SCENE_SCORE: 1.0} if is_coarse else {}}
        matchers = [
            Matcher(name, _views_matching(match, comparing), row + 1, scores.get(name, {}))
            for row, (name, match) in enumerate(found)
        ]
        self.first, self.more = matchers[0], tuple(matchers[1:])

    @property
    def asks_pixels(self) -> bool:
        """Tell whether a dense network is asked, whose answers come with an image's features."""
        return self._scene is not None and not self._scene.asks_keyframes

    def asks_places(self, matcher: Matcher) -> bool:
        """Tell whether what a matcher finds depends on the place; a dense network alone says the same of all."""
        return matcher.name != SCENE or not self.asks_pixels

    def seen_otherwise(self, here: PlaceView, places: Sequence[Place]) -> list[Place]:
        """Return the places as which the scene network may see an image otherwise than as this one.

        A dense network asks no keyframe, and says the same of all: one is enough to see whether what a pose leaves over
        fits another. Without, three of 40 hard images of RedKitchen are wrong (docs/notes/scene_coordinates_dense.md).
        """
        if self._scene is None:
            return []
        if not self._scene.asks_keyframes:
            return list(places[:1])
        return [place for place in places if place.keyframe_idxs != here.keyframe_idxs]

    def close(self) -> None:
        """Free the networks; calling it again does nothing."""
        for network in (self._scene, self._learned):
            if network is not None:
                network.close()


def only_of(features: Sequence[ImageFeatures], view_idxs: Collection[int]) -> list[ImageFeatures]:
    """Return the features of some views, and nothing of the others."""
    nothing = np.arange(0)
    return [view if view_idx in view_idxs else view.chosen(nothing) for view_idx, view in enumerate(features)]


def _views_matching(match: _MatchView, comparing: LandmarkMatcher) -> MatchViews:
    """Return what matches all views by what matches one: together, if that is the comparing matcher, and it can."""
    if match == comparing.match and isinstance(comparing, ViewsMatcher):
        return partial(_match_views_together, comparing)
    return partial(_match_views, match)


def _match_views_together(
    matcher: ViewsMatcher, features: Sequence[ImageFeatures], place: PlaceView
) -> Correspondences:
    return merge_views(matcher.match_views(features, place))


def _match_views(match: _MatchView, features: Sequence[ImageFeatures], place: PlaceView) -> Correspondences:
    return merge_views([match(view, place) for view in features])
