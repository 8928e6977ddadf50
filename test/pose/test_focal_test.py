"""The focal length that matches say, beside the calibration's."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.focal_test import focal_ratio
from hfnet_ros.types import Outcome

SCALE_PX = 6.0
OTHER_LIMITS = {
    "max_rival_ratio": 1.0,
    "max_twin_ratio": 1.0,
    "min_lead_over_rival": 0.0,
}  # do not decide here


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


def test_all_matches_are_asked_not_those_of_the_first_wall(make_matches):
    """Matches come place by place; of something flat seen head on any focal length is right."""
    maker = make_matches(5)
    wall = np.column_stack([maker.rng.uniform(-1.0, 1.0, (450, 2)), np.full(450, 3.0)])
    points = np.concatenate([maker.map_from_camera @ wall, maker.scatter(450, depth_m=(2.0, 6.0))])
    problem = maker.problem(maker.project(points, 1.0), points)
    _, sigma = focal_ratio(problem, maker.map_from_camera, SCALE_PX)
    assert sigma < 0.01


def test_a_rig_is_not_asked(make_matches):
    problem, pose = zoomed(make_matches(0), 1.33)
    twice = dataclasses.replace(problem, cameras=(*problem.cameras, *problem.cameras))
    assert focal_ratio(twice, pose, SCALE_PX) is None


@pytest.mark.parametrize(
    ("zoom", "allowed", "is_given"), [(1.33, 0.17, False), (1.33, 0.5, True), (1.0, 0.17, True)]
)
def test_an_image_of_another_focal_length_gets_no_pose(make_matches, judge, zoom, allowed, is_given):
    problem, _ = zoomed(make_matches(1), zoom)
    *_, verdict = judge(problem, max_focal_change=allowed, **OTHER_LIMITS)
    assert (verdict.outcome is Outcome.LOCALIZED) == is_given, verdict.reason
    assert ("the image fits a focal length 1.3" in verdict.reason) != is_given
    assert verdict.scores["focal_ratio"] == pytest.approx(zoom, abs=0.02)


def test_what_is_flat_is_not_refused_for_its_focal_length(make_matches, judge):
    """From aside a plane says which focal length took it, but matches of real walls were less sure than they said."""
    maker = make_matches(4)
    slopes = maker.rng.uniform([-0.5, -0.35], [0.5, 0.35], (200, 2))
    in_camera = np.column_stack([slopes, np.ones(200)]) * (3.0 + 1.2 * slopes[:, :1])
    points, center = maker.map_from_camera @ in_camera, maker.camera.center
    pixels = 1.33 * (maker.project(points, 0.3) - center) + center
    *_, verdict = judge(maker.problem(pixels, points), **OTHER_LIMITS)
    assert "focal length" not in verdict.reason
    assert verdict.scores["flat_share"] > 0.95
