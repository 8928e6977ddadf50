"""Competing poses for one set of matches."""

import numpy as np
import pytest
from gathering import gather_hypotheses

from hfnet_ros.config import PoseConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.refinement import refine_robustly

pytestmark = pytest.mark.usefixtures("solver_library")

THRESHOLD_PX, SCALE_PX = 3.0, 4.0


def gather(problem, **options):
    return gather_hypotheses(problem, PoseConfig(**options), THRESHOLD_PX, SCALE_PX)


def is_found(maker, hypotheses):
    return bool(hypotheses) and hypotheses[0].map_from_camera.translation_to(maker.map_from_camera) < 0.05


def count_found(make_matches, num_true, num_false, num_problems, **options):
    found = 0
    for seed in range(num_problems):
        maker = make_matches(seed)
        found += is_found(maker, gather(maker.mixed_problem(num_true, num_false), **options))
    return found


def test_a_fifth_of_inliers_is_always_enough(make_matches):
    assert count_found(make_matches, 60, 240, 20) == 20


@pytest.mark.slow
def test_a_tenth_of_inliers_is_found_as_often_as_the_samples_allow(make_matches):
    # 1000 samples of three all hit inliers with 1 - (1 - 0.001)^1000 = 63 %; 5000 with 99 %.
    assert count_found(make_matches, 30, 270, 30) >= 15
    assert count_found(make_matches, 30, 270, 15, max_iterations=5000) >= 14


@pytest.mark.parametrize("camera", ["plumb_bob", "rational_polynomial", "equidistant"])
def test_the_lens_does_not_matter(make_matches, camera):
    maker = make_matches(3, camera)
    assert is_found(maker, gather(maker.mixed_problem(60, 60)))


def test_the_same_seed_gives_the_same_hypotheses(make_matches):
    problem = make_matches(5).mixed_problem(30, 270)
    first, second = gather(problem, seed=7), gather(problem, seed=7)
    assert len(first) == len(second) > 1
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.map_from_camera.matrix, other.map_from_camera.matrix)
        np.testing.assert_array_equal(one.residuals, other.residuals)
        assert one.score == other.score


def test_hypotheses_are_ordered_by_a_score_that_residuals_explain(make_matches):
    hypotheses = gather(make_matches(6).mixed_problem(60, 100))
    scores = [hypothesis.score for hypothesis in hypotheses]
    assert scores == sorted(scores, reverse=True)
    for hypothesis in hypotheses:
        expected = np.sum(1.0 / (1.0 + (hypothesis.residuals / SCALE_PX) ** 2) ** 2)
        assert hypothesis.score == pytest.approx(expected)


def test_landmarks_seen_from_behind_do_not_count(make_matches):
    maker = make_matches(7)
    points = maker.scatter(60)
    beyond = maker.map_from_camera @ np.array([0.0, 0.0, 20.0])
    problem = maker.problem(maker.project(points, 0.3), points, observers=beyond)
    hypotheses = gather(problem)
    assert all(hypothesis.score < 6.0 for hypothesis in hypotheses)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_matches_give_no_hypothesis(make_matches, count):
    assert gather(make_matches().mixed_problem(count, 0)) == []


def sweep_for_minima(maker, problem, normal):
    """Tips of the normal at every minimum that a dense sweep around the plane's middle runs into."""
    pivot, tilt_axis = problem.points3d.mean(axis=0), maker.map_from_camera.rotation[:, 0]
    starts = []
    for angle in np.deg2rad(np.arange(-32.0, 33.0, 4.0)):
        swing = Rigid3.from_rotvec(tilt_axis * angle, np.zeros(3))
        position = pivot + swing @ (maker.map_from_camera.translation - pivot)
        starts.append(Rigid3(swing.rotation @ maker.map_from_camera.rotation, position))
    return [tip_of(pose, normal) for pose in refine_robustly(problem, starts, SCALE_PX, iterations=200)]


def tip_of(map_from_camera, normal):
    """How far a plane's normal tips up (-) or down (+) in the camera: the sine of its tilt."""
    return float((map_from_camera.rotation.T @ normal)[1])


def test_both_poses_of_a_far_plane_are_among_the_hypotheses(make_matches):
    """Seen almost head on from afar, a plane's tilt and the opposite tilt look the same."""
    num_ambiguous = 0
    for seed in range(10):
        maker = make_matches(seed)
        camera_from_plane = Rigid3.from_rotvec([np.deg2rad(8.0), 0.0, 0.0], [0.0, 0.0, 10.0])
        on_plane = np.column_stack([maker.rng.uniform(-0.7, 0.7, (80, 2)), np.zeros(80)])
        points = maker.map_from_camera @ (camera_from_plane @ on_plane)
        problem = maker.problem(maker.project(points, 1.0), points)
        normal = (maker.map_from_camera @ camera_from_plane).rotation[:, 2]
        minima = sweep_for_minima(maker, problem, normal)
        found = [tip_of(hypothesis.map_from_camera, normal) for hypothesis in gather(problem)]
        assert min(found) == pytest.approx(min(minima), abs=0.02)
        if max(minima) > 0.05:  # noise may have filled up the other minimum
            num_ambiguous += 1
            assert max(found) == pytest.approx(max(minima), abs=0.02)
    assert num_ambiguous >= 3


def test_a_second_scene_in_the_matches_is_found_too(make_matches):
    maker = make_matches(8)
    here, there, offset = maker.scatter(60), maker.scatter(40), np.array([7.0, 0.0, 0.0])
    pixels = maker.project(np.concatenate([here, there]), 0.5)
    observer = maker.map_from_camera.translation
    observers = np.concatenate([np.tile(observer, (60, 1)), np.tile(observer + offset, (40, 1))])
    hypotheses = gather(maker.problem(pixels, np.concatenate([here, there + offset]), observers))
    shifted = Rigid3(maker.map_from_camera.rotation, observer + offset)
    assert is_found(maker, hypotheses)
    rival = min(hypotheses, key=lambda hypothesis: hypothesis.map_from_camera.translation_to(shifted))
    assert rival.map_from_camera.translation_to(shifted) < 0.05
    assert rival.differs_from(hypotheses[0], 0.4, 0.1)


@pytest.mark.parametrize("degenerate", ["one point", "one pixel", "a line", "a line, random pixels"])
def test_degenerate_matches_raise_nothing(make_matches, judge, degenerate):
    maker = make_matches(9)
    points = maker.scatter(30)
    pixels = maker.project(points)
    if degenerate == "one point":
        points = np.tile(points[:1], (30, 1))
    elif degenerate == "one pixel":
        pixels = np.tile(pixels[:1], (30, 1))
    else:
        points = points[0] + np.linspace(0, 1, 30)[:, None] * (points[1] - points[0])
        pixels = maker.project(points) if degenerate == "a line" else maker.random_pixels(30)
    verdict = judge(maker.problem(pixels, points))[3]
    assert verdict is None or verdict.outcome.value != "LOCALIZED"
