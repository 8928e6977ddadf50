"""Statistics of residuals that come from one drive: outliers among them, neighbours alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.robust import MAD_TO_SIGMA

FloatArray = NDArray[np.float64]

_MEDIAN_LOSS = 1.2533  # of precision of a median against a mean
_MOST_CORRELATION = 0.99


def independent_count(series: FloatArray) -> float:
    """Return how many independent numbers a series [N] in order of time is worth, at most N.

    An autoregression of first order: n (1 - r) / (1 + r), with r from the signs, which outliers
    do not move. The drift of a ground truth makes neighbouring errors alike; counting each of
    them in full would call every drift significant.
    """
    if len(series) < 3:
        return float(len(series))
    signs = np.sign(series - np.median(series))
    agreement = float(np.clip(np.mean(signs[1:] * signs[:-1]), 0.0, 1.0))
    correlation = min(float(np.sin(0.5 * np.pi * agreement)), _MOST_CORRELATION)
    return max(1.0, len(series) * (1.0 - correlation) / (1.0 + correlation))


def median_with_sigma(series: FloatArray) -> tuple[float, float]:
    """Return the median of a series [N] in order of time and its standard error."""
    median = float(np.median(series))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(series - median)))
    return median, _MEDIAN_LOSS * spread / float(np.sqrt(independent_count(series)))
