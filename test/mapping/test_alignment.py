"""Finding one map in another: known motions, outliers, and maps that share nothing."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.visual_map import CovarianceCalibration
from hfnet_ros.mapping.alignment import (
    Similarity,
    agree_on_motion,
    align_through_places,
    features_of,
    move_map,
)

MOTION = Similarity(
    1.0, Rigid3.from_rotvec([0.4, -0.8, 1.3], np.zeros(3)).rotation, np.array([3.0, -1.0, 2.0])
)
SCALED = Similarity(2.5, MOTION.rotation, MOTION.translation)


def poses_on_a_walk(count, seed=0):
    rng = np.random.default_rng(seed)
    return [Rigid3.from_rotvec(0.5 * rng.normal(size=3), 2.0 * rng.normal(size=3)) for _ in range(count)]


def noisy_pairs(motion, count, num_wrong=0, sigma_m=0.01, sigma_rad=0.005, seed=0):
    rng = np.random.default_rng(seed)
    pairs = []
    for row, second in enumerate(poses_on_a_walk(count, seed)):
        noise = Rigid3.from_rotvec(sigma_rad * rng.normal(size=3), sigma_m * rng.normal(size=3))
        first = motion.move_pose(second) @ noise
        if row < num_wrong:
            first = Rigid3.from_rotvec(rng.normal(size=3), 3.0 * rng.normal(size=3))
        pairs.append((first, second))
    return pairs


@pytest.mark.parametrize(("motion", "with_scale"), [(MOTION, False), (SCALED, True), (MOTION, True)])
def test_the_motion_is_found_among_wrong_answers(motion, with_scale):
    found = agree_on_motion(noisy_pairs(motion, 30, num_wrong=12), 0.1, with_scale=with_scale)
    assert found.scale == pytest.approx(motion.scale, rel=0.01)
    off = Rigid3(found.rotation, found.translation).inverse() @ Rigid3(motion.rotation, motion.translation)
    assert np.degrees(np.linalg.norm(off.rotvec)) < 0.3
    assert np.linalg.norm(found.translation - motion.translation) < 0.03


def test_exact_pairs_give_the_exact_motion():
    found = agree_on_motion(noisy_pairs(SCALED, 10, sigma_m=0.0, sigma_rad=0.0), 0.1, with_scale=True)
    assert found.scale == pytest.approx(2.5, abs=1e-9)
    np.testing.assert_allclose(found.translation, SCALED.translation, atol=1e-8)


def test_moving_points_and_cameras_agree():
    pose = poses_on_a_walk(1)[0]
    point_in_camera = np.array([0.3, -0.2, 2.0])
    moved = SCALED.move_points((pose @ point_in_camera)[None])[0]
    # The camera sees the point in the same direction, 2.5 times as far away.
    np.testing.assert_allclose(SCALED.move_pose(pose).inverse() @ moved, 2.5 * point_in_camera)


@pytest.fixture(scope="module")
def world(kit):
    return kit.make_world(num_views=12, num_points=300)


@pytest.fixture(scope="module")
def first(kit, world):
    return kit.build_part(world, slice(0, 12))


def inverse_of(motion):
    scale, rotation = 1.0 / motion.scale, motion.rotation.T
    return Similarity(scale, rotation, -scale * rotation @ motion.translation)


class Oracle:
    """Finds each camera where it is, but for those it is wrong or silent about."""

    def __init__(self, visual_map, wrong=(), silent=()):
        self._poses = [visual_map.map_from_camera(row) for row in range(visual_map.num_keyframes)]
        self._stamps = visual_map.keyframe_stamps_ns.tolist()
        self._wrong, self._silent = wrong, silent

    def __call__(self, features, camera, stamp_ns):
        row = self._stamps.index(stamp_ns)
        if row in self._silent:
            return None
        pose = self._poses[row]
        return pose @ Rigid3.from_rotvec([0, 0.5 * row, 0], [1.0 + row, 0, 0]) if row in self._wrong else pose


@pytest.mark.parametrize("motion", [MOTION, SCALED])
def test_a_moved_map_comes_back(first, motion):
    second = move_map(first, inverse_of(motion), "elsewhere")
    alignment = align_through_places(
        first, second, Oracle(first, wrong=(2, 5), silent=(7,)), with_scale=motion.scale > 1.0
    )
    assert (alignment.num_asked, alignment.num_localized, alignment.num_agreeing) == (12, 11, 9)
    back = move_map(second, alignment.first_from_second, "map")
    np.testing.assert_allclose(back.landmark_xyz, first.landmark_xyz, atol=1e-4)
    np.testing.assert_allclose(back.keyframe_poses[:, :3], first.keyframe_poses[:, :3], atol=1e-4)
    np.testing.assert_allclose(back.landmark_distance_ranges, first.landmark_distance_ranges, rtol=1e-3)
    np.testing.assert_allclose(back.landmark_view_directions, first.landmark_view_directions, atol=1e-3)
    assert back.frame_id == "map"


def test_keyframes_still_see_their_landmarks_after_a_move(world, first):
    moved = move_map(first, SCALED, "elsewhere")
    for row in (0, 6, 11):
        rows = moved.landmarks_seen_by(row)
        before = first.map_from_camera(row).inverse() @ first.landmark_xyz[rows]
        after = moved.map_from_camera(row).inverse() @ moved.landmark_xyz[rows]
        np.testing.assert_allclose(after, 2.5 * before, atol=1e-9)


def test_lengths_of_the_self_test_change_with_the_unit(first):
    covariance = np.diag([1.0, 1, 1, 2, 2, 2])
    covariance[0, 3] = covariance[3, 0] = 0.5
    tested = dataclasses.replace(
        first.consistency,
        translation_m=0.1,
        num_keyframes=20,
        pose_covariance=tuple(covariance.ravel().tolist()),
        look_alikes=((1.0, 2.0, 3.0, 4.0, 0.5),),
    )
    moved = move_map(dataclasses.replace(first, consistency=tested), SCALED, "elsewhere").consistency
    ((*position, radius, share),) = moved.look_alikes
    np.testing.assert_allclose(position, SCALED.move_points(np.array([[1.0, 2.0, 3.0]]))[0])
    assert (radius, share) == (10.0, 0.5)
    assert moved.translation_m == pytest.approx(0.25)
    scaled = np.array(moved.pose_covariance).reshape(6, 6)
    assert scaled[0, 0] == pytest.approx(6.25)
    assert scaled[3, 3] == pytest.approx(2.0)
    assert scaled[0, 3] == pytest.approx(1.25)


def test_a_calibration_goes_with_the_map(first):
    added = np.diag([0.04, 0.04, 0.04, 1e-4, 1e-4, 1e-4])
    calibration = CovarianceCalibration(9.0, tuple(added.ravel().tolist()), 50)
    moved = move_map(dataclasses.replace(first, calibration=calibration), SCALED, "elsewhere").calibration
    assert moved.reprojection_scale == 9.0
    np.testing.assert_allclose(
        np.diag(np.array(moved.pose_covariance).reshape(6, 6)), [0.25, 0.25, 0.25, 1e-4, 1e-4, 1e-4]
    )


def test_maps_that_share_nothing_are_refused(first):
    with pytest.raises(
        MappingError, match="0 of 12 keyframes were found in the other map, expected at least 5"
    ):
        align_through_places(first, first, Oracle(first, silent=range(12)), with_scale=False)


def test_answers_that_contradict_each_other_are_refused(first):
    with pytest.raises(MappingError, match=r"only \d agree on where the map lies"):
        align_through_places(first, first, Oracle(first, wrong=range(9)), with_scale=False)


def test_features_of_a_keyframe_are_what_it_observed(first):
    features = features_of(first, 4)
    rows = first.landmarks_seen_by(4)
    assert len(features.local) == len(rows)
    assert (np.diff(features.local.scores) <= 0).all()
    start, stop = first.observation_offsets[4], first.observation_offsets[5]
    place = {tuple(xy): row for xy, row in zip(first.observation_xy[start:stop].tolist(), rows, strict=True)}
    for xy, descriptor in zip(features.local.keypoints.tolist(), features.local.descriptors, strict=True):
        np.testing.assert_array_equal(descriptor, first.landmark_descriptors[place[tuple(xy)]])
