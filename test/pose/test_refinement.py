"""Non-linear refinement of poses."""

import numpy as np
import pytest

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.refinement import refine_on_inliers, refine_robustly

SCALE_PX = 4.0


def disturbed(pose, rng, distance_m=0.12, angle_deg=3.0):
    turn, shift = rng.normal(size=3), rng.normal(size=3)
    turn *= np.deg2rad(angle_deg) / np.linalg.norm(turn)
    shift *= distance_m / np.linalg.norm(shift)
    return Rigid3(Rigid3.from_rotvec(turn, shift).rotation @ pose.rotation, pose.translation + shift)


@pytest.mark.parametrize("camera", ["none", "plumb_bob", "rational_polynomial", "equidistant"])
def test_exact_matches_lead_back_to_the_exact_pose(make_matches, error_of, camera):
    maker = make_matches(1, camera)
    points = maker.scatter(40)
    problem = maker.problem(maker.project(points), points)
    start = disturbed(maker.map_from_camera, maker.rng, 0.02, 0.5)
    (robust,) = refine_robustly(problem, [start], SCALE_PX)
    assert error_of(robust, maker.map_from_camera) == pytest.approx((0.0, 0.0), abs=1e-7)
    fit = refine_on_inliers(problem, start, np.ones(40, np.bool_), radius_px=60.0)
    assert error_of(fit.map_from_camera, maker.map_from_camera) == pytest.approx((0.0, 0.0), abs=1e-7)
    assert fit.inlier_mask.all()
    assert fit.reprojection_rmse_px < 1e-5


def test_disturbed_starts_converge_among_outliers(make_matches, error_of):
    maker = make_matches(2)
    problem = maker.mixed_problem(num_true=100, num_false=100)
    starts = [disturbed(maker.map_from_camera, maker.rng) for _ in range(40)]
    refined = refine_robustly(problem, starts, scale_px=12.0, iterations=30)
    errors = np.array([error_of(pose, maker.map_from_camera) for pose in refined])
    assert (errors[:, 0] < 0.02).all()
    assert (errors[:, 1] < np.deg2rad(0.3)).all()


def test_outliers_do_not_pull(make_matches, error_of):
    maker = make_matches(3)
    true, false = maker.scatter(60), maker.scatter(60)
    pixels = maker.project(np.concatenate([true, false]), 0.3)
    pixels[60:] += [25.0, -15.0]  # all to one side: least squares would give in
    problem = maker.problem(pixels, np.concatenate([true, false]))
    (refined,) = refine_robustly(problem, [maker.map_from_camera], SCALE_PX)
    assert error_of(refined, maker.map_from_camera)[0] < 0.01


def test_a_batch_equals_single_runs(make_matches):
    maker = make_matches(4)
    problem = maker.mixed_problem(num_true=80, num_false=0, noise_px=0.5)
    starts = [disturbed(maker.map_from_camera, maker.rng, 0.03, 0.5) for _ in range(6)]
    together = refine_robustly(problem, starts, scale_px=20.0, iterations=25)
    for start, pose in zip(starts, together, strict=True):
        (alone,) = refine_robustly(problem, [start], scale_px=20.0, iterations=25)
        np.testing.assert_allclose(pose.matrix, alone.matrix, atol=1e-6)


def test_a_hopeless_start_stays_and_does_not_spoil_the_others(make_matches, error_of):
    maker = make_matches(5)
    problem = maker.mixed_problem(num_true=50, num_false=0)
    backwards = Rigid3(maker.map_from_camera.rotation @ np.diag([-1.0, 1.0, -1.0]), np.full(3, 50.0))
    good, lost = refine_robustly(problem, [maker.map_from_camera, backwards], SCALE_PX)
    assert error_of(good, maker.map_from_camera)[0] < 0.01
    np.testing.assert_array_equal(lost.matrix, backwards.matrix)


def test_no_starts_give_no_poses(make_matches):
    assert refine_robustly(make_matches().mixed_problem(20, 0), [], SCALE_PX) == []


