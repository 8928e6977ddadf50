"""By how much cameras sit askew, by what views of one time say."""

import numpy as np
import pytest

from hfnet_ros.geometry import Rigid3
from hfnet_ros.tracking.view_mountings import ViewMountings
from hfnet_ros.types import ViewOffset

CENTRES = {"front": np.array([0.2, 0.0, 0.5]), "left": np.array([0.0, 0.3, 0.4])}
THREE = CENTRES | {"right": np.array([-0.1, -0.3, 0.4])}
COVARIANCE = np.diag(np.square([0.004] * 3 + [0.001] * 3))
# What such an offset scatters by in these tests: more than its matches tell, as images do.
SIGMAS = np.array([0.0128] * 3 + [np.deg2rad(0.23)] * 3)
DRIVING, SPEEDS = np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.4]), (0.0, 1.0, -1.0, 2.0)


def rig_moved_by(centre, turn, shift):
    """Return [6] where the rig seems to be by a camera that is turned and shifted, [3] each, against what is said."""
    said = Rigid3(np.eye(3), centre)
    real = Rigid3.from_rotvec(turn, centre + shift)
    seems = real @ said.inverse()
    return np.concatenate([seems.translation, seems.rotvec])


def fill(mountings, rng, faults, centres=THREE, num=40):
    """Add answers along a way in which all cameras take part; `faults` are [6] by name."""
    for step in range(num):
        twist = SPEEDS[step % 4] * DRIVING
        offsets = {
            name: ViewOffset(faults.get(name, np.zeros(6)) + SIGMAS * rng.standard_normal(6), COVARIANCE)
            for name in centres
        }
        mountings.add(Rigid3(np.eye(3), np.array([0.6 * step, 0.0, 0.0])), twist, offsets, centres)
    return mountings


@pytest.mark.parametrize(
    ("turn_deg", "shift_m"), [([0.0, 0.0, 2.0], [0.0, 0.0, 0.0]), ([0.0, 0.0, 0.0], [0.0, 0.1, 0.0])]
)
def test_the_camera_that_is_off_is_named_with_its_numbers(turn_deg, shift_m):
    fault = rig_moved_by(THREE["left"], np.deg2rad(turn_deg), np.array(shift_m))
    mountings = fill(ViewMountings(), np.random.default_rng(1), {"left": fault})
    found = mountings.of("left")
    assert found.is_askew
    assert found.others == ()
    off = (found.vector[:6] - [*np.deg2rad(turn_deg), *shift_m]) / found.sigmas[:6]
    assert np.abs(off).max() < 4.0
    assert found.sigmas[2] < np.deg2rad(0.3)
    assert not mountings.of("front").is_askew
    assert not mountings.of("right").is_askew


def test_a_delay_is_told_from_a_shift_where_speeds_differ():
    mountings, rng = ViewMountings(), np.random.default_rng(2)
    for step in range(40):
        twist = SPEEDS[step % 4] * DRIVING
        late = {"left": -0.1 * twist}
        offsets = {
            name: ViewOffset(late.get(name, np.zeros(6)) + SIGMAS * rng.standard_normal(6), COVARIANCE)
            for name in THREE
        }
        mountings.add(Rigid3(np.eye(3), np.array([0.6 * step, 0.0, 0.0])), twist, offsets, THREE)
    found = mountings.of("left")
    assert found.is_askew
    assert found.vector[6] == pytest.approx(0.1, abs=0.02)
    assert np.abs(found.vector[3:6]).max() < 0.03


def test_of_two_cameras_nobody_knows_which_is_off():
    fault = rig_moved_by(CENTRES["left"], np.deg2rad([0.0, 3.0, 0.0]), np.zeros(3))
    mountings = fill(ViewMountings(), np.random.default_rng(3), {"left": fault}, centres=CENTRES)
    assert mountings.of("left").others == ("front",)
    assert mountings.of("front").others == ("left",)
    assert "or front is" in mountings.of("left").text


def test_two_that_are_off_are_both_found():
    faults = {
        "left": rig_moved_by(THREE["left"], np.deg2rad([0.0, 0.0, 4.0]), np.zeros(3)),
        "right": rig_moved_by(THREE["right"], np.zeros(3), np.array([0.2, 0.0, 0.0])),
    }
    centres = THREE | {"back": np.array([-0.3, 0.0, 0.5])}
    mountings = fill(ViewMountings(), np.random.default_rng(4), faults, centres=centres)
    assert [name for name in centres if mountings.of(name).is_askew] == ["left", "right"]


@pytest.mark.slow
def test_healthy_rigs_are_not_accused():
    """A squared distance of seven numbers is 7 in the mean; less here, as some of what scatters counts as outlying."""
    surprises = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        small = rig_moved_by(
            THREE["left"], np.deg2rad(0.2) * rng.standard_normal(3), 0.007 * rng.standard_normal(3)
        )
        mountings = fill(ViewMountings(), rng, {"left": small}, num=30)
        surprises.append(mountings.of("left").surprise)
    assert 4.0 < np.mean(surprises) < 8.0
    assert np.mean(np.array(surprises) > 18.5) <= 0.03  # a hundredth is expected


def test_one_place_says_a_thing_once_and_a_few_say_nothing():
    mountings, rng = ViewMountings(), np.random.default_rng(5)
    fault = {"left": rig_moved_by(THREE["left"], np.deg2rad([0.0, 0.0, 5.0]), np.zeros(3))}
    assert fill(mountings, rng, fault, num=3).of("left") is None
    for _ in range(50):
        offsets = {name: ViewOffset(fault.get(name, np.zeros(6)), COVARIANCE) for name in THREE}
        mountings.add(Rigid3(np.eye(3), np.array([1.3, 0.0, 0.0])), DRIVING, offsets, THREE)
    assert mountings.of("left") is None, "it stands where it spoke last"
    assert fill(mountings, rng, fault, num=4).of("left").is_askew


def test_an_outlier_accuses_nobody():
    mountings, rng = ViewMountings(), np.random.default_rng(6)
    wrong = {"left": np.array([0.5, 0.3, 0.0, 0.0, 0.2, 0.1])}
    fill(mountings, rng, {}, num=8)
    fill(mountings, rng, wrong, num=1)
    assert not any(mountings.of(name).is_askew for name in THREE)


def test_who_sees_alone_says_nothing_of_others():
    mountings = ViewMountings()
    mountings.add(Rigid3.identity(), DRIVING, {"left": ViewOffset(np.zeros(6), COVARIANCE)}, THREE)
    assert mountings.of("left") is None
