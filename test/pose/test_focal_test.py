"""The focal length that matches say, beside the calibration's."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.focal_test import focal_ratio

SCALE_PX = 6.0


def zoomed(maker, zoom, num_wrong=60, noise_px=1.0):
    """Matches of an image that was zoomed since it was calibrated, and a pose that is moved as it looks."""
    points = maker.scatter(200, depth_m=(2.0, 5.0), margin_px=100.0)
    center = maker.camera.center
    pixels = zoom * (maker.project(points, noise_px) - center) + center
    wrong = maker.scatter(num_wrong)
    problem = maker.problem(
        np.concatenate([pixels, maker.random_pixels(num_wrong)]), np.concatenate([points, wrong])
    )
    forward = maker.map_from_camera.rotation @ np.array([0.0, 0.0, 3.0 * (1.0 - 1.0 / zoom)])
    return problem, Rigid3(maker.map_from_camera.rotation, maker.map_from_camera.translation + forward)


@pytest.mark.parametrize("zoom", [0.75, 0.9, 1.0, 1.1, 1.33, 1.5])
def test_the_zoom_is_found_within_its_standard_deviation(make_matches, zoom):
    off = []
    for seed in range(8):
        problem, pose = zoomed(make_matches(seed), zoom)
        found = focal_ratio(problem, pose, SCALE_PX)
        assert found is not None
        ratio, sigma = found
        assert ratio == pytest.approx(zoom, abs=0.02)
        assert 1e-4 < sigma < 0.01
        off.append((ratio - zoom) / sigma)
    assert np.abs(off).max() < 4.5


def test_something_flat_seen_head_on_leaves_it_open(make_matches):
    maker = make_matches(2)
    in_camera = np.column_stack([maker.rng.uniform(-1.2, 1.2, (150, 2)), np.full(150, 3.0)])
    points = maker.map_from_camera @ in_camera
    found = focal_ratio(maker.problem(maker.project(points, 1.0), points), maker.map_from_camera, SCALE_PX)
    assert found is None or found[1] > 0.05


def test_matches_behind_the_camera_or_too_few_do_no_harm(make_matches):
    maker = make_matches(3)
    points = maker.scatter(6)
    problem = maker.problem(maker.project(points), points)
    turned = Rigid3.from_rotvec([0.0, np.pi, 0.0], np.zeros(3))
    for pose in (maker.map_from_camera, turned, maker.map_from_camera @ turned):
        found = focal_ratio(problem, pose, SCALE_PX)
        assert found is None or np.isfinite(found).all()


def test_a_rig_is_not_asked(make_matches):
    problem, pose = zoomed(make_matches(0), 1.33)
    twice = dataclasses.replace(problem, cameras=(*problem.cameras, *problem.cameras))
    assert focal_ratio(twice, pose, SCALE_PX) is None
