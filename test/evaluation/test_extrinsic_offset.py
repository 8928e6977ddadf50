from __future__ import annotations

import numpy as np
import pytest

from hfnet_ros.evaluation.extrinsic_offset import measure_extrinsic_offset
from hfnet_ros.evaluation.robust_series import independent_count, median_with_sigma
from hfnet_ros.evaluation.trajectory import Trajectory
from hfnet_ros.geometry import Rigid3

ASIDE = np.array([0.05, 0.0, 0.0])


def looking_around(num_poses=60, amplitude=1.0):
    turns = amplitude * np.sin(np.outer(np.arange(num_poses), [0.31, 0.17, 0.23]))
    return [Rigid3.from_rotvec(turn, [0.1 * k, 0.0, 1.0]) for k, turn in enumerate(turns)]


def timed(poses):
    return Trajectory.from_poses((100_000_000 * number, pose) for number, pose in enumerate(poses))


def test_a_known_mounting_error_is_returned_in_camera_axes():
    truth = looking_around()
    wrong = Rigid3.from_rotvec(np.radians([0.0, 1.5, 0.0]), [0.04, 0.0, -0.02])
    found = measure_extrinsic_offset(timed([pose @ wrong for pose in truth]), timed(truth))
    np.testing.assert_allclose(found.translation_m, [0.04, 0.0, -0.02], atol=1e-12)
    np.testing.assert_allclose(found.rotation_deg, [0.0, 1.5, 0.0], atol=1e-9)
    assert found.significant
    assert "hand-eye" in found.describe()
    assert "(+0.040, +0.000, -0.020) m" in found.describe()


def noisy(truth, seed, scale=0.03):
    rng = np.random.default_rng(seed)
    return [pose @ Rigid3.from_rotvec(rng.normal(0.0, scale, 3), rng.normal(0.0, scale, 3)) for pose in truth]


def test_noise_alone_is_not_significant_and_matches_its_standard_error():
    truth = looking_around(100)
    found = [measure_extrinsic_offset(timed(noisy(truth, seed)), timed(truth)) for seed in range(30)]
    assert not any(entry.significant for entry in found)
    in_sigmas = np.array([np.divide(entry.translation_m, entry.translation_sigma_m) for entry in found])
    assert 0.7 < np.sqrt(np.mean(in_sigmas**2)) < 1.4


def test_false_fixes_do_not_move_it():
    truth = looking_around()
    estimated = [
        Rigid3(pose.rotation, pose.translation + 5.0) if number % 4 == 0 else pose
        for number, pose in enumerate(truth)
    ]
    found = measure_extrinsic_offset(timed(estimated), timed(truth))
    assert not found.significant


def test_a_shift_of_the_map_is_no_mounting_error_once_the_camera_turns():
    truth = looking_around(120, 2.5)
    shifted = [Rigid3(pose.rotation, pose.translation + ASIDE) for pose in truth]
    found = measure_extrinsic_offset(timed(shifted), timed(truth))
    assert np.linalg.norm(found.translation_m) < 0.03
    steady = [Rigid3(np.eye(3), pose.translation) for pose in truth]
    shifted = [Rigid3(np.eye(3), pose.translation + ASIDE) for pose in truth]
    found = measure_extrinsic_offset(timed(shifted), timed(steady))
    assert found.significant
    assert "too little to tell the two apart" in found.describe()


def test_few_poses_say_nothing():
    truth = looking_around(9)
    assert measure_extrinsic_offset(timed(truth), timed(truth)) is None


def test_neighbours_that_err_alike_count_less():
    rng = np.random.default_rng(0)
    white = rng.normal(size=2000)
    drift = np.zeros(2000)
    for number in range(1, 2000):
        drift[number] = 0.8 * drift[number - 1] + white[number]
    assert independent_count(white) == pytest.approx(2000, rel=0.15)
    # (1 - 0.8) / (1 + 0.8) of them.
    assert independent_count(drift) == pytest.approx(2000 / 9, rel=0.3)
    assert independent_count(np.array([1.0, 2.0])) == 2.0


def test_standard_error_of_a_median():
    medians = [np.median(np.random.default_rng(seed).normal(size=101)) for seed in range(300)]
    _, sigma = median_with_sigma(np.random.default_rng(1).normal(size=101))
    assert sigma == pytest.approx(np.std(medians), rel=0.4)
