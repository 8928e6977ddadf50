from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.errors import MessageError
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.poses import (
    covariance_for_message,
    initial_pose_from_message,
    odometry_from_message,
    pose_to_message,
    pose_with_covariance_to_message,
    rigid_from_pose,
    rigid_from_transform,
    transform_to_message,
)

QUARTER_TURN_LEFT = Rigid3(
    np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([1.0, 2.0, 3.0])
)


def random_covariance(seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(6, 6)) * 0.1
    return root @ root.T + 1e-4 * np.eye(6)


def nav2_accepts(message) -> bool:
    """Nav2's validateMsg for PoseWithCovarianceStamped, as amcl applies it (nav2_util/validate_messages.hpp)."""
    pose, orientation = message.pose.pose, message.pose.pose.orientation
    numbers = [pose.position.x, pose.position.y, pose.position.z]
    quat = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    covariance = np.asarray(message.pose.covariance)
    return bool(
        message.header.frame_id
        and np.isfinite([*numbers, *quat]).all()
        and abs(quat @ quat - 1.0) < 1e-4
        and np.isfinite(covariance).all()
        and (covariance >= 0.0).all()
        and (covariance <= 1e9).all()
    )


def stamped(factory, map_from_base, covariance, *, diagonal_only=False, frame_id="map"):
    return pose_with_covariance_to_message(
        factory, map_from_base, covariance, stamp_ns=5, frame_id=frame_id, diagonal_only=diagonal_only
    )


def test_a_pose_by_hand(factory):
    message = pose_to_message(factory, QUARTER_TURN_LEFT)
    position, orientation = message.position, message.orientation
    assert (position.x, position.y, position.z) == (1.0, 2.0, 3.0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        [orientation.x, orientation.y, orientation.z, orientation.w], [0.0, 0.0, half, half], atol=1e-12
    )


def test_poses_and_transforms_come_back(factory, random_rigid):
    for _ in range(20):
        motion = random_rigid()
        transform = transform_to_message(factory, motion, 5, "map", "odom")
        assert (transform.header.frame_id, transform.child_frame_id) == ("map", "odom")
        for back in (
            rigid_from_pose(pose_to_message(factory, motion)),
            rigid_from_transform(transform.transform),
        ):
            np.testing.assert_allclose(back.matrix, motion.matrix, atol=1e-12)


def test_numbers_are_plain_for_rclpy(factory, random_rigid):
    pose = pose_to_message(factory, random_rigid())
    assert type(pose.position.x) is float
    assert type(pose.orientation.w) is float


@pytest.mark.parametrize("quat", [(0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.9)])
def test_quaternions_without_unit_length_are_refused(quat):
    point = SimpleNamespace(x=0.0, y=0.0, z=0.0)
    orientation = SimpleNamespace(**dict(zip("xyzw", quat, strict=True)))
    with pytest.raises(MessageError, match=r"has length .* expected 1"):
        rigid_from_pose(SimpleNamespace(position=point, orientation=orientation))


def test_a_position_beyond_the_planet_is_refused():
    position = SimpleNamespace(x=0.0, y=-1e200, z=0.0)
    orientation = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    with pytest.raises(MessageError, match=r"expected at most 1e[+]09 m"):
        rigid_from_pose(SimpleNamespace(position=position, orientation=orientation))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["position", "orientation"])
def test_numbers_that_are_not_finite_are_refused(bad, field):
    pose = SimpleNamespace(
        position=SimpleNamespace(x=0.0, y=0.0, z=0.0), orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    )
    getattr(pose, field).y = bad
    with pytest.raises(MessageError, match="not finite"):
        rigid_from_pose(pose)


def test_a_slightly_rounded_quaternion_is_taken_and_normalised():
    pose = SimpleNamespace(
        position=SimpleNamespace(x=0.0, y=0.0, z=0.0),
        orientation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.001),
    )
    np.testing.assert_allclose(rigid_from_pose(pose).rotation, np.eye(3), atol=1e-12)


