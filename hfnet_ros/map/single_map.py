"""What a map by itself answers where a set of maps is asked for its sub-maps; see `joined_map`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3


class SingleMap:
    """A map that is its only part."""

    def part_idx(self, keyframe_idx: int) -> int:  # noqa: ARG002
        """Return which of the maps that this one is joined of has a keyframe: the first, of a map by itself."""
        return 0

    def placement_covariance(
        self,
        keyframe_idx: int,  # noqa: ARG002
        map_from_camera: Rigid3,  # noqa: ARG002
    ) -> NDArray[np.float64] | None:
        """Return [6, 6] what a camera is uncertain by because its keyframes' part is; None of a map by itself."""
        return None

    def is_same_place(
        self,
        keyframe_idx: int,  # noqa: ARG002
        map_from_camera: Rigid3,  # noqa: ARG002
        landmark_idxs: NDArray[np.int64],  # noqa: ARG002
        other_map_from_camera: Rigid3,  # noqa: ARG002
    ) -> bool:
        """Tell whether a pose found by landmarks [N] of another part is that found by a keyframe's place.

        That is, but for what parts disagree about. A map by itself agrees with itself: False.
        """
        return False

    def part_text(self, landmark_idxs: NDArray[np.int64]) -> str:  # noqa: ARG002
        """Return which part landmarks [N] are of, to be put into a sentence; nothing of a map by itself."""
        return ""
