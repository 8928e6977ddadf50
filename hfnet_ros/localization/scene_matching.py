"""Matches by a map's scene-coordinate network: with the points that it says, or with the landmarks near them.

Those landmarks are the ones that the network keeps of its leaves, or those of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.features.scene_dense import coordinates_at
from hfnet_ros.features.scene_hybrid import HybridNetwork
from hfnet_ros.map.manifest import LANDMARKS, SCENE
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.map.scene_network import FEATURES, SceneNetwork
from hfnet_ros.map.scene_points import ScenePoints
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.guided import match_guided
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher
from hfnet_ros.matching.scene_points import ScenePointMatcher
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import Correspondences, ImageFeatures, Localization, RigCamera, SceneCoordinates

# What localizes, besides the kinds of map; and what finds matches near where a network says.
BOTH, GUIDED = "both", "guided"
_FURTHEST_M = 1e9
# Less sure points are no matches: of those at 0.3 to 0.5 a third is within 16 px of the truth, of less sure ones a
# tenth. Chosen on EuRoC and a generated apartment.
_LEAST_CONFIDENCE = 0.3
# Keyframes that are asked where one does not do: of them 0.78 and 0.87 of two apartments' queries are right, of one
# 0.75 and 0.79; five are no better.
MORE_KEYFRAMES = 3


def method_of(visual_map: VisualMap, config: Config) -> str:
    """Return what of a map localizes: `landmarks`, `scene` or `both`.

    Raises:
        ConfigError: `localization.method` asks for what the map does not have.
    """
    has = {
        LANDMARKS: visual_map.num_landmarks > 0 or visual_map.scene is None,
        SCENE: visual_map.scene is not None,
    }
    asked = config.localization.method
    if asked == "auto":
        return BOTH if all(has.values()) else next(name for name, there in has.items() if there)
    needed = (LANDMARKS, SCENE) if asked == BOTH else (asked,)
    for name in needed:
        if not has[name]:
            what, remedy = (
                ("scene-coordinate network", "train one by `hfnet-ros map train`")
                if name == SCENE
                else ("landmarks", "build it with --kind landmarks or both")
            )
            raise ConfigError(
                f"localization.method is '{asked}', but the map has no {what}; {remedy}, or set it to auto"
            )
    return asked


def _finite(found: SceneCoordinates) -> SceneCoordinates:
    """Leave out what is no point: a network is a file, and says what somebody wrote."""
    is_point: NDArray[np.bool_] = np.all(np.abs(found.points3d) < _FURTHEST_M, axis=1)
    return found if is_point.all() else found.chosen(is_point)


class SceneMatcher:
    """Matches keypoints with where the network puts them, as seen from the place's best keyframes.

    Where it keeps landmarks, a keypoint is matched with the one of them around there that looks like it.
    """

    def __init__(self, scene: SceneNetwork, config: Config) -> None:
        """Read the network.

        Raises:
            MapFormatError: it is damaged.
        """
        self._num_keypoints = config.matching.max_query_keypoints
        self._hybrid = HybridNetwork(scene, config.inference) if scene.takes == FEATURES else None
        self.radius_m = scene.radius_m
        points = ScenePoints.of(scene.arrays)
        self._points = (
            ScenePointMatcher(points, scene.arrays["parents"], self.radius_m, config.matching.min_similarity)
            if points is not None
            else None
        )

    @property
    def asks_keyframes(self) -> bool:
        """Tell whether what it says depends on a keyframe."""
        return self._hybrid is not None

    @property
    def keeps_landmarks(self) -> bool:
        """Tell whether its matches are with landmarks, as exact as others, not with its coordinates."""
        return self._points is not None

    def match(self, features: ImageFeatures, place: PlaceView, num_keyframes: int = 1) -> Correspondences:
        """Return matches, surest first; see `LandmarkMatcher.match`. They are with no landmark of the map."""
        if self._points is not None:
            return self._points.match(features, self.at_keypoints(features, place))
        found = self.coordinates(features, place, num_keyframes)
        found = found.chosen(found.confidence >= _LEAST_CONFIDENCE)
        found = found.chosen(np.argsort(-found.confidence, kind="stable"))
        return Correspondences(
            found.points2d, found.points3d, found.keypoint_idxs, np.full(len(found), -1), found.confidence
        )

    def match_more(self, features: ImageFeatures, place: PlaceView) -> Correspondences:
        """Return matches where those of `match` led to no pose: as seen from several keyframes.

        Where it keeps landmarks, with those of all parts that the image shows.
        """
        if self._points is None:
            return self.match(features, place, MORE_KEYFRAMES)
        return self._points.match_in_parts(features, self.at_keypoints(features, place, MORE_KEYFRAMES))

    def coordinates(
        self, features: ImageFeatures, place: PlaceView, num_keyframes: int = 1
    ) -> SceneCoordinates:
        """Return what the network says of an image; of a dense network what came with the features.

        Of several keyframes each keypoint takes the word of the one that the network is surest with.

        Raises:
            EngineError: the network failed.
        """
        if self._hybrid is None:
            assert features.coordinates is not None
            return _finite(features.coordinates)
        features = features.strongest(self._num_keypoints)
        best, *others = (
            self._hybrid.predict(features, frame) for frame in place.keyframe_idxs[:num_keyframes]
        )
        for other in others:
            surer = other.confidence > best.confidence
            best = SceneCoordinates(
                best.keypoint_idxs,
                best.points2d,
                np.where(surer[:, None], other.points3d, best.points3d),
                np.where(surer, other.sigmas_m, best.sigmas_m),
                np.where(surer, other.confidence, best.confidence),
                np.where(surer, other.leaves, best.leaves),
            )
        return _finite(best)

    def at_keypoints(
        self, features: ImageFeatures, place: PlaceView, num_keyframes: int = 1
    ) -> SceneCoordinates:
        """Return where keypoints are; of a dense network what it says of the cells that they are in."""
        found = self.coordinates(features, place, num_keyframes)
        return found if self._hybrid is not None else coordinates_at(found, features.local.keypoints)

    def close(self) -> None:
        """Free the network; calling it again does nothing."""
        if self._hybrid is not None:
            self._hybrid.close()


class GuidedMatcher:
    """Matches keypoints with the landmarks of a place near where the network puts them."""

    def __init__(self, scene: SceneMatcher, comparing: LandmarkMatcher, config: Config) -> None:
        """Take the network, and what finds matches without it."""
        self._scene = scene
        self._comparing = comparing
        self._min_similarity = config.matching.min_similarity

    def match(self, features: ImageFeatures, place: PlaceView) -> Correspondences:
        """Return matches, most similar first; see `LandmarkMatcher.match`."""
        known = self._comparing.match(features, place)
        coordinates = self._scene.at_keypoints(features, place)
        return match_guided(features, place, coordinates, self._scene.radius_m, self._min_similarity, known)


class SceneSecondLook:
    """Would the network, seeing the image as keyframes of other places did, put it elsewhere?"""

    def __init__(self, solver: PoseSolver) -> None:
        """Take what finds poses."""
        self._solver = solver

    def at(
        self,
        answer: Localization,
        features: Sequence[ImageFeatures],
        cameras: Sequence[RigCamera],
        match: Callable[[Sequence[ImageFeatures], PlaceView], Correspondences],
        places: Sequence[PlaceView],
    ) -> dict[str, float]:
        """Measure `rematch_ratio`: the score of another pose of the inliers' keypoints over the answer's.

        Points that the answer explains, too, are set aside. Nothing is measured where there is no other place.
        """
        if not places:
            return {}
        assert answer.estimate is not None and answer.correspondences is not None
        pose = answer.estimate.map_from_camera
        inliers = answer.correspondences.chosen(answer.estimate.inlier_mask)
        keypoints = [view.chosen(inliers.keypoints_of(view_idx)) for view_idx, view in enumerate(features)]
        own_score, best = self._solver.score(inliers, pose, cameras), 0.0
        for place in places:
            problem = self._solver.problem(match(keypoints, place), cameras, None)
            rival = self._solver.solve_quickly(self._solver.left_over(problem, pose))
            if rival is not None:
                best = max(best, rival.score / max(own_score, 1e-9))
        return {"rematch_ratio": best}
