"""Whether poses of odometry jump back and forth, as where two nodes send them."""

from __future__ import annotations

from collections import deque

import numpy as np

from hfnet_ros.geometry.rigid3 import Rigid3

_STEP_M, _STEP_RAD = 0.01, np.deg2rad(1.0)  # smaller steps may be noise
_COUNTED, _RETURNS = 20, 14  # steps, and how many of them must go back: of white noise fewer do
_BACK = 0.35  # of a step, by which it may miss where the one before began
_LASTS_NS = 2_000_000_000
# Between two jumps one of the senders may have moved on: steps are counted that are not far smaller than those before.
_PART, _FADING = 0.5, 0.95


class Swings:
    """Counts steps that end where the one before began."""

    def __init__(self) -> None:
        """Start without a pose."""
        self._newest_ns = 0
        self._newest: Rigid3 | None = None
        self._left: Rigid3 | None = None
        self._size = 0.0
        self._steps: deque[bool] = deque(maxlen=_COUNTED)
        self._last_ns = 0
        self._last = ""

    def take(self, stamp_ns: int, odom_from_base: Rigid3) -> None:
        """Take the next pose, in the order of arrival."""
        before, self._newest, self._newest_ns = self._newest, odom_from_base, stamp_ns
        size = 0.0 if before is None else _size(before, odom_from_base)
        if before is None or size < max(1.0, _PART * self._size):
            self._size *= _FADING
            return
        returns = self._left is not None and _is_within(
            _BACK * min(size, self._size), self._left, odom_from_base
        )
        self._steps.append(returns)
        self._left, self._size = before, size
        if returns:
            step_deg = np.rad2deg(before.rotation_to(odom_from_base))
            self._last = f"{before.translation_to(odom_from_base):.2f} m and {step_deg:.0f} deg"
            self._last_ns = stamp_ns

    @property
    def size(self) -> str:
        """How far poses jump back and forth now, in words; empty where they do not."""
        is_now = abs(self._newest_ns - self._last_ns) < _LASTS_NS
        return self._last if is_now and sum(self._steps) >= _RETURNS else ""


def _is_within(size: float, one: Rigid3, other: Rigid3) -> bool:
    """Tell whether two poses are less than so far apart; of most the way alone says no, which costs a tenth."""
    return one.translation_to(other) / _STEP_M < size and _size(one, other) < size


def _size(one: Rigid3, other: Rigid3) -> float:
    """Return how far apart two poses are, in steps that are more than noise."""
    return float(one.translation_to(other) / _STEP_M + one.rotation_to(other) / _STEP_RAD)
