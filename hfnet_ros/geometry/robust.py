"""Statistics that outliers do not move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAD_TO_SIGMA = 1.4826  # median absolute deviation of a normal variable to its standard deviation


def median_with_sigma(told: FloatArray) -> tuple[FloatArray, float]:
    """Return the median [D] of independent values of one thing [N, D], and the standard deviation of its length."""
    middle = np.median(told, axis=0)
    spread = MAD_TO_SIGMA * np.median(np.abs(told - middle), axis=0)
    # The median scatters 1.25 times as much as the mean.
    return middle, float(1.25 * np.linalg.norm(spread) / np.sqrt(len(told)))
