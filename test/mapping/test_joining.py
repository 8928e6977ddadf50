"""Two maps of one world become one: fused landmarks, unique names, cameras once."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import ExtractorMismatchError, MappingError
from hfnet_ros.map.keyframe_codes import make_codes
from hfnet_ros.map.map_io import load_map, save_map, verify_map
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import CovarianceCalibration, MapConsistency, with_search
from hfnet_ros.mapping.joining import Reobservations, find_same_landmarks, join_maps
from hfnet_ros.mapping.pruning import drop_landmarks


@pytest.fixture(scope="module")
def world(kit):
    return kit.make_world(num_views=12, num_points=300)


@pytest.fixture(scope="module")
def first(kit, world):
    return kit.build_part(world, slice(0, 7))


@pytest.fixture(scope="module")
def second(kit, world):
    return kit.build_part(world, slice(5, 12))


def nearest_point(world, visual_map):
    distance = np.linalg.norm(visual_map.landmark_xyz[:, None] - world.points[None], axis=2)
    return distance.argmin(axis=1)


def test_landmarks_of_one_point_are_fused(world, first, second):
    same = find_same_landmarks(first, second)
    fused = np.flatnonzero(same >= 0)
    assert len(np.unique(same[fused])) == len(fused), "each landmark at most once"
    truth_a, truth_b = nearest_point(world, first), nearest_point(world, second)
    assert np.mean(truth_a[same[fused]] == truth_b[fused]) > 0.98
    shared = len(np.intersect1d(truth_a, truth_b))
    assert len(fused) > 0.8 * shared


def test_the_joint_map_holds_what_both_saw(world, first, second):
    same = find_same_landmarks(first, second)
    joint = join_maps(first, second, same)
    assert joint.num_keyframes == 14
    assert joint.num_landmarks == first.num_landmarks + int((same < 0).sum())
    for row in range(7):
        np.testing.assert_array_equal(joint.landmarks_seen_by(row), first.landmarks_seen_by(row))
        assert len(joint.landmarks_seen_by(7 + row)) == len(second.landmarks_seen_by(row))
    camera = world.cameras[0]
    for row in range(joint.num_keyframes):
        rows = joint.landmarks_seen_by(row)
        assert (np.diff(rows) > 0).all()
        pixels = camera.project(joint.map_from_camera(row).inverse() @ joint.landmark_xyz[rows])
        seen = joint.observation_xy[joint.observation_offsets[row] : joint.observation_offsets[row + 1]]
        assert np.median(np.linalg.norm(pixels - seen, axis=1)) < 1.0


def test_covisibility_reaches_across_the_maps(first, second):
    joint = join_maps(first, second, find_same_landmarks(first, second))
    shared = (joint.visibility @ joint.visibility.T).tocsr()
    assert shared[3, 7 + 1] > 20
    search = with_search(joint).search
    pairs = slice(*search.covisible_offsets[3:5])
    counts = dict(zip(search.covisible_keyframe_idx[pairs], search.covisible_counts[pairs], strict=True))
    assert counts[7 + 1] == shared[3, 7 + 1]


def test_fused_landmarks_count_by_their_observations(first, second):
    same = np.full(second.num_landmarks, -1)
    same[4] = 9
    joint = join_maps(first, second, same)
    weight_a = np.sum(first.observation_landmark_idx == 9)
    weight_b = np.sum(second.observation_landmark_idx == 4)
    expected = (weight_a * first.landmark_xyz[9] + weight_b * second.landmark_xyz[4]) / (weight_a + weight_b)
    np.testing.assert_allclose(joint.landmark_xyz[9], expected)
    ranges = np.array([first.landmark_distance_ranges[9], second.landmark_distance_ranges[4]])
    np.testing.assert_array_equal(joint.landmark_distance_ranges[9], [ranges[:, 0].min(), ranges[:, 1].max()])
    np.testing.assert_allclose(np.linalg.norm(joint.landmark_descriptors, axis=1), 1.0, atol=1e-5)
    assert np.sum(joint.observation_landmark_idx == 9) == weight_a + weight_b


def test_names_are_unique_and_cameras_listed_once(first, second):
    joint = join_maps(first, second, np.full(second.num_landmarks, -1))
    assert len(set(joint.keyframe_names)) == 14
    assert joint.keyframe_names[7:9] == ("005.png~2", "006.png~2")
    assert joint.keyframe_names[9] == "007.png"
    assert len(joint.cameras) == 1
    twice = join_maps(joint, second, np.full(second.num_landmarks, -1))
    assert len(set(twice.keyframe_names)) == 21


def test_another_camera_is_added(kit, world, first):
    other = kit.make_world([kit.make_camera(focal=240.0)], num_views=6, num_points=300)
    second = kit.build_part(other, slice(0, 6))
    joint = join_maps(first, second, np.full(second.num_landmarks, -1))
    assert len(joint.cameras) == 2
    assert joint.keyframe_camera_idx.tolist() == [0] * 7 + [1] * 6
    assert joint.cameras[1].refined.focal[0] == pytest.approx(240.0)


def test_a_second_look_at_an_old_landmark_is_added_once(first, second):
    same = np.full(second.num_landmarks, -1)
    same[second.landmarks_seen_by(2)[0]] = 3
    again = Reobservations(
        np.array([2, 2, 4]), np.array([3, 11, 11]), np.array([[1.0, 2], [3, 4], [5, 6]], np.float32)
    )
    joint = join_maps(first, second, same, again)
    rows = joint.landmarks_seen_by(7 + 2)
    assert np.sum(rows == 3) == 1, "triangulated and looked up: one observation"
    start = joint.observation_offsets[7 + 2]
    at = start + int(np.flatnonzero(rows == 3)[0])
    assert joint.observation_xy[at].tolist() != [1.0, 2.0], "the triangulated one stays"
    assert 11 in rows
    assert 11 in joint.landmarks_seen_by(7 + 4)


def test_descriptors_of_another_vocabulary_are_made_anew(kit, world):
    first, second = (kit.build_part(world, part, with_global=False) for part in (slice(0, 7), slice(5, 12)))
    joint = join_maps(first, second, find_same_landmarks(first, second))
    np.testing.assert_array_equal(joint.aggregation["vocabulary"], first.aggregation["vocabulary"])
    similarity = joint.global_descriptors[:] @ joint.global_descriptors[:].T
    # The first map's keyframes rank each other as before; written as bytes twice, 7 numbers keep their cosine to 0.005.
    before = first.global_descriptors[:] @ first.global_descriptors[:].T
    np.testing.assert_allclose(similarity[:7, :7], before, atol=5e-3)
    # Views 5 and 6 are in both maps: their like is each other.
    assert similarity[5, 7:].argmax() in (0, 1)
    assert similarity[7 + 1, :7].argmax() in (5, 6)


def test_descriptors_of_a_head_stay_and_those_beside_it_are_made_anew(first, second):
    assert first.head_size == 2
    joint = join_maps(first, second, find_same_landmarks(first, second))
    assert joint.head_size == 2
    heads = np.concatenate([first.global_descriptors[:][:, :2], second.global_descriptors[:][:, :2]])
    np.testing.assert_allclose(joint.global_descriptors[:][:, :2], heads, atol=0.02)
    vlads = joint.global_descriptors[:][:, 2:]
    assert (vlads @ vlads.T)[5, 7:].argmax() in (0, 1)


def test_maps_of_which_one_has_no_second_descriptor_keep_the_heads(first, second):
    plain = dataclasses.replace(
        second,
        global_descriptors=UnitVectors.encode(second.global_descriptors[:][:, :2]),
        aggregation={},
        search=None,
    )
    joint = join_maps(first, plain, find_same_landmarks(first, plain))
    assert joint.aggregation == {}
    assert joint.global_descriptors.shape == (14, 2)


def test_codes_of_a_large_map_stay_and_those_of_the_other_come(first, second):
    """Seven keyframes count for large here: what makes the difference is that they have codes."""
    coded = dataclasses.replace(first, codes=make_codes(first.global_descriptors))
    joint = join_maps(coded, second, find_same_landmarks(coded, second))
    np.testing.assert_array_equal(joint.global_descriptors.codes[:7], first.global_descriptors.codes)
    np.testing.assert_array_equal(joint.aggregation["projection"], first.aggregation["projection"])
    assert joint.codes.axes is coded.codes.axes
    np.testing.assert_array_equal(joint.codes.codes, joint.codes.encode(joint.global_descriptors))
    anew = join_maps(first, second, find_same_landmarks(first, second))
    assert anew.codes is None
    likeness = joint.global_descriptors[:] @ joint.global_descriptors[:].T
    np.testing.assert_allclose(
        likeness[:7, :7], (anew.global_descriptors[:] @ anew.global_descriptors[:].T)[:7, :7], atol=0.02
    )
    assert likeness[5, 7:].argmax() in (0, 1)


def test_codes_go_where_descriptors_become_others(first, second):
    coded = dataclasses.replace(first, codes=make_codes(first.global_descriptors))
    plain = dataclasses.replace(
        second,
        global_descriptors=UnitVectors.encode(second.global_descriptors[:][:, :2]),
        aggregation={},
        search=None,
    )
    assert join_maps(coded, plain, find_same_landmarks(coded, plain)).codes is None


def test_pruning_keeps_codes(first):
    coded = dataclasses.replace(first, codes=make_codes(first.global_descriptors))
    dropped = np.arange(first.num_landmarks) % 2 == 0
    assert drop_landmarks(coded, dropped).codes is coded.codes


def test_a_joint_map_can_be_written_and_read(first, second, tmp_path):
    save_map(join_maps(first, second, find_same_landmarks(first, second)), tmp_path / "a.map")
    assert verify_map(tmp_path / "a.map") == []
    assert load_map(tmp_path / "a.map").num_keyframes == 14


def test_self_tests_are_averaged_by_their_keyframes(first, second):
    covariance = tuple((4.0 * np.eye(6)).ravel().tolist())
    one = MapConsistency(
        3.0,
        0.03,
        0.01,
        30,
        covariance,
        num_asked=40,
        num_elsewhere=2,
        look_alikes=((1.0, 2.0, 3.0, 4.0, 0.5),),
        contradicted_share=0.1,
    )
    other = MapConsistency(1.0, 0.01, 0.002, 10, tuple(np.zeros(36).tolist()), num_asked=12, num_elsewhere=1)
    joint = join_maps(
        dataclasses.replace(first, consistency=one),
        dataclasses.replace(second, consistency=other),
        np.full(second.num_landmarks, -1),
    ).consistency
    assert joint.num_keyframes == 40
    assert (joint.num_asked, joint.num_elsewhere) == (52, 3)
    assert joint.look_alikes == ((1.0, 2.0, 3.0, 4.0, 0.5),)
    assert joint.contradicted_share == 0.1
    assert joint.residual_px == pytest.approx(np.sqrt(0.75 * 9.0 + 0.25 * 1.0))
    np.testing.assert_allclose(joint.pose_covariance, (3.0 * np.eye(6)).ravel())


def test_an_untested_map_brings_no_self_test(first, second):
    one = MapConsistency(3.0, 0.03, 0.01, 30, tuple(np.eye(6).ravel().tolist()))
    joint = join_maps(first, dataclasses.replace(second, consistency=one), np.full(second.num_landmarks, -1))
    assert joint.consistency == one


def test_the_calibration_of_more_queries_is_kept(first, second):
    same = np.full(second.num_landmarks, -1)
    numbers = tuple(np.eye(6).ravel().tolist())
    one, other = CovarianceCalibration(2.0, numbers, 30), CovarianceCalibration(3.0, numbers, 80)
    assert join_maps(first, second, same).calibration is None
    only = join_maps(dataclasses.replace(first, calibration=one), second, same).calibration
    assert (only.reprojection_scale, only.source) == (2.0, {"joined_since": True})
    both = join_maps(
        dataclasses.replace(first, calibration=one), dataclasses.replace(second, calibration=other), same
    )
    assert both.calibration.reprojection_scale == 3.0


def test_other_extractors_and_frames_are_refused(first, second):
    same = np.full(second.num_landmarks, -1)
    with pytest.raises(ExtractorMismatchError, match="two extractors cannot be compared"):
        join_maps(first, dataclasses.replace(second, extractor_id="other-1"), same)
    with pytest.raises(MappingError, match="frames 'map' and 'hall', expected one"):
        join_maps(first, dataclasses.replace(second, frame_id="hall"), same)
