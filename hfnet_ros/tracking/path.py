"""The way a robot has come, as far as it matters for what is lost on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_HERE = np.eye(4)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Sums over a path, by which it is known how far each part of its orientation's noise swings its end.

    Noise gathers with dw = ds + dtheta, per metre and per radian. What was gathered at p moves the end by its
    lever, l = end - p: around a loop there is one, though the end is where the path began.

    Attributes:
        distance_m: its length.
        moments: [4, 4] integral of (l, 1) (l, 1)^T dw.
    """

    distance_m: float = 0.0
    moments: FloatArray = field(default_factory=lambda: np.zeros((4, 4)))

    @property
    def weight(self) -> float:
        """Return the integral of dw."""
        return float(self.moments[3, 3])

    @property
    def turn_rad(self) -> float:
        """Return all turning on it added up."""
        return self.weight - self.distance_m

    @property
    def levers(self) -> FloatArray:
        """Return [3] the integral of l dw."""
        return self.moments[:3, 3]

    @property
    def squares(self) -> FloatArray:
        """Return [3, 3] the integral of l l^T dw."""
        return self.moments[:3, :3]

    def extended(self, step: FloatArray, turn_rad: float) -> Path:
        """Return the path with a straight piece [3] more, on which the robot turns evenly."""
        distance_m = math.sqrt(step @ step)
        added = distance_m + turn_rad
        # Levers of all before grow by the step; those of the piece are evenly from all of it to none of it, half of it
        # and a third of its square at the mean.
        half = np.outer(self.levers + 0.5 * (self.weight + added / 3.0) * step, step)
        moments = self.moments.copy()
        moments[:3, :3] += half + half.T
        moments[:3, 3] += (self.weight + 0.5 * added) * step
        moments[3, :3] = moments[:3, 3]
        moments[3, 3] += added
        return Path(self.distance_m + distance_m, moments)

    def seen_from(self, offset: FloatArray) -> Path:
        """Return it with levers to a point [3] away from its end."""
        shift = _HERE.copy()
        shift[:3, 3] = offset
        return Path(self.distance_m, shift @ self.moments @ shift.T)

    def since(self, earlier: Path, step: FloatArray) -> Path:
        """Return what has come after an earlier end of it, from which this one is [3] away."""
        before = earlier.seen_from(step)
        return Path(self.distance_m - before.distance_m, self.moments - before.moments)

    def turned(self, rotation: FloatArray) -> Path:
        """Return it in axes turned by a rotation [3, 3]."""
        turn = np.eye(4)
        turn[:3, :3] = rotation
        return Path(self.distance_m, turn @ self.moments @ turn.T)
