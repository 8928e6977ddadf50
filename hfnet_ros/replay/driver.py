"""Give a relocalizer the images of a bag: all of them, or those a live node would have managed."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.bags import BagFrame, PoseSamples
from hfnet_ros.config import Config
from hfnet_ros.replay.clock import SimulatedClock
from hfnet_ros.replay.odometry import BagOdometry, known_ahead, known_when_received
from hfnet_ros.replay.sources import BagSources
from hfnet_ros.tracking.answers import answer_image
from hfnet_ros.tracking.image_groups import ImageGroup, ImageGroups
from hfnet_ros.tracking.mailbox import CameraImage, ImageJob, ImageTask, Mailbox
from hfnet_ros.tracking.odometry import NoOdometry, Odometry
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import Answer, Frame, ImageLocalizer, Localization, PosePrior, Query

_Availability = Callable[[PoseSamples], "NDArray[np.int64]"]
_Read = Callable[[BagFrame], Frame]
_A_BIT_S = 1e-3  # that images at the edge of the tolerance are within


class Replay:
    """One pass over a bag, by `in_order` or by `in_real_time`.

    Attributes:
        clock: at the image in work; after an answer in real time, at the time of that answer.
    """

    def __init__(self, sources: BagSources, localizer: ImageLocalizer) -> None:
        """Take what to replay and what localizes."""
        self._sources, self._localizer = sources, localizer
        self.clock = SimulatedClock(min(sources.first.stamp_ns, sources.first.receipt_ns))

    def in_order(self, *, timed: bool = False, every: int = 1) -> Iterator[Answer]:
        """Yield the answer to every image, or images of one time, with all odometry there up to its stamp and beyond.

        The clock stands at the stamp of the image. Nothing in the answers depends on the machine's
        speed or load, unless `timed` leaves the measured stages of localization in them.

        Args:
            timed: keep those times.
            every: take every so many-th image, or images of one time.
        """
        localizer = self._localizer if timed else _CostedLocalizer(self._localizer, self.clock, 0.0)
        config = self._sources.config
        config = dataclasses.replace(
            config,
            node=dataclasses.replace(config.node, max_rate_hz=0.0),
            odometry=dataclasses.replace(config.odometry, wait_s=0.0),  # what is not there never comes
        )
        relocalizer, mailbox = self._begin(localizer, known_ahead, config)
        for group in itertools.islice(self._in_order_of_stamps(), 0, None, every):
            self.clock.advance_to(max(frame.stamp_ns for frame in group.images if frame is not None))
            mailbox.offer(self._job(group, self.clock.now_s(), BagFrame.frame))
            yield self._answer(relocalizer, mailbox)

    def in_real_time(self, cost_s: float | None = None) -> Iterator[Answer]:
        """Yield the answers of a live node on a machine as fast as this one.

        Images and odometry come when the recorder received them. An image costs the time that
        decoding and localizing it takes here; meanwhile newer ones come, and the mailbox of the live
        node decides what is superseded. Publishing costs nothing.

        Args:
            cost_s: what each image costs instead of the measured time; the same every time.
        """
        localizer = _CostedLocalizer(self._localizer, self.clock, cost_s)
        relocalizer, mailbox = self._begin(localizer, known_when_received, self._sources.config)
        read = self._read_measured if cost_s is None else BagFrame.frame
        clock, groups = self.clock, self._groups()
        arrivals = self._arrivals(attrgetter("receipt_ns"))
        coming = next(arrivals, None)
        while True:
            due_s = mailbox.due_s()
            begins_s = math.inf if due_s is None else max(due_s, clock.now_s())
            comes_s = math.inf if coming is None else clock.seconds(coming[1].receipt_ns)
            waited_s = math.inf if groups.due_s is None else groups.due_s
            if waited_s < comes_s and waited_s <= begins_s and waited_s < math.inf:
                clock.advance_to_second(waited_s)
                self._offer(mailbox, groups.take_due(waited_s), read)
            elif coming is not None and comes_s <= begins_s:
                index, frame = coming
                clock.advance_to(frame.receipt_ns)
                self._offer(mailbox, groups.add(index, frame.stamp_ns, comes_s, frame), read)
                coming = next(arrivals, None)
            elif begins_s < math.inf:
                clock.advance_to_second(begins_s)
                yield self._answer(relocalizer, mailbox)
            else:
                return

    def _arrivals(self, time_of: Callable[[BagFrame], int]) -> Iterator[tuple[int, BagFrame]]:
        """Yield the images of all cameras, each with the number of its camera, in the order of a time of theirs."""
        cameras = self._sources.cameras
        if len(cameras) == 1:
            return ((0, frame) for frame in cameras[0].frames)
        streams = [
            zip(itertools.repeat(index), camera.frames.apart(), strict=False)
            for index, camera in enumerate(cameras)
        ]
        return heapq.merge(*streams, key=lambda arrival: (time_of(arrival[1]), arrival[0]))

    def _groups(self, wait_s: float | None = None, **options: int | None) -> ImageGroups[BagFrame]:
        sync = self._sources.config.cameras
        wait_s = sync.sync_wait_s if wait_s is None else wait_s
        return ImageGroups(len(self._sources.cameras), sync.sync_tolerance_s, wait_s, **options)

    def _in_order_of_stamps(self) -> Iterator[ImageGroup[BagFrame]]:
        """Yield groups of images as if each came at its stamp: whatever is within the tolerance is waited for."""
        groups = self._groups(2.0 * self._sources.config.cameras.sync_tolerance_s + _A_BIT_S, patience=None)
        for index, frame in self._arrivals(attrgetter("stamp_ns")):
            yield from groups.add(index, frame.stamp_ns, self.clock.seconds(frame.stamp_ns), frame)
        yield from groups.take_due(math.inf)

    def _offer(self, mailbox: Mailbox, groups: Sequence[ImageGroup[BagFrame]], read: _Read) -> None:
        if groups:
            mailbox.offer(self._job(groups[-1], groups[-1].arrived_s, read), len(groups) - 1)

    def _begin(
        self, localizer: ImageLocalizer, availability: _Availability, config: Config
    ) -> tuple[Relocalizer, Mailbox]:
        samples = self._sources.odometry
        odometry: Odometry = NoOdometry()
        if samples is not None:
            odometry = BagOdometry(samples, availability(samples), config.odometry, self.clock)
        # Nobody asks a replay, so that on demand nothing would ever be localized.
        node = dataclasses.replace(config.node, mode="continuous")
        return Relocalizer(localizer, config, odometry), Mailbox(node, self.clock.now_s)

    def _job(self, group: ImageGroup[BagFrame], arrived_s: float, read: _Read) -> ImageJob:
        images = tuple(
            CameraImage(None, _unmounted, camera.name)
            if frame is None
            else CameraImage(partial(read, frame), partial(camera.base_from_camera, frame), camera.name)
            for camera, frame in zip(self._sources.cameras, group.images, strict=True)
        )
        return ImageJob(group.stamp_ns, arrived_s, images)

    def _answer(self, relocalizer: Relocalizer, mailbox: Mailbox) -> Answer:
        task = mailbox.take()
        if not isinstance(task, ImageTask):
            raise RuntimeError("the mailbox gave no image though one was due")
        return answer_image(relocalizer, mailbox, task)

    def _read_measured(self, frame: BagFrame) -> Frame:
        start_s = time.perf_counter()
        try:
            return frame.frame()
        finally:
            self.clock.advance(time.perf_counter() - start_s)


def _unmounted() -> None:
    """Return that nobody knows how the camera is mounted."""


class _CostedLocalizer:
    """Lets the clock advance by what localizing costs: a given time, or what it takes here."""

    def __init__(self, localizer: ImageLocalizer, clock: SimulatedClock, cost_s: float | None) -> None:
        self._localizer, self._clock, self._cost_s = localizer, clock, cost_s

    def localize(self, query: Query | Frame, prior: PosePrior | None = None) -> Localization:
        """Localize; with a given cost no measured time is in the answer."""
        start_s = time.perf_counter()
        found = self._localizer.localize(query, prior)
        if self._cost_s is None:
            self._clock.advance(time.perf_counter() - start_s)
            return found
        self._clock.advance(self._cost_s)
        return dataclasses.replace(found, timings_s={"total": self._cost_s})
