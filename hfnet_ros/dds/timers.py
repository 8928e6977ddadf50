"""Things to be done regularly, in one thread."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence

_logger = logging.getLogger(__name__)


class Timers:
    """Calls functions at fixed periods until closed; a period that was missed is left out."""

    def __init__(self, timers: Sequence[tuple[float, Callable[[], None]]]) -> None:
        """Start; each timer is a period in seconds and what to call."""
        now_s = time.monotonic()
        self._queue = [(now_s + period_s, index) for index, (period_s, _) in enumerate(timers)]
        heapq.heapify(self._queue)
        self._timers = timers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hfnet-timers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; waits for a call that is running."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)

    def _run(self) -> None:
        while self._queue:
            due_s, index = self._queue[0]
            if self._ended.wait(max(0.0, due_s - time.monotonic())):
                return
            period_s, act = self._timers[index]
            try:
                act()
            except Exception:
                _logger.exception("a regular task failed")
            heapq.heapreplace(self._queue, (max(due_s + period_s, time.monotonic()), index))
