"""Poses carried along by odometry, with what they lose."""

import numpy as np
import pytest
from scipy.stats import chi2

from hfnet_ros.config import OdometryConfig
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel, motion_between
from hfnet_ros.tracking.odometry import OdometrySample

S = 1_000_000_000
SMALL = 1e-12 * np.eye(6)


def moment(seconds, odom_from_base=None, before=None, run=0, age_s=0.0):
    """A moment of odometry that begins there, or goes on straight from a moment before."""
    if odom_from_base is None:
        return Moment(round(seconds * S), None)
    stamp_ns = round((seconds - age_s) * S)
    begun = OdometrySample(stamp_ns, odom_from_base, run) if before is None else before.odometry
    return Moment(round(seconds * S), begun.moved_to(stamp_ns, odom_from_base))


def along_x(metres):
    return Rigid3(np.eye(3), np.array([metres, 0.0, 0.0]))


def test_two_metres_straight_on_by_hand():
    """Position noise 0.1 m per root metre, orientation noise q = 2 (3 deg)^2 gathered over a lever of 2 m."""
    model = MotionModel(OdometryConfig(translation_sigma_m=0.1, rotation_sigma_deg=3.0))
    start = BasePose(moment(0.0, along_x(5.0)), along_x(1.0), SMALL)
    end = model.carry(start, moment(1.0, along_x(7.0), start.moment))
    np.testing.assert_allclose(end.map_from_base.translation, [3.0, 0.0, 0.0])
    q = 2.0 * np.deg2rad(3.0) ** 2
    expected = np.diag([0.02, 0.02 + q * 4.0 / 3.0, 0.02 + q * 4.0 / 3.0, q, q, q])
    # Turned left (rz > 0) along x, one ends up left (y > 0); turned down (ry > 0), one ends up low.
    expected[1, 5] = expected[5, 1] = q
    expected[2, 4] = expected[4, 2] = -q
    np.testing.assert_allclose(end.covariance, expected, atol=1e-10)


def test_an_error_of_orientation_swings_the_position():
    model = MotionModel(OdometryConfig(translation_sigma_m=0.0, rotation_sigma_deg=0.0))
    covariance = np.diag([1e-6] * 3 + [1e-6, 1e-6, 0.01])
    start = BasePose(moment(0.0, along_x(0.0)), along_x(0.0), covariance)
    end = model.carry(start, moment(1.0, along_x(10.0), start.moment))
    assert end.covariance[1, 1] == pytest.approx(100.0 * 0.01, rel=1e-3)
    assert end.covariance[1, 5] == pytest.approx(10.0 * 0.01)


