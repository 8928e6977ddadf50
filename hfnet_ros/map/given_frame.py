"""From the frame in which a map agrees with itself back to the one in which its poses were given.

Given poses drift and slip a little, each keyframe's in its own way; refined ones do not, and images are localized
among these. An answer is then moved as the keyframes around it were: costmaps, routes and other sensors live in the
given frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import mean_rotation, rotvecs_from_rotations
from hfnet_ros.map.stored_poses import stored_pose

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GivenFrame:
    """The poses of a map's keyframes as they were given.

    Attributes:
        keyframe_poses: [F, 7] float64, map_from_camera as x y z (m), qx qy qz qw.
        lever_arms_m: [C, 3] m, for each camera where the given poses put it, in its own optical axes, seen from where
            the images show it: not zero where poses are those of another camera beside it, or of a mounting that is
            a little off.
    """

    keyframe_poses: FloatArray
    lever_arms_m: FloatArray

    def map_from_camera(self, keyframe_idx: int) -> Rigid3:
        """Return the given pose of a keyframe.

        Raises:
            MapFormatError: the map is damaged there.
        """
        return stored_pose(self.keyframe_poses, keyframe_idx, "given_keyframe_poses")

    def given_from_refined(self, keyframe_idx: int, refined: Rigid3, camera_idx: int) -> Rigid3:
        """Return the motion from the refined to the given frame that a keyframe says.

        Args:
            keyframe_idx: its row.
            refined: its refined map_from_camera.
            camera_idx: its camera.
        """
        lever_arm = Rigid3(np.eye(3), self.lever_arms_m[camera_idx])
        return self.map_from_camera(keyframe_idx) @ lever_arm.inverse() @ refined.inverse()


def mean_pose(poses: list[Rigid3], weights: FloatArray) -> tuple[Rigid3, FloatArray]:
    """Return the weighted mean of poses, and their scatter about it.

    Args:
        poses: K of about the same pose, a_from_b.
        weights: [K] positive.

    Returns:
        Mean, and [6, 6] weighted second moment of (translation, rotation) in the axes of a, grown for the mean having
        been fitted to few; zero where K is 1, which has no scatter.
    """
    positions = np.array([pose.translation for pose in poses])
    rotations = np.array([pose.rotation for pose in poses])
    mean = Rigid3(mean_rotation(rotations, weights), np.average(positions, axis=0, weights=weights))
    turned = rotvecs_from_rotations(rotations @ mean.rotation.T)
    away = np.concatenate([positions - mean.translation, turned], axis=1)
    count = len(poses)
    scatter = np.einsum("k,ki,kj->ij", weights / weights.sum(), away, away)
    return mean, scatter * (count / (count - 1) if count > 1 else 0.0)
