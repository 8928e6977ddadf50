"""Where is this image? The whole method, in the order of the papers.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large
Scale", CVPR 2019, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from hfnet_ros.config import Config
from hfnet_ros.errors import ExtractorMismatchError, ImageError, MapFormatError
from hfnet_ros.features.aggregation import VladAggregation
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.features.preprocess import check_image
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.localization.place_pose import PlacePoseEstimator, PoseAttempt
from hfnet_ros.localization.timing import StageClock
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.landmark_matcher import LandmarkMatcher
from hfnet_ros.retrieval.index import DescriptorIndex, create_index
from hfnet_ros.retrieval.nearby import NearbyKeyframes
from hfnet_ros.retrieval.places import group_into_places
from hfnet_ros.types import (
    Evidence,
    Frame,
    ImageFeatures,
    Localization,
    Outcome,
    Place,
    PosePrior,
    RetrievalHit,
    Search,
)


@dataclass(frozen=True, eq=False)
class _Attempted:
    place: Place
    attempt: PoseAttempt


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
    """Localizes single images in one map; belongs to the thread that made its extractor."""

    def __init__(
        self,
        visual_map: VisualMap,
        extractor: FeatureExtractor,
        config: Config,
        search: MapSearch | None = None,
    ) -> None:
        """Prepare search structures over the map.

        Args:
            visual_map: to localize in.
            extractor: the one the map was built with.
            config: how.
            search: over the same map, not owned; on the CPU unless given.

        Raises:
            ExtractorMismatchError: the map was built with another extractor.
        """
        check_extractor(visual_map, extractor)
        self._map = visual_map
        self._extractor = extractor
        self._config = config
        self._index = (
            search.index
            if search is not None
            else create_index(visual_map.global_descriptors, config.retrieval.exact_limit)
        )
        self._nearby = NearbyKeyframes(visual_map.keyframe_poses, visual_map.global_descriptors, config.prior)
        self._aggregation = VladAggregation(**visual_map.aggregation) if visual_map.aggregation else None
        self._num_prior_frames = config.retrieval.count(by_vlad=bool(visual_map.aggregation))
        self._estimator = PlacePoseEstimator(
            visual_map, config, search.matcher if search is not None else None
        )
        self._thread_pools = ThreadpoolController()

    def localize(self, frame: Frame, prior: PosePrior | None = None) -> Localization:
        """Find the pose of a frame's camera in the map, or say why there is none.

        Args:
            frame: image and calibration.
            prior: where the camera is expected; that is searched first, then the whole map. Places that
                look the same but are out of its reach then cast no doubt on an answer.

        Raises:
            ImageError: the image does not have the size of its calibration.
            EngineError: the network failed.
        """
        _check_size(frame)
        clock = StageClock()
        with self._one_blas_thread():
            with clock.stage("extract"):
                features = self._extractor.extract(frame.image)
            return self._localize(features, frame.camera, frame.stamp_ns, prior, clock)

    def localize_features(
        self, features: ImageFeatures, camera: Camera, stamp_ns: int, prior: PosePrior | None = None
    ) -> Localization:
        """Localize an image whose features are there already; camera is that of the image."""
        with self._one_blas_thread():
            return self._localize(features, camera, stamp_ns, prior, StageClock())

    def _localize(
        self,
        features: ImageFeatures,
        camera: Camera,
        stamp_ns: int,
        prior: PosePrior | None,
        clock: StageClock,
    ) -> Localization:
        camera = self._refined(camera)
        with clock.stage("retrieve"):
            descriptor = self._describe(features)
        if prior is not None and descriptor is not None and self._config.prior.enabled:
            found = self._localize_near(prior, features, descriptor, camera, stamp_ns, clock)
            if found is not None:
                return found
        with clock.stage("retrieve"):
            places = self._retrieve_places(descriptor)
        max_places = self._config.retrieval.max_places
        attempts = self._estimate_in_places(features, camera, places, max_places, clock)
        return self._conclude(stamp_ns, features, attempts, Search.GLOBAL, clock)

    def _localize_near(
        self,
        prior: PosePrior,
        features: ImageFeatures,
        descriptor: NDArray[np.float32],
        camera: Camera,
        stamp_ns: int,
        clock: StageClock,
    ) -> Localization | None:
        """Try the best place where the camera is expected; None unless it is found there.

        Only what is within reach of the prediction can be a twin of the answer. A camera that is not
        where it is expected, but where it looks the same, is therefore not noticed here.
        """
        with clock.stage("retrieve"):
            region = self._nearby.region(prior)
            if region is None:
                return None
            hits = self._nearby.search(descriptor, region, self._num_prior_frames)
            places = self._group(hits)
        attempts = self._estimate_in_places(features, camera, places, 1, clock)
        found = self._conclude(stamp_ns, features, attempts, Search.PRIOR, clock)
        if found.estimate is None or not region.contains(found.estimate.map_from_camera):
            return None
        return found

    def _one_blas_thread(self) -> AbstractContextManager[object]:
        """Keep small matrix products on one thread.

        Handing them to several gains little, and where other programs want the cores too, the
        threads wait for each other: a factor of fifty was seen. The limit holds for the whole
        process while an image is localized.
        """
        return self._thread_pools.limit(limits=1, user_api="blas")

    def _describe(self, features: ImageFeatures) -> NDArray[np.float32] | None:
        """Return the image's global descriptor [G]; None if nothing was found in it."""
        if len(features.local) == 0:
            return None
        if features.global_descriptor is not None:
            return features.global_descriptor
        if self._aggregation is None:
            raise MapFormatError(
                f"the map holds no vocabulary, which extractor '{self._extractor.extractor_id}' needs to find "
                "prior frames; build the map anew"
            )
        return self._aggregation.describe(features)

    def _retrieve_places(self, descriptor: NDArray[np.float32] | None) -> list[Place]:
        if descriptor is None:
            return []
        return self._group(self._index.search(descriptor, self._num_prior_frames))

    def _group(self, hits: Sequence[RetrievalHit]) -> list[Place]:
        return group_into_places(hits, self._map.covisibility, self._config.retrieval.min_shared_landmarks)

    def _estimate_in_places(
        self,
        features: ImageFeatures,
        camera: Camera,
        places: list[Place],
        max_places: int,
        clock: StageClock,
    ) -> list[_Attempted]:
        """Try places best first, up to the first valid pose."""
        attempted: list[_Attempted] = []
        for place in places[:max_places]:
            others = [other for other in places if other is not place]
            attempt = self._estimator.estimate(features.local, camera, place, others, clock)
            attempted.append(_Attempted(place, attempt))
            if attempt.outcome is Outcome.LOCALIZED:
                break
        return attempted

    def _conclude(
        self,
        stamp_ns: int,
        features: ImageFeatures,
        attempts: list[_Attempted],
        search: Search,
        clock: StageClock,
    ) -> Localization:
        """Turn the attempts into one answer: the only valid pose, or why there is none."""
        num_keypoints = len(features.local)
        if not attempts:
            outcome = Outcome.NO_FEATURES if num_keypoints == 0 else Outcome.NO_CANDIDATES
            reason = "no keypoint found" if num_keypoints == 0 else "the map has no keyframe to compare with"
            evidence = Evidence(num_keypoints=num_keypoints, reason=reason)
            return Localization(stamp_ns, outcome, None, None, evidence, clock.seconds(), search=search)
        best = max(attempts, key=lambda attempted: attempted.attempt.rank)
        outcome, reason = best.attempt.outcome, best.attempt.reason
        evidence = Evidence(
            num_keypoints=num_keypoints,
            num_matches=len(best.attempt.correspondences),
            num_inliers=int(best.attempt.scores.get("inliers", 0)),
            reason=reason,
            scores=best.attempt.scores,
        )
        return Localization(
            stamp_ns,
            outcome,
            best.attempt.estimate if outcome is Outcome.LOCALIZED else None,
            best.place,
            evidence,
            clock.seconds(),
            best.attempt.correspondences,
            search,
        )

    def _refined(self, camera: Camera) -> Camera:
        """Return the calibration to use: the map's refined one if the image has the same camera."""
        for known in self._map.cameras:
            if known.given is not None and known.given.is_same_as(camera):
                return known.refined
        return camera


def check_extractor(visual_map: VisualMap, extractor: FeatureExtractor) -> None:
    """Refuse an extractor that a map was not built with.

    Raises:
        ExtractorMismatchError: it was built with another.
    """
    if visual_map.extractor_id != extractor.extractor_id:
        raise ExtractorMismatchError(
            f"the map was built with '{visual_map.extractor_id}', the extractor is "
            f"'{extractor.extractor_id}': descriptors of two extractors cannot be compared; choose "
            "the map's extractor or build the map anew"
        )


def _check_size(frame: Frame) -> None:
    check_image(frame.image)
    height, width = frame.image.shape[:2]
    if (width, height) != frame.camera.size_wh:
        raise ImageError(
            f"image is {width}x{height} px but its calibration is for {frame.camera.size_wh[0]}x"
            f"{frame.camera.size_wh[1]} px; calibrate at this size or correct camera_info"
        )
