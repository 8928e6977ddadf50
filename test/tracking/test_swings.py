"""Two nodes that send odometry on one topic."""

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.swings import Swings


def at(seconds, y=0.0, yaw_deg=0.0, speed=1.0):
    return Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(yaw_deg)], [speed * seconds, y, 0.0])


def swings_of(stamped):
    swings = Swings()
    for seconds, pose in stamped:
        swings.take(round(seconds * 1e9), pose)
    return swings.size


@pytest.mark.parametrize("rate_hz", [30, 50, 100])
@pytest.mark.parametrize("late_s", [0.0, 0.03])
@pytest.mark.parametrize(("y", "yaw_deg"), [(0.1, 0.0), (2.0, 0.0), (0.0, 10.0)])
def test_two_senders_are_told_apart_from_one(rate_hz, late_s, y, yaw_deg):
    one = [(time_s, time_s, at(time_s)) for time_s in np.arange(0.0, 2.0, 0.02)]
    other = [(s + 0.007 + late_s, s + 0.007, at(s, y, yaw_deg)) for s in np.arange(0.0, 2.0, 1 / rate_hz)]
    assert swings_of([entry[1:] for entry in one]) == ""
    both = sorted(one + other, key=lambda entry: entry[0])
    size = swings_of([entry[1:] for entry in both])
    assert f"{y:.2f} m" in size or y < 0.5, size
    assert f"and {yaw_deg:.0f} deg" in size, size


def test_they_are_told_no_longer_than_there_are_two():
    both = [(0.01 * count, at(0.01 * count, 0.1 * (count % 2))) for count in range(100)]
    assert swings_of(both)
    assert swings_of([*both, *((1.0 + s, at(1.0 + s)) for s in np.arange(0.0, 3.0, 0.02))]) == ""


@pytest.mark.parametrize("speed", [0.0, 0.3, 3.0])
def test_one_sender_that_is_noisy_turns_and_shakes_is_one(speed):
    noise = np.random.default_rng(0).normal(0.0, 0.02, 500)
    times = 0.02 * np.arange(500)
    assert swings_of([(s, at(s, y, speed=speed)) for s, y in zip(times, noise, strict=True)]) == ""
    shaken = [(s, at(s, 0.05 * np.sin(12.0 * s), 20.0 * np.sin(8.0 * s), speed)) for s in times]
    assert swings_of(shaken) == ""
