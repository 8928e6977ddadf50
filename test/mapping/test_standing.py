"""A camera that stands still, as robots do before they start, and what only looks like that."""

from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.map_builder import build_untested_map
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.standing import moving
from hfnet_ros.mapping.views import Keyframe, MappingImage

SIZE_WH = (320, 240)
KEEP = BuildOptions(intrinsics="off", refine_poses="off", self_test=False)
WAITING = [4] * 21


@pytest.fixture
def world(kit):
    return kit.make_world(num_views=10, num_points=300)


def keyframes_of(world, rows, noise_px=0.3, camera_idxs=None, stamps_ns=None):
    """Describe views of the world, each time with a noise of its own."""
    rng, keyframes = np.random.default_rng(0), []
    for number, row in enumerate(rows):
        features = world.views[row].features
        moved = features.local.keypoints + rng.normal(0.0, noise_px, features.local.keypoints.shape)
        features = replace(features, local=features.local.moved_to(moved.astype(np.float32)))
        image = MappingImage(
            f"{number:03d}.png",
            stamps_ns[number] if stamps_ns else number,
            camera_idxs[number] if camera_idxs else 0,
            lambda: np.zeros((240, 320, 3), np.uint8),
        )
        keyframes.append(Keyframe(image, features, features, np.zeros((len(features.local), 3), np.uint8)))
    return keyframes


def poses_of(world, rows, jitter_m=0.0):
    rng = np.random.default_rng(1)
    return [
        world.views[row].map_from_camera
        @ Rigid3.from_rotvec(0.2 * jitter_m * rng.normal(size=3), jitter_m * rng.normal(size=3))
        for row in rows
    ]


@pytest.mark.parametrize("jitter_m", [0.0, 0.01])
def test_the_first_image_of_a_camera_that_waits_is_kept(world, jitter_m):
    rows = [*range(4), *WAITING, *range(5, 10)]
    keyframes, poses = keyframes_of(world, rows), poses_of(world, rows, jitter_m)
    kept = moving(keyframes, [SIZE_WH] * len(rows), poses)
    assert [rows[position] for position in kept] == list(range(10))
    assert kept[4] == 4
    assert moving(keyframes, [SIZE_WH] * len(rows)) == kept


def test_a_place_that_is_come_back_to_is_kept(world):
    rows = [0, 1, 2, 1, 0]
    assert moving(keyframes_of(world, rows), [SIZE_WH] * 5, poses_of(world, rows)) == [0, 1, 2, 3, 4]


def test_slow_steps_add_up(world):
    # A tenth of a view's width in 40 images: none moves by what is told from standing still, together they do.
    view = world.views[4].features
    keyframes = keyframes_of(world, [4] * 40, noise_px=0.0)
    for number, keyframe in enumerate(keyframes):
        local = view.local.moved_to(view.local.keypoints + np.float32([0.8 * number, 0.0]))
        keyframes[number] = replace(keyframe, features=replace(view, local=local))
    kept = moving(keyframes, [SIZE_WH] * 40, poses_of(world, [4] * 40))
    assert 8 <= len(kept) <= 20
    assert np.diff(kept).max() <= 4


def test_an_image_that_is_repeated_while_the_robot_drives_is_left_to_the_check_of_poses(world):
    keyframes, poses = keyframes_of(world, [4] * 6), poses_of(world, range(6))
    assert moving(keyframes, [SIZE_WH] * 6, poses) == list(range(6))


def test_copies_of_an_image_while_the_robot_drives_are_left_out_and_told(world, caplog):
    rows = [0, 1, 2, 2, 2, 2, 6, 7]
    keyframes = keyframes_of(world, rows)
    keyframes[3:6] = [replace(keyframes[2], image=entry.image) for entry in keyframes[3:6]]
    assert moving(keyframes, [SIZE_WH] * 8, poses_of(world, range(8))) == [0, 1, 2, 6, 7]
    assert "camera 0: 3 of its 8 images are copies of earlier ones, though the robot moved" in caplog.text
    assert "003.png, 004.png, 005.png" in caplog.text


