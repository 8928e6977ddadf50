"""The a-contrario count against its promise: of 10^e random problems at most one reaches e decades."""

import numpy as np
import pytest
from gathering import gather_hypotheses

from hfnet_ros.config import PoseConfig
from hfnet_ros.pose.evidence import THRESHOLDS_PX, MatchedImage, chance_evidence

SIZE_WH = (640, 480)
CELL_PX = 40.0
THRESHOLDS = np.array(THRESHOLDS_PX)


def evidence(points, residuals, num_trials=1):
    image = MatchedImage(points, residuals, SIZE_WH)
    return chance_evidence([image], CELL_PX / max(SIZE_WH), THRESHOLDS, num_trials)


def cell_centers(count):
    index = np.arange(count)
    return np.stack([CELL_PX * (index % 16) + 20.0, CELL_PX * (index // 16) + 20.0], axis=1)


def test_hand_computed():
    # Eight matches in eight cells, five within 3 px; p = 9 pi / (640 480), mean m = 8 p; 5 - 3 = 2 inliers count.
    residuals = np.array([1.0] * 5 + [100.0] * 3)
    mean = 8 * np.pi * 9.0 / (640 * 480)
    decades = (2 * np.log(2 / mean) - 2 + mean) / np.log(10.0)
    assert evidence(cell_centers(8), residuals, 50) == pytest.approx(decades - np.log10(50 * len(THRESHOLDS)))


def test_nothing_proves_nothing():
    assert evidence(np.empty((0, 2)), np.empty(0)) == 0.0
    assert evidence(cell_centers(10), np.full(10, 1e6)) <= 0.0
    assert evidence(cell_centers(10), np.full(10, np.inf)) <= 0.0


def test_three_matches_always_fit():
    assert evidence(cell_centers(3), np.zeros(3)) <= 0.0


@pytest.mark.parametrize("count", [20, 200, 1000])
def test_random_matches_hardly_ever_carry_evidence(count):
    rng = np.random.default_rng(count)
    found = []
    for _ in range(400):
        points, landmarks = rng.uniform(0, SIZE_WH, (2, count, 2))
        found.append(evidence(points, np.linalg.norm(points - landmarks, axis=1)))
    assert np.mean(np.array(found) > 0.0) < 0.02
    assert max(found) < np.log10(400) + 0.5


def test_poses_fitted_to_random_matches_carry_no_evidence(make_matches, solver_library):
    """What RANSAC and refinement make of pure outliers, the best of all they tried."""
    config = PoseConfig(max_iterations=1000)
    found = []
    for seed in range(60):
        problem = make_matches(1000 + seed).mixed_problem(0, 40 if seed % 2 else 250)
        points = problem.correspondences.points2d
        hypotheses = gather_hypotheses(problem, config, 3.0, 4.0)
        found.append(
            max((evidence(points, hypothesis.residuals, 1000) for hypothesis in hypotheses), default=-1.0)
        )
    assert np.mean(np.array(found) > 0.0) <= 0.05
    assert max(found) < 3.0


def test_true_matches_carry_a_lot(make_matches):
    maker = make_matches(1)
    problem = maker.mixed_problem(60, 240)
    found = evidence(problem.correspondences.points2d, problem.residuals(maker.map_from_camera), 1000)
    assert found > 80.0


def test_evidence_grows_with_inliers_and_falls_with_outliers_and_trials(make_matches):
    maker = make_matches(2)

    def of(num_true, num_false, num_trials=1000):
        maker.rng = np.random.default_rng(3)
        problem = maker.mixed_problem(num_true, num_false)
        return evidence(
            problem.correspondences.points2d, problem.residuals(maker.map_from_camera), num_trials
        )

    assert of(20, 100) < of(40, 100) < of(80, 100)
    assert of(40, 400) < of(40, 100)
    assert of(40, 100, 10**6) == pytest.approx(of(40, 100, 10**3) - 3.0)


def test_a_cluster_counts_as_one():
    rng = np.random.default_rng(4)
    cluster = rng.uniform(201.0, 239.0, (80, 2))
    spread = rng.uniform(0, SIZE_WH, (80, 2))
    residuals = np.full(80, 0.5)
    assert evidence(cluster, residuals, 1000) < 0.0
    assert evidence(spread, residuals, 1000) > 100.0


def test_the_scale_at_which_matches_agree_is_found():
    # Residuals of 7 px are beyond the first thresholds; within 8 px they still say a lot.
    assert evidence(cell_centers(60), np.full(60, 7.0), 1000) > 50.0
    assert evidence(cell_centers(60), np.full(60, 2.0), 1000) > evidence(
        cell_centers(60), np.full(60, 7.0), 1000
    )


def test_matches_do_not_change_when_judged():
    points, residuals = cell_centers(20), np.linspace(0, 9, 20)
    before = points.copy(), residuals.copy()
    evidence(points, residuals)
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(residuals, before[1])
