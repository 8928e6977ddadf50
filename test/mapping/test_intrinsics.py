"""Refinement finds what is wrong with a calibration, and leaves a right one alone."""

from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.geometry.pixels import rescale_pixels
from hfnet_ros.mapping.calibration_adjustment import adjust_intrinsics
from hfnet_ros.mapping.intrinsics import refine_intrinsics
from hfnet_ros.mapping.matches import match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import NearestPairMatcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose
from hfnet_ros.mapping.structure import report_intrinsics, solve_structure
from hfnet_ros.mapping.triangulation import reprojection_errors
from hfnet_ros.mapping.views import Structure, View

TRUE_DISTORTION = (-0.2, 0.05, 0.002, -0.001)


def _solve(world, given, config, mode):
    matcher = NearestPairMatcher()
    pairs = choose_pairs_by_pose(world.views, given, matcher, config.mapping, 2)
    matches = match_pairs(matcher, [view.features for view in world.views], pairs, 0.0, 2)
    return solve_structure(world.views, given, matches, config, BuildOptions(intrinsics=mode))


def _corner_error(camera: Camera, truth: Camera) -> float:
    """Return how far the two put the directions of pixels all over the image, px, at the worst."""
    x, y = np.meshgrid(np.linspace(10, 309, 7), np.linspace(10, 229, 7))
    directions = np.column_stack([truth.undistort(np.column_stack([x.ravel(), y.ravel()])), np.ones(49)])
    return float(np.linalg.norm(camera.project(directions) - truth.project(directions), axis=1).max())


@pytest.mark.parametrize(
    ("model", "distortion"),
    [(DistortionModel.PLUMB_BOB, TRUE_DISTORTION), (DistortionModel.EQUIDISTANT, (0.05, -0.02, 0.0, 0.0))],
)
def test_a_wrong_calibration_is_put_right(kit, config, model, distortion):
    truth = kit.make_camera(model, distortion)
    undistorted = () if model is DistortionModel.EQUIDISTANT else (-0.1, 0.0, 0.0, 0.0)
    given = kit.make_camera(model, undistorted, focal=255.0)
    world = kit.make_world([truth], num_views=18, num_points=400)
    solved = _solve(world, [given], config, "auto")
    assert solved.reports[0].kept
    assert solved.reports[0].gain > 0.08
    assert _corner_error(given, truth) > 3.0
    assert _corner_error(solved.cameras[0], truth) < 0.5
    np.testing.assert_allclose(solved.cameras[0].focal, truth.focal, rtol=0.003)


def test_distortion_is_found_where_none_was_given(kit, config):
    truth = kit.make_camera(distortion=TRUE_DISTORTION)
    world = kit.make_world([truth], num_views=18, num_points=400)
    solved = _solve(world, [kit.make_camera(DistortionModel.NONE)], config, "auto")
    assert solved.reports[0].kept
    assert solved.cameras[0].model is DistortionModel.PLUMB_BOB
    assert solved.cameras[0].distortion[0] == pytest.approx(-0.2, abs=0.03)


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        (DistortionModel.PLUMB_BOB, (*TRUE_DISTORTION, -0.01)),
        (DistortionModel.RATIONAL_POLYNOMIAL, (*TRUE_DISTORTION, -0.01, 0.02, 0.0, 0.0)),
    ],
)
def test_a_lens_with_k3_gets_its_focal_length_and_keeps_its_distortion(kit, config, model, distortion):
    truth, given = kit.make_camera(model, distortion), kit.make_camera(model, distortion, focal=253.0)
    world = kit.make_world([truth], num_views=18, num_points=400)
    solved = _solve(world, [given], config, "auto")
    assert solved.reports[0].kept
    assert "distortion held as given" in solved.reports[0].reason
    assert solved.cameras[0].model is model
    np.testing.assert_array_equal(solved.cameras[0].distortion, given.distortion)
    np.testing.assert_allclose(solved.cameras[0].focal, truth.focal, rtol=0.003)


def test_refinement_brings_landmarks_in(kit, config):
    truth = kit.make_camera(distortion=TRUE_DISTORTION)
    world = kit.make_world([truth], num_views=18, num_points=400)
    given = [kit.make_camera(focal=255.0)]
    strict = replace(config, mapping=replace(config.mapping, max_reprojection_error_px=2.0))
    with_it = _solve(world, given, strict, "auto").structure
    without = _solve(world, given, strict, "off").structure
    # Longer tracks: the same points seen by more keyframes.
    assert with_it.track_lengths.mean() > 1.1 * without.track_lengths.mean()


