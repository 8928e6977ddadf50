"""Where was this taken? The whole method, in the order of the papers.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large
Scale", CVPR 2019, section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from hfnet_ros.config import Config
from hfnet_ros.errors import ExtractorMismatchError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.features.preprocess import check_image
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.localization.answer_frame import in_given_frame, placed
from hfnet_ros.localization.answers import (
    better,
    better_version,
    conclude,
    with_dark_views_named,
    with_flatness_named,
    with_mirrored,
    with_second_look,
    without_doubted,
)
from hfnet_ros.localization.areas import asked_areas, keyframes_asked, within_areas
from hfnet_ros.localization.doubts import doubts_about
from hfnet_ros.localization.landmarks import Landmarks
from hfnet_ros.localization.map_parts import PartJudge, PartJudges, check_extractor
from hfnet_ros.localization.matchers import Matcher, MatchersInTurn, only_of
from hfnet_ros.localization.mirrored import mirrored_view
from hfnet_ros.localization.retrieval import PlaceRetrieval, Retrieved
from hfnet_ros.localization.timing import StageClock
from hfnet_ros.localization.turning import TurningViews, Version
from hfnet_ros.localization.view_offsets import with_offsets
from hfnet_ros.map.manifest import SCENE
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.map.visual_map import VisualMap, with_search
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher
from hfnet_ros.matching.registry import create_matcher
from hfnet_ros.pose.hypotheses import NO_FIRST_POSES
from hfnet_ros.retrieval.descriptor_index import DescriptorIndex
from hfnet_ros.types import (
    Correspondences,
    Frame,
    ImageFeatures,
    Localization,
    Outcome,
    Place,
    PosePrior,
    Query,
    RigCamera,
    View,
)

# Of the most similar matches: in a place seen at the wrong angle their cosines are those of chance.
_NUM_LIKENESS_MATCHES = 50
# Of a large map, what a query read is given back after some: 15 MB each were seen in one of 25 million landmarks.
_MANY_LANDMARKS = 500_000
_QUERIES_BETWEEN_RELEASES = 8


class MapSearch(Protocol):
    """How a map is searched, where that is not left to the `Localizer`."""

    @property
    def index(self) -> DescriptorIndex:
        """What finds prior frames in the whole map."""
        ...

    @property
    def matcher(self) -> LandmarkMatcher:
        """What matches keypoints with the landmarks of a place."""
        ...


class Localizer:
    """Localizes queries in one map; belongs to the thread that made its extractor."""

    def __init__(
        self,
        visual_map: VisualMap,
        extractor: FeatureExtractor,
        config: Config,
        search: MapSearch | None = None,
        usable: NDArray[np.bool_] | None = None,
    ) -> None:
        """Open what the map is searched with; nothing of the length of a stored map is read.

        Args:
            visual_map: to localize in.
            extractor: the one the map was built with.
            config: how.
            search: over the same map, not owned; on the CPU and as configured unless given.
            usable: [F] true for keyframes that can be asked; all without.

        Raises:
            ConfigError: the map has not the areas that are asked for.
            ExtractorMismatchError: the map was built with another extractor.
        """
        check_extractor(visual_map, extractor)
        visual_map = with_search(visual_map, config.retrieval.vocabulary_size, config.pose.seed)
        self._map = visual_map
        self._config = config
        self._areas = asked_areas(visual_map, config)
        among = keyframes_asked(visual_map, self._areas, usable)
        self._retrieval = PlaceRetrieval(
            visual_map, config, search.index if search is not None else None, among
        )
        self._turning = TurningViews(
            visual_map.keyframe_poses,
            list({id(known): known.refined for known in visual_map.cameras}.values()),
            extractor,
            config,
        )
        # Nothing that a localizer holds knows it: maps and engines are freed when they are let go of.
        matcher = search.matcher if search is not None else create_matcher(visual_map, config)
        self._matchers = MatchersInTurn(visual_map, config, matcher)
        self._landmarks = Landmarks(visual_map, config.matching.max_landmarks)
        self._judges = PartJudges(
            visual_map,
            config,
            self._matchers.first.name,
            self._retrieval,
            self._landmarks,
            self._matchers.compare,
        )
        self._thread_pools = ThreadpoolController()
        self._answers_as_given = config.pose.answer_frame == "given"
        self._is_large = visual_map.num_landmarks > _MANY_LANDMARKS
        self._num_queries = 0
        self._doubts: tuple[tuple[Camera, ...], tuple[str, ...]] = ((), ())

    def localize(self, query: Query | Frame, prior: PosePrior | None = None) -> Localization:
        """Find the pose of a camera, or of a rig of cameras, in the map, or say why there is none.

        Args:
            query: images and calibrations.
            prior: where it is expected; that is searched first, then the whole map. Places that
                look the same but are out of its reach then cast no doubt on an answer.

        Raises:
            ImageError: an image does not have the size of its calibration.
            ExtractorMismatchError: features that are there already are of another extractor than the map's.
            EngineError: the network failed.
            MapFormatError: the map is damaged where it was read.
        """
        query, clock, best = Query.of(query), StageClock(), None
        for view in query.views:
            self._check(view)
        with self._one_blas_thread():
            versions = self._turning.versions(query, prior, self._likeness, clock)
            for version in versions:
                answer = self._search(version, query, prior, clock)
                best = better_version(best, answer, version.turn_rad)
                # What is refused with all the evidence there need be was seen at the right angle.
                if answer.outcome in (Outcome.LOCALIZED, Outcome.ILL_CONDITIONED):
                    break
            assert best is not None  # there is always one version
            if best.is_valid:
                best = self._unless_mirrored(best, query, clock)
        self._release_pages()
        if not best.is_valid:
            best = with_flatness_named(best, query.views)
        best = with_dark_views_named(best, query.views)
        return dataclasses.replace(
            best,
            timings_s=clock.seconds(),
            sought_roll=versions.sought_roll,
            is_metric=not self._map.has_arbitrary_scale,
            warnings=self._doubts_about(query),
        )

    def _search(
        self,
        version: Version,
        query: Query,
        prior: PosePrior | None,
        clock: StageClock,
    ) -> Localization:
        """Find the pose of the views as one version of them describes them, or say why there is none."""
        features, best = version.features, None
        for retrieved in self._retrieve(features, query.cameras, prior, clock):
            best = None
            for place in retrieved.places[: retrieved.max_places]:
                answer = self._in_place(place, self._matchers.first, retrieved, version, query, clock)
                best = better(best, answer, place, retrieved.search)
                if best.is_valid:
                    break
            # Networks take as long as all else together: once, where most was seen.
            furthest = best.place if best is not None else None
            for matcher in self._matchers.more:
                if furthest is None or best is None or best.is_valid:
                    break
                answer = self._in_place(furthest, matcher, retrieved, version, query, clock)
                best = better(best, answer, furthest, retrieved.search)
            if best is not None and best.is_valid and retrieved.reaches(best):
                break
        return conclude(best, query.stamp_ns, features, clock.seconds())

    def _unless_mirrored(self, answer: Localization, query: Query, clock: StageClock) -> Localization:
        """Refuse a valid answer if the images, as a mirror shows them, explain more of the map.

        Only a map that looks like itself in a mirror is asked: it takes another pass of the network.
        """
        assert answer.place is not None
        part = self._map.part_of(self._map.part_idx(answer.place.keyframe_idxs[0]))
        if part.consistency.mirrored_share == 0.0 or self._matchers.asks_pixels:
            return answer
        described = self._turning.mirrored(query.views, answer.turn_rad, clock)
        if described is None:
            return answer
        seen = [
            mirrored_view(view, features)
            for view, features in zip(_refined(part, query.cameras), described, strict=True)
        ]
        mirrored = Query(query.stamp_ns, tuple(View(camera, None, features) for camera, features in seen))
        version = Version([features for _, features in seen], num_tried=2)
        return with_mirrored(answer, self._search(version, mirrored, None, clock), self._config.verification)

    def _in_place(
        self,
        place: Place,
        matcher: Matcher,
        retrieved: Retrieved,
        version: Version,
        query: Query,
        clock: StageClock,
    ) -> Localization:
        """Find the pose of one version of the views in one place, by one matcher."""
        part_idx = self._map.part_idx(place.keyframe_idxs[0])
        with clock.stage("match"):
            landmarks = self._landmarks.of(place)
            matches = matcher.match(self._asked(version.features, matcher, retrieved, place), landmarks)
        with clock.stage("pose"):
            judge, part = self._judges.of(part_idx), self._map.part_of(part_idx)
            cameras = _refined(part, query.cameras)
            answer = self._judge(matches, version, cameras, landmarks, retrieved, matcher, query, judge)
            if answer.is_valid and self._answers_as_given:
                answer = in_given_frame(answer, self._map, place, query.cameras)
            if answer.is_valid:
                answer = within_areas(placed(answer, self._map, place), self._map, self._areas)
            if answer.is_valid and query.doubted:
                answer = without_doubted(answer, query.doubted)
        return answer

    def _asked(
        self, features: Sequence[ImageFeatures], matcher: Matcher, retrieved: Retrieved, place: Place
    ) -> Sequence[ImageFeatures]:
        """Return what of the views is matched with a place: nothing of a view that looks like none of its keyframes.

        What such a view sees is looked for when another one has told where the rig is.
        """
        if len(features) == 1 or not self._matchers.asks_places(matcher):
            return features
        return only_of(features, retrieved.views_of(place))

    def _judge(
        self,
        matches: Correspondences,
        version: Version,
        cameras: Sequence[RigCamera],
        landmarks: PlaceView,
        retrieved: Retrieved,
        matcher: Matcher,
        query: Query,
        judge: PartJudge,
    ) -> Localization:
        """Find the pose that matches agree with, and look at the map again with it."""
        frames = landmarks.keyframe_idxs if judge.weighs_depths else ()
        if len(cameras) > 1 and self._matchers.asks_places(matcher):
            seen = judge.looking_around.more(
                matches,
                matcher.match,
                version.features,
                retrieved.descriptors,
                cameras,
                query.doubted,
                frames,
            )
            problem, first = seen.problem, seen.first
        else:
            problem, first = (
                judge.solver.problem(matches, cameras, self._landmarks.cones(matches, frames)),
                NO_FIRST_POSES,
            )
        num_tried = matcher.num_tried * version.num_tried
        answer = judge.solver.solve_problem(problem, first, num_tried, query.doubted, matcher.scores)
        answer = dataclasses.replace(answer, matched_by=matcher.name)
        if not answer.is_valid:
            return answer
        if query.compares_views:
            answer = with_offsets(answer, problem.correspondences, cameras, self._config.pose)
        other_part = ""
        if matcher.name == SCENE:
            elsewhere = self._matchers.seen_otherwise(
                landmarks, retrieved.places[: self._config.retrieval.max_places]
            )
            seen_again = judge.scene_look.at(
                answer,
                version.features,
                cameras,
                matcher.match,
                [self._landmarks.of(place) for place in elsewhere],
            )
        else:
            seen_again, other_part = judge.second_look.at(
                answer, version.features, cameras, landmarks, retrieved.places
            )
        return with_second_look(answer, seen_again, self._config.verification, matcher.num_tried, other_part)

    def close(self) -> None:
        """Free the networks that are its own; calling it again does nothing."""
        self._matchers.close()

    def localize_features(
        self, features: ImageFeatures, camera: Camera, stamp_ns: int, prior: PosePrior | None = None
    ) -> Localization:
        """Localize an image whose features are there already; camera is that of the image."""
        return self.localize(Query(stamp_ns, (View(RigCamera(camera), None, features),)), prior)

    def _check(self, view: View) -> None:
        if view.features is not None:
            check_extractor(self._map, view.features)
            if self._matchers.asks_pixels and view.features.coordinates is None:
                raise ExtractorMismatchError(
                    "features without scene coordinates were given, but the map's dense network is asked, which takes "
                    "the image; give the image, or set localization.method to landmarks"
                )
            return
        assert view.image is not None
        check_image(view.image)
        view.calibration.camera.check_size(view.image.shape)

    def _retrieve(
        self,
        features: Sequence[ImageFeatures],
        cameras: Sequence[RigCamera],
        prior: PosePrior | None,
        clock: StageClock,
    ) -> Iterator[Retrieved]:
        """Yield where to look: near the prediction, if there is one, then in the whole map."""
        with clock.stage("retrieve"):
            descriptors = self._retrieval.describe(features)
            near = self._retrieval.near(descriptors, cameras, prior)
        if near is not None:
            yield near
        with clock.stage("retrieve"):
            everywhere = self._retrieval.everywhere(descriptors)
        yield everywhere

    def _likeness(self, features: Sequence[ImageFeatures], clock: StageClock) -> float:
        """Return how well the best keypoints fit landmarks of the place that looks most like the views."""
        with clock.stage("retrieve"):
            places = self._retrieval.everywhere(self._retrieval.describe(features)).places
        if not places:
            return 0.0
        with clock.stage("match"):
            matches = self._matchers.first.match(features, self._landmarks.of(places[0]))
        return float(matches.similarity[:_NUM_LIKENESS_MATCHES].sum())

    def _doubts_about(self, query: Query) -> tuple[str, ...]:
        """Return what is doubtful about the calibrations, looked at once for each."""
        cameras = tuple(view.camera for view in query.cameras)
        if cameras != self._doubts[0]:
            self._doubts = cameras, doubts_about(self._map, cameras)
        return self._doubts[1]

    def _release_pages(self) -> None:
        """Keep a large map from becoming resident, query by query."""
        self._num_queries += 1
        if self._is_large and self._num_queries % _QUERIES_BETWEEN_RELEASES == 0:
            self._map.release_pages()

    def _one_blas_thread(self) -> AbstractContextManager[object]:
        """Keep small matrix products on one thread.

        Handing them to several gains little, and where other programs want the cores too, the
        threads wait for each other: a factor of fifty was seen. The limit holds for the whole
        process while a query is localized.
        """
        return self._thread_pools.limit(limits=1, user_api="blas")


def _refined(part: VisualMap, cameras: Sequence[RigCamera]) -> list[RigCamera]:
    """Return the calibrations to use: the map's refined one where an image has the same camera."""
    return [RigCamera(part.refined(view.camera), view.rig_from_camera) for view in cameras]
