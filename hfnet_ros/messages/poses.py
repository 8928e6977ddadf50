"""Poses of geometry_msgs and nav_msgs, with the rules of those who listen.

Nav2 refuses a PoseWithCovariance with an element below 0 or above 1e9, a quaternion off unit length
or an empty frame. robot_localization takes a variance below 1e-9 for 1e-9, which is total trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MessageError
from hfnet_ros.geometry.covariance import is_valid_covariance, symmetrize
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import header_to_message, plain_frame_id, stamp_from_message

if TYPE_CHECKING:
    from hfnet_ros.messages.factory import MessageFactory

FloatArray = NDArray[np.float64]

MAX_COORDINATE_M = 1e9  # the planet is a hundredth of it; squares of far more overflow
MAX_COVARIANCE = 1e9
MIN_VARIANCE = 1e-9
_NORM_TOLERANCE = 1e-2  # of the squared length, as in tf2
# RViz's "2D Pose Estimate" leaves z, roll and pitch at zero: it does not know them.
UNKNOWN_SIGMAS = np.array([2.0, 2.0, 2.0, 0.5, 0.5, 0.5])


@dataclass(frozen=True, slots=True, eq=False)
class OdometryPose:
    """One odometry message. Its covariance is left out: absolute values of it mean little."""

    stamp_ns: int
    odom_frame: str
    base_frame: str
    odom_from_base: Rigid3


@dataclass(frozen=True, slots=True, eq=False)
class InitialPose:
    """Where somebody says the robot is.

    Attributes:
        stamp_ns: 0 where the sender left it out.
        frame_id: frame of the pose, without a leading slash; whether it is the map's, the caller checks.
        map_from_base: pose of the robot in it.
        covariance: [6, 6], x y z rx ry rz, axes of the frame; positive definite.
    """

    stamp_ns: int
    frame_id: str
    map_from_base: Rigid3
    covariance: FloatArray


def rigid_from_pose(pose: Any) -> Rigid3:
    """Return `parent_from_child` of a geometry_msgs/Pose.

    Raises:
        MessageError: a number is not finite or the quaternion is not of unit length.
    """
    return _rigid(pose.position, pose.orientation)


def rigid_from_transform(transform: Any) -> Rigid3:
    """Return `parent_from_child` of a geometry_msgs/Transform.

    Raises:
        MessageError: a number is not finite or the quaternion is not of unit length.
    """
    return _rigid(transform.translation, transform.rotation)


def pose_to_message(factory: MessageFactory, parent_from_child: Rigid3) -> Any:
    """Return a geometry_msgs/Pose."""
    return factory.make(
        "geometry_msgs/msg/Pose",
        position=_xyz(factory, "geometry_msgs/msg/Point", parent_from_child.translation),
        orientation=_quaternion(factory, parent_from_child),
    )


def transform_to_message(
    factory: MessageFactory, parent_from_child: Rigid3, stamp_ns: int, parent_frame: str, child_frame: str
) -> Any:
    """Return a geometry_msgs/TransformStamped."""
    transform = factory.make(
        "geometry_msgs/msg/Transform",
        translation=_xyz(factory, "geometry_msgs/msg/Vector3", parent_from_child.translation),
        rotation=_quaternion(factory, parent_from_child),
    )
    return factory.make(
        "geometry_msgs/msg/TransformStamped",
        header=header_to_message(factory, stamp_ns, parent_frame),
        child_frame_id=child_frame,
        transform=transform,
    )


def covariance_for_message(covariance: FloatArray, diagonal_only: bool) -> FloatArray:
    """Return the 36 numbers of a PoseWithCovariance, row by row.

    Args:
        covariance: [6, 6], x y z rx ry rz, axes of the parent frame.
        diagonal_only: leave out covariances, of which Nav2 refuses negative ones.

    Raises:
        ValueError: it is not symmetric positive definite and finite, exceeds 1e9, or has a variance
            below 1e-9, which robot_localization would trust totally.
    """
    if not is_valid_covariance(covariance):
        raise ValueError(
            f"covariance is not finite, symmetric and positive definite [6, 6]: {covariance.tolist()}"
        )
    variances = np.diag(covariance)
    if variances.min() < MIN_VARIANCE or np.abs(covariance).max() > MAX_COVARIANCE:
        raise ValueError(
            f"variances are {variances.tolist()}, expected {MIN_VARIANCE:g} to {MAX_COVARIANCE:g}"
        )
    sent = np.diag(variances) if diagonal_only else covariance
    return np.array(sent, np.float64).reshape(36)


def pose_with_covariance_to_message(
    factory: MessageFactory,
    map_from_base: Rigid3,
    covariance: FloatArray,
    *,
    stamp_ns: int,
    frame_id: str,
    diagonal_only: bool,
) -> Any:
    """Return a geometry_msgs/PoseWithCovarianceStamped that Nav2 and robot_localization can take.

    Raises:
        ValueError: the pose is not finite, the frame has no name, or `covariance_for_message`.
    """
    if not frame_id:
        raise ValueError("a pose needs the name of its frame, found an empty one")
    if not (np.isfinite(map_from_base.rotation).all() and np.isfinite(map_from_base.translation).all()):
        raise ValueError(f"pose is not finite: {map_from_base.matrix.tolist()}")
    pose = factory.make(
        "geometry_msgs/msg/PoseWithCovariance",
        pose=pose_to_message(factory, map_from_base),
        covariance=covariance_for_message(covariance, diagonal_only),
    )
    header = header_to_message(factory, stamp_ns, frame_id)
    return factory.make("geometry_msgs/msg/PoseWithCovarianceStamped", header=header, pose=pose)


def initial_pose_from_message(message: Any) -> InitialPose:
    """Read `initialpose`, a PoseWithCovarianceStamped.

    A variance of zero means that the sender does not know that axis (RViz: z, roll and pitch); it
    becomes (2 m)² or (0.5 rad)², and its covariances with other axes zero.

    Raises:
        MessageError: the pose is unusable, the frame has no name, or the covariance is not finite,
            has a negative variance or is not positive semidefinite.
    """
    frame_id = plain_frame_id(message.header.frame_id)
    if not frame_id:
        raise MessageError("initial pose has an empty frame_id, expected the map's frame")
    given = np.array(message.pose.covariance, np.float64).reshape(6, 6)
    return InitialPose(
        stamp_ns=stamp_from_message(message.header.stamp),
        frame_id=frame_id,
        map_from_base=rigid_from_pose(message.pose.pose),
        covariance=_completed(given),
    )


def odometry_from_message(message: Any) -> OdometryPose:
    """Read a nav_msgs/Odometry.

    Raises:
        MessageError: the pose is unusable, the stamp out of range, or a frame has no name.
    """
    odom_frame, base_frame = plain_frame_id(message.header.frame_id), plain_frame_id(message.child_frame_id)
    if not odom_frame or not base_frame:
        raise MessageError(f"odometry is of '{base_frame}' in '{odom_frame}', expected both frames named")
    return OdometryPose(
        stamp_from_message(message.header.stamp), odom_frame, base_frame, rigid_from_pose(message.pose.pose)
    )


def _completed(given: FloatArray) -> FloatArray:
    """Fill the axes of zero variance of a covariance [6, 6] with what unknown means."""
    variances = np.diag(given)
    if not np.isfinite(given).all() or variances.min() < 0.0 or np.abs(given).max() > MAX_COVARIANCE:
        raise MessageError(
            f"initial pose has a covariance that is not finite, negative or above {MAX_COVARIANCE:g}: "
            f"variances {variances.tolist()}"
        )
    unknown = variances < MIN_VARIANCE
    complete = np.where(unknown[:, None] | unknown[None, :], 0.0, symmetrize(given))
    complete[unknown, unknown] = UNKNOWN_SIGMAS[unknown] ** 2
    if not is_valid_covariance(complete):
        raise MessageError(f"initial pose has a covariance that is not positive definite: {given.tolist()}")
    return complete


def _rigid(position: Any, orientation: Any) -> Rigid3:
    quat_xyzw = (orientation.x, orientation.y, orientation.z, orientation.w)
    translation = (position.x, position.y, position.z)
    if not np.isfinite([*quat_xyzw, *translation]).all():
        raise MessageError(f"pose is not finite: position {translation}, quaternion {quat_xyzw}")
    if max(map(abs, translation)) > MAX_COORDINATE_M:
        raise MessageError(
            f"position is {translation}, expected at most {MAX_COORDINATE_M:g} m: is it in metres?"
        )
    squared = sum(value * value for value in quat_xyzw)
    if abs(squared - 1.0) > _NORM_TOLERANCE:
        raise MessageError(f"quaternion {quat_xyzw} has length {squared**0.5:g}, expected 1 (x, y, z, w)")
    return Rigid3.from_quat(quat_xyzw, translation)


def _xyz(factory: MessageFactory, type_name: str, values: FloatArray) -> Any:
    x, y, z = values.tolist()
    return factory.make(type_name, x=x, y=y, z=z)


def _quaternion(factory: MessageFactory, parent_from_child: Rigid3) -> Any:
    x, y, z, w = parent_from_child.quat_xyzw.tolist()
    return factory.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
