"""Poses carried along by odometry, with what they lose."""

import numpy as np
import pytest

from hfnet_ros.config import OdometryConfig
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel, motion_between
from hfnet_ros.tracking.odometry import OdometrySample

S = 1_000_000_000
SMALL = 1e-12 * np.eye(6)


def moment(seconds, odom_from_base=None, distance_m=0.0, turn_rad=0.0, run=0, age_s=0.0):
    if odom_from_base is None:
        return Moment(round(seconds * S), None)
    stamp_ns = round((seconds - age_s) * S)
    return Moment(round(seconds * S), OdometrySample(stamp_ns, odom_from_base, distance_m, turn_rad, run))


def along_x(metres):
    return Rigid3(np.eye(3), np.array([metres, 0.0, 0.0]))


def test_two_metres_straight_on_by_hand():
    """Position noise 0.1 m per root metre, orientation noise q = 2 (3 deg)^2 gathered over a lever of 2 m."""
    model = MotionModel(OdometryConfig(translation_sigma_m=0.1, rotation_sigma_deg=3.0))
    start = BasePose(moment(0.0, along_x(5.0)), along_x(1.0), SMALL)
    end = model.carry(start, moment(1.0, along_x(7.0), distance_m=2.0))
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
    end = model.carry(start, moment(1.0, along_x(10.0), distance_m=10.0))
    assert end.covariance[1, 1] == pytest.approx(100.0 * 0.01, rel=1e-3)
    assert end.covariance[1, 5] == pytest.approx(10.0 * 0.01)


def test_many_small_steps_lose_as_much_as_a_large_one():
    model = MotionModel(OdometryConfig())
    start = BasePose(moment(0.0, along_x(0.0)), Rigid3.from_rotvec([0.2, 0.1, 2.0], np.ones(3)), SMALL)
    steps, count = start, 100
    for index in range(1, count + 1):
        way = 8.0 * index / count
        steps = model.carry(steps, moment(way, along_x(way), distance_m=way))
    once = model.carry(start, moment(8.0, along_x(8.0), distance_m=8.0))
    np.testing.assert_allclose(steps.covariance, once.covariance, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(steps.map_from_base.matrix, once.map_from_base.matrix, atol=1e-12)
    assert is_valid_covariance(once.covariance)


def test_turning_on_the_spot_loses_orientation():
    model = MotionModel(OdometryConfig(rotation_sigma_deg=2.0))
    turned = Rigid3.from_rotvec([0.0, 0.0, 1.5], np.zeros(3))
    end = model.carry(
        BasePose(moment(0.0, along_x(0.0)), along_x(0.0), SMALL), moment(1.0, turned, turn_rad=1.5)
    )
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
    end = model.carry(start, moment(3.0, along_x(4.0), distance_m=4.0, age_s=0.25))
    np.testing.assert_allclose(end.map_from_base.translation, [4.0, 0.0, 0.0])
    assert np.sqrt(end.covariance[0, 0]) == pytest.approx(0.25, rel=1e-6)


def test_two_runs_of_odometry_have_nothing_in_common():
    motion = motion_between(
        moment(1.0, along_x(3.0), distance_m=3.0, run=1), moment(3.0, along_x(9.0), distance_m=9.0, run=2)
    )
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
