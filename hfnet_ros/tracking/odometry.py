"""Where the robot was by dead reckoning, at any recent time."""

from __future__ import annotations

import bisect
import itertools
import logging
import math
import operator
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hfnet_ros.config import OdometryConfig
from hfnet_ros.errors import InputError
from hfnet_ros.geometry.rigid3 import Rigid3, interpolate
from hfnet_ros.tracking.path import Path
from hfnet_ros.tracking.swings import Swings

_NS_PER_S = 1_000_000_000
_RESTART_NS = _NS_PER_S  # stamps further back than this are those of a new run, e.g. a bag that loops
_MAX_NOT_ORTHOGONAL = 1e-3
# A step this long, beyond twice the speed of the one before and a change of it by 5 g, is no motion of a robot: the
# filter behind odometry was reset, or its origin moved. In a pause any step is possible by that, so that of one that
# ends at odometry's origin, where a base begins that was restarted, no change of speed and a second of the pause count.
_STAMP_JITTER_NS = 20_000_000
_JUMP_M, _JUMP_RAD = 0.3, np.deg2rad(20.0)
_ORIGIN_M = 0.1
_LARGEST_CHANGE_M_S2, _LARGEST_CHANGE_RAD_S2 = 50.0, 100.0

_logger = logging.getLogger(__name__)
_runs = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class OdometrySample:
    """A pose in the odometry frame, and how far the robot has come on its path until there.

    Attributes:
        run: poses of two runs of odometry have nothing to do with each other; unique in this program.
        path: since the run began, axes of the odometry frame.
    """

    stamp_ns: int
    odom_from_base: Rigid3
    run: int
    path: Path = field(default_factory=Path)

    @property
    def distance_m(self) -> float:
        """Return the length of the path since the run began, m."""
        return self.path.distance_m

    @property
    def turn_rad(self) -> float:
        """Return all turning on the way added up, rad."""
        return self.path.turn_rad

    def moved_to(self, stamp_ns: int, odom_from_base: Rigid3) -> OdometrySample:
        """Return the sample after a straight step from this one."""
        step = odom_from_base.translation - self.odom_from_base.translation
        path = self.path.extended(step, self.odom_from_base.rotation_to(odom_from_base))
        return OdometrySample(stamp_ns, odom_from_base, self.run, path)


