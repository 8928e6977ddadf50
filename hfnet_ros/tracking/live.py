"""Localize live: the newest image wins, and one thread owns the engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError, HfnetRosError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.answers import answer_image, refused_answer
from hfnet_ros.tracking.mailbox import ImageJob, ImageTask, Mailbox, Request
from hfnet_ros.tracking.odometry import Odometry
from hfnet_ros.tracking.preparation import Pending, Preparation
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import Answer, Belief, ImageCounters, ImageLocalizer, ReportProgress, Tracking

# Makes a localizer, and what frees its engine; both are called by the thread that uses it. It is given
# what to tell of its progress.
OpenLocalizer = Callable[[ReportProgress], "tuple[ImageLocalizer, Callable[[], None]]"]

_logger = logging.getLogger(__name__)


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
        on_opened: Callable[[LiveRelocalizer, Exception | None], None] = lambda *_: None,
    ) -> None:
        """Prepare; nothing is loaded before `start`.

        Args:
            open_localizer: given what to tell of its progress, returns a localizer and what closes its
                extractor; both are called in the localizing thread, to which an engine belongs.
            config: node.mode, node.max_rate_hz and what `Relocalizer` needs.
            odometry: filled by somebody else.
            on_answer: called in the localizing thread for every image taken, and by `refuse`.
            on_opened: called in the localizing thread if `start` did not wait until the localizer was
                open: with this and None when it is, with the reason when it cannot be.
        """
        self._open_localizer = open_localizer
        self._config = config
        self._odometry = odometry
        self._on_answer = on_answer
        self._on_opened = on_opened
        self._lock = threading.Lock()
        self._is_running = False
        self._renew()

    def _renew(self) -> None:
        """Make anew what one thread lives with, from its start to its end."""
        self._mailbox = Mailbox(self._config.node)
        self._preparation = Preparation()
        self._relocalizer: Relocalizer | None = None  # until the engine is ready
        self._close: Callable[[], None] = lambda: None  # frees the engine
        # A daemon: an engine that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="hfnet-localizer", daemon=True)

    @property
    def is_running(self) -> bool:
        """Tell whether images are taken."""
        return self._is_running

    @property
    def counters(self) -> ImageCounters:
        """Return what became of the images since the start."""
        return self._mailbox.counters if self._is_running else ImageCounters()

    @property
    def pending(self) -> Pending | None:
        """Return what is being prepared, during which no image is localized; None while there is nothing."""
        return self._preparation.pending if self._is_running else None

    @property
    def failure(self) -> str:
        """Return why the localizer cannot be opened, if that was found out after `start`; else empty."""
        return self._preparation.failure if self._is_running else ""

    @property
    def is_ending(self) -> bool:
        """Tell whether a thread that was stopped is still at work."""
        return not self._is_running and self._thread.is_alive()

    def start(self, patience_s: float | None = None) -> bool:
        """Open the localizer in a new thread and take images; nothing happens if that is done already.

        Args:
            patience_s: how long to wait for the localizer to be open; None for as long as it takes. It
                goes on afterwards, and `on_opened` is called at its end.

        Returns:
            Whether it is open.

        Raises:
            HfnetRosError: it cannot be opened, and that was known in time, or it was stopped meanwhile, or
                `is_ending`; nothing runs then.
        """
        with self._lock:
            if self._is_running:
                return self._relocalizer is not None
            if self.is_ending:
                raise EngineError("localization cannot be started: it is still being stopped")
            self._renew()
            self._is_running = True
            thread, preparation = self._thread, self._preparation
            thread.start()
        try:
            return preparation.wait_until_open(patience_s)
        except BaseException:
            with self._lock:
                if self._thread is thread:
                    self._is_running = False
                    self._call_off()
            if preparation.is_over:
                thread.join()
            raise

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the thread after the image it works on, and free the engine; False if that takes longer.

        An engine that is being built is called off: its thread then ends at the builder's next step.
        """
        with self._lock:
            if not self._is_running:
                return True
            self._is_running = False
            self._call_off()
            thread, preparation = self._thread, self._preparation
        if threading.current_thread() is thread:  # asked to by its own answer
            return False
        thread.join(timeout_s)
        if thread.is_alive():
            preparation.abandon()
        return not thread.is_alive()

    def offer(self, job: ImageJob, num_older: int = 0) -> None:
        """Hand over an image; it replaces one that no work has begun on, and some that came together with it."""
        if self._is_running:
            self._mailbox.offer(job, num_older)

    def call_at(self, due_s: float, call: Callable[[], None]) -> None:
        """Have the localizing thread call something at a time of the monotonic clock, in place of its last such call.

        That waits for the image in work, and until the localizer is open.
        """
        if self._is_running:
            self._mailbox.call_at(due_s, call)

    def refuse(self, job: ImageJob, reason: str) -> bool:
        """Answer an image with why it is not localized, as often as images are; return whether it was."""
        task = self._mailbox.refuse(job) if self._is_running else None
        if task is None:
            return False
        tracking = self.tracking_at(job.stamp_ns)
        self._deliver(
            refused_answer(job.stamp_ns, reason, self._mailbox.note_processed(), tracking), task.requests
        )
        return True

    def refusal(self, reason: str) -> Answer:
        """Return what to answer to a request that cannot be served now; it is of no image."""
        return refused_answer(0, reason, self.counters, self.tracking_at(0))

    def request(self, timeout_s: float, *, ignore_prior: bool = False) -> Answer | None:
        """Wait for the next image that arrives and for its answer; None at the time-out or when stopped.

        Args:
            timeout_s: for both together.
            ignore_prior: search the whole map, even if the position is known.
        """
        if not self._is_running:
            return None
        mailbox = self._mailbox
        request = Request(ignore_prior)
        mailbox.ask(request)
        try:
            return request.answer.result(timeout_s)
        except FutureTimeoutError:
            return None
        finally:
            mailbox.withdraw(request)

    def replace_localizer(self, open_localizer: OpenLocalizer) -> None:
        """Use another map, or the same anew, between two images; the position is forgotten.

        Raises:
            HfnetRosError: it cannot be opened, or nothing runs; the old one stays in use.
        """
        # Not under the lock: `stop` must not wait for a map to be loaded.
        if not self._is_running:
            raise EngineError("the map cannot be replaced: localization has not been started")
        if threading.current_thread() is self._thread:
            self._replace(open_localizer)
        else:
            replaced = self._mailbox.run_between_images(lambda: self._replace(open_localizer))
            if replaced is None:
                raise EngineError("the map cannot be replaced: localization is being stopped")
            self._preparation.wait_for(replaced)
            replaced.result()
        self._open_localizer = open_localizer

    def set_config(self, config: Config) -> None:
        """Use another mode, rate, odometry noise, gate and staleness now, the rest from the next start on."""
        with self._lock:
            self._config = config
            self._mailbox.set_config(config.node)
            if self._relocalizer is not None:
                self._relocalizer.set_config(config)

    def set_initial_pose(self, map_from_base: Rigid3, covariance: NDArray[np.float64], stamp_ns: int) -> None:
        """Give a hint, see `Relocalizer.set_initial_pose`; without effect while stopped.

        Raises:
            InputError: a number is not finite or the covariance is none.
        """
        relocalizer = self._in_use()
        if relocalizer is not None:
            relocalizer.set_initial_pose(map_from_base, covariance, stamp_ns)

    def reinitialize(self) -> None:
        """Forget the position."""
        relocalizer = self._in_use()
        if relocalizer is not None:
            relocalizer.reinitialize()

    def belief_at(self, stamp_ns: int) -> Belief | None:
        """Return what is known of the position at a time; None while LOST or stopped."""
        return self.tracking_at(stamp_ns).belief

    def tracking_at(self, stamp_ns: int) -> Tracking:
        """Return what is known at a time and how good it is."""
        relocalizer = self._in_use()
        return relocalizer.tracking_at(stamp_ns) if relocalizer is not None else Tracking()

    def _in_use(self) -> Relocalizer | None:
        return self._relocalizer if self._is_running else None

    def _call_off(self) -> None:
        self._mailbox.close()
        self._preparation.call_off()

    # What the thread does

    def _run(self) -> None:
        if self._open():
            self._work()
        else:
            self._mailbox.close()
            while (task := self._mailbox.take()) is not None:
                if not isinstance(task, ImageTask):
                    task()  # which fails, and tells whoever waits for it

    def _open(self) -> bool:
        error: BaseException | None = None
        try:
            with self._preparation.opening():
                localizer, self._close = self._open_localizer(self._preparation.report)
            with self._lock:
                self._relocalizer = Relocalizer(localizer, self._config, self._odometry)
        except BaseException as problem:
            error = problem
        is_awaited = self._preparation.note_opened(error)
        if not is_awaited and not self._mailbox.is_closed:
            self._tell(error)
        return error is None

    def _tell(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, HfnetRosError):
            _logger.error("the localizer could not be opened", exc_info=error)
        try:
            self._on_opened(self, EngineError(self._preparation.failure) if error is not None else None)
        except Exception:
            _logger.exception("nobody could be told that the localizer is open or cannot be")

    def _work(self) -> None:
        relocalizer = self._relocalizer
        try:
            while relocalizer is not None and (task := self._mailbox.take()) is not None:
                if isinstance(task, ImageTask):
                    self._deliver(answer_image(relocalizer, self._mailbox, task), task.requests)
                else:
                    _call(task)
                del task  # an image is not kept while there is nothing to do
        finally:
            self._mailbox.close()
            close, self._close, self._relocalizer = self._close, lambda: None, None
            _close_quietly(close)

    def _replace(self, open_localizer: OpenLocalizer) -> None:
        if self._mailbox.is_closed:
            raise EngineError("the map cannot be replaced: localization is being stopped")
        with self._preparation.opening():
            localizer, close = open_localizer(self._preparation.report)
        if self._relocalizer is not None:
            self._relocalizer.replace_map(localizer)
        before, self._close = self._close, close
        _close_quietly(before)

    def _deliver(self, answer: Answer, requests: tuple[Request, ...]) -> None:
        try:
            self._on_answer(answer)
        except Exception:
            _logger.exception("the answer to an image could not be delivered")
        for request in requests:
            request.answer.set_result(answer)


def _call(task: Callable[[], None]) -> None:
    try:
        task()
    except Exception:
        _logger.exception("what was to be done between two images failed")


def _close_quietly(close: Callable[[], None]) -> None:
    try:
        close()
    except Exception:
        _logger.exception("the engine could not be closed")
