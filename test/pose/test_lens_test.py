"""What one image says of its calibration once its pose is taken out."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.lens_test import lens_rest
from hfnet_ros.pose.refinement import refine_on_inliers
from hfnet_ros.types import PoseEstimate, RigCamera

MOVED = Rigid3.from_rotvec([0.002, -0.003, 0.001], [0.01, -0.02, 0.03])


def seen_by_another(maker, off, count=300, noise_px=0.5):
    """Matches of a camera that is off by a share of the focal length, a centre (slopes) and a radial distortion."""
    points = maker.scatter(count, margin_px=60.0)
    in_camera = maker.map_from_camera.inverse() @ points
    slopes = in_camera[:, :2] / in_camera[:, 2:]
    radial = off[3] * np.sum(slopes**2, axis=1, keepdims=True)
    slopes = (1.0 + off[0]) * slopes + off[1:3] + radial * slopes
    pixels = maker.camera.project(np.column_stack([slopes, np.ones(count)]))
    return maker.problem(pixels + noise_px * maker.rng.normal(size=pixels.shape), points)


def estimated(problem, pose):
    return PoseEstimate(pose, np.eye(6), np.ones(len(problem.points3d), bool), 1.0)


@pytest.mark.parametrize("off", [(0.0, 0.0, 0.0, 0.0), (0.03, 0.01, -0.02, 0.05), (-0.02, 0.0, 0.0, -0.1)])
def test_it_is_off_by_what_the_lens_is_whatever_the_pose_took_of_it(make_matches, off):
    found = []
    for seed in range(10):
        maker = make_matches(seed)
        problem = seen_by_another(maker, np.array(off))
        there, moved = maker.map_from_camera, maker.map_from_camera @ MOVED
        rests = [lens_rest(problem, estimated(problem, pose)) for pose in (there, moved)]
        told, again = (np.linalg.solve(rest.normal, rest.weighted) for rest in rests)
        assert again == pytest.approx(told, abs=6e-3)
        assert rests[0].depth == pytest.approx(4.0, abs=0.5)
        found.append(told)
    assert np.mean(found, axis=0) == pytest.approx(off, abs=6e-3)


def test_what_the_pose_takes_of_it_is_how_the_best_pose_moves(make_matches):
    maker = make_matches(3)
    off = np.array([0.02, 0.004, -0.003, 0.01])
    problem = seen_by_another(maker, off, noise_px=0.0)
    usable = np.ones(len(problem.points3d), bool)
    fitted = refine_on_inliers(problem, maker.map_from_camera, usable, radius_px=50.0).map_from_camera
    moved = maker.map_from_camera.inverse() @ fitted
    taken = lens_rest(problem, estimated(problem, fitted)).taken @ off
    assert np.abs(taken).max() > 0.01
    assert np.concatenate([moved.translation, moved.rotvec]) == pytest.approx(taken, abs=4e-3)


def test_its_standard_deviations_are_those_of_the_noise(make_matches):
    squares = []
    for seed in range(60):
        maker = make_matches(seed)
        problem = seen_by_another(maker, np.zeros(4))
        rest = lens_rest(problem, estimated(problem, maker.map_from_camera))
        squares.append(rest.weighted @ np.linalg.solve(rest.normal, rest.weighted))
    # Chi-square of 240 degrees of freedom; least squares that weigh down what is far off know a little less.
    assert 180.0 < sum(squares) < 400.0


def test_of_few_matches_and_of_a_rig_it_is_nothing(make_matches):
    maker = make_matches(0)
    few = seen_by_another(maker, np.zeros(4), count=15)
    assert lens_rest(few, estimated(few, maker.map_from_camera)) is None
    problem = seen_by_another(maker, np.zeros(4))
    aside = RigCamera(maker.camera, Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.1, 0.0, 0.0]))
    rig = dataclasses.replace(problem, cameras=(aside,))
    assert lens_rest(rig, estimated(problem, maker.map_from_camera)) is None


def test_matches_without_errors_do_no_harm(make_matches):
    maker = make_matches(1)
    problem = seen_by_another(maker, np.zeros(4), noise_px=0.0)
    rest = lens_rest(problem, estimated(problem, maker.map_from_camera))
    assert rest is None or np.isfinite([*rest.weighted, *rest.normal.ravel()]).all()
