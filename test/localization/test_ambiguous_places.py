"""Places that look alike, and scenes that are nearly flat: no pose is better than a wrong one."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.arrangement import arranged
from hfnet_ros.mapping.alignment import Similarity, move_map
from hfnet_ros.mapping.joining import join_maps
from hfnet_ros.types import Outcome

OFFSETS = ((0.0, 0.0, 0.0), (0.2, 0.0, 5.0), (-0.2, 0.1, -5.0), (0.1, -0.3, 8.0), (0.5, 0.05, 0.0))


def near(pose, along, deeper, yaw_deg):
    turn = Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(yaw_deg)], np.zeros(3)).rotation
    return Rigid3(turn @ pose.rotation, np.add(pose.translation, (along, deeper, 0.0)))


@pytest.mark.parametrize("niche", ["twin_a", "twin_b"])
def test_a_niche_with_a_twin_is_never_taken_for_the_other(corridor, niche):
    refused = 0
    for index, offset in enumerate(OFFSETS):
        truth = near(corridor.scene.viewpoints[niche], *offset)
        result = corridor.localizer.localize(corridor.frame(truth, seed=300 + index))
        if result.estimate is None:
            assert result.outcome is Outcome.ILL_CONDITIONED
            refused += 1
        else:
            assert result.estimate.map_from_camera.translation_to(truth) < 0.1
    # The images are equal pixel by pixel: an answer could only be luck.
    assert refused == len(OFFSETS)


def test_without_its_twin_in_the_map_a_niche_is_localized(corridor):
    """What refuses the niches above is the twin, not the niche."""
    visual_map = corridor.visual_map
    seen = np.zeros(visual_map.num_landmarks, np.bool_)
    seen[visual_map.landmark_xyz[:, 0] < 6.5] = True
    kept = seen[visual_map.observation_landmark_idx]
    counts = np.add.reduceat(np.append(kept, False), visual_map.observation_offsets[:-1])
    alone = corridor.with_map(
        observation_landmark_idx=visual_map.observation_landmark_idx[kept],
        observation_xy=visual_map.observation_xy[kept],
        observation_offsets=np.concatenate([[0], np.cumsum(counts)]),
    )
    truth = near(corridor.scene.viewpoints["twin_a"], 0.2, 0.0, 5.0)
    result = alone.localize(corridor.frame(truth))
    assert result.outcome is Outcome.LOCALIZED
    assert result.estimate.map_from_camera.translation_to(truth) < 0.05


def test_the_corridor_itself_is_localized(corridor):
    truth = near(corridor.scene.viewpoints["corridor"], 0.4, 0.1, 4.0)
    result = corridor.localizer.localize(corridor.frame(truth))
    assert result.outcome is Outcome.LOCALIZED, result.evidence.reason
    assert result.estimate.map_from_camera.translation_to(truth) < 0.1


def test_a_niche_mapped_badly_is_never_taken_for_its_well_mapped_twin(lopsided_corridor):
    for index, offset in enumerate(OFFSETS):
        truth = near(lopsided_corridor.scene.viewpoints["twin_a"], *offset)
        result = lopsided_corridor.localizer.localize(lopsided_corridor.frame(truth, seed=400 + index))
        assert result.estimate is None or result.estimate.map_from_camera.translation_to(truth) < 0.1


def with_a_copy(place, offset):
    """A place mapped twice, the second time elsewhere, no landmark the same."""
    visual_map = place.visual_map
    copy = move_map(visual_map, Similarity(1.0, np.eye(3), np.asarray(offset)), visual_map.frame_id)
    both = join_maps(visual_map, copy, np.full(copy.num_landmarks, -1))
    return dataclasses.replace(place, visual_map=arranged(both)).with_map()


def surveyed_again(place, count):
    """A place that stands `count` times side by side, each mapped by a survey of its own, whose descriptors differ."""
    whole, rng = place.visual_map, np.random.default_rng(5)
    for number in range(1, count):
        noise = rng.normal(size=whole.landmark_descriptors.shape)[: place.visual_map.num_landmarks]
        described = np.asarray(place.visual_map.landmark_descriptors) + 0.25 * noise / np.sqrt(noise.shape[1])
        copy = dataclasses.replace(place.visual_map, landmark_descriptors=described.astype(np.float32))
        copy = move_map(
            copy, Similarity(1.0, np.eye(3), np.array([100.0 * number, 0.0, 0.0])), whole.frame_id
        )
        whole = join_maps(whole, copy, np.full(copy.num_landmarks, -1))
    return dataclasses.replace(place, visual_map=arranged(whole)).with_map()


def test_eight_places_alike_refuse_every_answer_though_each_explains_a_share_only(apartment):
    """Matched with all of them at once, a keypoint goes to one of them: each is left with an eighth."""
    localizer = surveyed_again(apartment, 8)
    for index, row in enumerate((2, 11)):
        truth = apartment.visual_map.map_from_camera(row)
        result = localizer.localize(apartment.frame(truth, seed=600 + index))
        assert result.outcome is Outcome.ILL_CONDITIONED, result.evidence.scores
        assert "fit another place" in result.evidence.reason


def test_a_copy_behind_the_wall_that_is_looked_at_refuses_every_answer(apartment):
    """All of it lies in the camera's view; only walls hide it."""
    for index, row in enumerate((2, 6, 11)):
        truth = apartment.visual_map.map_from_camera(row)
        localizer = with_a_copy(apartment, 8.0 * truth.rotation[:, 2])
        result = localizer.localize(apartment.frame(truth, seed=600 + index))
        assert result.outcome is Outcome.ILL_CONDITIONED, result.evidence.reason
        assert result.evidence.scores["rematch_ratio"] > 0.5


