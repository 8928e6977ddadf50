"""Rigid motion in three dimensions, named so that adjacent frames cancel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hfnet_ros.geometry.rotations import (
    quats_from_rotations,
    rotations_from_quats,
    rotations_from_rotvecs,
    rotvecs_from_rotations,
)

FloatArray = NDArray[np.float64]

MIN_QUAT_LENGTH = 1e-6  # of a quaternion that is one


@dataclass(frozen=True, slots=True, eq=False)
class Rigid3:
    """Map coordinates of frame `a` to frame `b`: `x_b = b_from_a @ x_a`.

    Attributes:
        rotation: [3, 3] float64, proper orthogonal.
        translation: [3] float64, origin of `a` expressed in `b`, metres.

    Convention: an instance is named `b_from_a`, so `c_from_b @ b_from_a` is `c_from_a`.
    """

    rotation: FloatArray
    translation: FloatArray

    @classmethod
    def identity(cls) -> Rigid3:
        """Return the motion that moves nothing (a frame relative to itself)."""
        return cls(np.eye(3), np.zeros(3))

    @property
    def is_identity(self) -> bool:
        """Tell whether it moves nothing at all."""
        return not self.translation.any() and bool((self.rotation == np.eye(3)).all())

    @classmethod
    def from_quat(cls, quat_xyzw: ArrayLike, translation: ArrayLike) -> Rigid3:
        """Build from a quaternion (x, y, z, w), normalised here, and a translation in metres.

        Raises:
            ValueError: the quaternion has no length or a number is not finite.
        """
        quat = np.asarray(quat_xyzw, dtype=np.float64)
        offset = np.asarray(translation, dtype=np.float64)
        if not all(map(math.isfinite, (*quat.tolist(), *offset.tolist()))):
            raise ValueError(f"not finite: quaternion {quat.tolist()}, translation {offset.tolist()}")
        if math.hypot(*quat.tolist()) <= MIN_QUAT_LENGTH:
            raise ValueError(f"quaternion {quat.tolist()} has no length")
        return cls(rotations_from_quats(quat), offset.copy())

    @classmethod
    def from_rotvec(cls, rotvec: ArrayLike, translation: ArrayLike) -> Rigid3:
        """Build from a rotation vector (axis times angle, rad) and a translation in metres."""
        rotation = rotations_from_rotvecs(np.asarray(rotvec, dtype=np.float64))
        return cls(rotation, np.array(translation, dtype=np.float64))

    @property
    def quat_xyzw(self) -> FloatArray:
        """Return the unit quaternion (x, y, z, w) with w >= 0."""
        return quats_from_rotations(self.rotation)

    @property
    def rotvec(self) -> FloatArray:
        """Return the rotation vector (axis times angle, rad)."""
        return rotvecs_from_rotations(self.rotation)

    @property
    def matrix(self) -> FloatArray:
        """Return the homogeneous [4, 4] matrix."""
        homogeneous = np.eye(4)
        homogeneous[:3, :3] = self.rotation
        homogeneous[:3, 3] = self.translation
        return homogeneous

    def inverse(self) -> Rigid3:
        """Return `a_from_b`."""
        return Rigid3(self.rotation.T, -self.rotation.T @ self.translation)

    @overload
    def __matmul__(self, other: Rigid3) -> Rigid3: ...

    @overload
    def __matmul__(self, other: FloatArray) -> FloatArray: ...

    def __matmul__(self, other: Rigid3 | FloatArray) -> Rigid3 | FloatArray:
        """Compose with another motion, or move points of shape [3] or [N, 3]."""
        if isinstance(other, Rigid3):
            return Rigid3(
                self.rotation @ other.rotation,
                self.rotation @ other.translation + self.translation,
            )
        moved: FloatArray = np.asarray(other) @ self.rotation.T + self.translation
        return moved

    def translation_to(self, other: Rigid3) -> float:
        """Return the distance in metres between the two origins."""
        return math.dist(self.translation.tolist(), other.translation.tolist())

    def rotation_to(self, other: Rigid3) -> float:
        """Return the angle in radians between the two orientations."""
        return rotation_angle(self.rotation.T @ other.rotation)


def pose_difference(reference: Rigid3, other: Rigid3) -> FloatArray:
    """Return [6] d with t_other = t_ref + d_t, R_other = exp(d_r) R_ref: the errors' difference."""
    turn = Rigid3(other.rotation @ reference.rotation.T, np.zeros(3)).rotvec
    return np.concatenate([other.translation - reference.translation, turn])


def rotation_angle(rotation: FloatArray) -> float:
    """Return the angle in radians of a [3, 3] rotation, exact near 0 and near pi.

    The arc cosine of the trace alone loses half the digits for small angles.
    """
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = rotation.tolist()
    sine = math.hypot(r21 - r12, r02 - r20, r10 - r01)
    return math.atan2(sine, r00 + r11 + r22 - 1.0)


def skew(vector: ArrayLike) -> FloatArray:
    """Return the [3, 3] matrix S with `S @ w = vector x w`."""
    x, y, z = np.asarray(vector, dtype=np.float64)
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def interpolate(start: Rigid3, end: Rigid3, fraction: float) -> Rigid3:
    """Return the pose a fraction of the way: origin on the straight line, rotation about a fixed axis."""
    turn = rotvecs_from_rotations(start.rotation.T @ end.rotation)
    rotation = start.rotation @ rotations_from_rotvecs(fraction * turn)
    return Rigid3(rotation, start.translation + fraction * (end.translation - start.translation))
