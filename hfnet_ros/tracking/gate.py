"""Does a fix fit the prediction? A chi-square test of their difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from hfnet_ros.config import GateConfig
from hfnet_ros.geometry.rigid3 import pose_difference
from hfnet_ros.tracking.motion import BasePose

FloatArray = NDArray[np.float64]

_AXES = {"full": (0, 1, 2, 3, 4, 5), "planar": (0, 1, 5)}
PLANAR = "planar"
# Standard deviations by which what is left out may differ: on a floor, of a robot that leans. More is another floor.
_LEFT_OUT = np.array([0.5] * 3 + [np.deg2rad(10.0)] * 3)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two statements about one pose.

    Attributes:
        innovation: [6] second minus first, x y z (m) rx ry rz (rad), axes of the map.
        mahalanobis_sq: its squared length in standard deviations, over the axes compared.
        threshold: chi-square quantile.
        dof: number of axes compared.
    """

    innovation: FloatArray
    mahalanobis_sq: float
    threshold: float
    dof: int

    @property
    def fits(self) -> bool:
        """Tell whether the difference may be chance."""
        return self.mahalanobis_sq <= self.threshold

    @property
    def text(self) -> str:
        """Return the difference in words."""
        distance_m = float(np.linalg.norm(self.innovation[:3]))
        angle_deg = float(np.rad2deg(np.linalg.norm(self.innovation[3:])))
        sign = "within" if self.fits else "beyond"
        return (
            f"{distance_m:.2f} m, {angle_deg:.1f} deg: {self.mahalanobis_sq:.1f} {sign} {self.threshold:.1f}"
        )


class InnovationGate:
    """Compares poses of one moment.

    The innovation's covariance is S = P + R + B: of the prediction and the fix, and the part of
    a fix's error that the map is to blame for. Neighbouring fixes have that in common, distant ones do
    not, so that their difference has between 0 and 2 B of it.

    Attributes:
        systematic: [6, 6] B.
    """

    def __init__(self, config: GateConfig) -> None:
        """Take the share of right fixes that pass, the axes and the systematic error."""
        self._probability = config.probability
        self._axes = config.axes
        self.systematic = systematic_covariance(config)

    def compare(self, predicted: BasePose, fix: BasePose, axes: str = "") -> Comparison:
        """Test whether a fix fits a prediction for the same moment.

        Args:
            predicted: where the robot should be.
            fix: where it was seen.
            axes: these and no others, by the names of the configuration; empty for those configured, where
                the others count too, but only if they differ by as much as another floor does.
        """
        innovation = pose_difference(predicted.map_from_base, fix.map_from_base)
        spread = predicted.covariance + fix.covariance + self.systematic
        used = _AXES[axes or self._axes]
        compared = self._compare(innovation, spread, used)
        left_out = [axis for axis in range(6) if axis not in used]
        if axes or not left_out or not compared.fits:
            return compared
        loose = spread.copy()
        loose[left_out, left_out] += np.square(_LEFT_OUT[left_out])
        roughly = self._compare(innovation, loose, tuple(range(6)))
        return compared if roughly.fits else roughly

    def _compare(self, innovation: FloatArray, spread: FloatArray, axes: tuple[int, ...]) -> Comparison:
        used, dof = list(axes), len(axes)
        part = innovation[used]
        mahalanobis_sq = float(part @ np.linalg.solve(spread[np.ix_(used, used)], part))
        return Comparison(innovation, mahalanobis_sq, chi_square_quantile(self._probability, dof), dof)


def systematic_covariance(config: GateConfig) -> FloatArray:
    """Return the covariance [6, 6] of what neighbouring fixes are wrong by in common."""
    sigmas = [config.systematic_translation_m] * 3 + [np.deg2rad(config.systematic_rotation_deg)] * 3
    return np.diag(np.square(sigmas))


def chi_square_quantile(probability: float, dof: int) -> float:
    """Return what a sum of `dof` squared standard normals stays below with a probability."""
    # scipy.stats says the same, and takes half a second to import.
    return 2.0 * float(gammaincinv(0.5 * dof, probability))