def test_the_same_place_mapped_twice_is_no_copy(apartment):
    """Landmarks of a second session agree with the pose: they cast no doubt on it."""
    localizer = with_a_copy(apartment, np.zeros(3))
    for index, row in enumerate((2, 6, 11)):
        truth = apartment.visual_map.map_from_camera(row)
        result = localizer.localize(apartment.frame(truth, seed=600 + index))
        assert result.outcome is Outcome.LOCALIZED, result.evidence.reason
        assert result.estimate.map_from_camera.translation_to(truth) < 0.05


def test_where_the_self_test_was_wrong_answers_are_doubted_and_elsewhere_not(apartment):
    truth = apartment.visual_map.map_from_camera(6)
    for offset, outcome in ((0.5, Outcome.ILL_CONDITIONED), (3.0, Outcome.LOCALIZED)):
        x, y, z = truth.translation
        place = (x + offset, y, z, 1.0, 0.6)
        consistency = dataclasses.replace(apartment.visual_map.consistency, look_alikes=(place,))
        result = apartment.with_map(consistency=consistency).localize(apartment.frame(truth))
        assert result.outcome is outcome, result.evidence.reason
    assert "gave there were wrong" not in result.evidence.reason


@pytest.mark.parametrize("view", ["frontal", "oblique"])
def test_no_pose_of_a_flat_wall_is_far_off(plane_wall, view):
    localized = 0
    for index, shift in enumerate(
        ((0.0, 0.0, 0.0), (0.3, -0.3, 0.1), (-0.6, 0.2, 0.0), (0.5, -1.0, 0.0), (-0.5, -1.5, 0.2))
    ):
        base = plane_wall.scene.viewpoints[view]
        truth = Rigid3(base.rotation, base.translation + shift)
        result = plane_wall.localizer.localize(plane_wall.frame(truth, seed=500 + index))
        if result.estimate is not None:
            localized += 1
            assert result.estimate.map_from_camera.translation_to(truth) < 0.5
            assert np.rad2deg(result.estimate.map_from_camera.rotation_to(truth)) < 10.0
    assert localized >= 4