class Odometry(Protocol):
    """What the relocalizer asks of dead reckoning."""

    @property
    def is_expected(self) -> bool:
        """Tell whether a missing pose is a fault, and not how this robot is built."""
        ...

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Return the stamps of the oldest and the newest pose that is remembered; None if there is none."""
        ...

    @property
    def held_back(self) -> str:
        """Why the newest pose is not used unless the next one agrees with it, in words; empty where it is used."""
        ...

    def sample_at(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time; None where it would have to be guessed."""
        ...

    def last_before(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time, or else the newest one before it; None if there is none."""
        ...

    def wait_for(self, stamp_ns: int, timeout_s: float) -> bool:
        """Wait until poses reach a time; return at once where none can be expected."""
        ...


class NoOdometry:
    """For a robot without odometry: `MotionModel` then relies on its largest speed."""

    is_expected = False
    span_ns = None
    held_back = ""

    def sample_at(self, stamp_ns: int) -> None:
        """Return None."""

    def last_before(self, stamp_ns: int) -> None:
        """Return None."""

    def wait_for(self, stamp_ns: int, timeout_s: float) -> bool:  # noqa: ARG002
        """Return False."""
        return False


class TransformHistory:
    """The last seconds of odom->base, written by one thread and read by another."""

    def __init__(self, config: OdometryConfig) -> None:
        """Start empty; `config` says how much is remembered and what gap is bridged."""
        self._config = config
        self._always_expected = config.source in ("tf", "topic")
        self._changed = threading.Condition()
        self._samples: deque[OdometrySample] = deque()
        self._stamps_ns: deque[int] = deque()
        self._seen = False
        self._run = next(_runs)
        self._suspect: tuple[int, Rigid3] | None = None
        self._suspicion = ""
        self._swings = Swings()

    @property
    def is_expected(self) -> bool:
        """Tell whether poses must come: by configuration, or because some have come."""
        with self._changed:
            return self._always_expected or self._seen

    def add(self, stamp_ns: int, odom_from_base: Rigid3) -> bool:
        """Remember a pose; False if it was not used, being a repetition or out of order.

        Stamps that step back by more than a second begin a new run, as when a bag starts again:
        everything before is dropped. So does a step that no robot can take, as when the filter behind it is reset.
        A single stray stamp or pose is not a new run; the second one is.

        Raises:
            InputError: a number is not finite, or the rotation is none.
        """
        _check_rigid(odom_from_base)
        with self._changed:
            self._seen = True
            self._swings.take(stamp_ns, odom_from_base)
            if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
                if stamp_ns > self._stamps_ns[-1] - _RESTART_NS:
                    return False
                if not self._confirms_restart(stamp_ns, odom_from_base, "stamps went back"):
                    return False
            elif self._jumps(stamp_ns, odom_from_base):
                if not self._confirms_restart(stamp_ns, odom_from_base, "pose jumped"):
                    return False
            else:
                self._suspect = None
            self._append(stamp_ns, odom_from_base)
            self._changed.notify_all()
            return True

    def clear(self) -> None:
        """Forget everything, also that odometry was ever seen."""
        with self._changed:
            self._start_run()
            self._seen, self._swings = False, Swings()

    def latest(self) -> OdometrySample | None:
        """Return the newest pose."""
        with self._changed:
            return self._samples[-1] if self._samples else None

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Return the stamps of the oldest and the newest pose that is remembered; None if there is none."""
        with self._changed:
            return (self._stamps_ns[0], self._stamps_ns[-1]) if self._stamps_ns else None

    @property
    def held_back(self) -> str:
        """Why the newest pose is not used unless the next one agrees with it, in words; empty where it is used."""
        with self._changed:
            return self._suspicion if self._suspect is not None else ""

    @property
    def swings(self) -> str:
        """How far poses jump back and forth, as where two nodes send them, in words; empty where they do not."""
        with self._changed:
            return self._swings.size

    def sample_at(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time, interpolated; None outside of what is known and in large gaps."""
        with self._changed:
            position = bisect.bisect_left(self._stamps_ns, stamp_ns)
            if position == len(self._samples):
                return None
            after = self._samples[position]
            if after.stamp_ns == stamp_ns:
                return after
            if position == 0:
                return None
            before = self._samples[position - 1]
        gap_ns = after.stamp_ns - before.stamp_ns
        if gap_ns > self._config.max_gap_s * _NS_PER_S:
            return None
        fraction = (stamp_ns - before.stamp_ns) / gap_ns
        return before.moved_to(stamp_ns, interpolate(before.odom_from_base, after.odom_from_base, fraction))

    def last_before(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time, or else the newest one before it; None if there is none."""
        exact = self.sample_at(stamp_ns)
        if exact is not None:
            return exact
        with self._changed:
            position = bisect.bisect_right(self._stamps_ns, stamp_ns)
            return self._samples[position - 1] if position > 0 else None

    def wait_for(self, stamp_ns: int, timeout_s: float) -> bool:
        """Wait until poses reach a time; False at the time-out, and at once if none ever came."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while self._seen and not (self._stamps_ns and self._stamps_ns[-1] >= stamp_ns):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0.0 or not self._changed.wait(left_s):
                    break
            return bool(self._stamps_ns) and self._stamps_ns[-1] >= stamp_ns

    def _append(self, stamp_ns: int, odom_from_base: Rigid3) -> None:
        if self._samples:
            self._samples.append(self._samples[-1].moved_to(stamp_ns, odom_from_base))
        else:
            self._samples.append(OdometrySample(stamp_ns, odom_from_base, self._run))
        self._stamps_ns.append(stamp_ns)
        oldest_ns = stamp_ns - round(self._config.history_s * _NS_PER_S)
        while self._stamps_ns[0] < oldest_ns:
            self._stamps_ns.popleft()
            self._samples.popleft()

    def _jumps(self, stamp_ns: int, odom_from_base: Rigid3) -> bool:
        """Tell whether a pose is further from the newest one than the robot can have come, by the step before."""
        if len(self._samples) < 2:
            return False
        before, newest = self._samples[-2], self._samples[-1]
        if self._suspect is not None and self._suspect[0] > newest.stamp_ns:
            # What has jumped goes on from there, however much time there was for the way by now.
            return _apart(self._suspect[1], odom_from_base) < _apart(newest.odom_from_base, odom_from_base)
        step_ns = stamp_ns - newest.stamp_ns + _STAMP_JITTER_NS
        half_square = 0.5 * (step_ns / _NS_PER_S) ** 2
        if math.hypot(*odom_from_base.translation.tolist()) <= _ORIGIN_M:
            step_ns, half_square = min(step_ns, _NS_PER_S), 0.0
        faster = 2.0 * step_ns / (newest.stamp_ns - before.stamp_ns)
        way_m = faster * (newest.distance_m - before.distance_m) + half_square * _LARGEST_CHANGE_M_S2
        turn_rad = faster * (newest.turn_rad - before.turn_rad) + half_square * _LARGEST_CHANGE_RAD_S2
        return bool(
            newest.odom_from_base.translation_to(odom_from_base) > _JUMP_M + way_m
            or newest.odom_from_base.rotation_to(odom_from_base) > _JUMP_RAD + turn_rad
        )

    def _confirms_restart(self, stamp_ns: int, odom_from_base: Rigid3, happened: str) -> bool:
        """Begin a new run if this pose follows another one that was as far off."""
        first, self._suspect = self._suspect, (stamp_ns, odom_from_base)
        newest = self._samples[-1]
        if first is None or not 0 < stamp_ns - first[0] <= _RESTART_NS:
            self._suspicion = f"its {happened}, {_step_text(newest, stamp_ns, odom_from_base)}"
            return False
        _logger.warning(
            "odometry's %s, %s: its history is forgotten", happened, _step_text(newest, first[0], first[1])
        )
        self._start_run()
        self._append(*first)
        return True

    def _start_run(self) -> None:
        self._samples.clear()
        self._stamps_ns.clear()
        self._suspect = None
        self._run = next(_runs)


def _step_text(newest: OdometrySample, stamp_ns: int, odom_from_base: Rigid3) -> str:
    """Return by how much a pose is off the newest one, in words."""
    distance_m = newest.odom_from_base.translation_to(odom_from_base)
    turn_deg = np.rad2deg(newest.odom_from_base.rotation_to(odom_from_base))
    return f"by {(stamp_ns - newest.stamp_ns) / _NS_PER_S:.1f} s, {distance_m:.2f} m and {turn_deg:.0f} deg"


def _apart(one: Rigid3, other: Rigid3) -> float:
    """Return how far apart two poses are, in parts of a jump."""
    return float(one.translation_to(other) / _JUMP_M + one.rotation_to(other) / _JUMP_RAD)


def _check_rigid(pose: Rigid3) -> None:
    """Refuse what is no rigid motion; in Python's own numbers, since it comes hundreds of times a second."""
    rows = pose.rotation.tolist()
    if not all(map(math.isfinite, itertools.chain(*rows, pose.translation.tolist()))):
        raise InputError("odometry holds a number that is not finite; its sender is at fault")
    off = max(
        abs(_dot(one, other) - (one is other))
        for one, other in itertools.combinations_with_replacement(rows, 2)
    )
    (a, b, c), second, third = rows
    turned = (b * third[2] - c * third[1], c * third[0] - a * third[2], a * third[1] - b * third[0])
    if off > _MAX_NOT_ORTHOGONAL or _dot(turned, second) > 0.0:  # the determinant is negative
        raise InputError(
            f"odometry's orientation is no rotation (off by {off:.2g}); was its quaternion left at zero?"
        )


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(map(operator.mul, one, other))
