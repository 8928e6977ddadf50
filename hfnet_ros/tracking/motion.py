"""Carry poses of the robot through time: by odometry where there is some, else by what it can do at most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import OdometryConfig
from hfnet_ros.geometry.covariance import change_child_covariance, largest_sigmas, symmetrize
from hfnet_ros.geometry.rigid3 import Rigid3, skew
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.tracking.path import Path
from hfnet_ros.types import PoseEstimate

FloatArray = NDArray[np.float64]

# A robot may use its largest speed for long, but seldom does: the limit is two standard deviations.
_SIGMAS_OF_LIMIT = 2.0
_SIGMAS_OF_POSE = 3.0  # that two poses may be wrong by where a limit is tested


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A time and the odometry that goes with it.

    Attributes:
        odometry: at `stamp_ns`, or before if none is newer; None without odometry.
    """

    stamp_ns: int
    odometry: OdometrySample | None

    @property
    def is_measured(self) -> bool:
        """Tell whether odometry is of exactly this time."""
        return self.odometry is not None and self.odometry.stamp_ns == self.stamp_ns


@dataclass(frozen=True, slots=True, eq=False)
class BasePose:
    """The robot's pose at a moment.

    Attributes:
        covariance: [6, 6] x y z rx ry rz, axes of the map.
        common: [6, 6] part of it that fixes in this part of the map have in common; None where nothing is known of it.
    """

    moment: Moment
    map_from_base: Rigid3
    covariance: FloatArray
    common: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """How the robot moved from one moment to another.

    Attributes:
        earlier_from_later: base to base.
        path: by odometry, axes of the earlier base; None without.
        unmeasured_s: time that no odometry covers.
    """

    earlier_from_later: Rigid3
    path: Path | None
    unmeasured_s: float

    @property
    def distance_m(self) -> float | None:
        """Return the length of the path by odometry; None without."""
        return None if self.path is None else self.path.distance_m

    @property
    def turn_rad(self) -> float | None:
        """Return the sum of its turns, likewise."""
        return None if self.path is None else self.path.turn_rad


@dataclass(frozen=True, slots=True)
class Excess:
    """By how much odometry is off beyond its noise: always alike, so that it grows with the way and not its root.

    Attributes:
        per_metre: standard deviation of position, m per m of path.
        turn_per_path: standard deviation of orientation, rad per metre and per radian of path.
        unseen: part of all time that counts as not covered by odometry, which does not see how the robot moves.
    """

    per_metre: float = 0.0
    turn_per_path: float = 0.0
    unseen: float = 0.0

    @property
    def text(self) -> str:
        """Return it in a sentence; nothing where there is none."""
        turn_deg = np.rad2deg(self.turn_per_path)
        parts = []
        if self.per_metre or self.turn_per_path:
            parts.append(
                f"off by {self.per_metre:.0%} of the way, {turn_deg:.1f} deg per metre and per radian"
            )
        if self.unseen:
            parts.append("blind to how the robot moves")
        off = " and ".join(parts)
        return (
            f"by the fixes of the last drive odometry is {off}: it is trusted that much less" if off else ""
        )

    @classmethod
    def worst(cls, found: Iterable[Excess]) -> Excess:
        """Return the largest of each; nothing of none."""
        each = [cls(), *found]
        return cls(
            max(one.per_metre for one in each),
            max(one.turn_per_path for one in each),
            max(one.unseen for one in each),
        )


def motion_between(earlier: Moment, later: Moment) -> Motion:
    """Return the motion by odometry, back in time too; what it does not cover is a motion by an unknown amount."""
    start, end = earlier.odometry, later.odometry
    if start is None or end is None or start.run != end.run:
        unmeasured_ns = abs(later.stamp_ns - earlier.stamp_ns)
        return Motion(Rigid3.identity(), None, 1e-9 * unmeasured_ns)
    step = end.odom_from_base.translation - start.odom_from_base.translation
    if end.stamp_ns >= start.stamp_ns:
        path = end.path.since(start.path, step)
    else:
        path = start.path.since(end.path, -step).seen_from(step)
    unmeasured_ns = abs(later.stamp_ns - end.stamp_ns) + abs(earlier.stamp_ns - start.stamp_ns)
    return Motion(
        start.odom_from_base.inverse() @ end.odom_from_base,
        path.turned(start.odom_from_base.rotation.T),
        1e-9 * unmeasured_ns,
    )


