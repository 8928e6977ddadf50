"""Cameras that are mounted otherwise than their poses say, or whose images are of another camera or time."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.errors import PoseFaultError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.mapping.camera_offsets import find_camera_offsets, turned
from hfnet_ros.mapping.camera_pairings import find_pairing
from hfnet_ros.mapping.pose_evidence import PairEvidence
from hfnet_ros.mapping.pose_faults import _refuse_pairing
from hfnet_ros.scene import demo_camera

STOPS, MATCHES, NOISE = 20, 30, 5e-4
SAME_LENSES = [demo_camera()] * 2
MAX_ERROR_PX = 4.0


def rotation(degrees):
    return Rigid3.from_rotvec(np.radians(degrees), np.zeros(3))


def walk(num_cameras, seed=0):
    """True poses of cameras at each stop, and which camera each is of; all look at a box of points."""
    rng = np.random.default_rng(seed)
    poses, cameras = [], []
    for stop in range(STOPS):
        for camera in range(num_cameras):
            turn = rng.normal((0.0, 10.0 * camera, 0.0), 8.0)
            poses.append(
                Rigid3(rotation(turn).rotation, [0.15 * stop + 0.1 * camera, 0.1 * rng.normal(), 0.0])
            )
            cameras.append(camera)
    return poses, cameras


def evidence_of(poses, seed=1):
    """What images of these poses say of each other, with a little noise."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-3.0, -2.0, 4.0], [6.0, 2.0, 8.0], (400, 3))
    pairs, idx, rays = [], [], ([], [])
    for a in range(len(poses)):
        for b in range(a + 1, min(a + 7, len(poses))):
            seen = [pose.inverse() @ points for pose in (poses[a], poses[b])]
            chosen = np.flatnonzero((seen[0][:, 2] > 1.0) & (seen[1][:, 2] > 1.0))[:MATCHES]
            for side, in_camera in zip(rays, seen, strict=True):
                flat = in_camera[chosen] / in_camera[chosen, 2:]
                flat[:, :2] += rng.normal(0.0, NOISE, (len(chosen), 2))
                side.append(flat)
            idx.append(np.full(len(chosen), len(pairs)))
            pairs.append((a, b))
    relative = [poses[b].inverse() @ poses[a] for a, b in pairs]
    noisy = [rotation(rng.normal(0.0, 0.1, 3)).rotation @ pose.rotation for pose in relative]
    directions = np.array([pose.translation / np.linalg.norm(pose.translation) for pose in relative])
    arrays = (np.concatenate(side) for side in rays)
    return PairEvidence(np.array(pairs), np.concatenate(idx), *arrays, np.array(noisy), directions)


def given_as(poses, cameras, offsets):
    """Poses as somebody gives them who has a camera's mounting wrong: turned back by what is to be found."""
    return [
        pose @ rotation(offsets[camera]).inverse() if camera in offsets else pose
        for pose, camera in zip(poses, cameras, strict=True)
    ]


def test_good_mountings_are_left_alone():
    poses, cameras = walk(2)
    (found,) = find_camera_offsets(evidence_of(poses), Poses.of(poses), cameras, MAX_ERROR_PX)
    assert found.camera_idx == 1
    assert np.degrees(found.angle_rad) < 0.1
    assert not found.is_sure


@pytest.mark.parametrize("degrees", [[2.0, 0.0, 0.0], [0.0, -5.0, 1.0], [3.0, 3.0, 10.0]])
def test_a_wrong_mounting_is_found_and_undone(degrees):
    poses, cameras = walk(2)
    given = given_as(poses, cameras, {1: degrees})
    (found,) = find_camera_offsets(evidence_of(poses), Poses.of(given), cameras, MAX_ERROR_PX)
    assert found.is_sure
    np.testing.assert_allclose(np.degrees(found.rotvec), degrees, atol=0.1)
    assert found.agreement[1] > 0.95 > found.agreement[0]
    for mended, pose in zip(turned(given, cameras, found), poses, strict=True):
        assert np.degrees(mended.rotation_to(pose)) < 0.2
        np.testing.assert_allclose(mended.translation, pose.translation)


def test_each_camera_is_held_against_those_that_were_mended():
    poses, cameras = walk(3)
    wrong = {1: [0.0, 4.0, 0.0], 2: [-3.0, 0.0, 0.0]}
    given = given_as(poses, cameras, wrong)
    found = find_camera_offsets(evidence_of(poses), Poses.of(given), cameras, MAX_ERROR_PX)
    assert [offset.camera_idx for offset in found] == [1, 2]
    for offset in found:
        np.testing.assert_allclose(np.degrees(offset.rotvec), wrong[offset.camera_idx], atol=0.15)


def test_cameras_that_never_saw_the_same_tell_nothing():
    poses, cameras = walk(2)
    evidence = evidence_of(poses)
    of_keyframe = np.array(cameras)[evidence.pairs]
    alone = evidence.of_pairs(np.flatnonzero(of_keyframe[:, 0] == of_keyframe[:, 1]))
    assert find_camera_offsets(alone, Poses.of(poses), cameras, MAX_ERROR_PX) == []


