"""Localize live: the newest image wins, and one thread owns the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.localizing_thread import (
    UNKNOWN,
    Answer,
    LocalizingThread,
    OpenLocalizer,
    answer_image,
    refused_answer,
)
from hfnet_ros.tracking.mailbox import ImageCounters, ImageJob, Request
from hfnet_ros.tracking.odometry import Odometry
from hfnet_ros.tracking.preparation import Pending
from hfnet_ros.tracking.relocalizer import Relocalizer, Tracking
from hfnet_ros.types import Belief

__all__ = ["Answer", "ImageCounters", "ImageJob", "LiveRelocalizer", "OpenLocalizer", "answer_image"]


class LiveRelocalizer:
    """A `Relocalizer` with a thread of its own, between `start` and `stop`.

    All methods may be called from any thread. What is known of the position ends with `stop`.
    """

    def __init__(
        self,
        open_localizer: OpenLocalizer,
        config: Config,
        odometry: Odometry,
        on_answer: Callable[[Answer], None],
        on_opened: Callable[[Exception | None], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is loaded before `start`.

        Args:
            open_localizer: given what to tell of its progress, returns a localizer and what closes its
                extractor; both are called in the localizing thread, to which an engine belongs.
            config: node.mode, node.max_rate_hz and what `Relocalizer` needs.
            odometry: filled by somebody else.
            on_answer: called in the localizing thread for every image taken, and by `refuse`.
            on_opened: called in the localizing thread if `start` did not wait until the localizer was
                open: with None when it is, with the reason when it cannot be.
        """
        self._open_localizer = open_localizer
        self._config = config
        self._odometry = odometry
        self._on_answer = on_answer
        self._on_opened = on_opened
        self._lock = threading.Lock()
        self._worker: LocalizingThread | None = None
        self._ending: LocalizingThread | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether images are taken."""
        return self._worker is not None

    @property
    def counters(self) -> ImageCounters:
        """Return what became of the images since the start."""
        worker = self._worker
        return worker.mailbox.counters if worker is not None else ImageCounters()

    @property
    def pending(self) -> Pending | None:
        """Return what is being prepared, during which no image is localized; None while there is nothing."""
        worker = self._worker
        return worker.preparation.pending if worker is not None else None

    @property
    def failure(self) -> str:
        """Return why the localizer cannot be opened, if that was found out after `start`; else empty."""
        worker = self._worker
        return worker.failure if worker is not None else ""

    @property
    def is_ending(self) -> bool:
        """Tell whether a thread that was stopped is still at work."""
        return self._ending is not None and self._ending.is_alive

    def start(self, patience_s: float | None = None) -> bool:
        """Open the localizer in a new thread and take images; nothing happens if that is done already.

        Args:
            patience_s: how long to wait for the localizer to be open; None for as long as it takes. It
                goes on afterwards, and `on_opened` is called at its end.

        Returns:
            Whether it is open.

        Raises:
            HfnetRosError: it cannot be opened, and that was known in time, or it was stopped meanwhile;
                nothing runs then.
        """
        with self._lock:
            worker = self._worker
            if worker is not None:
                return worker.relocalizer is not None
            worker = self._worker = LocalizingThread(
                self._open_localizer, self._config, self._odometry, self._on_answer, self._on_opened
            )
        try:
            return worker.start(patience_s)
        except BaseException:
            with self._lock:
                if self._worker is worker:
                    self._worker = None
            raise

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the thread after the image it works on, and free the engine; False if that takes longer.

        An engine that is being built is called off: its thread then ends at the builder's next step.
        """
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is None or worker.stop(timeout_s):
            return True
        self._ending = worker
        return False

    def offer(self, job: ImageJob) -> None:
        """Hand over an image; it replaces one that no work has begun on."""
        worker = self._worker
        if worker is not None:
            worker.mailbox.offer(job)

    def refuse(self, job: ImageJob, reason: str) -> bool:
        """Answer an image with why it is not localized, as often as images are; return whether it was."""
        worker = self._worker
        return worker is not None and worker.refuse(job, reason)

    def refusal(self, reason: str) -> Answer:
        """Return what to answer to a request that cannot be served now; it is of no image."""
        return refused_answer(0, reason, self.counters, self.tracking_at(0))

    def request(self, timeout_s: float, *, ignore_prior: bool = False) -> Answer | None:
        """Wait for the next image that arrives and for its answer; None at the time-out or when stopped.

        Args:
            timeout_s: for both together.
            ignore_prior: search the whole map, even if the position is known.
        """
        worker = self._worker
        if worker is None:
            return None
        request: Request[Answer] = Request(ignore_prior)
        worker.mailbox.ask(request)
        try:
            return request.answer.result(timeout_s)
        except FutureTimeoutError:
            return None
        finally:
            worker.mailbox.withdraw(request)

    def replace_localizer(self, open_localizer: OpenLocalizer) -> None:
        """Use another map, or the same anew, between two images; the position is forgotten.

        Raises:
            HfnetRosError: it cannot be opened, or nothing runs; the old one stays in use.
        """
        # Not under the lock: `stop` must not wait for a map to be loaded.
        worker = self._worker
        if worker is None:
            raise EngineError("the map cannot be replaced: localization has not been started")
        worker.replace_localizer(open_localizer)
        self._open_localizer = open_localizer

    def set_config(self, config: Config) -> None:
        """Use another mode, rate, odometry noise, gate and staleness now, the rest from the next start on."""
        self._config = config
        worker = self._worker
        if worker is not None:
            worker.set_config(config)

    def set_initial_pose(self, map_from_base: Rigid3, covariance: NDArray[np.float64], stamp_ns: int) -> None:
        """Give a hint, see `Relocalizer.set_initial_pose`; without effect while stopped.

        Raises:
            InputError: a number is not finite or the covariance is none.
        """
        relocalizer = self._relocalizer()
        if relocalizer is not None:
            relocalizer.set_initial_pose(map_from_base, covariance, stamp_ns)

    def reinitialize(self) -> None:
        """Forget the position."""
        relocalizer = self._relocalizer()
        if relocalizer is not None:
            relocalizer.reinitialize()

    def belief_at(self, stamp_ns: int) -> Belief | None:
        """Return what is known of the position at a time; None while LOST or stopped."""
        return self.tracking_at(stamp_ns).belief

    def tracking_at(self, stamp_ns: int) -> Tracking:
        """Return what is known at a time and how good it is."""
        relocalizer = self._relocalizer()
        return relocalizer.tracking_at(stamp_ns) if relocalizer is not None else UNKNOWN

    def _relocalizer(self) -> Relocalizer | None:
        worker = self._worker
        return worker.relocalizer if worker is not None else None
