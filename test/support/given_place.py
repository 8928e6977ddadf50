"""Landmarks that a test makes up, in place of a part of a map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class GivenPlace:
    """What a matcher reads of a `PlaceView`."""

    idxs: np.ndarray
    xyz: np.ndarray
    descriptors: np.ndarray
    words: np.ndarray | None = None
    vocabulary: np.ndarray = field(default_factory=lambda: np.empty((0, 8), np.float32))

    def __len__(self) -> int:
        return len(self.idxs)
