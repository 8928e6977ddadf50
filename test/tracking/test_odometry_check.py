"""Odometry compared with fixes: how much it is off, for how long that counts, and what is made of it."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import Config, GateConfig
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.fix_judge import FixJudge
from hfnet_ros.tracking.motion import BasePose, Excess, Moment, MotionModel
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.tracking.odometry_check import OdometryCheck
from hfnet_ros.types import TrackingState

S = 1_000_000_000
FIX = np.diag([0.02] * 3 + [0.01] * 3) ** 2


class Drive:
    """A robot with fixes of a centimetre at 5 Hz, and odometry of another scale."""

    def __init__(self, rng=None):
        self.rng = rng or np.random.default_rng(0)
        self.truth = Rigid3.identity()
        self.odometry = OdometrySample(0, Rigid3.from_rotvec([0.0, 0.0, 1.0], [30.0, -20.0, 0.0]), run=0)

    def move(self, metres=0.12, turn_rad=0.0, scale=1.0, turn_scale=1.0, seconds=0.2):
        step = Rigid3.from_rotvec([0.0, 0.0, turn_rad * turn_scale], [metres * scale, 0.0, 0.0])
        self.truth = self.truth @ Rigid3.from_rotvec([0.0, 0.0, turn_rad], [metres, 0.0, 0.0])
        stamp_ns = self.odometry.stamp_ns + round(seconds * S)
        self.odometry = self.odometry.moved_to(stamp_ns, self.odometry.odom_from_base @ step)
        return self.moment

    @property
    def moment(self):
        return Moment(self.odometry.stamp_ns, self.odometry)

    def fix(self):
        error = self.rng.multivariate_normal(np.zeros(6), FIX)
        turn = Rigid3.from_rotvec(error[3:], np.zeros(3))
        return BasePose(
            self.moment,
            Rigid3(turn.rotation @ self.truth.rotation, self.truth.translation + error[:3]),
            FIX,
        )


def compared(drive, num_steps, check=None, **motion):
    check = check or OdometryCheck(Config())
    for _ in range(num_steps):
        drive.move(**motion)
        check.note(drive.fix())
    return check


@pytest.mark.parametrize("scale", [0.6, 2.0])
def test_another_scale_is_a_part_of_the_way(scale):
    excess = compared(Drive(), 30, scale=scale).excess
    assert excess.per_metre == pytest.approx(abs(1.0 / scale - 1.0), rel=0.2)
    assert excess.unseen == 0.0
    assert "of the way" in excess.text


def test_turns_that_are_too_short_are_a_part_of_the_way():
    excess = compared(Drive(), 30, turn_rad=0.12, turn_scale=0.5).excess
    assert pytest.approx(excess.turn_per_path, rel=0.2) == 0.06 / 0.18
    assert excess.unseen == 0.0


def test_a_tenth_is_seen_over_several_ways():
    assert compared(Drive(), 12, scale=0.9).excess == Excess()
    assert compared(Drive(), 80, scale=0.9).excess.per_metre == pytest.approx(0.1, abs=0.07)


def test_odometry_that_stands_still_is_blind_for_part_of_the_time():
    """0.6 m/s is 0.8 of the standard deviation of speed; that of the fixes is taken off."""
    excess = compared(Drive(), 30, scale=0.0).excess
    assert (excess.per_metre, excess.turn_per_path) == (0.0, 0.0)
    assert excess.unseen == pytest.approx(0.8, rel=0.1)
    assert "blind" in excess.text


def test_right_odometry_is_not_accused():
    drive = Drive()
    assert compared(drive, 100, turn_rad=0.05).excess == Excess()
    assert Excess().text == ""


def test_it_is_believed_again_after_ten_metres():
    drive = Drive()
    check = compared(drive, 40, scale=2.0)
    compared(drive, 40, check, metres=0.0)
    assert check.excess.per_metre > 0.3  # standing proves nothing
    compared(drive, 75, check)
    assert check.excess.per_metre > 0.3
    compared(drive, 25, check)
    assert check.excess == Excess()


def test_where_the_robot_was_carried_is_not_odometrys_fault():
    drive = Drive()
    check = compared(drive, 30)
    drive.truth = Rigid3.identity()
    check.restart(drive.fix())
    assert compared(drive, 30, check).excess == Excess()


def test_an_excess_grows_with_way_and_time_in_one_step_by_hand():
    """3 m straight on in 2 s: half of it, 0.1 rad/m over its levers, and a quarter of the time without odometry."""
    config = dataclasses.replace(Config().odometry, translation_sigma_m=0.0, rotation_sigma_deg=0.0)
    model, drive = MotionModel(config), Drive()
    start = BasePose(drive.moment, Rigid3.identity(), 1e-12 * np.eye(6))
    end = drive.move(3.0, seconds=2.0)
    model.excess = Excess(per_metre=0.5, turn_per_path=0.1, unseen=0.25)
    covariance = model.carry(start, end).covariance
    speed, turn = 0.25 * 2.0 * model.speed_sigma, 0.25 * 2.0 * model.turn_sigma
    assert covariance[0, 0] == pytest.approx(1.5**2 + speed**2)
    assert covariance[1, 1] == pytest.approx(1.5**2 + speed**2 + (0.1 * 3.0**2 / 2.0) ** 2)
    assert covariance[5, 5] == pytest.approx(0.3**2 + turn**2)
    assert covariance[1, 5] == pytest.approx(0.3 * 0.1 * 3.0**2 / 2.0)


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_a_position_is_carried_with_what_odometry_is_off_by(scale):
    """4 s without an image after a drive of 6 m on which fixes told that odometry is wrong."""
    judge, drive = FixJudge(Config()), Drive()
    for _ in range(50):
        judge.advance(drive.move(turn_rad=0.02, scale=scale, turn_scale=scale))
        judge.judge(drive.fix())
    assert judge.excess.text
    for _ in range(20):
        judge.advance(drive.move(turn_rad=0.02, scale=scale, turn_scale=scale))
        belief = judge.belief(drive.moment)
        if belief is None or judge.state_of(belief.covariance) is TrackingState.LOST:
            return
        error = pose_difference(drive.truth, belief.map_from_base)
        assert error @ np.linalg.solve(belief.covariance, error) < 22.5  # 0.1 % of right ones are beyond


def test_other_parameters_forget_nothing_of_odometry():
    drive, judge = Drive(), FixJudge(dataclasses.replace(Config(), gate=GateConfig(agreement_fixes=1)))
    for _ in range(30):
        drive.move(scale=0.8)
        judge.judge(drive.fix())
    before = judge.excess
    assert before.per_metre > 0.1
    judge.set_config(dataclasses.replace(Config(), gate=GateConfig(smoothing_s=0.0)))
    assert judge.excess == before
    judge.judge(drive.fix())
    assert judge.excess == before
