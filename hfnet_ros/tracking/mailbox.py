"""One slot for the newest image: what the localizing thread takes next, and when."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from hfnet_ros.config import NodeConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Answer, Frame, ImageCounters

_NO_ALARM: tuple[float, Callable[[], None]] = math.inf, lambda: None


@dataclass(frozen=True, slots=True, eq=False)
class CameraImage:
    """An image that is not decoded yet, or that is missing.

    Attributes:
        read: decodes it; called by the localizing thread, if at all. May raise HfnetRosError. None where the image is
            missing.
        base_from_camera: looks up the mounting of the camera; None where it is unknown.
        camera: name of the camera; empty where there is one.
    """

    read: Callable[[], Frame] | None
    base_from_camera: Callable[[], Rigid3 | None]
    camera: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ImageJob:
    """An image that has arrived, or one of each camera, all of one time.

    Attributes:
        stamp_ns: time of exposure, of several images that of the answer.
        arrived_s: when the first of them arrived, by the mailbox's clock.
        images: one of each camera in order, one at least that is not missing.
    """

    stamp_ns: int
    arrived_s: float
    images: tuple[CameraImage, ...]


@dataclass(frozen=True, eq=False)
class Request:
    """Somebody who waits for the next image that arrives after `asked_s`, and for its answer."""

    ignore_prior: bool
    asked_s: float = field(default_factory=time.monotonic)
    answer: Future[Answer | None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True, eq=False)
class ImageTask:
    """An image to localize now, and who has asked for it."""

    job: ImageJob
    requests: tuple[Request, ...]


class RateLimit:
    """So many images per second at the most, taken when they arrive.

    Slots open at the rate. An image that arrives up to half a period early takes the next one, so that
    it need not wait and a camera at about the same rate loses none; the slot after that opens no
    earlier for it. Only an image that is followed by no other waits for its slot.
    """

    def __init__(self, max_rate_hz: float) -> None:
        """Allow `max_rate_hz`; 0 allows everything."""
        self._period_s = 1.0 / max_rate_hz if max_rate_hz > 0.0 else 0.0
        self._slot_s = float("-inf")

    def due_s(self, arrived_s: float) -> float:
        """Return when an image may be taken that arrived at some time."""
        return arrived_s if arrived_s >= self._slot_s - 0.5 * self._period_s else self._slot_s

    def spend(self, now_s: float) -> None:
        """Note that an image is taken."""
        self._slot_s = max(self._slot_s, now_s) + self._period_s


class Mailbox:
    """Holds the newest image, requests for images, and what the localizing thread shall do between two of them.

    That thread calls `take`, which sleeps until there is something to do; all others may be called
    by any thread and return at once.

    Attributes:
        now_s: clock, s.
    """

    def __init__(self, config: NodeConfig, now_s: Callable[[], float] = time.monotonic) -> None:
        """Start empty.

        Args:
            config: mode and rate.
            now_s: clock. `take` sleeps by the real one: with another, call it when `due_s` has come.
        """
        self.now_s = now_s
        self._changed = threading.Condition()
        self._job: ImageJob | None = None
        self._requests: list[Request] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._alarm = _NO_ALARM
        self._closed = False
        self._received = self._superseded = self._processed = 0
        self.set_config(config)

    @property
    def counters(self) -> ImageCounters:
        """Return what became of the images so far."""
        with self._changed:
            return ImageCounters(self._received, self._superseded, self._processed)

    @property
    def is_closed(self) -> bool:
        """Tell whether `close` was called."""
        with self._changed:
            return self._closed

    def set_config(self, config: NodeConfig) -> None:
        """Use another mode and rate from now on."""
        with self._changed:
            self._on_demand = config.mode == "on_demand"
            self._limit = RateLimit(config.max_rate_hz)
            self._changed.notify_all()

    def offer(self, job: ImageJob, num_older: int = 0) -> None:
        """Put an image into the slot; the one that is there, if any, is superseded.

        In on-demand mode an image nobody has asked for is dropped, and does not count as superseded.

        Args:
            job: the image.
            num_older: how many came together with it and are superseded by it.
        """
        with self._changed:
            self._received += 1 + num_older
            self._superseded += num_older
            if self._closed or (self._on_demand and not self._is_wanted(job)):
                return
            self._superseded += self._job is not None
            self._job = job
            self._changed.notify_all()

    def refuse(self, job: ImageJob) -> ImageTask | None:
        """Count an image that cannot be localized now; return it if it is to be answered so.

        It is answered as often as images are localized, else it counts as superseded. An image that
        waits in the slot is too old when work begins, and is dropped.
        """
        with self._changed:
            self._received += 1
            self._superseded += self._job is not None
            self._job = None
            if self._closed or (self._on_demand and not self._is_wanted(job)):
                return None
            if not self._is_wanted(job) and self._limit.due_s(job.arrived_s) > self.now_s():
                self._superseded += 1
                return None
            self._job = job
            return self._take_image()

    def ask(self, request: Request) -> None:
        """Want the next image, whatever mode and rate say; once closed, the answer is None."""
        with self._changed:
            if not self._closed:
                self._requests.append(request)
                return
        request.answer.set_result(None)

    def withdraw(self, request: Request) -> None:
        """Want it no more."""
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)

    def run_between_images(self, call: Callable[[], None]) -> Future[None] | None:
        """Have the localizing thread call something between two images; return what waits for it, None once closed."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                call()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        with self._changed:
            if self._closed:
                return None
            self._calls.append(run)
            self._changed.notify_all()
            return done

    def call_at(self, due_s: float, call: Callable[[], None]) -> None:
        """Have the localizing thread call something at a time, between two images; the last wish counts."""
        with self._changed:
            if self._alarm != (due_s, call):
                self._alarm = due_s, call
                self._changed.notify_all()

    def close(self) -> None:
        """Let `take` return None, drop the image and answer all requests with None."""
        with self._changed:
            self._closed = True
            self._job = None
            requests, self._requests = self._requests, []
            self._changed.notify_all()
        for request in requests:
            request.answer.set_result(None)

    def take(self) -> ImageTask | Callable[[], None] | None:
        """Wait for the next thing to do: a call or an image; None once closed."""
        with self._changed:
            while True:
                # Calls before the end: whoever asked for one is waiting for its outcome.
                if self._calls:
                    return self._calls.popleft()
                if self._closed:
                    return None
                now_s, (alarm_s, call) = self.now_s(), self._alarm
                if alarm_s <= now_s:
                    self._alarm = _NO_ALARM
                    return call
                due_s = self._due_s()
                if due_s is not None and due_s <= now_s:
                    return self._take_image()
                next_s = min(alarm_s, math.inf if due_s is None else due_s)
                self._changed.wait(next_s - now_s if math.isfinite(next_s) else None)

    def due_s(self) -> float | None:
        """Return when the image in the slot may be taken, if no newer one comes; None without one."""
        with self._changed:
            return self._due_s()

    def note_processed(self) -> ImageCounters:
        """Count an answer and return all counts."""
        with self._changed:
            self._processed += 1
            return ImageCounters(self._received, self._superseded, self._processed)

    def _due_s(self) -> float | None:
        """Return when the image in the slot may be taken; None if only a change can tell."""
        if self._job is None:
            return None
        if self._is_wanted(self._job):
            return self._job.arrived_s
        if self._on_demand:
            return None
        return self._limit.due_s(self._job.arrived_s)

    def _take_image(self) -> ImageTask:
        job, self._job = self._job, None
        if job is None:
            raise RuntimeError("the mailbox is empty")
        served = tuple(request for request in self._requests if request.asked_s <= job.arrived_s)
        self._requests = [request for request in self._requests if request not in served]
        self._limit.spend(self.now_s())
        return ImageTask(job, served)

    def _is_wanted(self, job: ImageJob) -> bool:
        return any(request.asked_s <= job.arrived_s for request in self._requests)
