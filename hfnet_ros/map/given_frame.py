"""From the frame in which a map agrees with itself back to the one in which its poses were given.

Given poses drift and slip a little, each keyframe's in its own way; refined ones do not, and images are localized
among these. An answer is then moved as the keyframes around it were: costmaps, routes and other sensors live in the
given frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import mean_rotation, rotvecs_from_rotations
from hfnet_ros.map.stored_poses import stored_pose, stored_poses

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

    def given_from_refined(
        self,
        keyframe_idxs: Sequence[int],
        refined: tuple[FloatArray, FloatArray],
        camera_idxs: Sequence[int],
    ) -> tuple[FloatArray, FloatArray]:
        """Return the motions from the refined to the given frame that keyframes say.

        Args:
            keyframe_idxs: their rows, K.
            refined: rotations [K, 3, 3] and translations [K, 3] of their refined map_from_camera.
            camera_idxs: their cameras.

        Returns:
            Rotations [K, 3, 3] and translations [K, 3].

        Raises:
            MapFormatError: the map is damaged there.
        """
        rotations, translations = stored_poses(self.keyframe_poses, keyframe_idxs, "given_keyframe_poses")
        turns = rotations @ refined[0].transpose(0, 2, 1)
        # A point of the refined frame goes into the camera, by the lever arm to where that was said to be, and out.
        arms = self.lever_arms_m[np.asarray(camera_idxs, np.intp)]
        carried = np.einsum("kij,kj->ki", turns, refined[1]) + np.einsum("kij,kj->ki", rotations, arms)
        return turns, translations - carried


def mean_pose(rotations: FloatArray, positions: FloatArray, weights: FloatArray) -> tuple[Rigid3, FloatArray]:
    """Return the weighted mean of poses, and their scatter about it.

    Args:
        rotations: [K, 3, 3] of about the same pose, a_from_b.
        positions: [K, 3], its translations, m.
        weights: [K] positive.

    Returns:
        Mean, and [6, 6] weighted second moment of (translation, rotation) in the axes of a, grown for the mean having
        been fitted to few; zero where K is 1, which has no scatter.
    """
    mean = Rigid3(mean_rotation(rotations, weights), weights @ positions / weights.sum())
    turned = rotvecs_from_rotations(rotations @ mean.rotation.T)
    away = np.concatenate([positions - mean.translation, turned], axis=1)
    count = len(positions)
    scatter = np.einsum("k,ki,kj->ij", weights / weights.sum(), away, away)
    return mean, scatter * (count / (count - 1) if count > 1 else 0.0)


def scatter_of_few(scatter: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the scatter [6, 6] that `mean_pose` says of K weighted poses, as what each direction may have of it.

    Few poses scatter in few directions, by chance: along the others they would be taken to agree. So it leans towards
    one that is alike along all axes of the translation and of the rotation, as if six more poses had said that, and it
    grows for weights that a few of the poses have (Kish's effective number).
    """
    count, effective = len(weights), weights.sum() ** 2 / (weights**2).sum()
    told = effective - 1.0
    # As `mean_pose` grows it for `count` poses, for the effective number of them.
    unbiased = scatter * (1.0 - 1.0 / count) * effective / max(told, 1.0 / count)
    alike = np.diag(np.repeat([np.trace(unbiased[:3, :3]) / 3.0, np.trace(unbiased[3:, 3:]) / 3.0], 3))
    return np.asarray((told * unbiased + 6.0 * alike) / (told + 6.0))
