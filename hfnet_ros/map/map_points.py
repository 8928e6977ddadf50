"""What of a scene can be drawn, whatever kind of model it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_FINE_UP_TO_M = 16_384.0  # beyond, neighbouring numbers of single precision are 2 mm apart or more
_ORIGIN_STEP_M = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class MapPoints:
    """What a scene has that can be drawn; one that is no map of landmarks leaves out what it has not.

    Attributes:
        landmark_xyz: [L, 3] m, map frame.
        landmark_colors: [L, 3] uint8 RGB; None where unknown.
        keyframe_names: [F] names of the images the scene was made from, in the order they were taken.
        keyframe_poses: [F, 7] their map_from_camera as x y z (m) qx qy qz qw.
        keyframe_moves: [F, 2] how far (m) and by which angle (rad) given and refined poses differ; None where they
            are one.
    """

    landmark_xyz: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    landmark_colors: NDArray[np.uint8] | None = None
    keyframe_names: Sequence[str] = ()
    keyframe_poses: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 7)))
    keyframe_moves: NDArray[np.float64] | None = None

    @property
    def drawing_origin(self) -> NDArray[np.float64]:
        """Return what to subtract before positions are drawn in single precision, [3] m; see `drawing_origin`."""
        positions = self.keyframe_centers if len(self.keyframe_poses) else self.landmark_xyz
        positions = positions[np.isfinite(positions).all(axis=1)]
        if not len(positions):
            return np.zeros(3)
        return drawing_origin(np.array([positions.min(axis=0), positions.max(axis=0)]))

    @property
    def keyframe_centers(self) -> NDArray[np.float64]:
        """Return where the images were taken, [F, 3] m, map frame."""
        return self.keyframe_poses[:, :3]


def drawing_origin(extent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what to subtract before positions are drawn in single precision, [3] m.

    Zero unless single precision is coarser than a millimetre there, as it is in the coordinates of a
    country's survey (UTM: half a metre); else the middle in whole kilometres, so that maps of one place
    share it.

    Args:
        extent: [2, 3] m, lowest and highest coordinates of the keyframes.
    """
    middle = extent.mean(axis=0)
    if not np.abs(middle).max() > _FINE_UP_TO_M:
        return np.zeros(3)
    return np.asarray(_ORIGIN_STEP_M * np.round(middle / _ORIGIN_STEP_M))
