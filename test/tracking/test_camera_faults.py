"""By how much a camera may be turned or late unnoticed."""

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.camera_faults import Statement, StatementComparison, difference_by_faults, twist_of
from hfnet_ros.tracking.motion import BasePose, Moment
from hfnet_ros.tracking.odometry import OdometrySample

S = 1_000_000_000
SURE = np.diag([1e-4] * 3 + [1e-5] * 3)
WALKING = np.array([0.6, 0.0, 0.0, 0.0, 0.0, 0.0])
TURNING = np.array([0.3, 0.0, 0.0, 0.0, 0.0, 0.7])


def sample(stamp_ns, pose):
    return OdometrySample(stamp_ns, pose, run=1)


def said(cameras, pose, twist=WALKING, odometry=None, stamp_ns=S):
    moment = Moment(stamp_ns, None if odometry is None else sample(stamp_ns, odometry))
    return Statement(frozenset(cameras), BasePose(moment, pose, SURE), twist)


def after(twist, seconds):
    """What a robot of a constant velocity does."""
    steps = 1000
    step = Rigid3.from_rotvec(twist[3:] * seconds / steps, twist[:3] * seconds / steps)
    pose = Rigid3.identity()
    for _ in range(steps):
        pose = pose @ step
    return pose


def test_velocity_is_in_axes_of_the_robot():
    start = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], [1.0, 2.0, 0.0])
    end = start @ Rigid3.from_rotvec([0.0, 0.0, 0.05], [0.1, 0.0, 0.0])
    twist = twist_of(sample(S, start), sample(S + S // 10, end))
    np.testing.assert_allclose(twist, [1.0, 0.0, 0.0, 0.0, 0.0, 0.5], atol=1e-9)
    assert not twist_of(None, sample(S, start)).any()
    assert not twist_of(sample(S, start), sample(S, start)).any()


@pytest.mark.parametrize("later_of", ["left", "front"])
@pytest.mark.parametrize("fault", range(4))
def test_differences_by_faults_are_those_that_faults_make(later_of, fault):
    """Against poses that are turned, or of an earlier time, and carried on by odometry."""
    size = 1e-4
    here = Rigid3.from_rotvec([0.1, -0.2, 1.0], [3.0, 1.0, 0.5])
    moved = after(TURNING, 1.5)

    def faulty(pose):
        turn = (
            Rigid3.from_rotvec(size * np.eye(3)[fault], np.zeros(3)) if fault < 3 else after(TURNING, -size)
        )
        return pose @ turn

    odometry = Rigid3.identity(), moved
    earlier = said({"left"}, faulty(here), TURNING, odometry[0])
    right = here @ moved
    later = said({later_of}, faulty(right) if later_of == "left" else right, TURNING, odometry[1], 2 * S)
    seen = pose_difference(earlier.pose.map_from_base @ moved, later.pose.map_from_base)
    expected = size * difference_by_faults("left", earlier, later)[:, fault]
    np.testing.assert_allclose(seen, expected, atol=3e-3 * size + 1e-8)


def test_what_agrees_standing_is_believed_standing_and_what_agrees_moving_always():
    comparison = StatementComparison(Config())
    still, moving = comparison.nothing_known(), comparison.nothing_known()
    assert not still.vouch_at(S, np.zeros(6))
    still.add_group(said({"left", "front"}, Rigid3.identity(), np.zeros(6)))
    moving.add_group(said({"left", "front"}, Rigid3.identity(), TURNING))
    assert still.vouch_at(S, np.zeros(6))
    assert not still.vouch_at(S, TURNING)
    assert moving.vouch_at(S, TURNING)
    assert not moving.vouch_at(1000 * S, TURNING), "long ago"
    moving.forget()
    assert not moving.vouch_at(S, TURNING)


@pytest.mark.parametrize(("num_off", "is_found"), [(1, False), (4, True)])
def test_one_pose_that_is_off_is_no_fault_of_its_camera(num_off, is_found):
    known = StatementComparison(Config()).nothing_known()
    off = np.concatenate([np.zeros(3), [0.0, 0.0, np.deg2rad(10.0)]])
    for row in range(8):
        statement = said({"left"}, Rigid3.identity(), TURNING, stamp_ns=(row + 1) * S)
        seen = off if row < num_off else np.zeros(6)
        known.add(statement.pose.moment.stamp_ns, statement.faults, seen, np.linalg.inv(SURE))
        assert bool(known.found) is (is_found and row >= 2)


def test_statements_are_compared_along_odometry():
    comparison, here = StatementComparison(Config()), Rigid3.from_rotvec([0.0, 0.0, 0.4], [1.0, 2.0, 0.0])
    moved = after(TURNING, 1.0)
    earlier = said({"left"}, here, TURNING, Rigid3.identity())
    turn = Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(10.0)], np.zeros(3))
    for pose, expected in ((here @ moved, True), (here @ moved @ turn, False)):
        assert comparison.compare(earlier, said({"front"}, pose, TURNING, moved, 2 * S)).fits is expected
    without = said({"front"}, here @ moved @ turn, TURNING, None, 2 * S)
    assert comparison.compare(said({"left"}, here, TURNING), without).fits, "nobody knows how it moved"
