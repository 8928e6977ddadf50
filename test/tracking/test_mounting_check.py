"""A drive whose true mounting is known, and what is said of another one."""

import re

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.motion import Moment
from hfnet_ros.tracking.mounting_check import BODY_FROM_OPTICAL, MountingCheck
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.tracking.path import Path
from hfnet_ros.types import Evidence, Localization, Outcome, PoseEstimate

LOOKING_AHEAD = Rigid3(BODY_FROM_OPTICAL, np.array([0.3, 0.0, 0.4]))
LINK = Rigid3(np.eye(3), LOOKING_AHEAD.translation)
TURNED = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], [0.0, 0.0, 0.0])
ROLLED = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], [0.0, 0.0, 0.0])


def localized(map_from_camera, is_metric=True):
    estimate = PoseEstimate(map_from_camera, np.eye(6), np.ones(9, bool), 1.0)
    return Localization(1, Outcome.LOCALIZED, estimate, None, Evidence(), {}, is_metric=is_metric)


def drive(count=20):
    """Return map_from_base along a curve, 0.2 m and 4 degrees a step."""
    poses = [Rigid3.from_rotvec([0.0, 0.0, 0.5], [1.0, 2.0, 0.0])]
    step = Rigid3.from_rotvec([0.0, 0.0, 0.07], [0.2, 0.0, 0.0])
    for _ in range(count - 1):
        poses.append(poses[-1] @ step)
    return poses


def watch(
    true_mounting,
    said_mounting,
    *,
    with_odometry=True,
    noise=0.0,
    poses=None,
    is_metric=True,
    told=lambda odom_from_base: odom_from_base,
):
    """Return what is said after a drive of a camera that is mounted otherwise than said."""
    check, rng = MountingCheck(), np.random.default_rng(0)
    odom_from_map = Rigid3.from_rotvec([0.0, 0.0, 2.0], [30.0, -20.0, 0.0])
    for index, map_from_base in enumerate(poses or drive()):
        odom_from_base = odom_from_map @ map_from_base
        sample = OdometrySample(index + 1, told(odom_from_base), 1, Path(0.2 * index))
        shake = Rigid3.from_rotvec(rng.normal(0.0, noise, 3), rng.normal(0.0, noise, 3))
        map_from_camera = map_from_base @ true_mounting @ shake
        moment = Moment(index + 1, sample if with_odometry else None)
        check.note(moment, localized(map_from_camera, is_metric), said_mounting, "camera")
    return check.doubts("camera")


@pytest.mark.parametrize("with_odometry", [False, True])
@pytest.mark.parametrize(
    "mounting",
    [
        LOOKING_AHEAD,
        Rigid3.from_rotvec([0.0, 0.6, 0.0], [0.0, 0.0, 1.0]) @ LOOKING_AHEAD,
        Rigid3.from_rotvec([0.0, 0.0, np.pi], [0.0, 0.0, 0.0]) @ LOOKING_AHEAD,
        Rigid3(np.eye(3), np.array([0.0, 0.0, 1.0])),  # a camera that watches the ceiling
        Rigid3.from_rotvec([np.pi, 0.0, 0.0], [0.0, 0.0, 0.2]),  # or the floor
    ],
)
def test_a_right_mounting_is_not_doubted(mounting, with_odometry):
    assert watch(mounting, mounting, with_odometry=with_odometry, noise=0.01) == ()


def test_a_body_frame_without_odometry_makes_a_lens_that_looks_up():
    (said,) = watch(LOOKING_AHEAD, LINK, with_odometry=False)
    assert "the mounting of 'camera' is doubtful: the lens would look straight up" in said
    assert "let images carry the optical frame (z forward, x right, y down" in said


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("pitch", [0.6, 1.2])
def test_a_body_frame_that_does_not_look_up_is_seen_by_the_motion(noise, pitch):
    tilted = Rigid3.from_rotvec([0.0, pitch, 0.0], [0.3, 0.0, 0.4])
    (said,) = watch(tilted @ Rigid3(BODY_FROM_OPTICAL, np.zeros(3)), tilted, noise=noise)
    assert "deg off its odometry, as if the frame were a body's" in said


def test_another_turn_is_named():
    # The robot drives straight and then turns, so that both its axes are seen.
    (said,) = watch(LOOKING_AHEAD, LOOKING_AHEAD @ ROLLED, noise=0.005, poses=straight_then_turning())
    assert "which a turn by 90 deg explains" in said
    (said,) = watch(TURNED @ LOOKING_AHEAD, LOOKING_AHEAD, noise=0.005, poses=straight_then_turning())
    assert "which a turn by 90 deg explains" in said


def turns_reversed(pose):
    return Rigid3(pose.rotation.T, pose.translation)


def x_reversed(pose):
    return Rigid3(pose.rotation, pose.translation * [-1.0, 1.0, 1.0])


