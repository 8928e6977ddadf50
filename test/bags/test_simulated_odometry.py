import numpy as np
import pytest

from hfnet_ros.bags.simulated_odometry import OdometryNoise, simulate_odometry
from hfnet_ros.errors import DatasetError
from hfnet_ros.geometry import Rigid3

SECOND = 1_000_000_000


def straight(num_poses, step_m=1.0):
    """Poses each second along x, and their stamps."""
    poses = [Rigid3.from_rotvec(np.zeros(3), [step_m * index, 0.0, 0.0]) for index in range(num_poses)]
    return [SECOND * (index + 1) for index in range(num_poses)], poses


def test_without_noise_it_is_the_motion_since_the_first_pose(trajectory):
    stamps, poses = trajectory
    samples = simulate_odometry(stamps, poses, OdometryNoise(0.0, 0.0))
    by_stamp = {sample.stamp_ns: sample.odom_from_base for sample in samples}
    for stamp_ns, pose in zip(stamps, poses, strict=True):
        np.testing.assert_allclose(by_stamp[stamp_ns].matrix, (poses[0].inverse() @ pose).matrix, atol=1e-12)


def test_samples_are_no_further_apart_than_the_rate_says(trajectory):
    stamps, poses = trajectory
    samples = simulate_odometry(stamps, poses, OdometryNoise(rate_hz=30.0))
    steps = np.diff([sample.stamp_ns for sample in samples])
    assert steps.min() > 0
    assert steps.max() <= SECOND / 30 + 1  # rounded to nanoseconds


def test_velocity_is_that_of_the_robot_in_its_own_axes():
    turn = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], np.zeros(3)).rotation
    poses = [Rigid3(turn, np.zeros(3)), Rigid3(turn, np.array([0.0, 3.0, 0.0]))]  # along y, facing y
    samples = simulate_odometry([0, 2 * SECOND], poses, OdometryNoise(0.0, 0.0))
    np.testing.assert_allclose(samples[-1].velocity, [1.5, 0, 0, 0, 0, 0], atol=1e-9)


def step_errors(stamps, poses, samples):
    """Return the error [N, 6] of odometry from each pose to the next, in the axes of the former."""
    measured = {sample.stamp_ns: sample.odom_from_base for sample in samples}
    errors = []
    for index in range(1, len(poses)):
        truth = poses[index - 1].inverse() @ poses[index]
        step = measured[stamps[index - 1]].inverse() @ measured[stamps[index]]
        errors.append([*(step.translation - truth.translation), *(truth.inverse() @ step).rotvec])
    return np.array(errors)


@pytest.mark.parametrize("rate_hz", [1.0, 4.0])
def test_drift_grows_with_the_root_of_the_distance_whatever_the_rate(rate_hz):
    """Over 4 m twice the sigma of one metre, however many samples there are on the way."""
    stamps, poses = straight(500, step_m=4.0)
    noise = OdometryNoise(0.05, 0.0, rate_hz=rate_hz, seed=1)
    errors = step_errors(stamps, poses, simulate_odometry(stamps, poses, noise))[:, :3]
    # 499 errors know their standard deviation to 3.2 %, their mean to 0.1 / 22: four of these.
    np.testing.assert_allclose(errors.std(axis=0), 0.1, rtol=0.13)
    np.testing.assert_allclose(errors.mean(axis=0), 0.0, atol=4 * 0.1 / 22)


def test_orientation_drifts_per_metre_and_per_radian():
    step = Rigid3.from_rotvec([0.0, 0.0, 0.5], [1.0, 0.0, 0.0])
    poses = [Rigid3.identity()]
    for _ in range(499):
        poses.append(poses[-1] @ step)
    stamps = [SECOND * index for index in range(500)]
    noise = OdometryNoise(0.0, 1.0, rate_hz=1.0, seed=1)
    errors = step_errors(stamps, poses, simulate_odometry(stamps, poses, noise))
    # 1 m and half a radian: the root of 1.5 degrees² about each axis.
    np.testing.assert_allclose(np.degrees(errors[:, 3:].std(axis=0)), np.sqrt(1.5), rtol=0.13)
    np.testing.assert_allclose(errors[:, :3], 0.0, atol=1e-9)


def test_variances_are_what_was_gathered_and_never_zero():
    stamps, poses = straight(10)
    samples = simulate_odometry(stamps, poses, OdometryNoise(0.05, 2.0))
    np.testing.assert_allclose(samples[-1].variances[:3], 9 * 0.05**2, rtol=1e-4)
    np.testing.assert_allclose(samples[-1].variances[3:], 9 * np.radians(2.0) ** 2, rtol=1e-4)
    assert samples[0].variances.min() > 1e-9
    assert min(sample.velocity_variances.min() for sample in samples) > 1e-9


def test_a_kidnapped_robot_did_not_move_by_its_odometry():
    stamps, poses = straight(5, step_m=0.1)
    away = Rigid3.from_rotvec([0.0, 0.0, 2.0], [50.0, 7.0, 0.0])
    carried = [*poses[:3], *(away @ pose for pose in poses[3:])]
    samples = simulate_odometry(stamps, carried, OdometryNoise(0.0, 0.0, unaware_at=(3,)))
    by_stamp = {sample.stamp_ns: sample.odom_from_base for sample in samples}
    np.testing.assert_allclose(by_stamp[stamps[3]].matrix, by_stamp[stamps[2]].matrix, atol=1e-12)
    # It then goes on as before: 0.1 m ahead.
    np.testing.assert_allclose(by_stamp[stamps[4]].translation, [0.3, 0.0, 0.0], atol=1e-12)
    aware = simulate_odometry(stamps, carried, OdometryNoise(0.0, 0.0))
    assert aware[-1].odom_from_base.translation_to(Rigid3.identity()) > 40.0


def test_a_long_gap_between_poses_stays_one():
    stamps, poses = straight(3)
    stamps[2] += 3600 * SECOND
    samples = simulate_odometry(stamps, poses, OdometryNoise(rate_hz=10.0))
    assert len(samples) == 1 + 10 + 1


def test_a_number_of_no_pose_is_refused():
    stamps, poses = straight(3)
    for index in (0, 3, -1):
        with pytest.raises(DatasetError, match=f"carried to pose {index}"):
            simulate_odometry(stamps, poses, OdometryNoise(unaware_at=(index,)))
