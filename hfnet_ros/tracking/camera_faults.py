"""By how much a camera may be turned in its mounting, or late, for all that is known.

Two statements about where the robot is, of different cameras or of one at different times, are compared by odometry.
That they agree proves as much as they would differ by if a camera were at fault: of a robot that stands, nothing about
its clock. What is known gathers in a least squares problem of four numbers: a turn about each axis of the robot, and a
delay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import pose_difference, skew
from hfnet_ros.tracking.gate import chi_square_quantile, systematic_covariance
from hfnet_ros.tracking.motion import BasePose, MotionModel, motion_between
from hfnet_ros.tracking.odometry import OdometrySample

FloatArray = NDArray[np.float64]

# What a pose that is wrong is off by (docs/notes/trust.md): a camera is believed if its faults cannot make one.
_WRONG_M, _WRONG_RAD = 0.5, np.deg2rad(10.0)
# Nothing is known of a camera: it may be turned any way, and as late as this.
_MOST_TURNED_RAD, _MOST_LATE_S = np.pi, 1.0
# Views of one time agree by what they explain; a pose that a late camera pulled at was seen to be off by as much and
# still to be agreed with (generated apartment 24). That is a bound: many agreements do not make it narrower.
_GROUP_M, _GROUP_RAD = 0.4, np.deg2rad(6.0)
# A single difference may be of a pose that is worse than its covariance says: it proves no fault, however large.
_MIN_COMPARISONS = 3
_REMEMBERED_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """Where cameras of one time say that the robot is.

    Attributes:
        cameras: that see the map and agree.
        pose: of the robot, with its covariance.
        twist: [6] its velocity then, m/s and rad/s, in its own axes; zero where nobody knows.
    """

    cameras: frozenset[str]
    pose: BasePose
    twist: FloatArray

    @property
    def faults(self) -> FloatArray:
        """Return [6, 4] what the pose is off by, in map axes, by a turn about each axis of the robot and by a delay."""
        return faults_of(self.twist, self.pose.map_from_base.rotation)


def faults_of(twist: FloatArray, rotation: FloatArray) -> FloatArray:
    """Return `Statement.faults` of a robot of a velocity [6] and orientation [3, 3]."""
    found = np.zeros((6, 4))
    found[3:, :3] = rotation
    found[:3, 3], found[3:, 3] = -rotation @ twist[:3], -rotation @ twist[3:]
    return found


def twist_of(earlier: OdometrySample | None, later: OdometrySample | None) -> FloatArray:
    """Return the velocity [6] between two poses of odometry, in axes of the robot; zero where one is missing."""
    if earlier is None or later is None or earlier.run != later.run or later.stamp_ns <= earlier.stamp_ns:
        return np.zeros(6)
    moved = earlier.odom_from_base.inverse() @ later.odom_from_base
    seconds = 1e-9 * (later.stamp_ns - earlier.stamp_ns)
    return np.concatenate([moved.translation, moved.rotvec]) / seconds


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """What two statements differ by.

    Attributes:
        vector: [6] the later one minus the earlier one, carried on by odometry; map axes.
        information: [6, 6] inverse covariance.
        fits: it may be chance.
    """

    vector: FloatArray
    information: FloatArray
    fits: bool


class KnownFaults:
    """What is known of the faults of one camera: least squares over all comparisons, forgotten slowly.

    That two statements agree says more of a camera than that its faults are small: it would be chance if they did not
    vanish. So the other statement counts as right where they agree, and whoever contradicts is told by `CameraTrust`.
    """

    def __init__(self, quantile: float) -> None:
        """Know nothing; `quantile` is the squared Mahalanobis distance beyond which a difference is not chance."""
        self._quantile = quantile
        self._nothing = np.diag(quantile / np.square([_MOST_TURNED_RAD] * 3 + [_MOST_LATE_S]))
        self._information = np.zeros((4, 4))
        self._weighted = np.zeros(4)
        self._agreed = np.zeros((4, 4))
        self._num_compared = 0
        self._largest = 0.0  # squared Mahalanobis distance of a single comparison
        self._stamp_ns = 0

    def add(self, stamp_ns: int, faults: FloatArray, difference: FloatArray, information: FloatArray) -> None:
        """Take a comparison.

        Args:
            stamp_ns: when.
            faults: [6, 4] difference that the faults of this camera make.
            difference: [6] seen.
            information: [6, 6] inverse covariance of what it is without any.
        """
        self._fade(stamp_ns)
        self._information += faults.T @ information @ faults
        self._weighted += faults.T @ information @ difference
        self._num_compared += 1
        self._largest = max(self._largest, float(difference @ information @ difference))

    def add_group(self, statement: Statement) -> None:
        """Take note that the camera agrees with others of its time."""
        self._fade(statement.pose.moment.stamp_ns)
        bounds = np.array([_GROUP_M] * 3 + [_GROUP_RAD] * 3)
        faults = faults_of(statement.twist, np.eye(3))
        agreed = faults.T @ np.diag(self._quantile / np.square(bounds)) @ faults
        if np.trace(agreed) >= np.trace(self._agreed):
            self._agreed = agreed

    def forget(self) -> None:
        """Know nothing again."""
        self._information[:] = self._agreed[:] = 0.0
        self._weighted[:] = 0.0
        self._num_compared, self._largest = 0, 0.0

    def bound_at(self, stamp_ns: int, twist: FloatArray) -> tuple[float, float]:
        """Return by how much, m and rad, a pose that the camera tells alone may be off by its faults.

        Args:
            stamp_ns: when.
            twist: [6] velocity of the robot then.
        """
        self._fade(stamp_ns)
        covariance = self._covariance
        likely = covariance @ self._weighted
        faults = faults_of(twist, np.eye(3))
        off = faults @ (self._quantile * covariance + np.outer(likely, likely)) @ faults.T
        worst_m, worst_rad = (
            float(np.sqrt(np.linalg.eigvalsh(off[block, block])[-1])) for block in (slice(0, 3), slice(3, 6))
        )
        return worst_m, worst_rad

    @property
    def _covariance(self) -> FloatArray:
        return np.asarray(np.linalg.inv(self._information + self._agreed + self._nothing), np.float64)

    @property
    def found(self) -> str:
        """Return what fault the comparisons tell of, with standard deviations, in words; empty if it may be chance."""
        covariance = self._covariance
        likely = covariance @ self._weighted
        # One counts for half of what it takes at the most.
        told = likely @ self._weighted - max(self._largest - 0.5 * self._quantile, 0.0)
        if self._num_compared < _MIN_COMPARISONS or told <= self._quantile:
            return ""
        sigmas = np.sqrt(np.diag(covariance))
        axes = ", ".join(
            f"{axis} {np.rad2deg(turn):.1f} +- {np.rad2deg(sigma):.1f} deg"
            for axis, turn, sigma in zip("xyz", likely[:3], sigmas[:3], strict=True)
        )
        return f"turned by {axes} in axes of the robot, {likely[3]:.2f} +- {sigmas[3]:.2f} s late"

    def vouch_at(self, stamp_ns: int, twist: FloatArray) -> bool:
        """Tell whether a pose that the camera tells alone cannot be wrong by its faults."""
        worst_m, worst_rad = self.bound_at(stamp_ns, twist)
        return worst_m < _WRONG_M and worst_rad < _WRONG_RAD and not self.found

    def _fade(self, stamp_ns: int) -> None:
        """Forget slowly: a camera may be knocked at any time."""
        kept = np.exp(-1e-9 * max(stamp_ns - self._stamp_ns, 0) / _REMEMBERED_S)
        self._information *= kept
        self._weighted *= kept
        self._agreed *= kept
        self._largest *= kept
        self._stamp_ns = max(stamp_ns, self._stamp_ns)


class StatementComparison:
    """Compares statements of different times by odometry.

    Attributes:
        motion: of the robot; odometry that is known to be off accuses no camera.
    """

    def __init__(self, config: Config) -> None:
        """Take noise and limits of the robot's motion, and the quantile of chance."""
        self.motion = MotionModel(config.odometry)
        self._systematic = systematic_covariance(config.gate)
        self._probability = config.gate.probability

    def nothing_known(self) -> KnownFaults:
        """Return what is known of a camera at first."""
        return KnownFaults(chi_square_quantile(self._probability, 4))

    def compare(self, earlier: Statement, later: Statement) -> Difference:
        """Return what two statements differ by."""
        carried = self.motion.carry(earlier.pose, later.pose.moment)
        spread = carried.covariance + later.pose.covariance + self._systematic
        difference = pose_difference(carried.map_from_base, later.pose.map_from_base)
        information = np.asarray(np.linalg.inv(spread), np.float64)
        fits = difference @ information @ difference <= chi_square_quantile(self._probability, 6)
        return Difference(difference, information, bool(fits))


def difference_by_faults(camera: str, earlier: Statement, later: Statement) -> FloatArray:
    """Return [6, 4] how much two statements differ by faults of a camera that one or both of them are of alone."""
    found = np.zeros((6, 4))
    if later.cameras == {camera}:
        found += later.faults
    if earlier.cameras == {camera}:
        found -= _carry(earlier, later) @ earlier.faults
    return found


def _carry(earlier: Statement, later: Statement) -> FloatArray:
    """Return [6, 6] what becomes of an error of the earlier pose when odometry carries it on."""
    motion = motion_between(earlier.pose.moment, later.pose.moment)
    carried = np.eye(6)
    carried[:3, 3:] = -skew(earlier.pose.map_from_base.rotation @ motion.earlier_from_later.translation)
    return carried