def y_reversed(pose):
    return Rigid3(pose.rotation, pose.translation * [1.0, -1.0, 1.0])


def xy_exchanged(pose):
    return Rigid3(pose.rotation, pose.translation[[1, 0, 2]])


def left_handed(pose):
    """Return x ahead, y right, yaw clockwise: of motions in a plane also x ahead, y right, z down."""
    mirror = np.diag([1.0, -1.0, 1.0])
    return Rigid3(mirror @ pose.rotation @ mirror, mirror @ pose.translation)


def in_optical_axes(pose):
    optical = Rigid3(BODY_FROM_OPTICAL, np.zeros(3))
    return optical.inverse() @ pose @ optical


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_odometry_of_exchanged_frames_is_named_and_not_the_mounting(noise):
    poses = straight_then_turning()
    (said,) = watch(LOOKING_AHEAD, LOOKING_AHEAD, noise=noise, poses=poses, told=Rigid3.inverse)
    assert "which gives the pose of odom in the base" in said
    assert "mounting" not in said


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("walk", ["corners", "curves"])
@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (turns_reversed, "whose turns have another sign than its way"),
        (x_reversed, "whose positions have x reversed"),
        (y_reversed, "whose positions have y reversed"),
        (xy_exchanged, "whose positions have x and y exchanged"),
        (left_handed, "whose z points down on a robot that stands upright"),
        (in_optical_axes, "whose z points ahead on a robot that stands upright"),
    ],
)
def test_odometry_in_another_convention_is_named_and_not_the_mounting(noise, walk, told, sentence):
    poses = straight_then_turning() if walk == "corners" else curves()
    (said,) = watch(LOOKING_AHEAD, LOOKING_AHEAD, noise=noise, poses=poses, told=told)
    assert re.search(sentence, said)
    assert "mounting" not in said
    assert watch(LOOKING_AHEAD, LOOKING_AHEAD, noise=noise, poses=poses) == ()


def curves():
    """Return a drive straight on, left, and right again."""
    poses = [Rigid3.identity()]
    for index in range(45):
        turn = [0.0, 0.0, 0.0] if index % 15 < 5 else [0.0, 0.0, 0.12 if index % 15 < 12 else -0.12]
        poses.append(poses[-1] @ Rigid3.from_rotvec(turn, [0.2, 0.0, 0.0]))
    return poses


@pytest.mark.parametrize("turn", [*(np.pi * np.eye(3)), *(np.pi / 2 * np.eye(3)), *range(4)])
def test_whatever_a_camera_is_turned_by_right_odometry_is_not_accused(turn):
    if isinstance(turn, int):
        turn = np.random.default_rng(turn).normal(0.0, 1.5, 3)
    mounting = Rigid3.from_rotvec(turn, np.zeros(3)) @ LOOKING_AHEAD
    for poses in (straight_then_turning(), drive(), curves()):
        said = " ".join(watch(mounting, LOOKING_AHEAD, noise=0.01, poses=poses))
        assert not re.search("odometry, wh(ich gives|ose)", said)


def straight_then_turning():
    poses = [Rigid3.identity()]
    for index in range(30):
        step = ([0, 0, 0], [0.2, 0, 0]) if index % 10 < 5 else ([0, 0, 0.3], [0, 0, 0])
        poses.append(poses[-1] @ Rigid3.from_rotvec(*step))
    return poses


def test_fixes_that_no_turn_explains_say_nothing_of_the_mounting():
    rng = np.random.default_rng(1)
    check = MountingCheck()
    for index, map_from_base in enumerate(drive(40)):
        sample = OdometrySample(index + 1, map_from_base, 1, Path(0.2 * index))
        wrong = Rigid3.from_rotvec(rng.normal(0, 1, 3), rng.normal(0, 3, 3))
        check.note(Moment(index + 1, sample), localized(wrong), LOOKING_AHEAD, "camera")
    assert check.doubts("camera") == ()


def in_units(poses, metres_per_unit):
    return [Rigid3(pose.rotation, pose.translation / metres_per_unit) for pose in poses]


def test_the_unit_of_a_map_of_images_alone_is_told_by_odometry():
    said = []
    check, turned = MountingCheck(), Rigid3.from_rotvec([0.4, 1.0, -0.2], [3.0, 1.0, 0.0])
    for index, map_from_base in enumerate(drive()):
        sample = OdometrySample(index + 1, map_from_base, 1, Path(0.2 * index))
        (camera,) = in_units([turned @ map_from_base @ LOOKING_AHEAD], 0.4)
        check.note(Moment(index + 1, sample), localized(camera, is_metric=False), LOOKING_AHEAD, "camera")
        said += check.doubts("camera")
    assert said
    assert all(sentence.startswith("by odometry a unit of the map is 0.4 m (+-") for sentence in said)
