"""One pose from the matches of several cameras."""

import numpy as np
import pytest
from rig_matches import FRONT, RIG, TRUTH, matches_of

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.geometry.covariance import change_child_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import ErrorModel, make_problem
from hfnet_ros.pose.refinement import refine_on_inliers, refine_robustly
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import Correspondences, Outcome, RigCamera

pytestmark = pytest.mark.usefixtures("solver_library")

SOLVER = PoseSolver(PoseConfig(), VerificationConfig(), ErrorModel(1.0))


def test_two_cameras_find_one_pose_of_the_rig():
    answer = SOLVER.solve(matches_of(np.random.default_rng(0), (60, 60), wrong=40), RIG)
    assert answer.outcome is Outcome.LOCALIZED, answer.evidence.reason
    assert answer.estimate.map_from_camera.translation_to(TRUTH) < 0.02
    assert answer.estimate.map_from_camera.rotation_to(TRUTH) < np.deg2rad(0.3)
    assert 75 <= answer.estimate.num_inliers <= 85


def test_neither_alone_would_do():
    """Eight matches in each view are too few for one camera, and enough for the two of them."""
    rng = np.random.default_rng(1)
    few = PoseSolver(PoseConfig(), VerificationConfig(min_evidence=10.0), ErrorModel(1.0))
    matches = matches_of(rng, (9, 9), 0.2)
    assert few.solve(matches, RIG).is_valid
    for view_idx in (0, 1):
        own = matches.chosen(matches.view_idxs == view_idx)
        assert few.solve(own, RIG).outcome is Outcome.TOO_FEW_MATCHES


def test_a_view_without_matches_is_no_obstacle():
    answer = SOLVER.solve(matches_of(np.random.default_rng(2), (0, 90)), RIG)
    assert answer.is_valid
    assert answer.estimate.map_from_camera.translation_to(TRUTH) < 0.05


def test_one_view_is_the_trivial_rig():
    rng = np.random.default_rng(3)
    trivial = (RigCamera(FRONT),)
    matches = matches_of(rng, (80,), rig=trivial, wrong=20)
    named, unnamed = (
        SOLVER.solve(matches, trivial),
        SOLVER.solve(
            Correspondences(
                matches.points2d,
                matches.points3d,
                matches.keypoint_idxs,
                matches.landmark_idxs,
                matches.similarity,
            ),
            trivial,
        ),
    )
    for one, other in (
        (named.estimate.map_from_camera.matrix, unnamed.estimate.map_from_camera.matrix),
        (named.estimate.covariance, unnamed.estimate.covariance),
    ):
        np.testing.assert_array_equal(one, other)
    mounted = (RigCamera(FRONT, RIG[0].rig_from_camera),)
    moved = SOLVER.solve(matches, mounted)
    expected = named.estimate.map_from_camera @ RIG[0].rig_from_camera.inverse()
    assert moved.estimate.map_from_camera.translation_to(expected) < 0.002


def test_few_robust_steps_lead_from_afar_to_the_pose_of_cameras_that_look_elsewhere():
    """The derivative is that of the pose of each step: one that keeps something of the step before goes astray."""
    problem = make_problem(matches_of(np.random.default_rng(12), (60, 60), 0.0), RIG)
    starts = [
        TRUTH @ Rigid3.from_rotvec(np.deg2rad(turn), shift)
        for turn, shift in (([4.0, -3.0, 2.0], [0.05, -0.1, 0.1]), ([-2.0, 3.0, 4.0], [-0.1, 0.1, 0.05]))
    ]
    for found in refine_robustly(problem, starts, 100.0, iterations=4):
        assert found.translation_to(TRUTH) < 1e-6
        assert found.rotation_to(TRUTH) < 1e-6


