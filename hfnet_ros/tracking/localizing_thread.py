"""The thread that localizes: it owns the engine, from its preparation to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError, HfnetRosError
from hfnet_ros.tracking.mailbox import ImageCounters, ImageJob, ImageTask, Mailbox, Request
from hfnet_ros.tracking.odometry import Odometry
from hfnet_ros.tracking.preparation import Preparation, PreparationStoppedError
from hfnet_ros.tracking.relocalizer import ImageLocalizer, Relocalizer, Tracking
from hfnet_ros.types import Frame, Relocalization, ReportProgress, TrackingState

# Makes a localizer, and what frees its engine; both are called by the thread that uses it. It is given
# what to tell of its progress.
OpenLocalizer = Callable[[ReportProgress], "tuple[ImageLocalizer, Callable[[], None]]"]

UNKNOWN = Tracking(TrackingState.LOST, None)

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
        is_refused: no work was begun, because the engine is not ready; `error` says how far it is.
        tracking: what is known of the position, where there is no relocalization to say it.
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
    is_refused: bool = False
    tracking: Tracking | None = None


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
        tracking=relocalizer.tracking_at(job.stamp_ns) if relocalization is None else None,
    )


def refused_answer(stamp_ns: int, reason: str, counters: ImageCounters, tracking: Tracking) -> Answer:
    """Return the answer to what cannot be localized now, because the engine is not ready."""
    return Answer(
        stamp_ns,
        None,
        reason,
        "",
        wait_s=0.0,
        decode_s=0.0,
        gate_s=0.0,
        total_s=0.0,
        counters=counters,
        frame=None,
        is_refused=True,
        tracking=tracking,
    )


class LocalizingThread:
    """The thread that owns an engine, and its mailbox, from one start to the next stop.

    Attributes:
        mailbox: what it takes its work from.
        preparation: how far its engine is.
        relocalizer: None until the engine is ready.
        failure: why it cannot be, if `start` did not wait for that.
    """

    def __init__(
        self,
        open_localizer: OpenLocalizer,
        config: Config,
        odometry: Odometry,
        on_answer: Callable[[Answer], None],
        on_opened: Callable[[Exception | None], None],
    ) -> None:
        """Prepare; see `LiveRelocalizer` for the arguments."""
        self.mailbox: Mailbox[Answer] = Mailbox(config.node)
        self.preparation = Preparation()
        self.relocalizer: Relocalizer | None = None
        self.failure = ""
        self._open_localizer = open_localizer
        self._config = config
        self._odometry = odometry
        self._on_answer = on_answer
        self._on_opened = on_opened
        self._lock = threading.Lock()
        self._opened: Future[None] = Future()
        self._abandoned: Future[None] = Future()  # nobody shall wait for the thread any more
        self._is_left_alone = False
        # A daemon: an engine that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="hfnet-localizer", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Tell whether it has not ended."""
        return self._thread.is_alive()

    def start(self, patience_s: float | None) -> bool:
        """See `LiveRelocalizer.start`."""
        self._thread.start()
        try:
            self._wait_for(self._opened, patience_s)
            with self._lock:
                self._is_left_alone = not self._opened.done()
            if self._is_left_alone:
                return False
            self._opened.result()
        except BaseException:
            self.mailbox.close()
            self.preparation.call_off()
            if self._opened.done():
                self._thread.join()
            raise
        return True

    def stop(self, timeout_s: float) -> bool:
        """See `LiveRelocalizer.stop`."""
        self.mailbox.close()
        self.preparation.call_off()
        if threading.current_thread() is self._thread:  # asked to by its own answer
            return False
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._abandoned.set_result(None)
        return not self._thread.is_alive()

    def set_config(self, config: Config) -> None:
        """See `LiveRelocalizer.set_config`."""
        self.mailbox.set_config(config.node)
        with self._lock:
            self._config = config
            if self.relocalizer is not None:
                self.relocalizer.set_config(config)

    def refuse(self, job: ImageJob, reason: str) -> bool:
        """See `LiveRelocalizer.refuse`."""
        task = self.mailbox.refuse(job)
        if task is None:
            return False
        relocalizer = self.relocalizer
        tracking = relocalizer.tracking_at(job.stamp_ns) if relocalizer is not None else UNKNOWN
        answer = refused_answer(job.stamp_ns, reason, self.mailbox.note_processed(), tracking)
        self._deliver(answer, task.requests)
        return True

    def replace_localizer(self, open_localizer: OpenLocalizer) -> None:
        """See `LiveRelocalizer.replace_localizer`."""
        replaced: Future[None] = Future()

        def replace() -> None:
            try:
                self._replace(open_localizer)
            except BaseException as error:
                replaced.set_exception(error)
            else:
                replaced.set_result(None)

        if threading.current_thread() is self._thread:
            self._replace(open_localizer)
        elif self.mailbox.send_errand(replace):
            self._wait_for(replaced)
            replaced.result()
        else:
            raise EngineError("the map cannot be replaced: localization is being stopped")

    def _wait_for(self, done: Future[Any], timeout_s: float | None = None) -> None:
        """Wait for something that the thread does.

        Raises:
            PreparationStoppedError: the thread was stopped, and does not end in time.
        """
        wait([done, self._abandoned], timeout_s, FIRST_COMPLETED)
        if self._abandoned.done() and not done.done():
            raise PreparationStoppedError("localization was stopped before the engine was ready")

    def _run(self) -> None:
        if self._open():
            self._work()
        else:
            self.mailbox.close()
            while (task := self.mailbox.take()) is not None:
                if not isinstance(task, ImageTask):
                    task()  # which fails, and tells whoever waits for it

    def _open(self) -> bool:
        error: BaseException | None = None
        try:
            with self.preparation.opening():
                localizer, self._close = self._open_localizer(self.preparation.report)
            with self._lock:
                self.relocalizer = Relocalizer(localizer, self._config, self._odometry)
        except BaseException as problem:
            error = problem
        with self._lock:
            is_late = self._is_left_alone
            if error is None:
                self._opened.set_result(None)
            else:
                self.failure = str(error) or type(error).__name__ if is_late else ""
                self._opened.set_exception(error)
        if is_late and not self.mailbox.is_closed:
            self._tell(error)
        return error is None

    def _tell(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, HfnetRosError):
            _logger.error("the localizer could not be opened", exc_info=error)
        try:
            self._on_opened(EngineError(self.failure) if error is not None else None)
        except Exception:
            _logger.exception("nobody could be told that the localizer is open or cannot be")

    def _work(self) -> None:
        relocalizer = self.relocalizer
        try:
            while relocalizer is not None and (task := self.mailbox.take()) is not None:
                if isinstance(task, ImageTask):
                    self._deliver(answer_image(relocalizer, self.mailbox, task), task.requests)
                else:
                    task()
                del task  # an image is not kept while there is nothing to do
        finally:
            self.mailbox.close()
            self._close_quietly(self._close)

    def _replace(self, open_localizer: OpenLocalizer) -> None:
        if self.mailbox.is_closed:
            raise EngineError("the map cannot be replaced: localization is being stopped")
        with self.preparation.opening():
            localizer, close = open_localizer(self.preparation.report)
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