def test_many_small_steps_lose_as_much_as_a_large_one():
    model = MotionModel(OdometryConfig())
    start = BasePose(moment(0.0, along_x(0.0)), Rigid3.from_rotvec([0.2, 0.1, 2.0], np.ones(3)), SMALL)
    steps, count = start, 100
    for index in range(1, count + 1):
        way = 8.0 * index / count
        steps = model.carry(steps, moment(way, along_x(way), steps.moment))
    once = model.carry(start, moment(8.0, along_x(8.0), start.moment))
    np.testing.assert_allclose(steps.covariance, once.covariance, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(steps.map_from_base.matrix, once.map_from_base.matrix, atol=1e-12)
    assert is_valid_covariance(once.covariance)


def test_turning_on_the_spot_loses_orientation():
    model = MotionModel(OdometryConfig(rotation_sigma_deg=2.0))
    turned = Rigid3.from_rotvec([0.0, 0.0, 1.5], np.zeros(3))
    start = BasePose(moment(0.0, along_x(0.0)), along_x(0.0), SMALL)
    end = model.carry(start, moment(1.0, turned, start.moment))
    np.testing.assert_allclose(np.diag(end.covariance)[:3], 0.0, atol=1e-10)
    np.testing.assert_allclose(np.diag(end.covariance)[3:], 1.5 * np.deg2rad(2.0) ** 2, rtol=1e-6)


def test_without_odometry_the_speed_limit_is_two_standard_deviations():
    model = MotionModel(OdometryConfig(max_speed_m_s=2.0, max_turn_deg_s=60.0))
    start = BasePose(moment(10.0), along_x(1.0), SMALL)
    end = model.carry(start, moment(10.5))
    np.testing.assert_allclose(end.map_from_base.matrix, start.map_from_base.matrix)
    sigmas = np.sqrt(np.diag(end.covariance))
    np.testing.assert_allclose(sigmas, [0.5] * 3 + [np.deg2rad(15.0)] * 3, rtol=1e-6)


def test_odometry_that_is_too_old_leaves_the_rest_to_the_speed_limit():
    model = MotionModel(OdometryConfig(translation_sigma_m=0.0, rotation_sigma_deg=0.0, max_speed_m_s=2.0))
    start = BasePose(moment(0.0, along_x(0.0)), along_x(0.0), SMALL)
    end = model.carry(start, moment(3.0, along_x(4.0), start.moment, age_s=0.25))
    np.testing.assert_allclose(end.map_from_base.translation, [4.0, 0.0, 0.0])
    assert np.sqrt(end.covariance[0, 0]) == pytest.approx(0.25, rel=1e-6)


def test_two_runs_of_odometry_have_nothing_in_common():
    motion = motion_between(moment(1.0, along_x(3.0), run=1), moment(3.0, along_x(9.0), run=2))
    np.testing.assert_allclose(motion.earlier_from_later.matrix, np.eye(4))
    assert motion.distance_m is None
    assert motion.unmeasured_s == pytest.approx(2.0)


def test_back_and_forth_is_the_same_way():
    model = MotionModel(OdometryConfig(translation_sigma_m=0.0, rotation_sigma_deg=0.0))
    early, late = moment(0.0, along_x(0.0)), moment(1.0, Rigid3.from_rotvec([0, 0, 1.0], [1.0, 2.0, 0.0]))
    start = BasePose(
        early, Rigid3.from_rotvec([0.1, 0.2, 0.3], [4.0, 5.0, 6.0]), np.diag([1.0] * 3 + [0.1] * 3)
    )
    there_and_back = model.carry(model.carry(start, late), early)
    np.testing.assert_allclose(there_and_back.map_from_base.matrix, start.map_from_base.matrix, atol=1e-12)
    np.testing.assert_allclose(there_and_back.covariance, start.covariance, atol=1e-12)


@pytest.mark.parametrize("shape", ["straight", "loop", "there and back", "on the spot"])
def test_a_way_without_an_image_loses_what_its_noise_takes(shape):
    """NEES of one carry over 60 steps, by 60 drives with noise as the model states it (0.1 % outside)."""
    noise = OdometryConfig(translation_sigma_m=0.05, rotation_sigma_deg=1.0)
    model, num_drives, total = MotionModel(noise), 60, 0.0
    for seed in range(num_drives):
        start, end, truth = driven(shape, noise, np.random.default_rng(seed))
        carried = model.carry(BasePose(Moment(0, start), Rigid3.identity(), SMALL), Moment(S, end))
        error = pose_difference(truth, carried.map_from_base)
        total += error @ np.linalg.solve(carried.covariance, error)
    low, high = chi2.ppf([0.0005, 0.9995], 6 * num_drives)
    assert low < total < high


def disturbed(pose, error):
    turn = Rigid3.from_rotvec(error[3:], np.zeros(3))
    return Rigid3(turn.rotation @ pose.rotation, pose.translation + error[:3])


def driven(shape, noise, rng):
    """Return odometry at both ends of a way of 60 steps, from an origin far off, and where it truly ends."""
    ways = {"loop": (0.3, np.pi / 30.0), "on the spot": (0.01, 0.3)}
    step_m, turn_rad = ways.get(shape, (0.3, 0.0))
    odom, truth = Rigid3.from_rotvec(rng.normal(size=3), rng.normal(size=3) * 100.0), Rigid3.identity()
    start = end = OdometrySample(0, odom, run=0)
    for index in range(60):
        back = shape == "there and back" and index >= 30
        step = Rigid3.from_rotvec([0.0, 0.0, turn_rad], [-step_m if back else step_m, 0.0, 0.0])
        turned = np.deg2rad(noise.rotation_sigma_deg) * np.sqrt(step_m + turn_rad)
        moved = noise.translation_sigma_m * np.sqrt(step_m)
        error = np.concatenate([rng.normal(0.0, moved, 3), rng.normal(0.0, turned, 3)])
        truth, odom = truth @ step, odom @ disturbed(step, error)
        end = end.moved_to(S, odom)
    return start, end, truth


def test_back_in_time_a_way_loses_as_much():
    """Round a corner: what was gathered on the second side swings the beginning by both sides."""
    noise = OdometryConfig(translation_sigma_m=0.0, rotation_sigma_deg=np.rad2deg(0.1))
    begun = moment(0.0, along_x(3.0))
    corner = moment(1.0, along_x(5.0), begun)
    end = moment(2.0, Rigid3(np.eye(3), np.array([5.0, 4.0, 0.0])), corner)
    back = MotionModel(noise).carry(BasePose(end, Rigid3.identity(), SMALL), begun)
    np.testing.assert_allclose(back.map_from_base.translation, [-2.0, -4.0, 0.0])
    q = 0.1**2
    assert back.covariance[0, 0] == pytest.approx(q * 4.0**3 / 3.0, rel=1e-6)
    assert back.covariance[1, 1] == pytest.approx(q * (4.0 * 2.0**2 + 2.0**3 / 3.0), rel=1e-6)
    assert back.covariance[5, 5] == pytest.approx(q * 6.0, rel=1e-6)
