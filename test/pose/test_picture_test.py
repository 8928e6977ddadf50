"""A picture of a place against the place: what only a camera without calibration explains."""

import numpy as np
import pytest
from gathering import gather_hypotheses

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.picture_test import uncalibrated_ratio

SCALE_PX = 6.0


def pictured(maker, shrink, lean=0.0, flip=False):
    """Matches of an image in which the place hangs as a picture, with a third of wrong ones; and its best pose."""
    points = maker.scatter(200, depth_m=(1.5, 6.0))
    pixels = maker.project(points, 0.5) - maker.camera.center
    if flip:
        pixels[:, 0] *= -1.0
    hung = (
        shrink * pixels / (1.0 + lean * pixels[:, :1] / 640.0) + maker.camera.center + np.array([40.0, -30.0])
    )
    wrong = maker.scatter(100)
    problem = maker.problem(np.concatenate([hung, maker.random_pixels(100)]), np.concatenate([points, wrong]))
    back = maker.map_from_camera.rotation @ np.array([0.0, 0.0, -3.0 * (1.0 / shrink - 1.0)])
    return problem, Rigid3(maker.map_from_camera.rotation, maker.map_from_camera.translation + back)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise_px", [0.5, 2.0])
def test_at_the_place_itself_the_freedom_gains_nothing(make_matches, seed, noise_px):
    maker = make_matches(seed)
    points = maker.scatter(100)
    pixels = np.concatenate([maker.project(points, noise_px), maker.random_pixels(150)])
    problem = maker.problem(pixels, np.concatenate([points, maker.scatter(150)]))
    assert 1.0 <= uncalibrated_ratio(problem, maker.map_from_camera, SCALE_PX) < 1.08


def test_most_matches_may_be_behind_the_camera(make_matches):
    maker = make_matches(4)
    points = maker.scatter(60)
    behind = maker.map_from_camera @ np.column_stack(
        [maker.rng.uniform(-3.0, 3.0, (200, 2)), np.full(200, -4.0)]
    )
    pixels = np.concatenate([maker.project(points, 1.0), maker.random_pixels(200)])
    problem = maker.problem(pixels, np.concatenate([points, behind]))
    assert uncalibrated_ratio(problem, maker.map_from_camera, SCALE_PX) < 1.1


@pytest.mark.parametrize(("shrink", "lean"), [(0.75, 0.0), (0.6, 0.2), (0.4, 0.0)])
def test_a_picture_is_another_camera(make_matches, shrink, lean):
    for seed in range(3):
        problem, pose = pictured(make_matches(seed), shrink, lean)
        assert uncalibrated_ratio(problem, pose, SCALE_PX) > 1.4


def test_so_is_a_mirror(make_matches):
    maker = make_matches(1)
    problem, _ = pictured(maker, 0.999, flip=True)
    turned = Rigid3(maker.map_from_camera.rotation, maker.map_from_camera.translation)
    assert uncalibrated_ratio(problem, turned, SCALE_PX) > 1.4


def test_a_flat_scene_cannot_tell_and_is_not_accused(make_matches):
    maker = make_matches(2)
    in_camera = np.column_stack([maker.rng.uniform(-1.2, 1.2, (150, 2)), np.full(150, 3.0)])
    points = maker.map_from_camera @ in_camera
    problem = maker.problem(maker.project(points, 1.0), points)
    assert uncalibrated_ratio(problem, maker.map_from_camera, SCALE_PX) < 1.1


def test_matches_behind_the_camera_or_too_few_do_no_harm(make_matches):
    maker = make_matches(3)
    points = maker.scatter(6)
    problem = maker.problem(maker.project(points), points)
    turned = Rigid3.from_rotvec([0.0, np.pi, 0.0], np.zeros(3))
    for pose in (maker.map_from_camera, turned):
        assert np.isfinite(uncalibrated_ratio(problem, pose, SCALE_PX))


def test_a_picture_is_found_among_many_wrong_matches(make_matches):
    for seed in range(8):
        maker = make_matches(seed)
        wall = np.column_stack([maker.rng.uniform(-1.3, 1.3, (60, 2)), maker.rng.uniform(3.9, 4.1, 60)])
        near = np.column_stack([maker.rng.uniform(-0.6, 0.6, (20, 2)), maker.rng.uniform(1.8, 2.5, 20)])
        points = maker.map_from_camera @ np.concatenate([wall, near])
        center, shrink = maker.camera.center, 0.5
        pixels = maker.project(points, 0.5) - center
        hung = shrink * pixels / (1.0 + 0.15 * pixels[:, :1] / 640.0) + center + np.array([120.0, 60.0])
        wrong = maker.rng.integers(len(points), size=400)
        off = hung[wrong] + maker.rng.uniform(-90.0, 90.0, (400, 2))
        problem = maker.problem(np.concatenate([hung, off]), np.concatenate([points, points[wrong]]))
        best, *_ = gather_hypotheses(problem, Config().pose, 8.0, 9.0)
        assert uncalibrated_ratio(problem, best.map_from_camera, 9.0) > 1.15
