"""Is each camera of a robot mounted as its poses say? Found by what it and another camera saw of the same things.

Of a pair of keyframes of two cameras the images tell by how much one is turned against the other; where the second
one's mounting is off by a rotation, all such pairs tell the same one. So it is found beside noise and without knowing
the robot, from keyframes of any time, also of cameras whose views never overlap at one time.

Reference: Tsai and Lenz, "A new technique for fully autonomous and efficient 3D robotics hand/eye calibration", 1989,
    for what is estimated; the rotation is the median over pairs, component by component, about the given one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import rotations_from_rotvecs, rotvecs_from_rotations
from hfnet_ros.mapping.pose_evidence import PairEvidence, agreement

FloatArray = NDArray[np.float64]

_MIN_PAIRS = 20  # of two cameras
# Of the median: five deviations of its noise, and what given poses of good maps differ by all the same.
_MIN_SIGMAS, _MIN_ANGLE_RAD = 5.0, np.radians(0.5)
_SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True, slots=True, eq=False)
class CameraOffset:
    """By how much the given poses of a camera are turned against those of the first one.

    Attributes:
        camera_idx: which.
        rotvec: [3] rad, given_from_camera about the axes of its optical frame; zero is as given.
        sigma_rad: of its angle, by the scatter of the pairs.
        num_pairs: keyframes of this camera with some of others, that told it.
        agreement: share of these pairs' matches that the poses explain as given, and turned by it, on pairs that took
            no part.
    """

    camera_idx: int
    rotvec: FloatArray
    sigma_rad: float
    num_pairs: int
    agreement: tuple[float, float]

    @property
    def angle_rad(self) -> float:
        """Return how far the mounting is off."""
        return float(np.linalg.norm(self.rotvec))

    @property
    def is_sure(self) -> bool:
        """Tell whether it is beyond noise, and explains images that took no part."""
        beyond = self.angle_rad > max(_MIN_ANGLE_RAD, _MIN_SIGMAS * self.sigma_rad)
        return bool(beyond and self.agreement[1] > self.agreement[0])


def find_camera_offsets(
    evidence: PairEvidence, given: Poses, camera_idxs: Sequence[int], max_error_px: float
) -> list[CameraOffset]:
    """Return the offset of each camera but the first against those before it; of those that pairs tell of.

    Args:
        evidence: of pairs of keyframes.
        given: their poses.
        camera_idxs: [F] camera of each keyframe.
        max_error_px: up to which a match fits poses.
    """
    of_keyframe = np.array(camera_idxs)
    first, second = of_keyframe[evidence.pairs[:, 0]], of_keyframe[evidence.pairs[:, 1]]
    known, offsets, turns = {int(of_keyframe.min(initial=0))}, list[CameraOffset](), given.rotations.copy()
    for camera_idx in sorted(set(of_keyframe.tolist()) - known):
        others = np.isin(first, list(known)) & (second == camera_idx)
        others |= (first == camera_idx) & np.isin(second, list(known))
        pairs = np.flatnonzero(others)
        if len(pairs) < _MIN_PAIRS:
            continue
        offset = _offset(evidence, Poses(turns, given.centers), camera_idx, of_keyframe, pairs, max_error_px)
        offsets.append(offset)
        known.add(camera_idx)
        if offset.is_sure:
            own = of_keyframe == camera_idx
            turns[own] = turns[own] @ rotations_from_rotvecs(offset.rotvec[None])[0]
    return offsets


def turned(poses: Sequence[Rigid3], camera_idxs: Sequence[int], offset: CameraOffset) -> list[Rigid3]:
    """Return poses, those of a camera turned by its offset."""
    turn = Rigid3(rotations_from_rotvecs(offset.rotvec[None])[0], np.zeros(3))
    return [
        pose @ turn if camera_idx == offset.camera_idx else pose
        for pose, camera_idx in zip(poses, camera_idxs, strict=True)
    ]


def _offset(
    evidence: PairEvidence,
    given: Poses,
    camera_idx: int,
    of_keyframe: NDArray[np.int64],
    pairs: NDArray[np.int64],
    max_error_px: float,
) -> CameraOffset:
    told = _told(evidence, given, camera_idx, of_keyframe, pairs)
    rotvec, sigma_rad = _median(told)
    # Every other pair takes part in what the others are held against, and the other way round.
    shares = []
    for part in (0, 1):
        half, _ = _median(told[part::2])
        own = of_keyframe == camera_idx
        changed = given.rotations.copy()
        changed[own] = changed[own] @ rotations_from_rotvecs(half[None])[0]
        held_out = evidence.of_pairs(pairs[1 - part :: 2])
        both = given, Poses(changed, given.centers)
        shares.append([float(agreement(held_out, poses, max_error_px).mean()) for poses in both])
    as_given, as_turned = np.mean(shares, axis=0).tolist()
    return CameraOffset(camera_idx, rotvec, sigma_rad, len(pairs), (as_given, as_turned))


def _told(
    evidence: PairEvidence,
    given: Poses,
    camera_idx: int,
    of_keyframe: NDArray[np.int64],
    pairs: NDArray[np.int64],
) -> FloatArray:
    """Return what each pair [P] says the given poses of the camera are turned by, rotation vectors [P, 3]."""
    a, b = evidence.pairs[pairs].T
    b_from_a = evidence.rotations[pairs]
    given_b_from_a = given.rotations[b].transpose(0, 2, 1) @ given.rotations[a]
    is_second = (of_keyframe[b] == camera_idx)[:, None, None]
    # (G_b D)^T G_a = R, or G_b^T G_a D = R where the camera is the first of the pair
    turns = np.where(
        is_second, given_b_from_a @ b_from_a.transpose(0, 2, 1), given_b_from_a.transpose(0, 2, 1) @ b_from_a
    )
    return rotvecs_from_rotations(turns)


def _median(told: FloatArray) -> tuple[FloatArray, float]:
    """Return the median rotation vector [3] of some [P, 3], and the deviation of its length."""
    middle = np.median(told, axis=0)
    spread = _SIGMA_OF_MAD * np.median(np.abs(told - middle), axis=0)
    # The median scatters 1.25 times as much as the mean.
    return middle, float(1.25 * np.linalg.norm(spread) / np.sqrt(len(told)))
