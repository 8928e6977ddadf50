"""Rotations between their forms, any number at once.

Written here although scipy has them: its import is a fifth of a second of the start of `hfnet-ros localize`, and of one
rotation its calls take a multiple of these (scipy 1.17); a query needs fifty. One rotation is worked out in Python's
own numbers, which takes a fifth of what it takes numpy.

Reference: Shepperd, "Quaternion from rotation matrix", Journal of Guidance and Control 1978; Rodrigues' formula.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def _cross_matrices() -> FloatArray:
    """Return [3, 9]: v @ it is the matrix of the product v x."""
    matrices = np.zeros((3, 3, 3))
    for axis in range(3):
        following, last = (axis + 1) % 3, (axis + 2) % 3
        matrices[axis, following, last], matrices[axis, last, following] = -1.0, 1.0
    return matrices.reshape(3, 9)


def _quat_products() -> FloatArray:
    """Return [9, 16]: a matrix @ it, and the identity added, is 4 q qᵀ of its unit quaternion q (x, y, z, w)."""
    products = np.zeros((3, 3, 4, 4))
    for axis in range(3):
        following, last = (axis + 1) % 3, (axis + 2) % 3
        products[axis, axis] = -np.eye(4)
        products[axis, axis, axis, axis] = products[axis, axis, 3, 3] = 1.0
        for row, column in ((axis, following), (following, axis)):
            products[axis, following, row, column] = products[following, axis, row, column] = 1.0
        for row, column in ((axis, 3), (3, axis)):
            products[last, following, row, column] = 1.0
            products[following, last, row, column] = -1.0
    return products.reshape(9, 16)


_CROSS, _PRODUCTS = _cross_matrices(), _quat_products()


def rotations_from_quats(quats_xyzw: FloatArray) -> FloatArray:
    """Return the matrices [..., 3, 3] of quaternions [..., 4] (x, y, z, w) of any length but zero."""
    if quats_xyzw.ndim == 1:
        x, y, z, w = quats_xyzw.tolist()
        length = math.sqrt(x * x + y * y + z * z + w * w)
        if 0.0 < length < math.inf:
            return _rotation_of(x / length, y / length, z / length, w / length)
    unit = quats_xyzw / np.sqrt((quats_xyzw**2).sum(axis=-1, keepdims=True))
    cross = (unit[..., :3] @ _CROSS).reshape(*unit.shape[:-1], 3, 3)
    rotations: FloatArray = np.eye(3) + 2.0 * (unit[..., 3, None, None] * cross + cross @ cross)
    return rotations


def rotations_from_rotvecs(rotvecs: FloatArray) -> FloatArray:
    """Return the matrices [..., 3, 3] of rotation vectors [..., 3] (axis times angle, rad)."""
    if rotvecs.ndim == 1:
        x, y, z = rotvecs.tolist()
        angle = math.sqrt(x * x + y * y + z * z)
        if angle < math.inf:
            share = math.sin(0.5 * angle) / max(angle, 1e-150)
            return _rotation_of(share * x, share * y, share * z, math.cos(0.5 * angle))
    angles = np.sqrt((rotvecs**2).sum(axis=-1, keepdims=True))
    halved = rotvecs * (np.sin(0.5 * angles) / np.maximum(angles, 1e-150))
    cross = (halved @ _CROSS).reshape(*rotvecs.shape[:-1], 3, 3)
    rotations: FloatArray = np.eye(3) + 2.0 * (np.cos(0.5 * angles)[..., None] * cross + cross @ cross)
    return rotations


def quats_from_rotations(rotations: FloatArray) -> FloatArray:
    """Return the unit quaternions [..., 4] (x, y, z, w), w >= 0, of matrices [..., 3, 3]."""
    if rotations.ndim == 2:
        return np.array(_quat_of(rotations))
    products = (rotations.reshape(*rotations.shape[:-2], 9) @ _PRODUCTS).reshape(*rotations.shape[:-2], 4, 4)
    products = products + np.eye(4)
    # Any row is the quaternion, but for its length; that of the largest entry loses no digits.
    largest = np.einsum("...ii->...i", products).argmax(axis=-1)
    rows = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    quats: FloatArray = rows / np.sqrt((rows**2).sum(axis=-1, keepdims=True))
    return np.where(quats[..., 3:] < 0.0, -quats, quats)


def rotvecs_from_rotations(rotations: FloatArray) -> FloatArray:
    """Return the rotation vectors [..., 3] (axis times angle, rad; at most pi) of matrices [..., 3, 3]."""
    if rotations.ndim == 2:
        x, y, z, w = _quat_of(rotations)
        sine = math.sqrt(x * x + y * y + z * z)
        share = 2.0 * math.atan2(sine, w) / sine if sine > 1e-150 else 2.0
        return np.array((share * x, share * y, share * z))
    quats = quats_from_rotations(rotations)
    sines = np.sqrt((quats[..., :3] ** 2).sum(axis=-1, keepdims=True))
    angles = 2.0 * np.arctan2(sines, quats[..., 3:])
    rotvecs: FloatArray = quats[..., :3] * np.divide(
        angles, sines, out=np.full_like(sines, 2.0), where=sines > 1e-150
    )
    return rotvecs


def _rotation_of(x: float, y: float, z: float, w: float) -> FloatArray:
    """Return the matrix [3, 3] of a unit quaternion."""
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    wx, wy, wz = w * x, w * y, w * z
    return np.array(
        (
            (1.0 - 2.0 * (yy + zz), 2.0 * (xy - wz), 2.0 * (xz + wy)),
            (2.0 * (xy + wz), 1.0 - 2.0 * (xx + zz), 2.0 * (yz - wx)),
            (2.0 * (xz - wy), 2.0 * (yz + wx), 1.0 - 2.0 * (xx + yy)),
        )
    )


def _quat_of(rotation: FloatArray) -> tuple[float, float, float, float]:
    """Return the unit quaternion (x, y, z, w), w >= 0, of a matrix [3, 3]."""
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = rotation.tolist()
    xx, yy, zz, ww = (
        1.0 + r00 - r11 - r22,
        1.0 - r00 + r11 - r22,
        1.0 - r00 - r11 + r22,
        1.0 + r00 + r11 + r22,
    )
    largest = max(xx, yy, zz, ww)
    if largest == ww:
        x, y, z, w = r21 - r12, r02 - r20, r10 - r01, ww
    elif largest == xx:
        x, y, z, w = xx, r10 + r01, r02 + r20, r21 - r12
    elif largest == yy:
        x, y, z, w = r10 + r01, yy, r21 + r12, r02 - r20
    else:
        x, y, z, w = r02 + r20, r21 + r12, zz, r10 - r01
    scale = 1.0 / math.sqrt(x * x + y * y + z * z + w * w)
    if w < 0.0:
        scale = -scale
    return scale * x, scale * y, scale * z, scale * w


def mean_rotation(rotations: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted mean [3, 3] of rotations [K, 3, 3] that are less than a right angle from each other.

    Reference: Markley et al., "Averaging quaternions", Journal of Guidance, Control and Dynamics 2007.
    """
    quats = quats_from_rotations(rotations)
    _, vectors = np.linalg.eigh((quats * weights[:, None]).T @ quats)
    return rotations_from_quats(vectors[:, -1])