def test_a_right_calibration_stays(kit, config):
    truth = kit.make_camera(distortion=TRUE_DISTORTION)
    world = kit.make_world([truth], num_views=18, num_points=400, noise_px=0.7)
    solved = _solve(world, [truth], config, "auto")
    assert not solved.reports[0].kept
    assert solved.reports[0].gain < config.mapping.min_intrinsics_gain
    assert solved.cameras[0] is truth


@pytest.mark.slow
def test_noisy_poses_do_not_talk_a_right_calibration_out(kit, config):
    truth = kit.make_camera(distortion=TRUE_DISTORTION)
    world = kit.make_world([truth], num_views=18, num_points=400)
    rng = np.random.default_rng(3)
    world.views = [
        View(
            view.features,
            0,
            view.map_from_camera @ Rigid3.from_rotvec(0.003 * rng.normal(size=3), 0.005 * rng.normal(size=3)),
        )
        for view in world.views
    ]
    solved = _solve(world, [truth], config, "auto")
    assert solved.cameras[0] is truth
    assert "poses are inaccurate" in solved.reports[0].reason


def test_only_the_wrong_one_of_two_cameras_changes(kit, config):
    right, wrong = kit.make_camera(distortion=TRUE_DISTORTION), kit.make_camera(focal=252.0)
    world = kit.make_world([right, kit.make_camera()], num_views=20, num_points=400)
    solved = _solve(world, [right, wrong], config, "auto")
    assert [report.kept for report in solved.reports] == [False, True]
    assert solved.cameras[0] is right
    np.testing.assert_allclose(solved.cameras[1].focal, 260.0, rtol=0.005)


@pytest.mark.slow
def test_off_changes_nothing_and_on_always_refines(kit, config):
    truth = kit.make_camera(distortion=TRUE_DISTORTION)
    world = kit.make_world([truth], num_views=18, num_points=400)
    off, on = (_solve(world, [truth], config, mode) for mode in ("off", "on"))
    assert off.cameras[0] is truth
    assert on.reports[0].kept
    assert on.cameras[0] is not truth
    assert _corner_error(on.cameras[0], truth) < 0.5


def test_too_little_to_see_keeps_the_given_calibration(kit, config):
    world = kit.make_world(num_views=3, num_points=150)
    given = kit.make_camera(focal=255.0)
    solved = _solve(world, [given], config, "auto")
    assert solved.cameras[0] is given
    assert "fewer than 500 observations" in solved.reports[0].reason


def test_report_is_plain_json(kit, config):
    import json

    given = kit.make_camera()
    world = kit.make_world(num_views=3, num_points=150)
    report = report_intrinsics([given], _solve(world, [given], config, "auto"))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report[0]["error_given_px"] is None
    assert report[0]["used"]["focal"] == [260.0, 260.0]


def _exact_structure(world):
    """Return the true points with all their observations, by landmark."""
    rows = sorted(
        (int(point), view, keypoint)
        for view, seen in enumerate(world.seen)
        for keypoint, point in enumerate(seen)
    )
    points, view_idx, keypoint_idx = np.array(rows).T
    used, landmark_idx = np.unique(points, return_inverse=True)
    return Structure(world.points[used], landmark_idx, view_idx, keypoint_idx)


def test_what_keyframes_do_not_see_of_a_lens_is_not_made_up(kit, config):
    truth = kit.make_camera(DistortionModel.EQUIDISTANT, (0.05, -0.02, 0.0, 0.0))
    world = kit.make_world([truth], num_points=600)
    exact = _exact_structure(world)
    pixels = [
        world.views[view].keypoints[row] for view, row in zip(exact.view_idx, exact.keypoint_idx, strict=True)
    ]
    central = np.linalg.norm(np.array(pixels) - truth.center, axis=1) < 100.0
    structure = exact.keep_observations(central, min_track_length=2)
    cameras, reports = refine_intrinsics(structure, world.views, [truth], "on", config.mapping)
    assert cameras[0] is truth
    assert "of which keyframes see too little" in reports[0].reason


def test_a_lens_colmap_does_not_know_stays_as_given(kit, config, monkeypatch):
    monkeypatch.setattr(DistortionModel, "_known", dict(DistortionModel._known))
    own = DistortionModel.register("own", DistortionModel.PLUMB_BOB.lens)
    given = replace(kit.make_camera(), model=own)
    world = kit.make_world([given], num_points=200)
    cameras, reports = refine_intrinsics(_exact_structure(world), world.views, [given], "on", config.mapping)
    assert cameras[0] is given
    assert "no equal of own" in reports[0].reason


