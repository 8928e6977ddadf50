from __future__ import annotations

import numpy as np
import pytest

from hfnet_ros.evaluation.time_offset import estimate_time_offset
from hfnet_ros.evaluation.trajectory import Trajectory
from hfnet_ros.geometry import Rigid3

START_NS = 1_700_000_000_000_000_000


def winding(time_s):
    turn = [0.3 * np.sin(0.7 * time_s), 0.2 * np.cos(1.1 * time_s), 0.5 * np.sin(0.9 * time_s)]
    return Rigid3.from_rotvec(
        turn, [2 * np.sin(0.5 * time_s), np.cos(0.8 * time_s), 0.2 * np.sin(1.3 * time_s)]
    )


def straight(time_s):
    return Rigid3(np.eye(3), np.array([0.7 * time_s, 0.0, 0.0]))


def track(motion, step_s=0.02, num_poses=1500):
    return Trajectory.from_poses(
        (START_NS + round(1e9 * step_s * k), motion(step_s * k)) for k in range(num_poses)
    )


def answers(motion, offset_s, *, num_poses=100, noise=0.0, seed=0, mounting=None, wrong_every=0):
    """Estimates every 0.2 s whose stamps are early by `offset_s`."""
    rng = np.random.default_rng(seed)
    poses = []
    for number in range(num_poses):
        time_s = 3.0 + 0.2 * number
        pose = motion(time_s + offset_s) @ (mounting or Rigid3.identity())
        turn = Rigid3.from_rotvec(rng.normal(0.0, 0.3 * noise, 3), np.zeros(3)).rotation
        moved = pose.translation + rng.normal(0.0, noise, 3)
        if wrong_every and number % wrong_every == 0:
            moved = moved + 4.0
        poses.append((START_NS + round(1e9 * time_s), Rigid3(turn @ pose.rotation, moved)))
    return Trajectory.from_poses(poses)


@pytest.mark.parametrize("offset_s", [-0.43, 0.0, 0.031, 0.8])
def test_a_known_offset_is_found(offset_s):
    found = estimate_time_offset(answers(winding, offset_s), track(winding))
    assert found.offset_s == pytest.approx(offset_s, abs=2e-4)
    assert found.significant == (offset_s != 0.0)


@pytest.mark.slow
def test_noise_stays_within_the_standard_error_and_raises_no_alarm():
    truth = track(winding)
    found = [estimate_time_offset(answers(winding, 0.0, noise=0.02, seed=seed), truth) for seed in range(20)]
    in_sigmas = np.array([entry.offset_s / entry.sigma_s for entry in found])
    assert 0.5 < np.sqrt(np.mean(in_sigmas**2)) < 1.6
    assert not any(entry.significant for entry in found)


def test_noise_of_the_truth_is_no_late_clock():
    def slow(time_s):
        return winding(0.3 * time_s)

    rng = np.random.default_rng(0)
    exact = track(slow, step_s=1.0 / 30.0, num_poses=900)
    truth = Trajectory(
        exact.stamps_ns, exact.positions + rng.normal(0.0, 0.03, exact.positions.shape), exact.rotations
    )
    found = [estimate_time_offset(answers(slow, 0.0, noise=0.01, seed=seed), truth) for seed in range(3)]
    assert not any(entry.significant for entry in found)
    found = estimate_time_offset(answers(slow, 0.1, noise=0.01), truth)
    assert found.significant and found.offset_s == pytest.approx(0.1, abs=0.02)


def test_false_fixes_and_a_wrong_mounting_do_not_pass_for_a_late_clock():
    mounting = Rigid3.from_rotvec([0.0, 0.03, 0.0], [0.2, 0.0, 0.1])
    spoiled = answers(winding, 0.0, noise=0.01, mounting=mounting, wrong_every=9)
    found = estimate_time_offset(spoiled, track(winding))
    assert abs(found.offset_s) < 0.006
    assert not found.significant
    late = answers(winding, 0.06, noise=0.01, mounting=mounting, wrong_every=9)
    found = estimate_time_offset(late, track(winding))
    assert found.offset_s == pytest.approx(0.06, abs=0.006)
    assert found.significant
    assert "+60 ms" in found.describe() or "+59 ms" in found.describe() or "+61 ms" in found.describe()


def test_steady_motion_cannot_tell_an_offset_from_a_shifted_map():
    assert estimate_time_offset(answers(straight, 0.1), track(straight)) is None


@pytest.mark.parametrize("case", ["few poses", "standing", "sparse truth", "no truth"])
def test_what_cannot_be_known_is_none(case):
    estimated, truth = answers(winding, 0.1), track(winding)
    if case == "few poses":
        estimated = answers(winding, 0.1, num_poses=15)
    elif case == "standing":
        estimated, truth = (
            answers(lambda _: Rigid3.identity(), 0.1, noise=0.01),
            track(lambda _: Rigid3.identity()),
        )
    elif case == "sparse truth":
        truth = track(winding, step_s=3.0, num_poses=20)
    else:
        truth = Trajectory.from_poses([])
    assert estimate_time_offset(estimated, truth) is None
