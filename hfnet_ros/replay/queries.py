"""Queries from the images of a bag: each by itself, or as the robot would have used them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from hfnet_ros.bags import BagFrame, BagReader
from hfnet_ros.errors import BagError, ImageError
from hfnet_ros.evaluation.reasons import Reasons
from hfnet_ros.evaluation.records import QueryResult, RunContext
from hfnet_ros.files.tum import format_stamp
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.replay.driver import Replay
from hfnet_ros.replay.truth import BagTruth
from hfnet_ros.report.thumbnails import RIG_SIZE, make_thumbnail, side_by_side
from hfnet_ros.types import Frame, ImageLocalizer, Localization, Relocalization

_MAX_PICTURES = 1000  # kept with their matches, about 60 kB each


class BagQueries:
    """Turns answers into scored queries; pictures and matches of a long bag are kept for some of them."""

    def __init__(self, bag: BagReader, truth: BagTruth, num_images: int) -> None:
        """Take where notes go, the true poses, and how many images will come."""
        self._bag, self._truth, self._num_images = bag, truth, num_images
        self._left_out = Reasons()
        self._picture_step = -(-max(1, num_images) // _MAX_PICTURES)
        self._num_results = 0

    def each_by_itself(self, localizer: ImageLocalizer, frames: Iterable[BagFrame]) -> Iterator[QueryResult]:
        """Localize every image without any other; one that cannot be decoded is left out and noted.

        Raises:
            BagError: none could be used.
            EngineError: the network failed.
        """
        for bag_frame in frames:
            try:
                frame = bag_frame.frame()
                localization = localizer.localize(frame)
            except ImageError as error:
                self._left_out.add(bag_frame.name, str(error))
                continue
            truth = self._truth.camera_at(frame.stamp_ns, frame.camera_frame_id)
            yield self._result(frame.stamp_ns, [frame], truth, localization, None)
        self._conclude()

    def in_order(self, replay: Replay, every: int = 1) -> Iterator[QueryResult]:
        """Follow the robot through the bag; an image that cannot be used is left out and noted.

        Poses of several cameras are those of the robot's base, and are compared with its true ones; those of a camera
        that was alone are its own.

        Args:
            replay: of the bag.
            every: take every so many-th image, or images of one time.

        Raises:
            BagError: none could be used.
        """
        for answer in replay.in_order(timed=True, every=every):
            relocalization = answer.relocalization
            if relocalization is None or answer.frame is None:
                self._left_out.add(format_stamp(answer.stamp_ns), answer.error)
                continue
            seen = [view.frame for view in answer.views if view.view_idx is not None]
            views = [frame for frame in seen if frame is not None] or [answer.frame]
            stamp_ns = answer.stamp_ns
            if len(views) > 1:
                truth = self._truth.base_at(stamp_ns)
            else:
                truth = self._truth.camera_at(stamp_ns, views[0].camera_frame_id)
            yield self._result(stamp_ns, views, truth, relocalization.localization, relocalization)
        self._conclude()

    def _conclude(self) -> None:
        sentences = self._left_out.sentences(self._num_images)
        if sentences and not self._num_results:
            raise BagError(f"{self._bag.path}: no image could be used: {sentences[0]}")
        for sentence in sentences:
            self._bag.note(f"left out: {sentence}")

    def _result(
        self,
        stamp_ns: int,
        views: Sequence[Frame],
        truth: Rigid3 | None,
        localization: Localization,
        relocalization: Relocalization | None,
    ) -> QueryResult:
        thumbnail = None
        if self._num_results % self._picture_step == 0:
            images = [frame.image for frame in views]
            thumbnail = make_thumbnail(images[0]) if len(images) == 1 else side_by_side(images, RIG_SIZE)
        else:
            localization = dataclasses.replace(localization, correspondences=None)
            if relocalization is not None:
                relocalization = dataclasses.replace(relocalization, localization=localization)
        self._num_results += 1
        return QueryResult(
            format_stamp(stamp_ns), None, stamp_ns, localization, truth, relocalization, thumbnail
        )


def run_context(results: Iterable[QueryResult], truth: BagTruth, map_points: MapPoints) -> RunContext:
    """Return what surrounds the queries: the scene, the full truth, and the fused poses if there are any."""
    fused = [
        (result.stamp_ns, result.relocalization.belief.map_from_base)
        for result in results
        if result.relocalization is not None and result.relocalization.belief is not None
    ]
    return RunContext(
        map_points=map_points,
        groundtruth=truth.cameras(),
        fused=fused,
        groundtruth_base=truth.bases() if fused else (),
    )
