"""Localize live: the newest image wins, and one thread owns the engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError, HfnetRosError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.mailbox import ImageCounters, ImageJob, ImageTask, Mailbox, Request
from hfnet_ros.localization.odometry import Odometry
from hfnet_ros.localization.relocalizer import ImageLocalizer, Relocalizer, Tracking
from hfnet_ros.types import Belief, Frame, Relocalization, TrackingState

__all__ = ["Answer", "ImageCounters", "ImageJob", "LiveRelocalizer", "OpenLocalizer", "answer_image"]

# Makes a localizer, and what frees its engine; both are called by the thread that uses it.
OpenLocalizer = Callable[[], "tuple[ImageLocalizer, Callable[[], None]]"]

_UNKNOWN = Tracking(TrackingState.LOST, None)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of one image, and where the time went.

    Attributes:
        relocalization: None where the image could not be used.
        error: why it could not be used; empty where it could.
        camera_frame_id: empty where the image could not be read.
        wait_s: from arrival to the start of work.
        decode_s: message to pixels.
        gate_s: waiting for odometry, comparison, filter.
        total_s: from arrival to this answer.
        counters: of all images so far, this one included.
        frame: the image, where it could be read.
    """

    stamp_ns: int
    relocalization: Relocalization | None
    error: str
    camera_frame_id: str
    wait_s: float
    decode_s: float
    gate_s: float
    total_s: float
    counters: ImageCounters
    frame: Frame | None


def answer_image(relocalizer: Relocalizer, mailbox: Mailbox[Answer], task: ImageTask[Answer]) -> Answer:
    """Localize an image taken from a mailbox; whatever goes wrong is an answer, too."""
    job, start_s = task.job, mailbox.now_s()
    frame = relocalization = None
    error, decoded_s, updated_s = "", start_s, start_s
    try:
        frame = job.read()
        decoded_s = updated_s = mailbox.now_s()
        ignore_prior = any(request.ignore_prior for request in task.requests)
        relocalization = relocalizer.update(frame, job.base_from_camera(), ignore_prior=ignore_prior)
        updated_s = mailbox.now_s()
    except HfnetRosError as problem:
        error = str(problem)
    except Exception as problem:
        _logger.exception("an image could not be localized")
        error = f"{type(problem).__name__}: {problem}"
    localizing_s = relocalization.localization.timings_s.get("total", 0.0) if relocalization else 0.0
    return Answer(
        job.stamp_ns,
        relocalization,
        error,
        frame.camera_frame_id if frame is not None else "",
        wait_s=max(0.0, start_s - job.arrived_s),
        decode_s=decoded_s - start_s,
        gate_s=max(0.0, updated_s - decoded_s - localizing_s),
        total_s=max(0.0, mailbox.now_s() - job.arrived_s),
        counters=mailbox.note_processed(),
        frame=frame,
    )


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
    ) -> None:
        """Prepare; nothing is loaded before `start`.

        Args:
            open_localizer: returns a localizer and what closes its extractor; both are called in the
                localizing thread, to which an engine belongs.
            config: node.mode, node.max_rate_hz and what `Relocalizer` needs.
            odometry: filled by somebody else.
            on_answer: called in the localizing thread for every image taken.
        """
        self._open_localizer = open_localizer
        self._config = config
        self._odometry = odometry
        self._on_answer = on_answer
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether images are taken."""
        return self._worker is not None

    @property
    def counters(self) -> ImageCounters:
        """Return what became of the images since the start."""
        worker = self._worker
        return worker.mailbox.counters if worker is not None else ImageCounters()

    def start(self) -> None:
        """Open the localizer in a new thread and take images; nothing happens if that is done already.

        Raises:
            HfnetRosError: it cannot be opened; nothing runs then.
        """
        with self._lock:
            if self._worker is not None:
                return
            worker = _Worker(self._open_localizer, self._config, self._odometry, self._on_answer)
            worker.start()
            self._worker = worker

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the thread after the image it works on, and free the engine; False if that takes longer."""
        with self._lock:
            worker, self._worker = self._worker, None
        return worker is None or worker.stop(timeout_s)

    def offer(self, job: ImageJob) -> None:
        """Hand over an image; it replaces one that no work has begun on."""
        worker = self._worker
        if worker is not None:
            worker.mailbox.offer(job)

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
            worker.mailbox.set_config(config.node)
            if worker.relocalizer is not None:
                worker.relocalizer.set_config(config)

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
        return relocalizer.tracking_at(stamp_ns) if relocalizer is not None else _UNKNOWN

    def _relocalizer(self) -> Relocalizer | None:
        worker = self._worker
        return worker.relocalizer if worker is not None else None


class _Worker:
    """The localizing thread and its mailbox, from one start to the next stop."""

    def __init__(
        self,
        open_localizer: OpenLocalizer,
        config: Config,
        odometry: Odometry,
        on_answer: Callable[[Answer], None],
    ) -> None:
        self.mailbox: Mailbox[Answer] = Mailbox(config.node)
        self.relocalizer: Relocalizer | None = None
        self._open_localizer = open_localizer
        self._config = config
        self._odometry = odometry
        self._on_answer = on_answer
        self._opened: Future[None] = Future()
        # A daemon: an engine that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="hfnet-localizer", daemon=True)

    def start(self) -> None:
        self._thread.start()
        try:
            self._opened.result()
        except BaseException:
            self.mailbox.close()
            self._thread.join()
            raise

    def stop(self, timeout_s: float) -> bool:
        self.mailbox.close()
        if threading.current_thread() is self._thread:  # asked to by its own answer
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def replace_localizer(self, open_localizer: OpenLocalizer) -> None:
        replaced: Future[None] = Future()

        def replace() -> None:
            try:
                self._replace(open_localizer)
            except Exception as error:
                replaced.set_exception(error)
            else:
                replaced.set_result(None)

        if threading.current_thread() is self._thread:
            self._replace(open_localizer)
        elif self.mailbox.send_errand(replace):
            replaced.result()
        else:
            raise EngineError("the map cannot be replaced: localization is being stopped")

    def _run(self) -> None:
        try:
            localizer, self._close = self._open_localizer()
        except BaseException as error:
            self._opened.set_exception(error)
            return
        relocalizer = self.relocalizer = Relocalizer(localizer, self._config, self._odometry)
        self._opened.set_result(None)
        try:
            while (task := self.mailbox.take()) is not None:
                if isinstance(task, ImageTask):
                    self._deliver(answer_image(relocalizer, self.mailbox, task), task.requests)
                else:
                    task()
                del task  # an image is not kept while there is nothing to do
        finally:
            self.mailbox.close()
            self._close_quietly(self._close)

    def _replace(self, open_localizer: OpenLocalizer) -> None:
        localizer, close = open_localizer()
        if self.relocalizer is not None:
            self.relocalizer.replace_map(localizer)
        before, self._close = self._close, close
        self._close_quietly(before)

    def _deliver(self, answer: Answer, requests: tuple[Request[Answer], ...]) -> None:
        try:
            self._on_answer(answer)
        except Exception:
            _logger.exception("the answer to an image could not be delivered")
        for request in requests:
            request.answer.set_result(answer)

    def _close_quietly(self, close: Callable[[], None]) -> None:
        try:
            close()
        except Exception:
            _logger.exception("the engine could not be closed")
