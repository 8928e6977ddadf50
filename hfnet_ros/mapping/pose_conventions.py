"""Poses written in another convention than they are read in: inverted, other axes, mirrored.

Relative rotations in camera axes do not know where the map lies, so they tell first how the
rotations are meant (inverted, quaternion order, axes of the camera); translations then tell whether
the axes of the positions are permuted or mirrored beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.pose_readings import (
    Poses,
    axis_turns,
    describe_reading,
    file_readings,
    signed_permutations,
)
from hfnet_ros.mapping.pose_evidence import PairEvidence, agreement

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
    turns = axis_turns()
    candidates = []
    for base, remedy, poses in file_readings(given):
        residuals = _rotation_residuals(evidence, poses, turns)
        fitting = turns[residuals <= residuals.min() + np.radians(_MARGIN_DEG)]
        candidates += [(base, remedy, poses, turn) for turn in fitting]
    best: Reading | None = None
    for position_axes in ([np.eye(3)], signed_permutations()):
        for base, remedy, poses, turn in candidates:
            for axes in position_axes:
                read = Poses(poses.rotations @ turn, poses.centers @ axes.T)
                name, advice = describe_reading(base, remedy, turn, axes)
                if not name:
                    continue
                share = float(agreement(evidence, read, max_error_px).mean())
                if best is None or share > best.agreement + _BETTER:
                    best = Reading(name, advice, read, share)
        if best is not None and best.agreement > _GOOD:
            break
    return best


def _rotation_residuals(evidence: PairEvidence, poses: Poses, turns: FloatArray) -> FloatArray:
    """Return the median angle, rad, by which relative rotations are off under each turn [K] of the axes."""
    given, _ = poses.between(evidence.pairs)
    residuals = []
    for turn in turns:
        off = np.einsum("pji,pjk->pik", evidence.rotations, turn.T @ given @ turn)
        cosine = 0.5 * (np.trace(off, axis1=1, axis2=2) - 1.0)
        residuals.append(np.median(np.arccos(np.clip(cosine, -1.0, 1.0))))
    return np.array(residuals)
