"""Keyframes that two maps have in common are in the joint map once; a map that has all of another one is told."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.map.map_io import save_map, verify_map
from hfnet_ros.map.visual_map import with_search
from hfnet_ros.mapping.copies import common_keyframes, refuse_contained
from hfnet_ros.mapping.joining import find_same_landmarks, join_maps


@pytest.fixture(scope="module")
def world(kit):
    return kit.make_world(num_views=12, num_points=300)


@pytest.fixture(scope="module")
def first(kit, world):
    return kit.build_part(world, slice(0, 7))


@pytest.fixture(scope="module")
def second(kit, world):
    return kit.build_part(world, slice(5, 12))


def test_images_of_both_maps_are_found_and_no_others(kit, world, first, second):
    assert common_keyframes(first, second) == {0: 5, 1: 6}
    assert common_keyframes(first, first) == {row: row for row in range(7)}
    # The same places, seen once more.
    again = kit.build_part(kit.make_world(num_views=12, num_points=300, noise_px=0.4), slice(0, 7))
    assert common_keyframes(first, again) == {}


def test_images_of_both_maps_are_found_wherever_the_second_lies(kit, first, second):
    from hfnet_ros.geometry.rigid3 import Rigid3
    from hfnet_ros.mapping.alignment import Similarity, move_map

    moved = Rigid3.from_rotvec([0.2, -0.4, 0.9], [5.0, -3.0, 1.0])
    elsewhere = move_map(second, Similarity(1.0, moved.rotation, moved.translation), "map")
    assert common_keyframes(first, elsewhere, moved.inverse()) == {0: 5, 1: 6}


def test_what_a_common_keyframe_saw_in_either_map_it_sees_in_the_joint_one(first, second, tmp_path):
    same = find_same_landmarks(first, second)
    joint = join_maps(first, second, same, common=common_keyframes(first, second))
    assert joint.keyframe_names == tuple(f"{row:03d}.png" for row in range(12))
    fresh = first.num_landmarks + np.cumsum(same < 0) - 1
    for row, one in ((0, 5), (1, 6)):
        seen = second.landmarks_seen_by(row)
        expected = np.union1d(first.landmarks_seen_by(one), np.where(same < 0, fresh, same)[seen])
        np.testing.assert_array_equal(joint.landmarks_seen_by(one), expected)
    np.testing.assert_array_equal(joint.keyframe_poses[7:], second.keyframe_poses[2:])
    np.testing.assert_array_equal(joint.keyframe_stamps_ns[7:], second.keyframe_stamps_ns[2:])
    assert len(joint.landmarks_seen_by(7)) == len(second.landmarks_seen_by(2))
    save_map(with_search(joint), tmp_path / "joint.map")
    assert verify_map(tmp_path / "joint.map") == []


def test_given_poses_of_common_keyframes_stay_the_first_map_s(first, second):
    from hfnet_ros.map.given_frame import GivenFrame

    poses = second.keyframe_poses + np.eye(7)[0] * 0.01
    moved = dataclasses.replace(second, given=GivenFrame(poses, np.zeros((1, 3))))
    joint = join_maps(first, moved, find_same_landmarks(first, moved), common={0: 5, 1: 6})
    np.testing.assert_array_equal(joint.given_poses[:7], first.keyframe_poses)
    np.testing.assert_array_equal(joint.given_poses[7:], poses[2:])


def test_a_map_that_has_all_of_another_one_is_named(kit, world, first):
    inner = kit.build_part(world, slice(1, 6))
    common = common_keyframes(first, inner)
    assert common == {row: row + 1 for row in range(5)}
    with pytest.raises(
        MappingError, match=r"b\.map: all of its 5 keyframes are in a\.map already, .* a\.map alone"
    ):
        refuse_contained(first, inner, common, ("a.map", "b.map"))
    with pytest.raises(
        MappingError, match=r"b\.map: all of its 5 keyframes are in a\.map already, .* a\.map alone"
    ):
        refuse_contained(inner, first, common_keyframes(inner, first), ("b.map", "a.map"))
    refuse_contained(first, inner, dict(list(common.items())[1:]), ("a.map", "b.map"))
