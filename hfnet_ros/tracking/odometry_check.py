"""By how much odometry is off beyond its noise, by the fixes of the last drive.

Wheels slip or are of another radius than configured, an encoder breaks: odometry then tells of another drive, and its
noise, which grows with the root of the way, says nothing of that. So it is compared with fixes over the last ways of
a metre, each by itself and several together. What is off by more than chance is an `Excess`, with which poses are
carried until odometry agrees again for as many ways. Standing proves nothing: what was seen lasts until then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.tracking.gate import FloatArray, InnovationGate
from hfnet_ros.tracking.motion import BasePose, Excess, MotionModel, motion_between

_WAY_M, _WAY_RAD = 1.0, 1.0  # by odometry or by fixes; the units that its noise is stated by
_NUM_WAYS = 10


@dataclass(slots=True, eq=False)
class _Begun:
    """A fix at which a way began.

    Attributes:
        fix: None where the robot was not driven from there to the newest one.
        excess: by how much odometry was off at worst, from there to the end of a later way.
    """

    fix: BasePose | None
    excess: Excess = field(default_factory=Excess)


class OdometryCheck:
    """Compares odometry with fixes that are believed."""

    def __init__(self, config: Config) -> None:
        """Start with nothing seen."""
        self.set_config(config)
        self._begun: deque[_Begun] = deque(maxlen=_NUM_WAYS)
        self._newest: BasePose | None = None

    def set_config(self, config: Config) -> None:
        """Use another gate and other noise from now on; what was seen still counts."""
        self._gate = InnovationGate(config.gate)
        self._motion = MotionModel(config.odometry)

    def clear(self) -> None:
        """Forget everything."""
        self._begun.clear()
        self._newest = None

    @property
    def excess(self) -> Excess:
        """Return by how much odometry is off, at worst in the last ways."""
        return Excess.worst([begun.excess for begun in self._begun])

    def restart(self, fix: BasePose) -> None:
        """Begin at a fix that no drive led to; what was seen before still counts."""
        for begun in self._begun:
            begun.fix = None
        self._begun.append(_Begun(fix))
        self._newest = fix

    def note(self, fix: BasePose) -> None:
        """Take a fix that the robot was driven to from the last one."""
        last = self._begun[-1].fix if self._begun else None
        if last is None or self._is_apart(last, fix):
            self._end_way(fix)
        self._newest = fix

    def contradict(self, fix: BasePose) -> None:
        """Take a fix that the robot was driven to otherwise than by odometry, since the last one that was taken."""
        if self._newest is not None and self._newest is not self._begun[-1].fix:
            self._end_way(self._newest)
        self._end_way(fix)
        self._newest = fix

    def _end_way(self, fix: BasePose) -> None:
        for begun in self._begun:
            if begun.fix is not None:
                begun.excess = Excess.worst([begun.excess, self._compare(begun.fix, fix)])
        self._begun.append(_Begun(fix))

    def _is_apart(self, begun: BasePose, fix: BasePose) -> bool:
        motion, start, end = motion_between(begun.moment, fix.moment), begun.map_from_base, fix.map_from_base
        way_m = max(motion.distance_m or 0.0, start.translation_to(end))
        way_rad = max(motion.turn_rad or 0.0, start.rotation_to(end))
        return way_m >= _WAY_M or way_rad >= _WAY_RAD

    def _compare(self, begun: BasePose, fix: BasePose) -> Excess:
        """Return by how much odometry is off from one fix to another; nothing where that may be chance."""
        path = motion_between(begun.moment, fix.moment).path
        carried = self._motion.carry(begun, fix.moment)
        seen = self._gate.compare(carried, fix)
        if path is None or seen.fits:
            return Excess()
        surplus = np.square(seen.innovation) - np.diag(
            carried.covariance + fix.covariance + self._gate.systematic
        )
        off: FloatArray = np.sqrt(np.maximum(surplus.reshape(2, 3).sum(axis=1), 0.0))  # m, rad
        # A way is off by itself at most: what is more was not seen by odometry, and went with time.
        way = np.array([path.distance_m, path.weight])
        of_way = np.minimum(off, way)
        share = of_way / np.where(way > 0.0, way, 1.0)
        seconds = 1e-9 * max(1, abs(fix.moment.stamp_ns - begun.moment.stamp_ns))
        limits = seconds * np.array([self._motion.speed_sigma, self._motion.turn_sigma])
        return Excess(float(share[0]), float(share[1]), min(1.0, float(((off - of_way) / limits).max())))
