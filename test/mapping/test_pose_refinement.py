"""Adjusting given poses: undone noise, exact poses left alone, the frame kept."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pose_refinement import _parts, _shared
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import Structure
from hfnet_ros.trust.tested_build import build_map

REFINE = BuildOptions(intrinsics="off", self_test=False)
LEAVE = BuildOptions(intrinsics="off", refine_poses="off", self_test=False)


@pytest.fixture(scope="module")
def world(kit):
    return kit.make_world(num_views=12, num_points=300)


@pytest.fixture(scope="module")
def given(kit, world):
    """The world's poses with noise."""
    return noisy(kit.poses_of(world), 0.01, 0.003)


@pytest.fixture(scope="module")
def refined(kit, world, config, given):
    """Map of the noisy poses, refined."""
    return build(kit, world, config, given)


@pytest.fixture(scope="module")
def as_given(kit, world, config, given):
    """Map of the noisy poses as they are."""
    return build(kit, world, config, given, LEAVE)


def build(kit, world, config, poses, options=REFINE):
    source = PosedImages(kit.make_images(world), poses, world.cameras)
    return build_map(source, kit.make_extractor(world), config, options)


def noisy(poses, sigma_m, sigma_rad, seed=0):
    rng = np.random.default_rng(seed)
    return [
        pose @ Rigid3.from_rotvec(sigma_rad * rng.normal(size=3), sigma_m * rng.normal(size=3))
        for pose in poses
    ]


def mean_turn_deg(built, poses):
    turns = [built.map_from_camera(row).rotation_to(pose) for row, pose in enumerate(poses)]
    return float(np.degrees(np.mean(turns)))


def test_noise_of_the_given_poses_is_undone(kit, world, as_given, refined):
    true = kit.poses_of(world)
    report = refined.build_info["poses"]
    assert report["kept"]
    assert report["error_refined_px"] < 0.5 * report["error_given_px"]
    assert mean_turn_deg(refined, true) < 0.6 * mean_turn_deg(as_given, true)
    assert refined.num_observations > as_given.num_observations


def test_the_report_says_how_far_poses_moved(given, refined):
    report = refined.build_info["poses"]
    moved = [refined.map_from_camera(row).translation_to(pose) for row, pose in enumerate(given)]
    assert report["median_moved_m"] == pytest.approx(np.median(moved), abs=1e-4)
    assert report["max_moved_m"] == pytest.approx(np.max(moved), abs=1e-4)
    assert 0.0 < report["median_moved_deg"] <= report["max_moved_deg"] < 2.0


def test_the_frame_stays_that_of_the_given_poses(given, refined):
    """Refined poses, as one rigid body, do not drift away from the given ones, nor does their scale."""
    offsets = refined.keyframe_poses[:, :3] - np.array([pose.translation for pose in given])
    assert np.linalg.norm(np.median(offsets, axis=0)) < 5e-3
    extent = np.ptp(refined.keyframe_poses[:, 0]) / np.ptp([pose.translation[0] for pose in given])
    assert extent == pytest.approx(1.0, abs=0.02)


def test_exact_poses_are_left_as_they_are(kit, world, config):
    given = kit.poses_of(world)
    built = build(kit, world, config, given)
    report = built.build_info["poses"]
    assert not report["kept"]
    assert "needed 5.0 %" in report["reason"]
    np.testing.assert_allclose(built.keyframe_poses[:, :3], [pose.translation for pose in given], atol=1e-12)


def test_too_few_landmarks_to_judge_leave_the_poses_alone(kit, config):
    world = kit.make_world(num_views=3, num_points=60)
    built = build(kit, world, config, kit.poses_of(world))
    assert built.build_info["poses"]["reason"] == "too few landmarks to test it"


def test_refinement_can_be_left_out(given, as_given):
    assert "poses" not in as_given.build_info
    assert as_given.given is None
    np.testing.assert_allclose(
        as_given.keyframe_poses[:, :3], [pose.translation for pose in given], atol=1e-12
    )


def test_refinement_asked_for_is_kept_untested(kit, config):
    world = kit.make_world(num_views=3, num_points=60)
    built = build(kit, world, config, kit.poses_of(world), replace(REFINE, refine_poses="on"))
    report = built.build_info["poses"]
    assert report["kept"]
    assert report["reason"] == "refined as asked, not tested"


def test_the_given_poses_are_kept_beside_the_refined_ones(given, refined):
    np.testing.assert_allclose(
        refined.given.keyframe_poses[:, :3], [pose.translation for pose in given], atol=1e-12
    )
    moves = refined.moved_by_refinement()
    assert moves.shape == (12, 2)
    assert 0.003 < np.median(moves[:, 0]) < 0.05


def test_a_keyframe_whose_position_is_wrong_does_not_pull_on_the_others(kit, world, config):
    """Its prior is robust: the structure, not the mean of right and wrong, says where it was."""
    true = kit.poses_of(world)
    given = list(true)
    given[5] = Rigid3.from_rotvec(np.zeros(3), np.array([0.05, 0.0, 0.0])) @ true[5]
    built = build(kit, world, config, given)
    assert built.build_info["poses"]["kept"]
    off = [built.map_from_camera(row).translation_to(pose) for row, pose in enumerate(true)]
    assert off[5] < 0.03
    assert np.max(off) < 0.03
    worst = int(np.argmax(built.moved_by_refinement()[:, 0]))
    assert worst == 5


def structure_of(seen):
    """Return a structure of which views see these landmarks."""
    view_idx = np.repeat(np.arange(len(seen)), [len(rows) for rows in seen])
    landmark_idx = np.concatenate([np.asarray(rows, np.int64) for rows in seen])
    count = int(landmark_idx.max(initial=-1)) + 1
    return Structure(np.zeros((count, 3)), landmark_idx, view_idx, np.zeros(len(view_idx), np.int64))


def test_shared_landmarks_are_counted_by_pair_of_views():
    # Of a walk: the first two views share two landmarks, the last two share one; a fourth sees nothing.
    walk = structure_of([[0, 1], [0, 1, 2], [2], []])
    expected = [[2, 2, 0, 0], [2, 3, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(_shared(walk, np.arange(4)).toarray(), expected)
    together = _shared(walk, np.array([0, 0, 1, 2])).toarray()
    np.testing.assert_array_equal(together, [[3, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert _shared(structure_of([[], []]), np.arange(2)).nnz == 0


def test_a_view_belongs_to_a_part_by_all_that_it_shares_with_it():
    first, second = list(range(0, 30)), list(range(10, 40))
    between = [*range(0, 8), *range(32, 40)]  # eight with either, sixteen with both
    apart = list(range(100, 140))
    parts = _parts(structure_of([first, second, between, apart, [100, 101], []]), np.arange(6))
    assert parts[0] == parts[1] == parts[2]
    assert len(set(parts.tolist())) == 4


@pytest.mark.slow
def test_parts_that_see_nothing_of_each_other_are_not_turned_against_each_other(kit, config):
    """Each is seen from a nearly straight path, about which positions alone let it turn."""
    first, second = (kit.make_world(num_views=12, num_points=300, seed=seed) for seed in (0, 1))
    apart = Rigid3(np.eye(3), np.array([0.0, 0.0, 40.0]))
    world = dataclasses.replace(
        first,
        views=[
            *first.views,
            *(replace(view, map_from_camera=apart @ view.map_from_camera) for view in second.views),
        ],
    )
    true = kit.poses_of(world)
    given = noisy(true, 0.015, 0.003)
    built = build(kit, world, config, given, REFINE)
    assert built.build_info["poses"]["kept"]
    assert mean_turn_deg(built, true) < 0.3
