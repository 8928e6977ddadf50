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
from hfnet_ros.geometry.robust import median_with_sigma
from hfnet_ros.geometry.rotations import rotations_from_rotvecs, rotvecs_from_rotations
from hfnet_ros.mapping.keyframe_faults import PAIR_DISAGREES
from hfnet_ros.mapping.pose_evidence import PairEvidence, agreement
from hfnet_ros.mapping.turned_cameras import is_beyond_noise

FloatArray = NDArray[np.float64]

_MIN_PAIRS = 20  # of two cameras


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
        """Tell whether it is beyond noise, and explains images that took no part, most of what they show."""
        as_given, as_turned = self.agreement
        return is_beyond_noise(self.rotvec, self.sigma_rad) and as_turned > max(as_given, PAIR_DISAGREES)


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
    known, offsets = {int(of_keyframe.min(initial=0))}, list[CameraOffset]()
    for camera_idx in sorted(set(of_keyframe.tolist()) - known):
        others = np.isin(first, list(known)) & (second == camera_idx)
        others |= (first == camera_idx) & np.isin(second, list(known))
        pairs = np.flatnonzero(others)
        if len(pairs) < _MIN_PAIRS:
            continue
        offset = _offset(evidence, given, camera_idx, of_keyframe, pairs, max_error_px)
        offsets.append(offset)
        known.add(camera_idx)
        if offset.is_sure:
            given = _turned(given, of_keyframe == camera_idx, offset.rotvec)
    return offsets


def turned(poses: Sequence[Rigid3], camera_idxs: Sequence[int], offset: CameraOffset) -> list[Rigid3]:
    """Return poses, those of a camera turned by its offset."""
    turn = Rigid3.from_rotvec(offset.rotvec, np.zeros(3))
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
    rotvec, sigma_rad = median_with_sigma(told)
    # Every other pair takes part in what the others are held against, and the other way round.
    shares = []
    for part in (0, 1):
        half, _ = median_with_sigma(told[part::2])
        held_out = evidence.of_pairs(pairs[1 - part :: 2])
        both = given, _turned(given, of_keyframe == camera_idx, half)
        shares.append([float(agreement(held_out, poses, max_error_px).mean()) for poses in both])
    as_given, as_turned = np.mean(shares, axis=0).tolist()
    return CameraOffset(camera_idx, rotvec, sigma_rad, len(pairs), (as_given, as_turned))


def _turned(poses: Poses, own: NDArray[np.bool_], rotvec: FloatArray) -> Poses:
    """Return poses, some of them [F] turned about their own axes."""
    rotations = poses.rotations.copy()
    rotations[own] = rotations[own] @ rotations_from_rotvecs(rotvec)
    return Poses(rotations, poses.centers)


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
