"""Errors of matches whose points are known better across their rays than along them."""

from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.evaluation.metrics import pose_error_vector
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.image_errors import image_errors, weigh_by_depths
from hfnet_ros.pose.problem import make_problem
from hfnet_ros.pose.refinement import refine_on_inliers
from hfnet_ros.types import RigCamera

COUNT, WIDE_PX = 60, 1e9


def with_depths(problem, sigmas):
    """The problem with points that are off by so much along their rays, m per pixel."""
    return replace(problem, cones=replace(problem.cones, depth_sigmas=np.broadcast_to(sigmas, COUNT).copy()))


def seen_from_aside(maker, noise_px=0.5, baseline_m=2.0):
    """Points that were seen from two metres aside, and their depths missed by the same noise of pixels."""
    points = maker.scatter(COUNT)
    observers = np.broadcast_to(maker.map_from_camera @ np.array([baseline_m, 0.0, 0.0]), (COUNT, 3))
    rays = points - observers
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    sigmas = maker.rng.uniform(0.01, 0.8, COUNT)  # m per pixel: some from very near each other
    errors = noise_px * sigmas * maker.rng.normal(size=COUNT)
    problem = maker.problem(maker.project(points, noise_px), points + errors[:, None] * rays, observers)
    return with_depths(problem, sigmas)


@pytest.fixture(params=["none", "plumb_bob"])
def maker(request, make_matches):
    return make_matches(5, request.param)


def errors_of(problem, maker):
    return image_errors(problem, maker.map_from_camera, np.ones(COUNT, np.bool_), 1e3)


def test_points_whose_depth_is_known_weigh_alike(maker):
    problem = with_depths(seen_from_aside(maker), 0.0)
    residual, jacobian, inlier = errors_of(problem, maker)
    weighed = weigh_by_depths(problem, maker.map_from_camera, residual, jacobian, inlier, WIDE_PX)
    np.testing.assert_allclose(weighed[0], residual, atol=1e-9)
    np.testing.assert_allclose(weighed[1], jacobian, atol=1e-9)
    np.testing.assert_allclose(weighed[2], 1.0)


def test_squared_errors_are_those_of_the_covariance(maker):
    """Against the written out e' (I + a a')^-1 e, a by finite differences of the projection."""
    problem = seen_from_aside(maker)
    residual, jacobian, inlier = errors_of(problem, maker)
    assert inlier.all()
    found, moved, _ = weigh_by_depths(problem, maker.map_from_camera, residual, jacobian, inlier, WIDE_PX)
    unit_px, tiny = problem.focal / REFERENCE_FOCAL_PX, 1e-6
    ahead = problem.points3d + tiny * problem.cones.directions
    along = (maker.project(ahead) - maker.project(problem.points3d)) / tiny
    along *= problem.cones.depth_sigmas[:, None] / unit_px
    for number in range(COUNT):
        weight = np.linalg.inv(np.eye(2) + np.outer(along[number], along[number]))
        expected = residual[:, number] @ weight @ residual[:, number]
        assert found[:, number] @ found[:, number] == pytest.approx(expected, rel=1e-3)
        gradient = jacobian[:, :, number] @ weight @ residual[:, number]
        np.testing.assert_allclose(moved[:, :, number] @ found[:, number], gradient, rtol=1e-2, atol=1e-2)


def test_far_errors_weigh_less(maker):
    problem = with_depths(seen_from_aside(maker), 0.0)
    residual, jacobian, inlier = errors_of(problem, maker)
    weights = weigh_by_depths(problem, maker.map_from_camera, residual, jacobian, inlier, 2.0)[2]
    scale = 2.0 * problem.focal / REFERENCE_FOCAL_PX
    np.testing.assert_allclose(weights, 1.0 / (1.0 + (residual**2).sum(axis=0) / scale**2) ** 2)


def test_a_pose_is_nearer_where_points_weigh_by_their_depths(make_matches, error_of):
    errors = []
    for seed in range(20):
        maker = make_matches(seed)
        problem = seen_from_aside(maker)
        even = replace(problem, cones=replace(problem.cones, depth_sigmas=None))
        usable, start = np.ones(COUNT, np.bool_), maker.map_from_camera
        errors.append(
            [
                error_of(refine_on_inliers(given, start, usable, 16.0).map_from_camera, start)
                for given in (even, problem)
            ]
        )
    of_even, weighed = np.median(errors, axis=0)
    assert (weighed < 0.5 * of_even).all()


def test_its_covariance_is_honest(make_matches):
    """With landmarks off as they are said to be: second moment of normalised errors, 6 of 6 numbers."""
    squared = []
    for seed in range(60):
        maker = make_matches(100 + seed)
        fit = refine_on_inliers(seen_from_aside(maker), maker.map_from_camera, np.ones(COUNT, np.bool_), 50.0)
        error = pose_error_vector(fit.map_from_camera, maker.map_from_camera)
        squared.append(error @ np.linalg.solve(fit.covariance, error) / 6.0)
    assert 0.6 < np.mean(squared) < 1.8


def test_views_of_a_rig_weigh_by_depths_too(make_matches, error_of):
    """Two cameras of a rig at one place see half of the matches each: the pose is that of one camera with all."""
    rig_from_camera = Rigid3.from_rotvec([0.0, -0.5, 0.1], [0.2, 0.0, -0.1])
    for seed in range(5):
        maker = make_matches(200 + seed)
        problem, usable = seen_from_aside(maker), np.ones(COUNT, np.bool_)
        matches = replace(problem.correspondences, view_idxs=np.arange(COUNT) % 2)
        rig = make_problem(matches, [RigCamera(maker.camera, rig_from_camera)] * 2, problem.cones)
        start = maker.map_from_camera @ rig_from_camera.inverse()
        fit = refine_on_inliers(rig, start, usable, 16.0)
        alone = refine_on_inliers(problem, maker.map_from_camera, usable, 16.0)
        off = error_of(fit.map_from_camera @ rig_from_camera, alone.map_from_camera)
        assert np.max(off) < 1e-4
