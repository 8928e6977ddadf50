"""The landmarks of a place, and of a place without what a camera sees."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX
from hfnet_ros.localization.landmarks import Landmarks
from hfnet_ros.map.arrangement import arranged
from hfnet_ros.types import Correspondences, Place, RigCamera


def place(*keyframe_idxs):
    return Place(keyframe_idxs, 1.0, 1.0)


@pytest.fixture(scope="module")
def visual_map(apartment):
    return arranged(apartment.visual_map)


def test_a_place_has_what_its_keyframes_see(visual_map):
    view = Landmarks(visual_map, 10**6).of(place(3, 1))
    expected = np.union1d(visual_map.landmarks_seen_by(3), visual_map.landmarks_seen_by(1))
    assert sorted(view.idxs.tolist()) == expected.tolist()
    assert (np.diff(view.words.astype(int)) >= 0).all()
    np.testing.assert_array_equal(view.words, visual_map.search.landmark_words[view.idxs])
    np.testing.assert_array_equal(view.xyz, visual_map.landmark_xyz[view.idxs])
    np.testing.assert_array_equal(view.descriptors, visual_map.landmark_descriptors[view.idxs])


def test_of_too_many_those_stay_that_most_frames_see(visual_map):
    frames = (0, 1, 2, 3)
    view = Landmarks(visual_map, 50).of(place(*frames))
    assert len(view) == 50
    counts = np.bincount(np.concatenate([visual_map.landmarks_seen_by(frame) for frame in frames]))
    left_out = np.setdiff1d(np.flatnonzero(counts), view.idxs)
    assert counts[view.idxs].min() >= counts[left_out].max()


def test_what_a_camera_looks_at_and_agreeing_frames_know_is_taken_away(visual_map, camera):
    pose = visual_map.map_from_camera(2)
    both = Landmarks(visual_map, 10**6)
    hidden = both.unexplained((2, 0), {2, 0}, pose, [RigCamera(camera)])
    points = pose.inverse() @ hidden.xyz
    pixels = camera.project(points)
    inside = (points[:, 2] > 0) & (pixels >= 0).all(axis=1) & (pixels < camera.size_wh).all(axis=1)
    assert not inside.any()
    assert not np.intersect1d(hidden.idxs, visual_map.landmarks_seen_by(2)).size


def test_what_only_others_know_stays_though_it_is_in_view(visual_map, camera):
    """It may be behind a wall."""
    pose = visual_map.map_from_camera(2)
    both = Landmarks(visual_map, 10**6)
    hidden = both.unexplained((2, 0), {2}, pose, [RigCamera(camera)])
    only_0 = np.setdiff1d(visual_map.landmarks_seen_by(0), visual_map.landmarks_seen_by(2))
    assert len(only_0) > 10
    assert np.isin(only_0, hidden.idxs).all()
    assert len(both.unexplained((2, 0), set(), pose, [RigCamera(camera)])) == len(both.of(place(2, 0)))


def test_a_second_camera_takes_away_more(visual_map, camera):
    pose = visual_map.map_from_camera(2)
    backwards = RigCamera(camera, visual_map.map_from_camera(2).inverse() @ visual_map.map_from_camera(12))
    frames = tuple(range(visual_map.num_keyframes))
    one = Landmarks(visual_map, 10**6).unexplained(frames, frames, pose, [RigCamera(camera)])
    two = Landmarks(visual_map, 10**6).unexplained(frames, frames, pose, [RigCamera(camera), backwards])
    assert set(two.idxs.tolist()) < set(one.idxs.tolist())


def test_a_keyframe_tells_what_it_saw(visual_map):
    described = dataclasses.replace(
        visual_map,
        observation_descriptors=visual_map.landmark_descriptors[visual_map.observation_landmark_idx],
    )
    for given in (visual_map, described):
        seen = Landmarks(given, 10**6).of(place(4)).observations(4)
        np.testing.assert_array_equal(seen.landmark_idxs, visual_map.landmarks_seen_by(4))
        assert seen.points2d.shape == (len(seen.landmark_idxs), 2)
        assert seen.size_wh == visual_map.cameras[0].refined.size_wh
        assert (seen.descriptors is None) == (given is visual_map)
    np.testing.assert_allclose(np.linalg.norm(seen.descriptors, axis=1), 1.0, atol=1e-6)


def test_a_landmark_that_is_none_is_named(visual_map):
    damaged = visual_map.observation_landmark_idx.copy()
    damaged[visual_map.observation_offsets[5]] = visual_map.num_landmarks
    broken = dataclasses.replace(visual_map, observation_landmark_idx=damaged)
    with pytest.raises(MapFormatError, match="observation_landmark_idx"):
        Landmarks(broken, 10**6).of(place(5))
    Landmarks(broken, 10**6).of(place(0))


def test_a_position_that_is_none_is_named(visual_map):
    damaged = visual_map.landmark_xyz.copy()
    damaged[visual_map.landmarks_seen_by(5)[0]] = np.nan
    with pytest.raises(MapFormatError, match="landmark_xyz"):
        _ = Landmarks(dataclasses.replace(visual_map, landmark_xyz=damaged), 10**6).of(place(5)).xyz


@pytest.mark.parametrize("camera_idx", [-1, 9])
def test_a_camera_that_is_none_is_named(visual_map, camera_idx):
    damaged = np.full_like(visual_map.keyframe_camera_idx, camera_idx)
    view = Landmarks(dataclasses.replace(visual_map, keyframe_camera_idx=damaged), 10**6).of(place(4))
    with pytest.raises(MapFormatError, match="keyframe_camera_idx"):
        view.observations(4)


def test_depths_are_known_as_well_as_triangulation_knows_them(visual_map, camera):
    """One pixel of noise in each keyframe, by the normal equations of the point."""
    frames = tuple(range(visual_map.num_keyframes))
    seen_by = [visual_map.landmarks_seen_by(frame) for frame in frames]
    rows = np.flatnonzero(np.bincount(np.concatenate(seen_by)) >= 3)[::20]
    matches = Correspondences(
        np.zeros((len(rows), 2)),
        visual_map.landmark_xyz[rows],
        np.arange(len(rows)),
        rows,
        np.ones(len(rows), np.float32),
    )
    cones = Landmarks(visual_map, 10**6).cones(matches, frames)
    expected = []
    for row, direction in zip(rows, cones.directions, strict=True):
        information = np.zeros((3, 3))
        for frame in frames:
            if row in seen_by[frame]:
                ray = visual_map.landmark_xyz[row] - visual_map.map_from_camera(frame).translation
                distance = np.linalg.norm(ray)
                across = np.eye(3) - np.outer(ray, ray) / distance**2
                information += (REFERENCE_FOCAL_PX / distance) ** 2 * across
        expected.append(np.sqrt(direction @ np.linalg.inv(information) @ direction))
    ratio = cones.depth_sigmas / expected
    assert len(rows) > 20
    assert 0.9 < np.median(ratio) < 1.02  # that no two rays are the same is known, too
    assert cones.chosen(rows % 2 == 0).depth_sigmas.tolist() == cones.depth_sigmas[rows % 2 == 0].tolist()


def test_depths_are_not_asked_for_without_frames(visual_map, apartment):
    answer = apartment.localizer.localize(apartment.frame(visual_map.map_from_camera(4)))
    assert Landmarks(visual_map, 10**6).cones(answer.correspondences).depth_sigmas is None
    nothing = answer.correspondences.chosen(np.zeros(len(answer.correspondences), np.bool_))
    assert Landmarks(visual_map, 10**6).cones(nothing, (1, 2)).depth_sigmas is None


def test_cones_are_those_of_the_matched_landmarks(visual_map, apartment):
    answer = apartment.localizer.localize(apartment.frame(visual_map.map_from_camera(4)))
    rows = answer.correspondences.landmark_idxs
    cones = Landmarks(visual_map, 10**6).cones(answer.correspondences)
    np.testing.assert_allclose(cones.directions, visual_map.landmark_view_directions[rows])
    np.testing.assert_allclose(cones.distance_ranges, visual_map.landmark_distance_ranges[rows])
