from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation.trajectory import (
    Trajectory,
    absolute_trajectory_error,
    align_rigidly,
    associate,
    relative_pose_error,
)
from hfnet_ros.geometry import Rigid3

START_NS = 1_700_000_000_123_456_789


def turned(degrees, translation, axis=2):
    rotvec = np.zeros(3)
    rotvec[axis] = np.radians(degrees)
    return Rigid3.from_rotvec(rotvec, translation)


def line(poses, step_s=1.0):
    return Trajectory.from_poses((START_NS + round(1e9 * step_s * k), pose) for k, pose in enumerate(poses))


def wander(num_poses=60, seed=0):
    """Poses at 10 Hz along a random smooth path."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 0.1, (num_poses, 3)).cumsum(axis=0)
    turns = rng.normal(0.0, 0.1, (num_poses, 3)).cumsum(axis=0)
    return line([Rigid3.from_rotvec(turn, step) for turn, step in zip(turns, steps, strict=True)], 0.1)


def test_ate_of_a_known_offset():
    truth = line([turned(0, [k, 0.0, 0.0]) for k in range(4)])
    # Off by 3 and 4 cm in turn, so that the root mean square is sqrt(12.5) cm; turned by 2 deg.
    estimated = line([turned(2, [k, 0.03 + 0.01 * (k % 2), 0.0]) for k in range(4)])
    error = absolute_trajectory_error(estimated, truth)
    assert (error.poses, error.aligned) == (4, False)
    assert error.translation_m.rmse == pytest.approx(0.01 * np.sqrt(12.5))
    assert [error.translation_m.mean, error.translation_m.median] == pytest.approx([0.035, 0.035])
    assert error.translation_m.max == pytest.approx(0.04)
    assert [error.rotation_deg.rmse, error.rotation_deg.max] == pytest.approx([2.0, 2.0])


def test_rpe_of_a_drifting_odometry():
    # True: 1 m ahead each second. Estimated: 1.1 m ahead and 3 deg to the left each second.
    step = turned(3, [1.1, 0.0, 0.0])
    estimates = [Rigid3.identity()]
    for _ in range(4):
        estimates.append(estimates[-1] @ step)
    truth = line([turned(0, [k, 0.0, 0.0]) for k in range(5)])
    error = relative_pose_error(line(estimates), truth, 1.0)
    assert (error.poses, error.delta_s) == (4, pytest.approx(1.0))
    assert [error.translation_m.rmse, error.translation_m.max] == pytest.approx([0.1, 0.1])
    assert error.rotation_deg.mean == pytest.approx(3.0)
    two = relative_pose_error(line(estimates), truth, 2.0)
    assert (two.poses, two.rotation_deg.mean) == (3, pytest.approx(6.0))


def test_alignment_removes_any_rigid_motion_and_no_alignment_keeps_it():
    truth = wander()
    moved = truth.moved(Rigid3.from_rotvec([0.3, -0.2, 1.1], [5.0, -3.0, 2.0]))
    aligned = absolute_trajectory_error(moved, truth, is_aligned=True)
    assert aligned.translation_m.max < 1e-9
    assert aligned.rotation_deg.max < 1e-6
    assert absolute_trajectory_error(moved, truth).translation_m.median > 1.0


def test_rpe_does_not_see_the_frame_of_the_map():
    truth, estimated = wander(seed=1), wander(seed=2)
    moved = estimated.moved(Rigid3.from_rotvec([0.0, 0.4, 2.0], [9.0, 9.0, 9.0]))
    before, after = (relative_pose_error(path, truth) for path in (estimated, moved))
    assert after.translation_m.rmse == pytest.approx(before.translation_m.rmse)
    assert after.rotation_deg.rmse == pytest.approx(before.rotation_deg.rmse)


def test_poses_between_two_are_interpolated_without_losing_nanoseconds():
    path = line([turned(0, [0.0, 0.0, 0.0]), turned(90, [4.0, 0.0, 0.0])])
    stamps = START_NS + np.array([0, 250_000_000, 1_000_000_000, 1_000_000_001])
    poses, known = path.at(stamps, max_gap_s=1.0)
    assert known.tolist() == [True, True, True, False]
    np.testing.assert_allclose(poses.positions[:, 0], [0.0, 1.0, 4.0])
    angles = Rotation.from_matrix(poses.rotations).as_rotvec(degrees=True)[:, 2]
    np.testing.assert_allclose(angles, [0.0, 22.5, 90.0], atol=1e-9)


def test_a_gap_is_not_bridged_but_its_ends_are_known():
    path = line([turned(0, [k, 0.0, 0.0]) for k in range(3)])
    stamps = START_NS + np.array([1_000_000_000, 1_500_000_000])
    assert path.at(stamps, max_gap_s=0.9)[1].tolist() == [True, False]
    estimated = Trajectory.from_poses((int(stamp), Rigid3.identity()) for stamp in stamps)
    pair = associate(estimated, path, 0.9)
    assert [len(side) for side in pair] == [1, 1]


def test_nothing_to_compare_is_none():
    truth = line([turned(0, [k, 0.0, 0.0]) for k in range(3)])
    nothing = Trajectory.from_poses([])
    assert absolute_trajectory_error(nothing, truth) is None
    assert absolute_trajectory_error(truth, nothing) is None
    assert relative_pose_error(truth, truth, 60.0) is None
    assert relative_pose_error(nothing, nothing) is None


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([[0.0, 0, 0], [1.0, 0, 0]], "3 or more"),
        ([[float(k), 0, 0] for k in range(5)], "on a line"),
    ],
)
def test_an_alignment_that_is_not_determined_is_refused(positions, message):
    path = line([Rigid3(np.eye(3), np.array(position)) for position in positions])
    with pytest.raises(DatasetError, match=message):
        align_rigidly(path, path)


def test_an_alignment_to_noise_is_refused():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.0, 0.01, (30, 3))
    noisy = truth + rng.normal(0.0, 0.1, (30, 3))
    paths = [line([Rigid3(np.eye(3), position) for position in points]) for points in (noisy, truth)]
    with pytest.raises(DatasetError, match="closer together"):
        align_rigidly(*paths)


def test_two_poses_of_one_stamp_are_refused():
    with pytest.raises(DatasetError, match="twice"):
        Trajectory.from_poses([(5, Rigid3.identity()), (5, Rigid3.identity())])


def test_a_span_of_no_time_is_refused():
    with pytest.raises(ValueError, match="more than 0"):
        relative_pose_error(wander(), wander(), 0.0)
