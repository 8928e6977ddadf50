"""What matching the keypoints of two keyframes finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PairMatch:
    """Which keypoints of two images show the same thing; M matches.

    Attributes:
        rows: [M, 2] int64, keypoint rows of the first and of the second image, each row at most once.
        similarity: [M] float32 cosine, by which a map without poses leaves out doubtful matches;
            None from a matcher that has left them out itself.
    """

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32] | None = None
