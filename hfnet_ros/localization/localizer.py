"""Where is this image? The whole method, in the order of the papers.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large
Scale", CVPR 2019, section 3.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

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
from hfnet_ros.retrieval.index import create_index
from hfnet_ros.retrieval.places import group_into_places
from hfnet_ros.types import Evidence, Frame, ImageFeatures, Localization, Outcome, Place


@dataclass(frozen=True, eq=False)
class _Attempted:
    place: Place
    attempt: PoseAttempt


class Localizer:
    """Localizes single images in one map; belongs to the thread that made its extractor."""

    def __init__(self, visual_map: VisualMap, extractor: FeatureExtractor, config: Config) -> None:
        """Prepare search structures over the map.

        Raises:
            ExtractorMismatchError: the map was built with another extractor.
        """
        if visual_map.extractor_id != extractor.extractor_id:
            raise ExtractorMismatchError(
                f"the map was built with '{visual_map.extractor_id}', the extractor is "
                f"'{extractor.extractor_id}': descriptors of two extractors cannot be compared; choose "
                "the map's extractor or build the map anew"
            )
        self._map = visual_map
        self._extractor = extractor
        self._config = config
        self._index = create_index(visual_map.global_descriptors, config.retrieval.exact_limit)
        self._aggregation = VladAggregation(**visual_map.aggregation) if visual_map.aggregation else None
        self._estimator = PlacePoseEstimator(visual_map, config)
        self._thread_pools = ThreadpoolController()

    def localize(self, frame: Frame) -> Localization:
        """Find the pose of a frame's camera in the map, or say why there is none.

        Raises:
            ImageError: the image does not have the size of its calibration.
            EngineError: the network failed.
        """
        _check_size(frame)
        clock = StageClock()
        with self._one_blas_thread():
            with clock.stage("extract"):
                features = self._extractor.extract(frame.image)
            return self._localize(features, frame.camera, frame.stamp_ns, clock)

    def localize_features(self, features: ImageFeatures, camera: Camera, stamp_ns: int) -> Localization:
        """Localize an image whose features are there already; camera is that of the image."""
        with self._one_blas_thread():
            return self._localize(features, camera, stamp_ns, StageClock())

    def _localize(
        self, features: ImageFeatures, camera: Camera, stamp_ns: int, clock: StageClock
    ) -> Localization:
        with clock.stage("retrieve"):
            places = self._retrieve_places(features)
        attempts = self._estimate_in_places(features, self._refined(camera), places, clock)
        return self._conclude(stamp_ns, features, attempts, clock)

    def _one_blas_thread(self) -> AbstractContextManager[object]:
        """Keep small matrix products on one thread.

        Handing them to several gains little, and where other programs want the cores too, the
        threads wait for each other: a factor of fifty was seen. The limit holds for the whole
        process while an image is localized.
        """
        return self._thread_pools.limit(limits=1, user_api="blas")

    def _retrieve_places(self, features: ImageFeatures) -> list[Place]:
        if len(features.local) == 0:
            return []
        descriptor = features.global_descriptor
        if descriptor is None:
            if self._aggregation is None:
                raise MapFormatError(
                    f"the map holds no vocabulary, which extractor '{self._extractor.extractor_id}' needs to find "
                    "prior frames; build the map anew"
                )
            descriptor = self._aggregation.describe(features)
        hits = self._index.search(descriptor, self._config.retrieval.num_prior_frames)
        return group_into_places(hits, self._map.covisibility, self._config.retrieval.min_shared_landmarks)

    def _estimate_in_places(
        self, features: ImageFeatures, camera: Camera, places: list[Place], clock: StageClock
    ) -> list[_Attempted]:
        """Try places best first, up to the first valid pose."""
        attempted: list[_Attempted] = []
        for place in places[: self._config.retrieval.max_places]:
            others = [other for other in places if other is not place]
            attempt = self._estimator.estimate(features.local, camera, place, others, clock)
            attempted.append(_Attempted(place, attempt))
            if attempt.outcome is Outcome.LOCALIZED:
                break
        return attempted

    def _conclude(
        self, stamp_ns: int, features: ImageFeatures, attempts: list[_Attempted], clock: StageClock
    ) -> Localization:
        """Turn the attempts into one answer: the only valid pose, or why there is none."""
        num_keypoints = len(features.local)
        if not attempts:
            outcome = Outcome.NO_FEATURES if num_keypoints == 0 else Outcome.NO_CANDIDATES
            reason = "no keypoint found" if num_keypoints == 0 else "the map has no keyframe to compare with"
            evidence = Evidence(num_keypoints=num_keypoints, reason=reason)
            return Localization(stamp_ns, outcome, None, None, evidence, clock.seconds())
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
        )

    def _refined(self, camera: Camera) -> Camera:
        """Return the calibration to use: the map's refined one if the image has the same camera."""
        for known in self._map.cameras:
            if known.given is not None and known.given.is_same_as(camera):
                return known.refined
        return camera


def _check_size(frame: Frame) -> None:
    check_image(frame.image)
    height, width = frame.image.shape[:2]
    if (width, height) != frame.camera.size_wh:
        raise ImageError(
            f"image is {width}x{height} px but its calibration is for {frame.camera.size_wh[0]}x"
            f"{frame.camera.size_wh[1]} px; calibrate at this size or correct camera_info"
        )
