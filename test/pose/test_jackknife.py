"""How far poses move without a part of the image, and what covariances make of it."""

import numpy as np
import pytest

from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose import refinement
from hfnet_ros.pose.image_errors import image_errors
from hfnet_ros.pose.jackknife import spread_of_parts, widen_beyond
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.refinement import refine_on_inliers

RADIUS_PX, NOISE_PX, SHIFT_PX = 12.0, 0.7, 5.0


def fit_of(problem, maker, errors=None):
    everything = np.ones(len(problem.correspondences), np.bool_)
    return refine_on_inliers(problem, maker.map_from_camera, everything, RADIUS_PX, errors)


def nees_of(fit, maker):
    """Squared error by the covariance over its six dimensions."""
    estimate, truth = fit.map_from_camera, maker.map_from_camera
    turn = Rigid3(estimate.rotation @ truth.rotation.T, np.zeros(3))
    error = np.concatenate([estimate.translation - truth.translation, turn.rotvec])
    return float(error @ np.linalg.solve(fit.covariance, error)) / 6.0


def with_shifted_part(maker, shift_px):
    """Matches of which those in the left third of the image, on a box that was moved, err alike."""
    points = maker.scatter(200)
    pixels = maker.project(points, NOISE_PX)
    pixels[pixels[:, 0] < maker.camera.size_wh[0] / 3.0] += [shift_px, 0.0]
    return maker.problem(pixels, points)


def without_parts(monkeypatch):
    monkeypatch.setattr(refinement, "spread_of_parts", lambda *_: (np.zeros((6, 6)), np.zeros((6, 6))))


def test_covariances_hold_what_a_part_of_the_image_that_errs_alike_does(make_matches, monkeypatch):
    makers = [make_matches(seed, "plumb_bob") for seed in range(12)]
    problems = [with_shifted_part(maker, SHIFT_PX) for maker in makers]
    fits = [fit_of(problem, maker) for problem, maker in zip(problems, makers, strict=True)]
    held = np.median([nees_of(fit, maker) for fit, maker in zip(fits, makers, strict=True)])
    without_parts(monkeypatch)
    plain = [fit_of(problem, maker) for problem, maker in zip(problems, makers, strict=True)]
    lied = np.median([nees_of(fit, maker) for fit, maker in zip(plain, makers, strict=True)])
    assert lied > 10.0
    assert held < 0.2 * lied
    assert all(is_valid_covariance(fit.covariance) for fit in fits)


def test_white_noise_leaves_covariances_as_they_are(make_matches, monkeypatch):
    makers = [make_matches(seed, "plumb_bob") for seed in range(30)]
    problems = [with_shifted_part(maker, 0.0) for maker in makers]
    fits = [fit_of(problem, maker) for problem, maker in zip(problems, makers, strict=True)]
    without_parts(monkeypatch)
    plain = [fit_of(problem, maker) for problem, maker in zip(problems, makers, strict=True)]
    same = [np.allclose(a.covariance, b.covariance) for a, b in zip(fits, plain, strict=True)]
    assert np.mean(same) >= 0.9


def test_what_the_map_is_known_to_be_off_by_is_not_added_twice(make_matches, monkeypatch):
    maker = make_matches(3, "plumb_bob")
    problem = with_shifted_part(maker, SHIFT_PX)
    errors = ErrorModel(1.0, pose_covariance=np.diag([0.3**2] * 3 + [0.1**2] * 3))
    fit = fit_of(problem, maker, errors)
    without_parts(monkeypatch)
    np.testing.assert_allclose(fit.covariance, fit_of(problem, maker, errors).covariance)


def test_spreads_are_those_of_poses_found_without_each_part(make_matches):
    maker = make_matches(4, "plumb_bob")
    problem = with_shifted_part(maker, SHIFT_PX)
    everything = np.ones(len(problem.correspondences), np.bool_)
    pose = fit_of(problem, maker).map_from_camera
    residual, jacobian, inlier = image_errors(problem, pose, everything, RADIUS_PX)
    columns, rows = (problem.correspondences.points2d / maker.camera.size_wh * [3, 2]).astype(int).T
    moved = []
    for part in range(6):
        other = fit_of(problem.chosen(rows * 3 + columns != part), maker).map_from_camera
        turn = Rigid3(pose.rotation.T @ other.rotation, np.zeros(3))
        moved.append([*(pose.rotation.T @ (other.translation - pose.translation)), *turn.rotvec])
    found, _ = spread_of_parts(problem, inlier, residual, jacobian)
    expected = 5.0 / 6.0 * np.array(moved).T @ np.array(moved)
    # Not quite all of a part is left out.
    np.testing.assert_allclose(np.sqrt(np.diag(found)), np.sqrt(np.diag(expected)), rtol=0.15)


@pytest.mark.parametrize("kept", [slice(0, 12), slice(0, 0)])
def test_few_matches_say_nothing(make_matches, kept):
    maker = make_matches(5)
    points = maker.scatter(40)[kept]
    problem = maker.problem(maker.project(points, NOISE_PX), points)
    inlier = np.ones(len(points), np.bool_)
    residual, jacobian, inlier = image_errors(problem, maker.map_from_camera, inlier, RADIUS_PX)
    for spread in spread_of_parts(problem, inlier, residual, jacobian):
        np.testing.assert_array_equal(spread, np.zeros((6, 6)))


@pytest.mark.slow
def test_the_spread_that_is_expected_of_white_noise_is_its_mean(make_matches):
    maker, found = make_matches(6, "plumb_bob"), []
    points = maker.scatter(60)
    for _ in range(300):
        problem = maker.problem(maker.project(points, NOISE_PX), points)
        pose, everything = fit_of(problem, maker).map_from_camera, np.ones(60, np.bool_)
        residual, jacobian, inlier = image_errors(problem, pose, everything, RADIUS_PX)
        found.append(spread_of_parts(problem, inlier, residual, jacobian))
    mean, expected = np.mean(found, axis=0)
    np.testing.assert_allclose(np.diag(mean), NOISE_PX**2 * np.diag(expected), rtol=0.25)


def test_only_what_is_beyond_what_is_expected_is_added():
    covariance, spread = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), np.diag([10.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    widened = widen_beyond(covariance, spread, 2.0 * covariance)
    np.testing.assert_allclose(widened, np.diag([9.0, 2.0, 3.0, 4.0, 5.0, 6.0]), atol=1e-12)