def test_a_camera_of_a_rig_that_hangs_takes_nothing_from_the_others(world, caplog):
    # Frames of two cameras; the second hangs from its second image on, and the robot waits in the last two frames.
    rows, cameras, stamps_ns = [0, 5, 1, 6, 2, 6, 3, 6, 3, 6], [0, 1] * 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    keyframes = keyframes_of(world, rows, camera_idxs=cameras, stamps_ns=stamps_ns)
    for copy in (5, 7, 9):
        keyframes[copy] = replace(keyframes[3], image=keyframes[copy].image)
    poses = poses_of(world, [0, 5, 1, 6, 2, 7, 3, 8, 3, 8])
    assert moving(keyframes, [SIZE_WH] * 10, poses) == [0, 1, 2, 3, 4, 6]
    assert "camera 1: 3 of its 5 images are copies" in caplog.text
    assert moving(keyframes, [SIZE_WH] * 10) == [0, 1, 2, 3, 4, 6]


def test_copies_from_a_camera_that_waits_are_no_fault(world, caplog):
    rows = [0, 1, 1, 1, 2]
    keyframes = keyframes_of(world, rows)
    keyframes[2:4] = [replace(keyframes[1], image=entry.image) for entry in keyframes[2:4]]
    assert moving(keyframes, [SIZE_WH] * 5, poses_of(world, rows)) == [0, 1, 4]
    assert not caplog.records


def test_images_that_are_given_twice_are_taken_once(world, caplog):
    rows = [0, 1, 2, 3]
    keyframes, poses = keyframes_of(world, rows), poses_of(world, rows)
    again = [
        replace(entry, image=replace(entry.image, name=f"copy of {entry.image.name}")) for entry in keyframes
    ]
    assert moving([*keyframes, *again], [SIZE_WH] * 8, [*poses, *poses]) == [0, 1, 2, 3]
    assert not caplog.records


def test_a_drive_of_copies_alone_is_refused_as_that(world):
    keyframes = keyframes_of(world, [4] * 5)
    keyframes = [replace(keyframes[0], image=entry.image) for entry in keyframes]
    with pytest.raises(MappingError, match=r"all 5 images are copies of 000\.png, though their poses differ"):
        moving(keyframes, [SIZE_WH] * 5, poses_of(world, range(5)))


def test_the_cameras_of_a_rig_stand_together(world):
    rows = [0, 5, 1, 5, 2, 6, 2, 6]
    keyframes = keyframes_of(world, rows, camera_idxs=[0, 1] * 4, stamps_ns=[0, 0, 1, 1, 2, 2, 3, 3])
    # The second camera sees the same for longer.
    assert moving(keyframes, [SIZE_WH] * 8) == [0, 1, 2, 3, 4, 5]


def test_images_with_little_to_see_are_kept(world):
    keyframes = keyframes_of(world, [4] * 4)
    few = [replace(entry, features=entry.features.strongest(20)) for entry in keyframes]
    assert moving(few, [SIZE_WH] * 4) == [0, 1, 2, 3]


def test_a_map_is_the_same_with_and_without_a_wait(world, config):
    rows = [*range(4), *WAITING, *range(5, 10)]
    waited = build_untested_map(keyframes_of(world, rows), poses_of(world, rows), world.cameras, config, KEEP)
    alone = build_untested_map(
        keyframes_of(world, range(10)), poses_of(world, range(10)), world.cameras, config, KEEP
    )
    assert waited.build_info["num_standing"] == 20
    assert alone.build_info["num_standing"] == 0
    assert waited.num_keyframes == alone.num_keyframes == 10
    assert abs(waited.num_landmarks - alone.num_landmarks) < 0.05 * alone.num_landmarks


def test_matches_that_are_known_stay_with_their_images(world, config, monkeypatch):
    from hfnet_ros.mapping import map_builder

    rows = [0, 0, 1, 2, 3]
    known = {(0, 2): np.array([[0, 0]]), (1, 2): np.array([[1, 1]]), (3, 4): np.array([[2, 2]])}
    taken = {}
    monkeypatch.setattr(map_builder, "_match_by_pose", lambda *arguments: taken.update(arguments[-1]) or {})
    with pytest.raises(MappingError, match="none of 4 keyframes"):
        build_untested_map(
            keyframes_of(world, rows),
            poses_of(world, rows),
            world.cameras,
            replace(config, mapping=replace(config.mapping, check_poses=False)),
            KEEP,
            known=known,
        )
    assert {pair: matches.tolist() for pair, matches in taken.items()} == {(0, 1): [[0, 0]], (2, 3): [[2, 2]]}


def test_a_camera_that_never_moves_is_told_so(world, config):
    rows = [4] * 8
    with pytest.raises(MappingError, match="the camera stood still: all 8 images show the same; move it"):
        build_untested_map(
            keyframes_of(world, rows), poses_of(world, rows, 0.003), world.cameras, config, KEEP
        )
