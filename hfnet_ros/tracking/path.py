"""The way a robot has come, as far as it matters for what is lost on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Sums over a path, by which it is known how far each part of its orientation's noise swings its end.

    Noise gathers with dw = ds + dtheta, per metre and per radian. What was gathered at p moves the end by its
    lever, end - p: around a loop there is one, though the end is where the path began.

    Attributes:
        distance_m: its length.
        turn_rad: all turning on it added up.
        levers: [3] integral of (end - p) dw, m.
        squares: [3, 3] integral of (end - p) (end - p)^T dw, m^2.
    """

    distance_m: float = 0.0
    turn_rad: float = 0.0
    levers: FloatArray = field(default_factory=lambda: np.zeros(3))
    squares: FloatArray = field(default_factory=lambda: np.zeros((3, 3)))

    @property
    def weight(self) -> float:
        """Return the integral of dw."""
        return self.distance_m + self.turn_rad

    def extended(self, step: FloatArray, turn_rad: float) -> Path:
        """Return the path with a straight piece [3] more, on which the robot turns evenly."""
        distance_m = float(np.linalg.norm(step))
        moved, weight = self.seen_from(step), distance_m + turn_rad
        return Path(
            self.distance_m + distance_m,
            self.turn_rad + turn_rad,
            moved.levers + weight / 2.0 * step,
            moved.squares + weight / 3.0 * np.outer(step, step),
        )

    def seen_from(self, offset: FloatArray) -> Path:
        """Return it with levers to a point [3] away from its end."""
        crossed = np.outer(self.levers, offset)
        squares = self.squares + crossed + crossed.T + self.weight * np.outer(offset, offset)
        return Path(self.distance_m, self.turn_rad, self.levers + self.weight * offset, squares)

    def since(self, earlier: Path, step: FloatArray) -> Path:
        """Return what has come after an earlier end of it, from which this one is [3] away."""
        before = earlier.seen_from(step)
        return Path(
            self.distance_m - before.distance_m,
            self.turn_rad - before.turn_rad,
            self.levers - before.levers,
            self.squares - before.squares,
        )

    def turned(self, rotation: FloatArray) -> Path:
        """Return it in axes turned by a rotation [3, 3]."""
        squares = rotation @ self.squares @ rotation.T
        return Path(self.distance_m, self.turn_rad, rotation @ self.levers, squares)