# Nav2 and robot_localization as readers


@pytest.mark.parametrize("seed", range(20))
def test_nav2_takes_every_pose_with_a_diagonal_covariance(factory, random_rigid, seed):
    message = stamped(factory, random_rigid(), random_covariance(seed), diagonal_only=True)
    assert nav2_accepts(message)
    off_diagonal = np.asarray(message.pose.covariance).reshape(6, 6)[~np.eye(6, dtype=bool)]
    assert not off_diagonal.any()


def test_nav2_refuses_a_full_covariance_with_a_negative_element(factory):
    covariance = random_covariance()
    assert covariance.min() < 0.0
    assert not nav2_accepts(stamped(factory, QUARTER_TURN_LEFT, covariance))


def test_the_full_covariance_arrives_in_ros_order(factory):
    covariance = random_covariance()
    message = stamped(factory, QUARTER_TURN_LEFT, covariance)
    type_name = "geometry_msgs/msg/PoseWithCovarianceStamped"
    received = factory.deserialize(factory.serialize(message, type_name), type_name)
    np.testing.assert_allclose(np.reshape(received.pose.covariance, (6, 6)), covariance)
    assert received.pose.covariance[7] == pytest.approx(covariance[1, 1])
    assert received.pose.covariance[5] == pytest.approx(covariance[0, 5])


def test_a_variance_that_robot_localization_would_trust_totally_is_not_sent():
    # robot_localization raises every variance below 1e-9 to 1e-9: the filter then follows blindly.
    covariance = np.diag([1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-10])
    with pytest.raises(ValueError, match="expected 1e-09 to 1e"):
        covariance_for_message(covariance, diagonal_only=True)
    covariance[5, 5] = 2e-9
    assert covariance_for_message(covariance, diagonal_only=True)[35] == pytest.approx(2e-9)


@pytest.mark.parametrize(
    "covariance",
    [
        np.zeros((6, 6)),
        np.diag([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]),
        np.diag([1.0, 1.0, -1.0, 1.0, 1.0, 1.0]),
        np.diag([1.0, np.nan, 1.0, 1.0, 1.0, 1.0]),
        np.diag([1.0, np.inf, 1.0, 1.0, 1.0, 1.0]),
        np.eye(6) + 2.0 * np.eye(6, k=1) + 2.0 * np.eye(6, k=-1),
        np.eye(6) + 0.1 * np.eye(6, k=1),
        np.diag([2e9, 1.0, 1.0, 1.0, 1.0, 1.0]),
        np.eye(3),
    ],
)
@pytest.mark.parametrize("diagonal_only", [False, True])
def test_invalid_covariances_are_not_sent(covariance, diagonal_only):
    with pytest.raises(ValueError, match=r"covariance is|variances are"):
        covariance_for_message(covariance, diagonal_only)


def test_the_given_covariance_is_not_shared():
    covariance = random_covariance()
    covariance_for_message(covariance, diagonal_only=False)[:] = 0.0
    assert is_valid_covariance(covariance)


