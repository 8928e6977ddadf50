"""Matches as pose estimation sees them."""

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import ObserverCones, make_problem
from hfnet_ros.types import Correspondences, RigCamera


@pytest.mark.parametrize("camera", ["none", "plumb_bob", "rational_polynomial", "equidistant"])
def test_residuals_vanish_at_the_true_pose(make_matches, camera):
    maker = make_matches(0, camera)
    points = maker.scatter(30)
    problem = maker.problem(maker.project(points), points)
    np.testing.assert_allclose(problem.residuals(maker.map_from_camera), 0.0, atol=1e-6)


def test_points_behind_the_camera_are_very_far(make_matches):
    maker = make_matches()
    problem = maker.problem(np.array([[320.0, 240.0]]), maker.map_from_camera @ np.array([[0.0, 0.0, -2.0]]))
    assert problem.residuals(maker.map_from_camera)[0] > 1e5


def test_matches_without_a_ray_are_dropped(cameras):
    # Far beyond what this fisheye can see.
    pixels = np.array([[100.0, 100.0], [1e5, 1e5], [400.0, 300.0]])
    matches = Correspondences(
        pixels, np.arange(9.0).reshape(3, 3), np.array([4, 5, 6]), np.array([7, 8, 9]), np.ones(3, np.float32)
    )
    directions, ranges = np.eye(3), np.arange(6.0).reshape(3, 2)
    problem = make_problem(
        matches, [RigCamera(cameras["equidistant"])], ObserverCones(directions, ranges), 1.0, 2.0
    )
    assert problem.correspondences.keypoint_idxs.tolist() == [4, 6]
    assert problem.correspondences.landmark_idxs.tolist() == [7, 9]
    np.testing.assert_array_equal(problem.cones.directions, directions[[0, 2]])
    np.testing.assert_array_equal(problem.cones.distance_ranges, ranges[[0, 2]])
    assert len(problem.pinhole) == len(problem.points3d) == 2


def test_matches_of_a_view_that_is_none_are_dropped(cameras):
    matches = Correspondences(
        np.full((3, 2), 320.0),
        np.ones((3, 3)),
        np.array([4, 5, 6]),
        np.array([7, 8, 9]),
        np.ones(3, np.float32),
        np.array([0, 5, 1]),
    )
    problem = make_problem(matches, [RigCamera(cameras["none"])] * 2)
    assert problem.correspondences.keypoint_idxs.tolist() == [4, 6]


def test_landmarks_are_recognised_from_similar_sides_and_distances_only(make_matches):
    maker = make_matches()
    center = maker.map_from_camera @ np.array([[0.0, 0.0, 4.0]])
    problem = maker.problem(
        np.array([[320.0, 240.0]]), center, max_view_change_rad=np.deg2rad(40.0), max_scale_change=2.0
    )

    def seen_from(angle_deg, distance_m):
        turn = Rigid3.from_rotvec(maker.map_from_camera.rotation[:, 1] * np.deg2rad(angle_deg), np.zeros(3))
        away = turn.rotation @ (maker.map_from_camera.translation - center[0])
        return bool(
            problem.recognizable(
                Rigid3(maker.map_from_camera.rotation, center[0] + away * distance_m / np.linalg.norm(away))
            )[0]
        )

    # Mapped from 4 m; the range is 3.2 to 4.8 m, so 1.6 to 9.6 m is allowed.
    assert [seen_from(angle, 4.0) for angle in (0, 35, -35, 45, 180)] == [True, True, True, False, False]
    assert [seen_from(0, distance) for distance in (1.5, 1.7, 9.5, 9.7)] == [False, True, True, False]


def test_pixel_limits_scale_with_the_focal_length(make_matches):
    problem = make_matches(0, "equidistant").mixed_problem(10, 0)
    assert problem.pixels(10.0) == pytest.approx(10.0 * 261.0 / 525.0)
