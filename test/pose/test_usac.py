"""Camera poses by OpenCV, as the second solver: what its answers may be relied on for."""

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.usac import usac_absolute_pose

THRESHOLD_PX = 3.0


def sample(problem, seed=0, threshold_px=THRESHOLD_PX, max_iterations=1000, offset=0.0):
    points = problem.points3d + offset
    return usac_absolute_pose(problem.pinhole, points, problem.focal, threshold_px, max_iterations, seed)


def test_exact_matches_give_the_exact_pose(make_matches, error_of):
    maker = make_matches(0)
    points = maker.scatter(40)
    found, inliers = sample(maker.problem(maker.project(points), points))
    distance, angle = error_of(found, maker.map_from_camera)
    assert distance < 1e-4 and angle < 1e-4
    assert inliers.all()


def test_the_threshold_is_in_pixels_of_the_problem(make_matches):
    problem = make_matches(1).mixed_problem(120, 60, noise_px=1.5)
    for threshold_px in (1.0, 2.0, 4.0):
        found, inliers = sample(problem, threshold_px=threshold_px)
        np.testing.assert_array_equal(inliers, problem.residuals(found) < threshold_px)
        assert problem.residuals(found)[inliers].max() > 0.8 * threshold_px


def test_equal_seeds_give_equal_poses_and_others_other_ones(make_matches):
    problem = make_matches(2).mixed_problem(30, 270)
    matrices = [sample(problem, seed)[0].matrix for seed in (0, 0, 1, 2, 3, 4)]
    np.testing.assert_array_equal(matrices[0], matrices[1])
    assert any((matrix != matrices[0]).any() for matrix in matrices[2:])


def test_more_samples_find_what_few_miss(make_matches):
    def count_found(max_iterations):
        makers = [make_matches(seed) for seed in range(20)]
        found = [sample(maker.mixed_problem(30, 270), max_iterations=max_iterations) for maker in makers]
        return sum(
            answer is not None and answer[0].translation_to(maker.map_from_camera) < 0.1
            for maker, answer in zip(makers, found, strict=True)
        )

    assert count_found(50) < 6  # 5 % are expected
    assert count_found(5000) >= 19  # 99 %


def test_large_coordinates_cost_no_precision(make_matches, error_of):
    """OpenCV computes in single precision: at UTM's five million metres that is half a metre."""
    maker = make_matches(3)
    offset = np.array([5e5, 5e6, 100.0])
    found, inliers = sample(maker.mixed_problem(80, 40, noise_px=0.2), offset=offset)
    truth = Rigid3(maker.map_from_camera.rotation, maker.map_from_camera.translation + offset)
    assert error_of(found, truth)[0] < 0.01
    assert inliers.sum() >= 80


def test_points_behind_the_camera_are_no_inliers(make_matches):
    """They project to where a point in front of it would be, and OpenCV takes them."""
    maker = make_matches(4)
    points = maker.scatter(60)
    pixels = maker.project(points)
    mirrored = 2.0 * maker.map_from_camera.translation - points[:30]
    found, inliers = sample(maker.problem(pixels, np.concatenate([mirrored, points[30:]])))
    in_front = np.arange(60) >= 30
    assert found.translation_to(maker.map_from_camera) < 0.01
    np.testing.assert_array_equal(inliers, in_front)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_matches_give_none(make_matches, count):
    maker = make_matches(5)
    points = maker.scatter(count)
    pixels = maker.project(points)
    assert usac_absolute_pose(pixels - [319.5, 239.5], points, 525.0, THRESHOLD_PX, 100, 0) is None


@pytest.mark.parametrize("degenerate", ["one point", "one pixel", "not a number", "no number of points"])
def test_what_determines_no_pose_gives_none(make_matches, degenerate):
    maker = make_matches(6)
    points = maker.scatter(30)
    pixels = maker.project(points) - [319.5, 239.5]
    if degenerate == "one point":
        points = np.tile(points[:1], (30, 1))
    elif degenerate == "one pixel":
        pixels = np.tile(pixels[:1], (30, 1))
    elif degenerate == "not a number":
        pixels = pixels * np.nan
    else:  # OpenCV raises
        points = points[:20]
    assert usac_absolute_pose(pixels, points, 525.0, THRESHOLD_PX, 200, 0) is None