def test_a_pose_without_frame_or_number_is_not_sent(factory):
    with pytest.raises(ValueError, match="name of its frame"):
        stamped(factory, QUARTER_TURN_LEFT, random_covariance(), frame_id="")
    lost = Rigid3(np.eye(3), np.array([np.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="not finite"):
        stamped(factory, lost, random_covariance())


# Initial poses


def initial_pose(factory, covariance, frame_id="map"):
    pose = factory.make(
        "geometry_msgs/msg/PoseWithCovariance",
        pose=pose_to_message(factory, QUARTER_TURN_LEFT),
        covariance=np.asarray(covariance, float).reshape(36),
    )
    header = factory.make("std_msgs/msg/Header", frame_id=frame_id)
    return factory.make("geometry_msgs/msg/PoseWithCovarianceStamped", header=header, pose=pose)


def test_the_initial_pose_of_rviz_says_nothing_of_height_and_tilt(factory):
    given = np.diag([0.25, 0.25, 0.0, 0.0, 0.0, 0.0685])
    given[0, 1] = given[1, 0] = 0.1
    hint = initial_pose_from_message(initial_pose(factory, given, "/map"))
    assert (hint.stamp_ns, hint.frame_id) == (0, "map")
    np.testing.assert_allclose(hint.map_from_base.matrix, QUARTER_TURN_LEFT.matrix, atol=1e-12)
    np.testing.assert_allclose(np.diag(hint.covariance), [0.25, 0.25, 4.0, 0.25, 0.25, 0.0685])
    assert hint.covariance[0, 1] == pytest.approx(0.1)
    assert is_valid_covariance(hint.covariance)


def test_an_initial_pose_without_any_covariance(factory):
    hint = initial_pose_from_message(initial_pose(factory, np.zeros((6, 6))))
    np.testing.assert_allclose(np.diag(hint.covariance), [4.0, 4.0, 4.0, 0.25, 0.25, 0.25])


def test_a_complete_covariance_stays_as_it_is(factory):
    covariance = random_covariance()
    hint = initial_pose_from_message(initial_pose(factory, covariance))
    np.testing.assert_allclose(hint.covariance, covariance)


@pytest.mark.parametrize(
    "covariance",
    [
        np.diag([1.0, -1.0, 0.0, 0.0, 0.0, 1.0]),
        np.diag([1.0, np.nan, 0.0, 0.0, 0.0, 1.0]),
        np.diag([1.0, 1e12, 0.0, 0.0, 0.0, 1.0]),
        np.eye(6) + 2.0 * np.eye(6, k=1) + 2.0 * np.eye(6, k=-1),
    ],
)
def test_an_initial_pose_with_an_impossible_covariance_is_refused(factory, covariance):
    with pytest.raises(MessageError, match="initial pose has a covariance"):
        initial_pose_from_message(initial_pose(factory, covariance))


def test_an_initial_pose_without_frame_or_rotation_is_refused(factory):
    with pytest.raises(MessageError, match="empty frame_id"):
        initial_pose_from_message(initial_pose(factory, np.eye(6), ""))
    message = initial_pose(factory, np.eye(6))
    message.pose.pose.orientation.z = message.pose.pose.orientation.w = 0.0
    with pytest.raises(MessageError, match="has length 0"):
        initial_pose_from_message(message)


# Odometry


def odometry(factory, odom_from_base, **changes):
    header = factory.make(
        "std_msgs/msg/Header",
        stamp=factory.make("builtin_interfaces/msg/Time", sec=3, nanosec=4),
        frame_id=changes.get("odom", "/odom"),
    )
    pose = factory.make("geometry_msgs/msg/PoseWithCovariance", pose=pose_to_message(factory, odom_from_base))
    return factory.make(
        "nav_msgs/msg/Odometry", header=header, child_frame_id=changes.get("base", "base_link"), pose=pose
    )


def test_odometry(factory, random_rigid):
    motion = random_rigid()
    read = odometry_from_message(odometry(factory, motion))
    assert (read.stamp_ns, read.odom_frame, read.base_frame) == (3_000_000_004, "odom", "base_link")
    np.testing.assert_allclose(read.odom_from_base.matrix, motion.matrix, atol=1e-12)


@pytest.mark.parametrize("changes", [{"odom": ""}, {"base": ""}])
def test_odometry_without_frames_is_refused(factory, changes):
    with pytest.raises(MessageError, match="expected both frames named"):
        odometry_from_message(odometry(factory, QUARTER_TURN_LEFT, **changes))


def test_odometry_that_is_not_a_number_is_refused(factory):
    message = odometry(factory, QUARTER_TURN_LEFT)
    message.pose.pose.position.x = float("nan")
    with pytest.raises(MessageError, match="not finite"):
        odometry_from_message(message)