def test_one_camera_has_no_offset():
    poses, cameras = walk(1)
    assert find_camera_offsets(evidence_of(poses), Poses.of(poses), cameras, MAX_ERROR_PX) == []


@pytest.fixture(scope="module")
def rig():
    """Poses of two cameras, the second turned by 10 deg, and what their images say."""
    poses, cameras = walk(2)
    stamps_ns = np.repeat(np.arange(len(poses) // 2), 2)
    names = [
        f"{'left' if camera == 0 else 'right'}/{stamp}.png"
        for camera, stamp in zip(cameras, stamps_ns, strict=True)
    ]
    return SimpleNamespace(
        poses=poses, cameras=cameras, stamps_ns=stamps_ns, names=names, evidence=evidence_of(poses)
    )


def found_in(rig, given, lenses=SAME_LENSES):
    return find_pairing(rig.evidence, Poses.of(given), rig.cameras, lenses, rig.stamps_ns, MAX_ERROR_PX)


def judge(rig, given):
    _refuse_pairing(rig.evidence, given, rig.cameras, SAME_LENSES, rig.stamps_ns, rig.names, MAX_ERROR_PX)


def exchanged(poses):
    return [poses[row ^ 1] for row in range(len(poses))]


def late(poses, camera, rows):
    """Poses of a rig, those of one camera so many of its images before the ones its images are of."""
    given = list(poses)
    own = poses[camera::2]
    given[camera::2] = [own[min(max(row - rows, 0), len(own) - 1)] for row in range(len(own))]
    return given


def test_exchanged_cameras_are_named(rig):
    found = found_in(rig, exchanged(rig.poses))
    assert (found.cameras, found.rows) == ((0, 1), 0)
    assert found.agreement[1] > 0.95 > found.agreement[0]
    with pytest.raises(
        PoseFaultError, match=r"the images of left and right look exchanged: .* pose of the other"
    ) as error:
        judge(rig, exchanged(rig.poses))
    assert error.value.fault == "cameras"


def test_the_calibrations_of_exchanged_cameras_are_exchanged_with_them(rig):
    """As of any two real cameras: their centres are 12 pixels apart."""
    lens = demo_camera()
    lenses = [lens, dataclasses.replace(lens, center=lens.center + np.array([12.0, 7.0]))]
    rays = {}
    for column, side in enumerate(("rays_a", "rays_b")):
        said = np.array(rig.cameras)[rig.evidence.pairs[rig.evidence.pair_idx, column]]
        rays[side] = np.array(getattr(rig.evidence, side))
        for camera in (0, 1):
            pixels = lenses[1 - camera].project(rays[side][said == camera])
            rays[side][said == camera, :2] = lenses[camera].undistort(pixels)
    misread = SimpleNamespace(**{**vars(rig), "evidence": dataclasses.replace(rig.evidence, **rays)})
    found = found_in(misread, exchanged(rig.poses), lenses)
    assert (found.cameras, found.rows) == ((0, 1), 0)
    assert found.agreement[1] > 0.95
    assert found_in(misread, exchanged(rig.poses)).agreement[1] < 0.6  # by one calibration for both


@pytest.mark.parametrize(("rows", "when"), [(1, "1 keyframes later"), (-2, "2 keyframes earlier")])
def test_a_camera_of_another_time_is_named(rig, rows, when):
    given = late(rig.poses, 1, rows)
    found = found_in(rig, given)
    assert (found.cameras, found.rows) == ((1,), rows)
    with pytest.raises(PoseFaultError, match=f"the images of right look paired with .* {when}") as error:
        judge(rig, given)
    assert error.value.amount == rows


def test_all_cameras_of_another_time_are_named(rig):
    given = late(late(rig.poses, 0, 1), 1, 1)
    assert found_in(rig, given).cameras == (0, 1)
    with pytest.raises(
        PoseFaultError, match="the images of left and right look paired with poses of another time"
    ):
        judge(rig, given)


@pytest.mark.parametrize("offsets", [{}, {1: [0.0, -5.0, 1.0]}])
def test_good_rigs_and_turned_cameras_are_none_of_that(rig, offsets):
    given = given_as(rig.poses, rig.cameras, offsets)
    as_given, as_read = found_in(rig, given).agreement
    assert as_read < max(as_given, 0.95)
    judge(rig, given)


def test_one_camera_has_no_other(rig):
    assert (
        find_pairing(rig.evidence, Poses.of(rig.poses), [0] * 40, SAME_LENSES, np.arange(40), MAX_ERROR_PX)
        is None
    )


def test_a_turn_that_leaves_most_matches_unexplained_is_no_mounting(rig):
    # As a late camera of a robot that turns steadily: beyond noise, and no more than a part of it.
    found = find_camera_offsets(rig.evidence, Poses.of(late(rig.poses, 1, 3)), rig.cameras, MAX_ERROR_PX)
    assert not any(offset.is_sure for offset in found)
