"""A camera that is turned by a few degrees against its mounting, seen by odometry."""

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.mounting_check import BODY_FROM_OPTICAL
from hfnet_ros.tracking.mounting_turn import MountingTurn
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.tracking.path import Path

MOUNTED = Rigid3(BODY_FROM_OPTICAL, np.array([0.3, 0.05, 0.6]))


def drive(
    turn_deg=(0.0, 0.0, 0.0),
    *,
    seed=0,
    steps=150,
    shift=(0.0, 0.0, 0.0),
    late=0,
    scales=(1.0, 1.0),
    drift=0.0,
):
    """Return what is said after a drive in curves at 5 Hz, with fixes off by 2 cm and half a degree.

    The mounting is said to be turned about the robot's axes, and shifted; odometry has its scales of way and turn, and
    drifts in heading (rad/m); images are late by some steps.
    """
    rng, watch = np.random.default_rng(seed), MountingTurn()
    turned = Rigid3.from_rotvec(np.deg2rad(turn_deg), np.zeros(3)).rotation
    said = Rigid3(turned @ MOUNTED.rotation, MOUNTED.translation + shift)
    truth, odom, way_m, text = (
        [Rigid3.identity()],
        Rigid3.from_rotvec([0.0, 0.0, 1.0], [5.0, 2.0, 0.0]),
        0.0,
        "",
    )
    for step in range(steps):
        if step % 10 == 0:
            speed, rate = rng.uniform(0.2, 0.8), rng.uniform(-0.6, 0.6)
        way, turn = 0.2 * speed, 0.2 * rate
        truth.append(truth[-1] @ Rigid3.from_rotvec([0.0, 0.0, turn], [way, 0.0, 0.0]))
        told = way * scales[0] * (1.0 + rng.normal(0.0, 0.02))
        odom @= Rigid3.from_rotvec([0.0, 0.0, turn * scales[1] + drift * way], [told, 0.0, 0.0])
        way_m += told
        error = Rigid3.from_rotvec(rng.normal(0.0, 0.008, 3), rng.normal(0.0, 0.02, 3))
        map_from_camera = truth[max(0, step + 1 - late)] @ MOUNTED @ error
        text = watch.note(OdometrySample(step + 1, odom, 1, Path(way_m)), map_from_camera, said)
    return text


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"shift": (0.1, 0.05, 0.0)},
        {"late": 1},
        {"scales": (0.9, 1.0)},
        {"scales": (1.0, 0.8)},
        {"drift": 0.05},
        {"turn_deg": (0.5, 0.5, 0.5)},
    ],
)
def test_what_is_no_turn_of_the_camera_is_not_taken_for_one(fault):
    for seed in range(3):
        assert drive(seed=seed, **fault) == ""


@pytest.mark.parametrize(("axis", "turned"), [(0, 6.0), (1, -6.0), (2, 6.0)])
def test_a_turn_is_told_with_its_axis(axis, turned):
    text = drive(np.eye(3)[axis] * turned)
    numbers = text.split("turned by ")[1].split(" deg")[0].split(", ")
    found = [float(number.split()[1]) for number in numbers]
    assert found == pytest.approx(-turned * np.eye(3)[axis], abs=1.0)


def test_a_short_drive_proves_nothing():
    assert drive((0.0, 0.0, 6.0), steps=40) == ""


def test_another_run_of_odometry_begins_another_way():
    watch = MountingTurn()
    for number in range(40):
        sample = OdometrySample(
            number + 1, Rigid3.from_rotvec([0, 0, 0], [0.6 * number, 0, 0]), number, Path(0.6 * number)
        )
        assert watch.note(sample, Rigid3.from_rotvec([0, 0, 0], [0, 0.6 * number, 0]), MOUNTED) == ""


def test_a_camera_that_a_joint_turns_meanwhile_is_where_the_joint_says():
    watch = MountingTurn()
    for number in range(60):
        base = Rigid3.from_rotvec([0.0, 0.0, 0.1 * number], [0.3 * number, 0.0, 0.0])
        panned = Rigid3.from_rotvec([0.0, 0.0, 0.5 * np.sin(number)], np.zeros(3)) @ MOUNTED
        assert (
            watch.note(OdometrySample(number + 1, base, 1, Path(0.3 * number)), base @ panned, panned) == ""
        )
