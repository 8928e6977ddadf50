"""Poses from bare rays, by either library."""

import numpy as np
import pytest

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX
from hfnet_ros.geometry.epipolar import epipolar_distances
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.sampled_poses import sample_absolute_pose, sample_relative_pose
from hfnet_ros.pose.usac_relative import agreeing_matches

pytestmark = pytest.mark.usefixtures("solver_library")
B_FROM_A = Rigid3.from_rotvec(
    [0.05, -0.12, 0.03], np.array([0.8, 0.1, -0.2]) / np.linalg.norm([0.8, 0.1, -0.2])
)
THRESHOLD_PX = 2.0


def two_views(rng, num_true, num_false=0, noise_px=0.5, on_plane=False):
    """Rays of points 2 to 6 baselines away, seen from both, and of what is seen by chance."""
    slopes = rng.uniform([-0.6, -0.45], [0.6, 0.45], (num_true, 2))
    depth = 4.0 + 2.0 * slopes[:, :1] if on_plane else rng.uniform(2.0, 6.0, (num_true, 1))
    in_a = np.column_stack([slopes, np.ones(num_true)]) * depth
    in_b = B_FROM_A @ in_a
    noise = rng.normal(0.0, noise_px / REFERENCE_FOCAL_PX, (2, num_true, 2))
    false = rng.uniform(-0.5, 0.5, (2, num_false, 2))
    return (
        np.concatenate([in_a[:, :2] / in_a[:, 2:] + noise[0], false[0]]),
        np.concatenate([in_b[:, :2] / in_b[:, 2:] + noise[1], false[1]]),
    )


def direction_error(found):
    return np.arccos(np.clip(found.motion.translation @ B_FROM_A.translation, -1.0, 1.0))


@pytest.mark.parametrize("num_false", [0, 60, 120])
def test_the_second_camera_is_found(num_false):
    found = sample_relative_pose(*two_views(np.random.default_rng(0), 80, num_false), THRESHOLD_PX, 1000, 0)
    assert found.motion.rotation_to(B_FROM_A) < np.deg2rad(0.5)
    assert direction_error(found) < np.deg2rad(3.0)
    assert found.inliers[:80].sum() >= 78
    assert np.linalg.norm(found.motion.translation) == pytest.approx(1.0)


def test_a_plane_is_no_obstacle():
    """Linear equations leave its essential matrix open; it has two poses, one of which fits better."""
    errors = []
    for seed in range(10):
        points = two_views(np.random.default_rng(seed), 100, 30, on_plane=True)
        found = sample_relative_pose(*points, THRESHOLD_PX, 1000, seed)
        errors.append(found.motion.rotation_to(B_FROM_A))
    assert np.median(errors) < np.deg2rad(1.5)


def test_equal_seeds_give_equal_relative_poses():
    points = two_views(np.random.default_rng(1), 40, 100)
    one, other = (sample_relative_pose(*points, THRESHOLD_PX, 500, 3) for _ in range(2))
    np.testing.assert_array_equal(one.motion.matrix, other.motion.matrix)
    np.testing.assert_array_equal(one.inliers, other.inliers)


def test_inliers_are_near_their_epipolar_lines():
    points = two_views(np.random.default_rng(2), 80, 60)
    found = sample_relative_pose(*points, THRESHOLD_PX, 1000, 0)
    distances_px = REFERENCE_FOCAL_PX * np.abs(epipolar_distances(found.motion, *points))
    assert distances_px[found.inliers].max() < THRESHOLD_PX + 1e-6
    expected = agreeing_matches(found.motion, *points, THRESHOLD_PX / REFERENCE_FOCAL_PX)
    assert np.count_nonzero(expected != found.inliers) <= 2  # meeting far away, or hardly behind


@pytest.mark.parametrize("degenerate", ["too few", "one point", "no motion"])
def test_what_determines_no_second_camera_tells_nothing_wrong(degenerate):
    points_a, points_b = two_views(np.random.default_rng(3), 40, noise_px=0.0)
    if degenerate == "too few":
        points_a, points_b = points_a[:7], points_b[:7]
    elif degenerate == "one point":
        points_a, points_b = np.tile(points_a[:1], (40, 1)), np.tile(points_b[:1], (40, 1))
    else:
        points_b = points_a
    found = sample_relative_pose(points_a, points_b, THRESHOLD_PX, 200, 0)
    if degenerate == "no motion" and found is not None:
        assert found.motion.rotation_to(Rigid3.identity()) < 0.01
    elif degenerate == "too few":
        assert found is None
    else:
        assert found is None or np.isfinite(found.motion.matrix).all()


def test_a_sampson_distance_by_hand():
    """Both cameras look ahead, one metre apart along x: lines are rows, and both ends share an error."""
    beside = Rigid3.from_rotvec([0.0, 0.0, 0.0], [1.0, 0.0, 0.0])
    points_a, points_b = np.array([[0.1, 0.2]]), np.array([[0.3, 0.24]])
    assert abs(epipolar_distances(beside, points_a, points_b)[0]) == pytest.approx(0.04 / np.sqrt(2.0))
    # b sees the point to the right of where a does, so it lies ahead; the other way round it would lie behind.
    assert agreeing_matches(beside, points_a, points_b, 0.03).tolist() == [True]
    assert agreeing_matches(beside, points_b, points_a, 0.03).tolist() == [False]
    assert agreeing_matches(beside, points_a, points_b, 0.02).tolist() == [False]


def test_a_camera_among_points_is_found(make_matches):
    maker = make_matches(4)
    problem = maker.mixed_problem(60, 90)
    normalized = problem.pinhole / problem.focal
    found = sample_absolute_pose(normalized, problem.points3d, THRESHOLD_PX, 1000, 0)
    assert found.motion.translation_to(maker.map_from_camera) < 0.03
    assert 58 <= found.inliers.sum() <= 66
    few = sample_absolute_pose(normalized[:7], problem.points3d[:7], THRESHOLD_PX, 1000, 0)
    assert few is None


def test_random_points_place_no_camera_by_many_inliers(make_matches):
    for seed in range(10):
        problem = make_matches(seed).mixed_problem(0, 60)
        found = sample_absolute_pose(problem.pinhole / problem.focal, problem.points3d, 1.0, 500, seed)
        assert found is None or found.inliers.sum() < 12