class MotionModel:
    """How uncertainty grows on the way.

    Attributes:
        excess: by how much odometry has been seen to be off; may be set at any time.
        speed_sigma: standard deviation of speed where there is no odometry, m/s.
        turn_sigma: likewise of turning, rad/s.
    """

    def __init__(self, config: OdometryConfig) -> None:
        """Take odometry's noise and the robot's limits."""
        self._translation_variance = config.translation_sigma_m**2  # per metre
        self._rotation_variance = np.deg2rad(config.rotation_sigma_deg) ** 2  # per metre and per radian
        self.speed_sigma = config.max_speed_m_s / _SIGMAS_OF_LIMIT
        self.turn_sigma = np.deg2rad(config.max_turn_deg_s) / _SIGMAS_OF_LIMIT
        self.excess = Excess()

    def carry(self, pose: BasePose, moment: Moment) -> BasePose:
        """Return the pose at another moment, with what is lost on the way added to its covariance.

        An error of orientation swings the origin around: tau' = tau + phi x R d. Orientation noise
        that gathers along the way, with variance r dw at a point l before its end, moves the end by that lever:
        r times the integral of [l]x [l]x^T dw in position, -[l]x dw between the two (`Path`). Taking one large
        step thus gives what many small ones give, around a loop as well. Where there is no odometry, the
        standard deviation grows with time (and not its root): a robot that drives away goes on. So it is with
        odometry that is off by more than its noise, by time and by the way (`Excess`).
        """
        motion, excess = motion_between(pose.moment, moment), self.excess
        unmeasured_s = motion.unmeasured_s + excess.unseen * 1e-9 * abs(
            moment.stamp_ns - pose.moment.stamp_ns
        )
        step = motion.earlier_from_later.translation
        covariance = change_child_covariance(pose.covariance, pose.map_from_base, step)
        position = (self.speed_sigma * unmeasured_s) ** 2
        orientation = (self.turn_sigma * unmeasured_s) ** 2
        if motion.path is not None:
            path = motion.path.turned(pose.map_from_base.rotation)
            position += (
                self._translation_variance * path.distance_m + (excess.per_metre * path.distance_m) ** 2
            )
            # One for the whole path: what it moves the end by is their product.
            bias = excess.turn_per_path**2
            orientation += self._rotation_variance * path.weight + bias * path.weight**2
            swings = np.trace(path.squares) * np.eye(3) - path.squares  # [l]x [l]x^T
            lever = skew(path.levers)
            crossed = (self._rotation_variance + bias * path.weight) * lever
            covariance[:3, :3] += self._rotation_variance * swings + bias * lever @ lever.T
            covariance[:3, 3:] -= crossed
            covariance[3:, :3] -= crossed.T
        covariance[:3, :3] += position * np.eye(3)
        covariance[3:, 3:] += orientation * np.eye(3)
        return BasePose(moment, pose.map_from_base @ motion.earlier_from_later, symmetrize(covariance))

    def reaches(self, earlier: BasePose, later: BasePose) -> bool:
        """Tell whether the speed limits allow a way from one pose to the other, whatever odometry says."""
        sigma_m, sigma_rad = largest_sigmas(earlier.covariance + later.covariance)
        seconds = 1e-9 * abs(later.moment.stamp_ns - earlier.moment.stamp_ns)
        way_m = _SIGMAS_OF_LIMIT * self.speed_sigma * seconds + _SIGMAS_OF_POSE * sigma_m
        turn_rad = _SIGMAS_OF_LIMIT * self.turn_sigma * seconds + _SIGMAS_OF_POSE * sigma_rad
        start, end = earlier.map_from_base, later.map_from_base
        return bool(start.translation_to(end) <= way_m and start.rotation_to(end) <= turn_rad)


def base_pose(moment: Moment, estimate: PoseEstimate, base_from_camera: Rigid3) -> BasePose:
    """Return a camera's pose as one of the robot it is mounted on."""
    camera_from_base = base_from_camera.inverse()
    map_from_camera, lever = estimate.map_from_camera, camera_from_base.translation
    common = estimate.common
    return BasePose(
        moment,
        map_from_camera @ camera_from_base,
        change_child_covariance(estimate.covariance, map_from_camera, lever),
        None if common is None else change_child_covariance(common, map_from_camera, lever),
    )