def test_rotations_stay_orthogonal(make_matches):
    maker = make_matches(6)
    problem = maker.mixed_problem(60, 30)
    for pose in refine_robustly(
        problem, [disturbed(maker.map_from_camera, maker.rng)] * 3, 12.0, iterations=50
    ):
        np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)


def test_few_matches_of_a_selection_still_refine(make_matches, error_of):
    maker = make_matches(7)
    problem = maker.mixed_problem(num_true=300, num_false=0, noise_px=0.3)
    (refined,) = refine_robustly(
        problem, [disturbed(maker.map_from_camera, maker.rng, 0.02, 0.3)], 20.0, 20, 64
    )
    assert error_of(refined, maker.map_from_camera)[0] < 0.02


def test_inliers_are_the_usable_matches_within_the_radius(make_matches):
    maker = make_matches(8)
    points = maker.scatter(60)
    pixels = maker.project(points, 0.2)
    pixels[:10] += 7.0
    usable = np.ones(60, np.bool_)
    usable[50:] = False
    fit = refine_on_inliers(maker.problem(pixels, points), maker.map_from_camera, usable, radius_px=4.0)
    assert fit.inlier_mask.tolist() == [False] * 10 + [True] * 40 + [False] * 10
    residual = maker.camera.project(fit.map_from_camera.inverse() @ points[10:50]) - pixels[10:50]
    assert fit.reprojection_rmse_px == pytest.approx(np.sqrt((residual**2).sum(axis=1).mean()))


def test_covariance_is_that_of_least_squares(make_matches):
    """Against a numerical Jacobian of the reprojection, in the axes of the map."""
    maker = make_matches(9, "plumb_bob")
    points = maker.scatter(30)
    pixels = maker.project(points, 0.5)
    fit = refine_on_inliers(
        maker.problem(pixels, points), maker.map_from_camera, np.ones(30, np.bool_), radius_px=20.0
    )
    step = 1e-6
    columns = []
    for axis in range(6):
        moved = []
        for sign in (1.0, -1.0):
            error = np.zeros(6)
            error[axis] = sign * step
            turn = Rigid3.from_rotvec(error[3:], np.zeros(3)).rotation
            pose = Rigid3(turn @ fit.map_from_camera.rotation, fit.map_from_camera.translation + error[:3])
            moved.append(maker.camera.project(pose.inverse() @ points).ravel())
        columns.append((moved[0] - moved[1]) / (2.0 * step))
    jacobian = np.stack(columns, axis=1)
    expected = np.linalg.inv(jacobian.T @ jacobian) * fit.reprojection_rmse_px**2 * 30 / (2 * 30 - 6)
    reported = fit.covariance
    sigma = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        reported / np.outer(sigma, sigma), expected / np.outer(sigma, sigma), atol=1e-4
    )
    assert is_valid_covariance(reported)


@pytest.mark.parametrize("count", [0, 3])
def test_less_than_four_inliers_determine_nothing(make_matches, count):
    maker = make_matches(10)
    problem = maker.mixed_problem(20, 0)
    usable = np.arange(20) < count
    assert refine_on_inliers(problem, maker.map_from_camera, usable, radius_px=10.0) is None


def test_points_beyond_the_fold_of_the_lens_are_no_inliers(make_matches):
    """A polynomial folds a point that is far outside the picture back to the observed pixel."""
    maker = make_matches(11)
    maker.camera = Camera(
        DistortionModel.PLUMB_BOB, (640, 480), [430.0, 430.0], [320.0, 240.0], [-0.35, 0.0, 0.0, 0.0, 0.0]
    )
    points = maker.scatter(30, margin_px=120.0)
    ghost = maker.map_from_camera @ np.array([3.0 * 1.5, 0.0, 3.0])  # past the fold at x / z = 0.98
    pixels = maker.project(np.vstack([points, ghost]))
    assert pixels[30, 0] < 480.0
    problem = maker.problem(pixels, np.vstack([points, ghost]))
    assert len(problem.points3d) == 31
    fit = refine_on_inliers(problem, maker.map_from_camera, np.ones(31, np.bool_), radius_px=4.0)
    assert fit.inlier_mask[:30].all()
    assert not fit.inlier_mask[30]