def test_adjustment_without_noise_is_exact(kit):
    truth = kit.make_camera(distortion=TRUE_DISTORTION)
    world = kit.make_world([truth], noise_px=0.0, num_points=200)
    start = kit.make_camera(distortion=(-0.15, 0.0, 0.0, 0.0), focal=257.0)
    adjusted = adjust_intrinsics(_exact_structure(world), world.views, [start], [0], 2.0)
    assert _corner_error(adjusted.cameras[0], truth) < 0.02
    assert reprojection_errors(adjusted.structure, world.views, adjusted.cameras).max() < 0.05


def _with_keypoints(view, pixels):
    local = replace(view.features.local, keypoints=pixels.astype(np.float32))
    return replace(view, features=replace(view.features, local=local))


def test_adjustment_repeats_itself_to_the_last_bit(kit):
    world = kit.make_world(noise_px=0.5, num_points=300)
    start = kit.make_camera(focal=257.0)
    first, second = (
        adjust_intrinsics(_exact_structure(world), world.views, [start], [0], 2.0) for _ in range(2)
    )
    np.testing.assert_array_equal(first.cameras[0].focal, second.cameras[0].focal)
    np.testing.assert_array_equal(first.cameras[0].distortion, second.cameras[0].distortion)
    np.testing.assert_array_equal(first.structure.xyz, second.structure.xyz)


def test_the_size_of_the_image_does_not_matter(kit):
    """Robust scale and tolerance are stated for one focal length, so that a resized lens is the same lens."""
    truth = kit.make_camera(distortion=TRUE_DISTORTION)
    world = kit.make_world([truth], noise_px=0.5, num_points=200)
    start = kit.make_camera(focal=257.0)
    twice = start.resized((640, 480))
    views = [
        _with_keypoints(view, rescale_pixels(view.keypoints, np.array([2.0, 2.0]))) for view in world.views
    ]
    structure = _exact_structure(world)
    small = adjust_intrinsics(structure, world.views, [start], [0], 2.0).cameras[0]
    large = adjust_intrinsics(structure, views, [twice], [0], 2.0).cameras[0]
    np.testing.assert_allclose(large.focal, 2.0 * small.focal, rtol=1e-6)
    np.testing.assert_allclose(large.distortion, small.distortion, atol=1e-5)


@pytest.mark.parametrize("reach", [0.1, 0.02, 0.0])
@pytest.mark.parametrize(
    ("model", "distortion"),
    [(DistortionModel.PLUMB_BOB, TRUE_DISTORTION), (DistortionModel.EQUIDISTANT, (0.05, -0.02, 0.0, 0.0))],
)
def test_weak_parallax_does_not_lead_the_lens_astray(kit, model, distortion, reach):
    """Steps of centimetres before a room of metres: landmarks have hardly any depth."""
    truth = kit.make_camera(model, distortion)
    world = kit.make_world([truth], num_points=300)
    rng = np.random.default_rng(4)
    views = []
    for view, seen in zip(world.views, world.seen, strict=True):
        pose = Rigid3(view.map_from_camera.rotation, reach * view.map_from_camera.translation)
        pixels = truth.project(pose.inverse() @ world.points[seen]) + 0.5 * rng.normal(size=(len(seen), 2))
        views.append(replace(_with_keypoints(view, pixels), map_from_camera=pose))
    structure = _exact_structure(world)
    adjusted = adjust_intrinsics(structure, views, [truth], [0], 2.0)
    np.testing.assert_allclose(adjusted.cameras[0].focal, truth.focal, rtol=0.01)
    assert _corner_error(adjusted.cameras[0], truth) < 1.0
    assert np.isfinite(adjusted.structure.xyz).all()


def test_adjustment_with_all_cameras_held_moves_only_landmarks(kit):
    world = kit.make_world(noise_px=0.5, num_points=200)
    exact = _exact_structure(world)
    rng = np.random.default_rng(1)
    shaken = Structure(
        exact.xyz + 0.05 * rng.normal(size=exact.xyz.shape),
        exact.landmark_idx,
        exact.view_idx,
        exact.keypoint_idx,
    )
    before = shaken.xyz.copy()
    adjusted = adjust_intrinsics(shaken, world.views, world.cameras, [], 2.0)
    assert adjusted.cameras[0] is world.cameras[0]
    assert np.median(np.linalg.norm(adjusted.structure.xyz - exact.xyz, axis=1)) < 0.02
    np.testing.assert_array_equal(shaken.xyz, before)
