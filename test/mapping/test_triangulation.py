"""Landmarks from known poses against the points they were made of."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import DistortionModel, Rigid3
from hfnet_ros.mapping.colmap_database import write_posed_database
from hfnet_ros.mapping.matches import filter_by_known_poses, match_pairs, sampson_errors
from hfnet_ros.mapping.pair_matcher import NearestPairMatcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose
from hfnet_ros.mapping.triangulation import (
    filter_structure,
    parallax_angles,
    reprojection_errors,
    triangulate,
)
from hfnet_ros.mapping.views import Structure

CAMERAS = {
    "pinhole": (DistortionModel.NONE, ()),
    "plumb_bob": (DistortionModel.PLUMB_BOB, (-0.25, 0.06, 0.002, -0.003)),
    # COLMAP finds such coefficients implausible and would return nothing.
    "implausible": (DistortionModel.PLUMB_BOB, (0.26, -0.95, -0.005, 0.002, 1.16)),
    "rational": (DistortionModel.RATIONAL_POLYNOMIAL, (0.4, 0.1, 0.001, 0.0, 0.01, 0.5, 0.15, 0.02)),
    "fisheye": (DistortionModel.EQUIDISTANT, (0.02, -0.01, 0.003, 0.0)),
}


def _solve(world, config, is_polished=True, **changes):
    mapping = replace(config.mapping, **changes)
    matcher = NearestPairMatcher()
    pairs = choose_pairs_by_pose(world.views, world.cameras, matcher, mapping, 2)
    matches = match_pairs(matcher, [view.features for view in world.views], pairs, 0.0, 2)
    agreeing = filter_by_known_poses(matches, world.views, world.cameras, mapping.max_epipolar_error_px)
    return triangulate(
        world.views, world.cameras, agreeing, mapping, num_threads=2, seed=0, is_polished=is_polished
    )


def _truth(world, structure):
    """Return the true point of each landmark by its first observation."""
    first = np.searchsorted(structure.landmark_idx, np.arange(structure.num_landmarks))
    return np.array(
        [
            world.points[world.seen[view][keypoint]]
            for view, keypoint in zip(structure.view_idx[first], structure.keypoint_idx[first], strict=True)
        ]
    )


@pytest.mark.parametrize("name", CAMERAS)
def test_landmarks_are_the_true_points(kit, config, name):
    world = kit.make_world([kit.make_camera(*CAMERAS[name])])
    structure = _solve(world, config)
    assert structure.num_landmarks > 350
    errors = np.linalg.norm(structure.xyz - _truth(world, structure), axis=1)
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.95) < 0.1


def test_without_polish_landmarks_are_as_many_and_as_good(kit, config):
    world = kit.make_world([kit.make_camera()])
    rough, polished = (_solve(world, config, is_polished) for is_polished in (False, True))
    assert rough.num_landmarks > 0.95 * polished.num_landmarks
    spread = [np.median(reprojection_errors(one, world.views, world.cameras)) for one in (rough, polished)]
    assert not np.array_equal(rough.xyz, polished.xyz)
    assert spread[0] < 1.1 * spread[1]
    assert np.median(np.linalg.norm(rough.xyz - _truth(world, rough), axis=1)) < 0.02


def test_a_lens_that_colmap_does_not_know_makes_the_same_landmarks(kit, config, monkeypatch):
    monkeypatch.setattr(DistortionModel, "_known", dict(DistortionModel._known))
    own = DistortionModel.register("own", DistortionModel.EQUIDISTANT.lens)
    known, unknown = (
        _solve(kit.make_world([kit.make_camera(model, CAMERAS["fisheye"][1])], num_views=8), config)
        for model in (DistortionModel.EQUIDISTANT, own)
    )
    assert known.num_landmarks > 300
    assert abs(unknown.num_landmarks - known.num_landmarks) <= 3
    assert abs(len(unknown.view_idx) - len(known.view_idx)) <= 10


def test_pixel_conventions_leave_no_offset(kit, config):
    world = kit.make_world(noise_px=0.0)
    structure = _solve(world, config)
    # Half a pixel confused somewhere would stay in the errors as it is.
    assert np.median(reprojection_errors(structure, world.views, world.cameras)) < 0.02
    assert np.median(np.linalg.norm(structure.xyz - _truth(world, structure), axis=1)) < 1e-3


def test_several_cameras_make_one_structure(kit, config):
    cameras = [kit.make_camera(*CAMERAS["plumb_bob"]), kit.make_camera(*CAMERAS["fisheye"], focal=200.0)]
    world = kit.make_world(cameras)
    structure = _solve(world, config)
    errors = np.linalg.norm(structure.xyz - _truth(world, structure), axis=1)
    assert np.median(errors) < 0.01
    camera_of = np.array([view.camera_idx for view in world.views])[structure.view_idx]
    both = [len(set(camera_of[structure.landmark_idx == idx])) == 2 for idx in range(50)]
    assert np.mean(both) > 0.8


def test_scale_of_the_map_does_not_matter(kit, config):
    metric = _solve(kit.make_world(), config)
    tiny = _solve(kit.make_world(scale=0.01), config)
    assert abs(tiny.num_landmarks - metric.num_landmarks) <= 0.01 * metric.num_landmarks
    np.testing.assert_allclose(np.median(tiny.xyz, axis=0), 0.01 * np.median(metric.xyz, axis=0), atol=1e-3)


def test_every_landmark_keeps_what_was_asked(kit, config):
    world = kit.make_world(noise_px=1.0)
    structure = _solve(world, config, min_track_length=4, max_reprojection_error_px=3.0)
    limit = 3.0 * 260.0 / 525.0
    assert structure.num_landmarks > 100
    assert structure.track_lengths.min() >= 4
    assert reprojection_errors(structure, world.views, world.cameras).max() <= limit
    assert parallax_angles(structure, world.views).min() >= np.radians(1.5)


def test_same_seed_same_structure(kit, config):
    world = kit.make_world(num_views=6, num_points=200)
    first, second = _solve(world, config), _solve(world, config)
    assert (first.keypoint_idx == second.keypoint_idx).all()
    np.testing.assert_allclose(first.xyz, second.xyz, atol=1e-9)


def test_nothing_to_triangulate_is_an_empty_structure(kit, config):
    world = kit.make_world(num_views=3, num_points=100)
    structure = triangulate(world.views, world.cameras, {}, config.mapping, num_threads=1, seed=0)
    assert structure.num_landmarks == 0
    assert structure.xyz.shape == (0, 3)


def test_temporary_files_go_even_when_interrupted(kit, config, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupt(reconstruction, database, images, output, **options):
        assert list(tmp_path.iterdir()), "the database should be where tempfile was told"
        # What COLMAP does when it is interrupted while it writes.
        Path(f"{output}.partial").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("hfnet_ros.mapping.triangulation.pycolmap.triangulate_points", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _solve(kit.make_world(num_views=3, num_points=100), config)
    assert list(Path(tmp_path).iterdir()) == []


def test_sampson_error_hand_computed():
    # Moving along x, the epipolar line of (0, 0) is the x axis: 0.02 off it, shared by both points.
    b_from_a = Rigid3(np.eye(3), np.array([-0.5, 0.0, 0.0]))
    errors = sampson_errors(
        np.array([[0.0, 0.0], [0.1, 0.2]]), np.array([[0.3, 0.02], [-0.4, 0.2]]), b_from_a
    )
    np.testing.assert_allclose(errors, [0.02 / np.sqrt(2.0), 0.0], atol=1e-12)


def test_sampson_error_without_motion_is_the_distance_after_turning():
    turned = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], [0.0, 0.0, 0.0])
    errors = sampson_errors(np.array([[0.1, 0.0]]), np.array([[0.0, 0.13]]), turned)
    np.testing.assert_allclose(errors, [0.03], atol=1e-12)


def _two_views(kit):
    """Two views half a metre apart, and keypoints of (0, 0, 2) and (0, 0, 100)."""
    camera = kit.make_camera()
    poses = [Rigid3.identity(), Rigid3(np.eye(3), np.array([0.5, 0.0, 0.0]))]
    points = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 100.0]])
    views = []
    for pose in poses:
        keypoints = camera.project(pose.inverse() @ points).astype(np.float32)
        # A third keypoint is the first one again, a pixel lower.
        keypoints = np.concatenate([keypoints, keypoints[:1] + np.float32([0.0, 1.0])])
        views.append(kit.make_view(keypoints, np.zeros((3, 8), np.float32), 0, pose))
    return camera, views, points


def test_parallax_hand_computed(kit):
    _, views, points = _two_views(kit)
    structure = Structure(points, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(
        parallax_angles(structure, views), [np.arctan(0.25), np.arctan(0.005)], atol=1e-9
    )


def test_filter_drops_far_points_and_second_best_observations(kit, config):
    camera, views, points = _two_views(kit)
    structure = Structure(
        points, np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1]), np.array([2, 0, 0, 1, 1])
    )
    kept = filter_structure(structure, views, [camera], config.mapping)
    np.testing.assert_allclose(kept.xyz, points[:1])
    assert kept.landmark_idx.tolist() == [0, 0]
    assert kept.view_idx.tolist() == [0, 1]
    assert kept.keypoint_idx.tolist() == [0, 0]


def test_a_database_that_cannot_be_written_names_its_folder(kit, tmp_path):
    world = kit.make_world()
    with pytest.raises(MappingError, match=r"gone/database\.db: COLMAP cannot write.*TMPDIR"):
        write_posed_database(tmp_path / "gone" / "database.db", world.views, world.cameras, {})
