"""The part of a map that is a network: from what is seen in an image to where that is in the scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.map_trust import MapConsistency

# What a network takes: keypoints of the map's extractor with their descriptors, or pixels.
FEATURES, IMAGE = "features", "image"
# Of the arrays of a network those that only training reads.
WEIGHTS_PREFIX = "weights."


@dataclass(frozen=True, eq=False)
class SceneNetwork:
    """A scene-coordinate network and what it was trained to. N leaves.

    Attributes:
        takes: `features` (hybrid: keypoints of the map's extractor) or `image` (dense).
        network: ONNX, as a robot runs it.
        arrays: plain arrays by name: `centers` [N, 3] float32 m, leaf centres in the frame of the map's
            `keyframe_poses`; `parents` [N] int32, the first label of each leaf; `scales` [N] float32 m, how large a
            leaf is; `point_*`, landmarks that it keeps (see `ScenePoints`); `weights.*`, what training goes on from.
        facts: how it was trained; JSON values only.
        consistency: of its own answers about keyframes that it was not trained on.
    """

    takes: str
    network: bytes
    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]
    consistency: MapConsistency

    @property
    def num_leaves(self) -> int:
        """Number of leaves, N."""
        return len(self.arrays["centers"])

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """What training goes on from, by parameter; nothing in a map without landmarks."""
        return {
            name.removeprefix(WEIGHTS_PREFIX): values
            for name, values in self.arrays.items()
            if name.startswith(WEIGHTS_PREFIX)
        }

    @property
    def radius_m(self) -> float:
        """Twice the median size of a leaf: how far a keypoint's landmark may be from where the network puts it."""
        return 2.0 * float(np.median(self.arrays["scales"]))
