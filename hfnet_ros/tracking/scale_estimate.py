"""How long the unit of a map of images alone is: by motions, or a rig's baseline, whose length in metres is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.robust import MAD_TO_SIGMA
from hfnet_ros.tracking.motion_pairs import MotionPair

FloatArray = NDArray[np.float64]

_MIN_MOTIONS = 8
_MIN_COSINE = 0.9  # a fix that is wrong, or a mounting that is turned, points elsewhere
_MIN_AGREEING = 0.5
_MAX_SPREAD = 0.25
_OVERLAP = 4.0  # motions that follow each other share fixes


@dataclass(frozen=True, slots=True)
class ScaleEstimate:
    """The length of a map's unit.

    Attributes:
        metres_per_unit: of the map.
        sigma: standard deviation of that.
        num_motions: that agree.
    """

    metres_per_unit: float
    sigma: float
    num_motions: int

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.metres_per_unit:.4g} m (+- {self.sigma:.2g} m, by {self.num_motions} motions)"


def estimate_scale(pairs: Sequence[MotionPair], min_step_m: float = 0.2) -> ScaleEstimate | None:
    """Return how many metres a unit of the map is; None where too few motions tell, or they contradict each other.

    Args:
        pairs: motions by odometry, m, and by images, map units.
        min_step_m: shorter ones of the camera say nothing.
    """
    ratios, num_long = [], 0
    for pair in pairs:
        mounting = pair.base_from_camera
        known, seen = (mounting.inverse() @ pair.base @ mounting).translation, pair.camera.translation
        known_m, seen_units = float(np.linalg.norm(known)), float(np.linalg.norm(seen))
        if known_m < min_step_m or seen_units <= 0.0:
            continue
        num_long += 1
        along = float(known @ seen) / known_m
        # Noise across the way makes a step longer, not its part along the way.
        if along > _MIN_COSINE * seen_units:
            ratios.append(known_m / along)
    if len(ratios) < max(_MIN_MOTIONS, _MIN_AGREEING * num_long):
        return None
    middle = float(np.median(ratios))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(np.array(ratios) - middle)))
    if spread > _MAX_SPREAD * middle:
        return None
    return ScaleEstimate(middle, spread * np.sqrt(0.5 * np.pi * _OVERLAP / len(ratios)), len(ratios))
