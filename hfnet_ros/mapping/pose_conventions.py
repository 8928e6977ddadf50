"""Poses written in another convention than they are read in: inverted, other axes, mirrored.

Relative rotations in camera axes do not know where the map lies, so they tell first how the
rotations are meant (inverted, quaternion order, axes of the camera); translations then tell whether
the axes of the positions are permuted or mirrored beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_ros.mapping.pose_evidence import PairEvidence, Poses, agreement

FloatArray = NDArray[np.float64]

_MARGIN_DEG = 1.0  # axes that fit the rotations about as well as the best ones
_GOOD = 0.7  # share of matches of a reading that needs no stranger one
_BETTER = 0.1  # what the stranger of two readings must explain more


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A way to read poses.

    Attributes:
        name: what the poses are, when this is how they must be read.
        remedy: what to do.
        poses: map_from_camera, read this way.
        agreement: mean share of matches that it explains.
    """

    name: str
    remedy: str
    poses: Poses
    agreement: float


def best_reading(evidence: PairEvidence, given: Poses, max_error_px: float) -> Reading | None:
    """Return the reading other than the poses as they are that explains most; the plainest of equals.

    Args:
        evidence: of pairs of keyframes.
        given: poses as they are.
        max_error_px: of an explained match, at the reference focal length.
    """
    if not evidence.num_pairs:
        return None
    turns = _axis_turns()
    candidates = []
    for base, remedy, poses in _bases(given):
        residuals = _rotation_residuals(evidence, poses, turns)
        fitting = turns[residuals <= residuals.min() + np.radians(_MARGIN_DEG)]
        candidates += [(base, remedy, poses, turn) for turn in fitting]
    best: Reading | None = None
    for position_axes in ([np.eye(3)], _signed_permutations()):
        for base, remedy, poses, turn in candidates:
            for axes in position_axes:
                read = Poses(poses.rotations @ turn, poses.centers @ axes.T)
                name, advice = _describe(base, remedy, turn, axes)
                if not name:
                    continue
                share = float(agreement(evidence, read, max_error_px).mean())
                if best is None or share > best.agreement + _BETTER:
                    best = Reading(name, advice, read, share)
        if best is not None and best.agreement > _GOOD:
            break
    return best


def _bases(given: Poses) -> Iterator[tuple[str, str, Poses]]:
    """Yield readings of the file itself: name, remedy and poses."""
    rotations, centers = given.rotations, given.centers
    transposed = rotations.transpose(0, 2, 1)
    yield "", "", given
    yield (
        "inverted (camera_from_map)",
        "invert them",
        Poses(transposed, -np.einsum("fij,fj->fi", transposed, centers)),
    )
    quat = Rotation.from_matrix(rotations).as_quat()
    yield (
        "written with the quaternion's w first",
        "write quaternions as x y z w",
        Poses(Rotation.from_quat(np.roll(quat, -1, axis=1)).as_matrix(), centers),
    )
    yield "written with inverted rotations", "invert the rotations alone", Poses(transposed, centers)


def _axis_turns() -> FloatArray:
    """Return the 24 rotations [24, 3, 3] that bring axes onto axes, the identity first."""
    turns = [axes for axes in _signed_permutations() if np.linalg.det(axes) > 0.0]
    return np.array(turns)


def _signed_permutations() -> list[FloatArray]:
    """Return the 48 ways to name and direct three axes, the identity first, few signs first."""
    matrices = [
        np.array(signs)[:, None] * np.eye(3)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return sorted(matrices, key=lambda matrix: (-np.trace(matrix), -matrix.sum()))


def _rotation_residuals(evidence: PairEvidence, poses: Poses, turns: FloatArray) -> FloatArray:
    """Return the median angle, rad, by which relative rotations are off under each turn [K] of the axes."""
    given, _ = poses.between(evidence.pairs)
    residuals = []
    for turn in turns:
        off = np.einsum("pji,pjk->pik", evidence.rotations, turn.T @ given @ turn)
        cosine = 0.5 * (np.trace(off, axis1=1, axis2=2) - 1.0)
        residuals.append(np.median(np.arccos(np.clip(cosine, -1.0, 1.0))))
    return np.array(residuals)


def _describe(base: str, remedy: str, turn: FloatArray, axes: FloatArray) -> tuple[str, str]:
    """Name a reading and its remedy; both empty for the poses as they are."""
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
