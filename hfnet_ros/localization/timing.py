"""Measure where the time of one image goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Adds up seconds per named stage from the moment it is made."""

    def __init__(self) -> None:
        """Start."""
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {"extract": 0.0, "retrieve": 0.0, "match": 0.0, "pose": 0.0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside the block for a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def seconds(self) -> dict[str, float]:
        """Return seconds per stage, and `total` since the start."""
        return {**self._seconds, "total": time.perf_counter() - self._start}
