"""Give a relocalizer the images of a bag: all of them, or those a live node would have managed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.bags import BagFrame, PoseSamples
from hfnet_ros.config import Config
from hfnet_ros.replay.clock import SimulatedClock
from hfnet_ros.replay.odometry import BagOdometry, known_ahead, known_when_received
from hfnet_ros.replay.sources import BagSources
from hfnet_ros.tracking.answers import answer_image
from hfnet_ros.tracking.mailbox import ImageJob, ImageTask, Mailbox
from hfnet_ros.tracking.odometry import NoOdometry, Odometry
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import Answer, Frame, ImageLocalizer, Localization, PosePrior, Query

_Availability = Callable[[PoseSamples], "NDArray[np.int64]"]


class Replay:
    """One pass over a bag, by `in_order` or by `in_real_time`.

    Attributes:
        clock: at the image in work; after an answer in real time, at the time of that answer.
    """

    def __init__(self, sources: BagSources, localizer: ImageLocalizer) -> None:
        """Take what to replay and what localizes."""
        self._sources, self._localizer = sources, localizer
        self.clock = SimulatedClock(min(sources.first.stamp_ns, sources.first.receipt_ns))

    def in_order(self, frames: Iterable[BagFrame] | None = None, *, timed: bool = False) -> Iterator[Answer]:
        """Yield the answer to every image, with all odometry there up to its stamp and beyond.

        The clock stands at the stamp of the image. Nothing in the answers depends on the machine's
        speed or load, unless `timed` leaves the measured stages of localization in them.

        Args:
            frames: some of the images in their order; all unless given.
            timed: keep those times.
        """
        localizer = self._localizer if timed else _CostedLocalizer(self._localizer, self.clock, 0.0)
        config = self._sources.config
        config = dataclasses.replace(
            config,
            node=dataclasses.replace(config.node, max_rate_hz=0.0),
            odometry=dataclasses.replace(config.odometry, wait_s=0.0),  # what is not there never comes
        )
        relocalizer, mailbox = self._begin(localizer, known_ahead, config)
        for frame in self._sources.frames if frames is None else frames:
            self.clock.advance_to(frame.stamp_ns)
            mailbox.offer(self._job(frame, frame.stamp_ns, frame.frame))
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
        clock, arrivals = self.clock, iter(self._sources.frames)
        coming = next(arrivals, None)
        while True:
            due_s = mailbox.due_s()
            begins_s = None if due_s is None else max(due_s, clock.now_s())
            if coming is not None and (begins_s is None or clock.seconds(coming.receipt_ns) <= begins_s):
                clock.advance_to(coming.receipt_ns)
                read = coming.frame if cost_s is not None else partial(self._read_measured, coming)
                mailbox.offer(self._job(coming, coming.receipt_ns, read))
                coming = next(arrivals, None)
            elif begins_s is not None:
                clock.advance_to_second(begins_s)
                yield self._answer(relocalizer, mailbox)
            else:
                return

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

    def _job(self, frame: BagFrame, arrived_ns: int, read: Callable[[], Frame]) -> ImageJob:
        mounting = self._sources.mounting
        mounted = (
            partial(mounting.at, frame.stamp_ns, frame.camera_frame_id)
            if mounting is not None
            else _unmounted
        )
        return ImageJob(frame.stamp_ns, self.clock.seconds(arrived_ns), read, mounted)

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
