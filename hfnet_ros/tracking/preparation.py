"""How far the engine of a localizing thread is, and the end of it before it is ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass

from hfnet_ros.errors import HfnetRosError


class PreparationStoppedError(HfnetRosError):
    """An engine is not wanted any more. Not an EngineError, after which the next backend is tried."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An engine that is not ready.

    Attributes:
        elapsed_s: since work on it began.
        progress: what is going on, in a few words; may be empty.
    """

    elapsed_s: float
    progress: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.progress or 'loading the network'}; {self.elapsed_s:.0f} s so far"


class Preparation:
    """Work on an engine in one thread, watched, waited for and called off by others.

    Attributes:
        failure: why it failed, if nobody waited for that; else empty.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing to do; `now_s` is a clock, s."""
        self._now_s = now_s
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._progress = ""
        self._is_opening = self._is_called_off = self._is_left_alone = False
        self._opened: Future[None] = Future()
        self._abandoned: Future[None] = Future()  # nobody shall wait for the thread any more
        self.failure = ""

    @property
    def pending(self) -> Pending | None:
        """Return what is being prepared; None while the engine is ready."""
        with self._lock:
            if self._since_s is None:
                return None
            return Pending(self._now_s() - self._since_s, self._progress)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Count as not ready until the end of the block."""
        with self._lock:
            self._is_opening, self._since_s = True, self._now_s()
        try:
            yield
        finally:
            with self._lock:
                self._is_opening, self._since_s, self._progress = False, None, ""

    def report(self, text: str) -> None:
        """Take what `ReportProgress` is told; outside of `opening` the engine is not ready until an empty text.

        Raises:
            PreparationStoppedError: `call_off` was called. It ends the building of a TensorRT engine
                at the builder's next step.
        """
        with self._lock:
            self._progress = text
            if not self._is_opening:
                self._since_s = (self._since_s or self._now_s()) if text else None
            is_called_off = self._is_called_off
        if text and is_called_off:
            raise PreparationStoppedError("localization is being stopped")

    def call_off(self) -> None:
        """Let the next report raise."""
        with self._lock:
            self._is_called_off = True

    @property
    def is_over(self) -> bool:
        """Tell whether `note_opened` was called."""
        return self._opened.done()

    def note_opened(self, error: BaseException | None) -> bool:
        """Tell whoever waits that the engine was opened, or why it cannot be; False if nobody waits any more."""
        with self._lock:
            if error is None:
                self._opened.set_result(None)
            else:
                self.failure = str(error) or type(error).__name__ if self._is_left_alone else ""
                self._opened.set_exception(error)
            return not self._is_left_alone

    def wait_until_open(self, patience_s: float | None) -> bool:
        """Wait for `note_opened`; return False if that takes longer.

        Raises:
            BaseException: the engine cannot be opened; what `note_opened` was told.
            PreparationStoppedError: see `wait_for`.
        """
        self.wait_for(self._opened, patience_s)
        with self._lock:
            self._is_left_alone = not self._opened.done()
        if self._is_left_alone:
            return False
        self._opened.result()
        return True

    def wait_for(self, done: Future[None], timeout_s: float | None = None) -> None:
        """Wait until the thread has done something, or a time has passed.

        Raises:
            PreparationStoppedError: the thread was stopped, and does not end in time.
        """
        wait([done, self._abandoned], timeout_s, FIRST_COMPLETED)
        if self._abandoned.done() and not done.done():
            raise PreparationStoppedError("localization was stopped before the engine was ready")

    def abandon(self) -> None:
        """Let nobody wait for the thread any more."""
        self._abandoned.set_result(None)
