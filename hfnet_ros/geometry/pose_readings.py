"""How poses of a file may be meant: inverted, other quaternions, other axes, mirrored.

A reading is one way to read the file (`file_readings`), a turn of the camera's axes (`axis_turns`)
and a renaming of the positions' axes (`signed_permutations`); which one is right, what poses are
held against decides: images when a map is made, a map's answers when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import quats_from_rotations, rotations_from_quats

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Poses of F keyframes as arrays: map_from_camera.

    Attributes:
        rotations: [F, 3, 3] float64.
        centers: [F, 3] float64.
    """

    rotations: FloatArray
    centers: FloatArray

    @classmethod
    def of(cls, map_from_camera: Sequence[Rigid3]) -> Poses:
        """Return the arrays of some poses."""
        return cls(
            np.array([pose.rotation for pose in map_from_camera]),
            np.array([pose.translation for pose in map_from_camera]),
        )

    def between(self, pairs: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """Return the rotation [P, 3, 3] and translation [P, 3] of b_from_a of pairs [P, 2]."""
        first, second = pairs.T
        camera_from_map = self.rotations[second].transpose(0, 2, 1)
        offset = self.centers[first] - self.centers[second]
        return camera_from_map @ self.rotations[first], np.einsum("pij,pj->pi", camera_from_map, offset)


def file_readings(given: Poses) -> Iterator[tuple[str, str, Poses]]:
    """Yield ways to read a file: name, remedy and poses; the poses as they are first, with neither."""
    turned = _w_first(given)
    yield "", "", given
    yield "inverted (camera_from_map)", "invert them", _inverted(given)
    yield "written with the quaternion's w first", "write quaternions as x y z w", turned
    yield (
        "inverted and written with the quaternion's w first, as COLMAP writes them",
        "write quaternions as x y z w and invert them",
        _inverted(turned),
    )
    backward = Poses(given.rotations.transpose(0, 2, 1), given.centers)
    yield "written with inverted rotations", "invert the rotations alone", backward


def _inverted(given: Poses) -> Poses:
    transposed = given.rotations.transpose(0, 2, 1)
    return Poses(transposed, -np.einsum("fij,fj->fi", transposed, given.centers))


def _w_first(given: Poses) -> Poses:
    quats = quats_from_rotations(given.rotations)
    return Poses(rotations_from_quats(np.roll(quats, -1, axis=1)), given.centers)


def axis_turns() -> FloatArray:
    """Return the 24 rotations [24, 3, 3] that bring axes onto axes, the identity first."""
    turns = [axes for axes in signed_permutations() if np.linalg.det(axes) > 0.0]
    return np.array(turns)


def signed_permutations() -> list[FloatArray]:
    """Return the 48 ways to name and direct three axes, the identity first, few signs first."""
    matrices = [
        np.array(signs)[:, None] * np.eye(3)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return sorted(matrices, key=lambda matrix: (-np.trace(matrix), -matrix.sum()))


def describe_reading(base: str, remedy: str, turn: FloatArray, axes: FloatArray) -> tuple[str, str]:
    """Name a reading and its remedy; both empty for the poses as they are.

    Args:
        base: name of the way the file is read, of `file_readings`.
        remedy: what it needs.
        turn: [3, 3] given_from_optical, of `axis_turns`.
        axes: [3, 3] what the positions are multiplied by, of `signed_permutations`.
    """
    names, remedies = [base] if base else [], [remedy] if remedy else []
    if not np.array_equal(turn, np.eye(3)):
        columns = _axis_name(turn[:, 0]), _axis_name(turn[:, 1]), _axis_name(turn[:, 2])
        known = _FRAMES.get(columns)
        names.append(f"of {known}" if known else "of other camera axes than the optical ones")
        remedies.append(f"turn them to the optical frame, whose x, y, z are their {', '.join(columns)}")
    if not np.array_equal(axes, np.eye(3)):
        rows = ", ".join(_axis_name(row) for row in axes)
        mirrored = np.linalg.det(axes) < 0.0
        names.append(
            "mirrored, in a left-handed frame" if mirrored else "with positions in other axes than rotations"
        )
        remedies.append(f"write positions as ({rows})")
    return " and ".join(names), " and ".join(remedies)


# The optical axes x, y, z in the axes of frames that are often taken for the optical one.
_FRAMES = {
    ("-y", "-z", "x"): "the camera's body frame (x forward, y left, z up; REP-103)",
    ("x", "-y", "-z"): "an OpenGL or Blender camera (x right, y up, z backward)",
    ("y", "-z", "x"): "a body frame with x forward, y right, z up",
    ("y", "z", "x"): "an aircraft body frame (x forward, y right, z down)",
}


def _axis_name(direction: FloatArray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("-" if direction[axis] < 0.0 else "") + "xyz"[axis]
