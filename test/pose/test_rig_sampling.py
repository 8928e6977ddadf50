"""First poses of a rig without PoseLib: sampled in one camera, judged by all."""

import numpy as np
import pytest
from rig_matches import RIG, TRUTH, matches_of

from hfnet_ros.pose.problem import make_problem
from hfnet_ros.pose.rig_sampling import sample_rig_pose

THRESHOLD_PX = 3.0


def sample(problem, rows=None, seed=0, max_iterations=1000):
    rows = np.arange(len(problem.pinhole)) if rows is None else rows
    return sample_rig_pose(problem, rows, THRESHOLD_PX, max_iterations, seed)


@pytest.mark.parametrize(("counts", "wrong"), [((60, 60), 80), ((20, 100), 60), ((9, 9), 0)])
def test_the_rig_is_found(counts, wrong):
    for seed in range(5):
        problem = make_problem(matches_of(np.random.default_rng(seed), counts, wrong=wrong), RIG)
        found = sample(problem, seed=seed)
        assert found.translation_to(TRUTH) < 0.06
        assert found.rotation_to(TRUTH) < np.deg2rad(1.0)


def test_a_view_of_two_matches_seeds_nothing_but_is_asked():
    problem = make_problem(matches_of(np.random.default_rng(1), (2, 40), 0.2), RIG)
    found = sample(problem)
    assert found.translation_to(TRUTH) < 0.05
    assert (problem.residuals(found)[problem.view_idxs == 0] < THRESHOLD_PX).all()


def test_two_matches_in_each_view_are_a_pose_that_cannot_be_found():
    problem = make_problem(matches_of(np.random.default_rng(2), (2, 2), 0.0), RIG)
    assert sample(problem) is None


def test_only_the_rows_asked_for_are_explained():
    """Two poses, each explained by a half of the matches: the half that is asked for decides."""
    rng = np.random.default_rng(3)
    elsewhere = TRUTH @ TRUTH.from_rotvec([0.0, 0.4, 0.0], [1.5, 0.0, 0.5])
    matches = [matches_of(rng, (40, 40)), matches_of(rng, (30, 30), truth=elsewhere)]
    joined = type(matches[0])(
        *(
            np.concatenate([getattr(some, name) for some in matches])
            for name in ("points2d", "points3d", "keypoint_idxs", "landmark_idxs", "similarity", "view_idxs")
        )
    )
    problem = make_problem(joined, RIG)
    assert sample(problem).translation_to(TRUTH) < 0.06
    assert sample(problem, np.arange(80, 140)).translation_to(elsewhere) < 0.06


def test_equal_seeds_give_equal_rigs():
    problem = make_problem(matches_of(np.random.default_rng(4), (40, 40), wrong=60), RIG)
    np.testing.assert_array_equal(sample(problem, seed=5).matrix, sample(problem, seed=5).matrix)


@pytest.mark.slow
def test_more_samples_find_what_few_miss():
    problems = [
        make_problem(matches_of(np.random.default_rng(seed), (40, 40), wrong=68), RIG) for seed in range(10)
    ]

    def count_found(max_iterations):
        found = [sample(problem, max_iterations=max_iterations) for problem in problems]
        return sum(pose is not None and pose.translation_to(TRUTH) < 0.2 for pose in found)

    assert count_found(10) <= 5
    assert count_found(5000) >= 9


@pytest.mark.parametrize("degenerate", ["one point", "one pixel", "a line"])
def test_degenerate_matches_raise_nothing(degenerate):
    problem = make_problem(matches_of(np.random.default_rng(5), (20, 20)), RIG)
    points, pinhole = problem.points3d, problem.pinhole
    if degenerate == "one point":
        points[:] = points[0]
    elif degenerate == "one pixel":
        pinhole[:] = pinhole[0]
    else:
        points[:] = points[0] + np.linspace(0.0, 1.0, 40)[:, None] * (points[1] - points[0])
    found = sample(problem, max_iterations=200)
    assert found is None or np.isfinite(found.matrix).all()
