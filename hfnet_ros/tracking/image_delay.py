"""How late images or odometry are stamped: at their arrival, as by many drivers, and not when they were taken.

A robot that turns is then seen where it was, and odometry that is right contradicts each fix. So the fixes of a drive
are compared with odometry as it was a little earlier and later, by a number of delays, each with the scales of way and
turn that fit best: a delay shows where the robot goes faster or slower, a scale shows everywhere.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.gate import chi_square_quantile, systematic_covariance
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel, motion_between
from hfnet_ros.tracking.odometry import Odometry

_STEP_S, _MOST_STEPS = 0.05, 12
_STEPS = range(-_MOST_STEPS, _MOST_STEPS + 1)  # of images behind odometry; below zero odometry is behind
_ON_TIME = _MOST_STEPS  # its place among them
_MOST_WAITING = 100  # fixes, for odometry that is later than they are
_STANDS_M = 0.01
_MOVED_S = 6.0  # that tell how a robot moves whose odometry is late
_WAY_M, _WAY_RAD, _LONGEST_NS = 0.3, 0.25, 5_000_000_000
_NUM_WAYS = 100  # that are remembered, fading
_NOT_DRIVEN = 100.0  # squared Mahalanobis distance after a way that the robot was carried, or of a wrong fix
_SURE = 1.0 - 1e-7  # by each way there is another chance to be wrong


class ImageDelay:
    """Finds by how much the images of a camera, or odometry, are stamped too late, and takes it into account.

    Attributes:
        delay_s: of images behind odometry; below zero odometry is behind images; 0 where none is known.
    """

    def __init__(self, config: Config) -> None:
        """Start with nothing seen."""
        self._motion = MotionModel(config.odometry)
        self._systematic = systematic_covariance(config.gate)
        self._beyond_chance = chi_square_quantile(_SURE, 1)
        self.delay_s = 0.0
        self._begun: BasePose | None = None
        self._waiting: deque[BasePose] = deque(maxlen=_MOST_WAITING)
        # By delay, of scales of way and turn that may be off by all: normal equations, and squares without them.
        self._normal = np.tile(np.eye(2), (len(_STEPS), 1, 1))
        self._weighted = np.zeros((len(_STEPS), 2))
        self._squares = np.zeros(len(_STEPS))
        self._num_ways = 0.0

    def restart(self) -> None:
        """Begin a way at the next fix: none was driven to it."""
        self._begun = None
        self._waiting.clear()

    @property
    def text(self) -> str:
        """Return it in a sentence; nothing where there is none."""
        if not self.delay_s:
            return ""
        if self.delay_s < 0.0:
            return (
                f"by the fixes odometry is stamped {-self.delay_s:.2f} s too late, or images too early; covariances "
                "hold what the robot moves by in that time, but let the base stamp it when it was measured"
            )
        return (
            f"by odometry images are stamped {self.delay_s:.2f} s too late, which is allowed for; let the driver stamp "
            "them when they are exposed"
        )

    def corrected(self, fix: BasePose, odometry: Odometry) -> BasePose:
        """Return where the robot was at the stamp, by a fix of when the image was taken.

        Where odometry is late, what it does not tell of yet is put into the covariance, and `common`, of the fix.
        """
        if self.delay_s < 0.0:
            return self._widened(fix, odometry)
        taken_ns = fix.moment.stamp_ns - round(1e9 * self.delay_s)
        taken = odometry.sample_at(taken_ns) if self.delay_s else None
        if taken is None:
            return fix
        moment = Moment(taken_ns, taken)
        carried = self._motion.carry(BasePose(moment, fix.map_from_base, fix.covariance), fix.moment)
        return BasePose(fix.moment, carried.map_from_base, carried.covariance, fix.common)

    def _widened(self, fix: BasePose, odometry: Odometry) -> BasePose:
        moved = _moved_within(-self.delay_s, fix, odometry)
        if moved is None:
            return fix
        return replace(
            fix, covariance=fix.covariance + moved, common=moved if fix.common is None else fix.common + moved
        )

    def note(self, fix: BasePose, odometry: Odometry) -> None:
        """Compare a fix with one before, by odometry, once that has come that is later by the most delay looked for."""
        self._waiting.append(fix)
        span_ns = odometry.span_ns
        while span_ns and self._waiting and _latest_ns(self._waiting[0]) <= span_ns[1]:
            self._take(self._waiting.popleft(), odometry)

    def _take(self, fix: BasePose, odometry: Odometry) -> None:
        begun = self._begun
        motion = None if begun is None else motion_between(begun.moment, fix.moment)
        if begun is None or motion is None or motion.path is None:
            self._begun = fix
            return
        is_near = motion.path.distance_m < _WAY_M and motion.path.turn_rad < _WAY_RAD
        is_recent = 0 < fix.moment.stamp_ns - begun.moment.stamp_ns <= _LONGEST_NS
        if is_near and is_recent:
            return
        self._begun = fix
        before, now = _delayed(begun, odometry), _delayed(fix, odometry)
        if is_recent and before and now:
            self._compare(before, now)
            self._decide()

    def _compare(self, before: list[BasePose], now: list[BasePose]) -> None:
        carried = [self._motion.carry(begun, fix.moment) for begun, fix in zip(before, now, strict=True)]
        start, end = before[_ON_TIME].map_from_base, now[_ON_TIME]
        # One for all delays, by which they are compared.
        information = np.linalg.inv(carried[_ON_TIME].covariance + end.covariance + self._systematic)
        offs = [pose_difference(pose.map_from_base, end.map_from_base) for pose in carried]
        squares = [float(off @ information @ off) for off in offs]
        if min(squares) > _NOT_DRIVEN:
            return
        kept = 1.0 - 1.0 / _NUM_WAYS
        self._num_ways = kept * self._num_ways + 1.0
        self._normal = np.eye(2) + kept * (self._normal - np.eye(2))
        self._weighted, self._squares = kept * self._weighted, kept * self._squares + squares
        for step, pose in enumerate(carried):
            way = pose.map_from_base.translation - start.translation
            turn = Rigid3(pose.map_from_base.rotation @ start.rotation.T, np.zeros(3)).rotvec
            by_scale = np.zeros((6, 2))
            by_scale[:3, 0], by_scale[3:, 1], by_scale[:3, 1] = way, turn, 0.5 * np.cross(turn, way)
            self._normal[step] += by_scale.T @ information @ by_scale
            self._weighted[step] += by_scale.T @ information @ offs[step]

    def _decide(self) -> None:
        fitted = np.linalg.solve(self._normal, self._weighted[:, :, None])[:, :, 0]
        left = self._squares - np.sum(self._weighted * fitted, axis=1)
        best = int(left.argmin())
        self.delay_s = 0.0
        # Wheels that slip now and then are explained by nothing.
        if left[best] > 6.0 * self._num_ways or left[_ON_TIME] - left[best] <= self._beyond_chance:
            return
        last = len(_STEPS) - 1
        lower, middle, upper = left[max(best - 1, 0)], left[best], left[min(best + 1, last)]
        bend = lower - 2.0 * middle + upper
        shift = 0.5 * (lower - upper) / bend if 0 < best < last and bend > 0.0 else 0.0
        self.delay_s = _STEP_S * (_STEPS[best] + float(shift))


def _delayed(fix: BasePose, odometry: Odometry) -> list[BasePose]:
    """Return a fix as one of each delay of its stamp; nothing where odometry does not reach as far."""
    stamps_ns = [fix.moment.stamp_ns - round(1e9 * _STEP_S * step) for step in _STEPS]
    samples = [odometry.sample_at(stamp_ns) for stamp_ns in stamps_ns]
    found = [
        BasePose(Moment(sample.stamp_ns, sample), fix.map_from_base, fix.covariance)
        for sample in samples
        if sample is not None
    ]
    return found if len(found) == len(stamps_ns) else []


def _latest_ns(fix: BasePose) -> int:
    """Return the latest time that a fix is compared with odometry of."""
    return fix.moment.stamp_ns + round(1e9 * _STEP_S * _MOST_STEPS)


def _moved_within(seconds: float, fix: BasePose, odometry: Odometry) -> NDArray[np.float64] | None:
    """Return the mean square [6, 6], map axes, of what the robot moves by in so many seconds, where it does."""
    num = max(2, round(_MOVED_S / seconds))
    samples = [odometry.sample_at(fix.moment.stamp_ns - round(1e9 * seconds * k)) for k in range(num + 1)]
    squares = []
    for after, before in pairwise(samples):
        if (
            after is None
            or before is None
            or after.odom_from_base.translation_to(before.odom_from_base) < _STANDS_M
        ):
            continue
        motion = before.odom_from_base.inverse() @ after.odom_from_base
        to_map = fix.map_from_base.rotation
        moved = np.concatenate([to_map @ motion.translation, to_map @ motion.rotvec])
        squares.append(np.outer(moved, moved))
    return np.mean(squares, axis=0) if squares else None
