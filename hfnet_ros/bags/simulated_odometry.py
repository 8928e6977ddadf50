"""Odometry as wheels would have measured it on a known trajectory: it drifts, and never jumps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import DatasetError
from hfnet_ros.geometry.rigid3 import Rigid3, interpolate

_NS_PER_S = 1e9
# Nothing is known totally, and robot_localization takes less than 1e-9 for that.
_MIN_VARIANCE = 1e-8


@dataclass(frozen=True, slots=True)
class OdometryNoise:
    """How simulated odometry is made.

    Attributes:
        translation_sigma_m: standard deviation of each axis of position, gathered over one metre;
            grows with the root of the distance.
        rotation_sigma_deg: of each axis of orientation, over one metre and again over one radian.
        rate_hz: samples per second at the least; there is one at every pose, too.
        max_gap_s: between poses further apart there are no samples.
        seed: of the noise.
        unaware_at: numbers of poses to which the robot was carried (it was kidnapped, or another
            recording begins): odometry stands still on the way from the pose before.
    """

    translation_sigma_m: float = 0.05
    rotation_sigma_deg: float = 1.0
    rate_hz: float = 20.0
    max_gap_s: float = 2.0
    seed: int = 0
    unaware_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedOdometry:
    """One sample.

    Attributes:
        odom_from_base: the first one is the identity.
        variances: [6] x y z rx ry rz of what noise gathered so far, m² and rad².
        velocity: [6] linear m/s and angular rad/s, axes of the robot.
        velocity_variances: [6] of these.
    """

    stamp_ns: int
    odom_from_base: Rigid3
    variances: NDArray[np.float64]
    velocity: NDArray[np.float64]
    velocity_variances: NDArray[np.float64]


def simulate_odometry(
    stamps_ns: Sequence[int], map_from_base: Sequence[Rigid3], noise: OdometryNoise
) -> list[SimulatedOdometry]:
    """Return odometry along a trajectory; the same seed gives the same drift.

    Raises:
        DatasetError: a number of `unaware_at` is not that of a pose after the first.
    """
    wrong = [index for index in noise.unaware_at if not 0 < index < len(map_from_base)]
    if wrong:
        raise DatasetError(
            f"the robot cannot be carried to pose {wrong[0]}, expected 1 to {len(map_from_base) - 1}"
        )
    rng = np.random.default_rng(noise.seed)
    still = np.full(6, _MIN_VARIANCE)
    samples = [SimulatedOdometry(stamps_ns[0], Rigid3.identity(), still, np.zeros(6), still)]
    for index in range(1, len(map_from_base)):
        before, after = map_from_base[index - 1], map_from_base[index]
        if index in noise.unaware_at:
            after = before
        seconds = (stamps_ns[index] - stamps_ns[index - 1]) / _NS_PER_S
        num_steps = max(1, math.ceil(seconds * noise.rate_hz)) if seconds <= noise.max_gap_s else 1
        former = before
        for step in range(1, num_steps + 1):
            current = interpolate(before, after, step / num_steps) if step < num_steps else after
            stamp_ns = stamps_ns[index - 1] + (stamps_ns[index] - stamps_ns[index - 1]) * step // num_steps
            samples.append(_moved(samples[-1], former.inverse() @ current, stamp_ns, noise, rng))
            former = current
    return samples


def _moved(
    last: SimulatedOdometry, step: Rigid3, stamp_ns: int, noise: OdometryNoise, rng: np.random.Generator
) -> SimulatedOdometry:
    """Return the next sample after a true step `former_from_current`."""
    distance, turn = float(np.linalg.norm(step.translation)), step.rotation_to(Rigid3.identity())
    sigma_m = noise.translation_sigma_m * math.sqrt(distance)
    sigma_rad = math.radians(noise.rotation_sigma_deg) * math.sqrt(distance + turn)
    drawn = rng.standard_normal(6)
    measured = step @ Rigid3.from_rotvec(sigma_rad * drawn[3:], sigma_m * drawn[:3])
    gathered = np.repeat([sigma_m**2, sigma_rad**2], 3)
    seconds = (stamp_ns - last.stamp_ns) / _NS_PER_S
    velocity = np.concatenate([measured.translation, measured.rotvec]) / seconds
    return SimulatedOdometry(
        stamp_ns,
        last.odom_from_base @ measured,
        last.variances + gathered,
        velocity,
        np.maximum(gathered / seconds**2, _MIN_VARIANCE),
    )
