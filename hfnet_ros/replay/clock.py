"""A clock that stands still until it is told how long something took."""

from __future__ import annotations

import math

_NS_PER_S = 1_000_000_000


class SimulatedClock:
    """Time of a replay: nanoseconds as in the bag, seconds since its own start for intervals."""

    def __init__(self, start_ns: int) -> None:
        """Stand at a time of the bag."""
        self._start_ns = self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the time in nanoseconds, as in the bag."""
        return self._now_ns

    def now_s(self) -> float:
        """Return the seconds since the start."""
        return self.seconds(self._now_ns)

    def seconds(self, stamp_ns: int) -> float:
        """Return how many seconds after the start a time of the bag is."""
        return (stamp_ns - self._start_ns) / _NS_PER_S

    def advance(self, seconds: float) -> None:
        """Let some time pass."""
        self._now_ns += round(seconds * _NS_PER_S)

    def advance_to(self, stamp_ns: int) -> None:
        """Go to a time of the bag, but never back."""
        self._now_ns = max(self._now_ns, stamp_ns)

    def advance_to_second(self, second: float) -> None:
        """Go to a number of seconds after the start, but never back; `now_s` is not below it then."""
        self.advance_to(self._start_ns + math.ceil(second * _NS_PER_S))
        while self.now_s() < second:  # a float of seconds is not exact
            self._now_ns += 1
