"""What of a scene can be drawn, whatever kind of model it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


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
    def keyframe_centers(self) -> NDArray[np.float64]:
        """Return where the images were taken, [F, 3] m, map frame."""
        return self.keyframe_poses[:, :3]
