"""Is what a pose sees flat? A picture of something flat is as good as the thing itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Of what is seen: with so much in one plane the rest tells the place neither from a picture of it nor near from far.
FLAT = 0.95
# Of the distance. What is deeper moves by more than keypoints are off, in a picture that is looked at from aside.
_DEPTH_FRACTION = 0.05
_NUM_REWEIGHTINGS = 20  # at the most
_SETTLED = 1e-3  # of the spread: it changes no more


def flat_share(points: FloatArray, position: FloatArray) -> float:
    """Return the share of points that lie in one plane, to 5 % of the distance that they are seen from.

    Args:
        points: [N, 3] m, map frame.
        position: [3] m, from where they are seen.

    Returns:
        The share; 1 of fewer than four points, which lie in a plane whatever they are.
    """
    if len(points) < 4:
        return 1.0
    weights, spread, away = np.ones(len(points)), np.inf, np.zeros(len(points))
    for _ in range(_NUM_REWEIGHTINGS):
        centred = points - weights @ points / weights.sum()
        _, axes = np.linalg.eigh((weights[:, None] * centred).T @ centred)
        away = np.abs(centred @ axes[:, 0])
        before, spread = spread, max(float(np.median(away)), 1e-9)
        if abs(before - spread) < _SETTLED * spread:
            break
        weights = 1.0 / (1.0 + (away / spread) ** 2) ** 2
    distance = float(np.median(np.linalg.norm(points - position, axis=1)))
    return float(np.mean(away < _DEPTH_FRACTION * distance))