def test_the_maps_error_is_that_of_the_camera_wherever_the_rig_has_its_frame():
    """The map says it in axes of a camera; the rig's frame is elsewhere and turned."""
    errors = ErrorModel(1.0, pose_covariance=np.diag([0.04, 0.01, 0.09, 1e-4, 4e-4, 2e-4]))
    trivial, mounted = (RigCamera(FRONT),), (RigCamera(FRONT, RIG[1].rig_from_camera),)
    matches, everything = matches_of(np.random.default_rng(9), (80,), rig=trivial), np.ones(80, np.bool_)
    camera = refine_on_inliers(make_problem(matches, trivial), TRUTH, everything, 50.0, errors)
    start = TRUTH @ mounted[0].rig_from_camera.inverse()
    rig = refine_on_inliers(make_problem(matches, mounted), start, everything, 50.0, errors)
    arm = mounted[0].rig_from_camera.inverse().translation
    expected = change_child_covariance(camera.covariance, camera.map_from_camera, arm)
    np.testing.assert_allclose(rig.covariance, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("counts", [pytest.param((60, 60), marks=pytest.mark.slow), (20, 100)])
def test_the_covariance_is_that_of_the_rig(counts):
    """Monte Carlo: errors of position and orientation of the rig against what is reported, in axes of the map."""
    errors, reported = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        problem = make_problem(matches_of(rng, counts, 0.8), RIG)
        everything = np.ones(sum(counts), np.bool_)
        estimate = refine_on_inliers(problem, TRUTH, everything, 50.0)
        turn = estimate.map_from_camera.rotation @ TRUTH.rotation.T
        moved = estimate.map_from_camera.translation - TRUTH.translation
        errors.append(np.concatenate([moved, Rigid3(turn, np.zeros(3)).rotvec]))
        reported.append(estimate.covariance)
    squared = [
        error @ np.linalg.solve(covariance, error) for error, covariance in zip(errors, reported, strict=True)
    ]
    # chi-square with 6 degrees of freedom: the mean of 150 has a deviation of 0.28.
    assert np.mean(squared) == pytest.approx(6.0, abs=1.1)


def test_errors_count_the_same_in_every_lens():
    """Half the focal length makes half the pixels of the same angle: both views have the same say."""
    rng = np.random.default_rng(5)
    problem = make_problem(matches_of(rng, (200, 200), 0.0), RIG)
    turned = TRUTH @ Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.01, 0.0])
    residuals = problem.residuals(turned)
    of_view = [np.median(residuals[problem.view_idxs == view_idx]) for view_idx in (0, 1)]
    assert of_view[0] == pytest.approx(of_view[1], rel=0.35)
    assert problem.view_scale(1) / problem.view_scale(0) == pytest.approx(310.0 / 525.0)


@pytest.mark.parametrize("is_same", [True, False])
def test_what_two_cameras_see_of_one_landmark_counts_once(is_same):
    """Two cameras side by side prove no more than one: a landmark that looks like another one does so to both."""
    one, two = (RigCamera(FRONT),), (RigCamera(FRONT), RigCamera(FRONT))
    matches = matches_of(np.random.default_rng(4), (60,), rig=one, wrong=20)
    both = Correspondences(
        *(
            np.repeat(values, 2, axis=0)
            for values in (matches.points2d, matches.points3d, matches.keypoint_idxs)
        ),
        np.repeat(matches.landmark_idxs, 2) if is_same else np.arange(120),
        np.repeat(matches.similarity, 2),
        np.tile([0, 1], 60),
    )
    alone, together = SOLVER.solve(matches, one).evidence.scores, SOLVER.solve(both, two).evidence.scores
    factor = 1.0 if is_same else 2.0
    assert together["inliers"] == 2 * alone["inliers"]
    assert together["coverage"] == pytest.approx(factor * alone["coverage"], rel=0.05)
    assert together["evidence"] == pytest.approx(factor * alone["evidence"], rel=0.15)
    assert together["inlier_ratio"] == pytest.approx(alone["inlier_ratio"], rel=0.05)
