"""How late images are stamped: at their arrival, as by many drivers, and not when they were exposed.

A robot that turns is then seen where it was, and odometry that is right contradicts each fix. So the fixes of a drive
are compared with odometry as it was a little earlier, by a number of delays, each with the scales of way and turn that
fit best: a delay shows where the robot goes faster or slower, a scale shows everywhere.
"""

from __future__ import annotations

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.gate import chi_square_quantile, systematic_covariance
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel, motion_between
from hfnet_ros.tracking.odometry import Odometry

_STEP_S, _MOST_STEPS = 0.05, 12
_WAY_M, _WAY_RAD, _LONGEST_NS = 0.3, 0.25, 5_000_000_000
_NUM_WAYS = 100  # that are remembered, fading
_NOT_DRIVEN = 100.0  # squared Mahalanobis distance after a way that the robot was carried, or of a wrong fix
_SURE = 1.0 - 1e-7  # by each way there is another chance to be wrong


class ImageDelay:
    """Finds by how much the images of a camera are stamped too late, and takes it into account.

    Attributes:
        delay_s: 0 where none is known.
    """

    def __init__(self, config: Config) -> None:
        """Start with nothing seen."""
        self._motion = MotionModel(config.odometry)
        self._systematic = systematic_covariance(config.gate)
        self._beyond_chance = chi_square_quantile(_SURE, 1)
        self.delay_s = 0.0
        self._begun: BasePose | None = None
        # By delay, of scales of way and turn that may be off by all: normal equations, and squares without them.
        self._normal = np.tile(np.eye(2), (_MOST_STEPS + 1, 1, 1))
        self._weighted = np.zeros((_MOST_STEPS + 1, 2))
        self._squares = np.zeros(_MOST_STEPS + 1)
        self._num_ways = 0.0

    def restart(self) -> None:
        """Begin a way at the next fix: none was driven to it."""
        self._begun = None

    @property
    def text(self) -> str:
        """Return it in a sentence; nothing where there is none."""
        if not self.delay_s:
            return ""
        return (
            f"by odometry images are stamped {self.delay_s:.2f} s too late, which is allowed for; let the driver stamp "
            "them when they are exposed"
        )

    def corrected(self, fix: BasePose, odometry: Odometry) -> BasePose:
        """Return where the robot was at the stamp, by a fix of when the image was taken."""
        taken_ns = fix.moment.stamp_ns - round(1e9 * self.delay_s)
        taken = odometry.sample_at(taken_ns) if self.delay_s else None
        if taken is None:
            return fix
        moment = Moment(taken_ns, taken)
        carried = self._motion.carry(BasePose(moment, fix.map_from_base, fix.covariance), fix.moment)
        return BasePose(fix.moment, carried.map_from_base, carried.covariance, fix.common)

    def note(self, fix: BasePose, odometry: Odometry) -> None:
        """Compare a fix with one before, by odometry."""
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
        start, end = before[0].map_from_base, now[0]
        # One for all delays, by which they are compared.
        information = np.linalg.inv(carried[0].covariance + end.covariance + self._systematic)
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
        if left[best] > 6.0 * self._num_ways or left[0] - left[best] <= self._beyond_chance:
            return
        lower, middle, upper = left[max(best - 1, 0)], left[best], left[min(best + 1, _MOST_STEPS)]
        bend = lower - 2.0 * middle + upper
        shift = 0.5 * (lower - upper) / bend if 0 < best < _MOST_STEPS and bend > 0.0 else 0.0
        self.delay_s = _STEP_S * (best + float(shift))


def _delayed(fix: BasePose, odometry: Odometry) -> list[BasePose]:
    """Return a fix as one of each delay before its stamp; nothing where odometry does not reach as far."""
    stamps_ns = [fix.moment.stamp_ns - round(1e9 * _STEP_S * step) for step in range(_MOST_STEPS + 1)]
    samples = [odometry.sample_at(stamp_ns) for stamp_ns in stamps_ns]
    found = [
        BasePose(Moment(sample.stamp_ns, sample), fix.map_from_base, fix.covariance)
        for sample in samples
        if sample is not None
    ]
    return found if len(found) == len(stamps_ns) else []
