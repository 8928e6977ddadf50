"""How far the engine of a localizing thread is, and the end of it before it is ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
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
    """Work on an engine in one thread, watched and called off by others."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing to do; `now_s` is a clock, s."""
        self._now_s = now_s
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._progress = ""
        self._is_opening = self._is_called_off = False

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
