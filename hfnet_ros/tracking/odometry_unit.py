"""Is odometry in metres? Counted in millimetres, as by many a first driver, it lets every position be lost at once."""

from __future__ import annotations

from collections import deque

import numpy as np

from hfnet_ros.tracking.motion import BasePose

_MIN_WAY_M, _MAX_WAY_M = 0.2, 5.0  # by fixes: beyond their errors, and no robot that was carried
_NUM_WAYS = 5
_LEAST_RATIO = 30.0  # no wheel that slips does that on a robot that moves, time after time
_ALIKE = 2.0  # factor between ratios and their median
_UNITS = ((1000.0, "millimetres"), (100.0, "centimetres"))


class OdometryUnit:
    """Compares the last ways by odometry with those by fixes, whether these are believed or not."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._begun: BasePose | None = None
        self._ratios: deque[float] = deque(maxlen=_NUM_WAYS)

    def clear(self) -> None:
        """Forget everything."""
        self._begun = None
        self._ratios.clear()

    def note(self, fix: BasePose) -> None:
        """Take the pose of the robot by an image."""
        odometry, begun = fix.moment.odometry, self._begun
        if odometry is None:
            return
        before = begun.moment.odometry if begun is not None else None
        if begun is None or before is None or before.run != odometry.run:
            self._begun = fix
            return
        way_m = begun.map_from_base.translation_to(fix.map_from_base)
        if way_m < _MIN_WAY_M:
            return
        self._begun = fix
        if way_m <= _MAX_WAY_M:
            self._ratios.append(before.odom_from_base.translation_to(odometry.odom_from_base) / way_m)

    @property
    def text(self) -> str:
        """Return how many times too long odometry's ways are, in a sentence; nothing where they are not."""
        if len(self._ratios) < _NUM_WAYS:
            return ""
        ratio = float(np.median(self._ratios))
        if ratio < _LEAST_RATIO or max(self._ratios) > _ALIKE * ratio or min(self._ratios) < ratio / _ALIKE:
            return ""
        unit = next(
            (f"in {name}" for of_m, name in _UNITS if of_m / _ALIKE < ratio < of_m * _ALIKE), "in metres"
        )
        return (
            f"by the fixes odometry's ways are {ratio:.0f} times too long: is it {unit}? Let it be in metres "
            "(REP-103); until then no position is kept"
        )
