"""How lenses bend rays: one `Lens` for each distortion model of ROS CameraInfo.

Reference: sensor_msgs/CameraInfo; Brown 1966 (plumb_bob); Kannala and Brandt 2006 (equidistant).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MAX_NEWTON_ITERATIONS = 50
_NEWTON_TOLERANCE = 1e-11
_UNREACHED = 1e-8
_FOLD_MARGIN = 1.02
_DIFFERENCE_STEP = 1e-5
_BENDS_NOTHING = 1e-12  # a coefficient
# OpenCV before 5 has the criteria in a function of their own.
_UNDISTORT = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
# A lens of 90 degrees needs some 30 steps; who needs more is left to Newton, and that costs as much as all of these.
_FIXED_POINT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-12)
_CANCELLED = 1e-4  # of a pole; beside it the lens bends by no more than that


@dataclass(frozen=True)
class Lens:
    """What a distortion model does to normalised image coordinates (x/z, y/z).

    Attributes:
        num_coefficients: K.
        distort: takes coordinates [N, 2] and coefficients [K], returns where they appear, [N, 2].
        undistort: the way back; NaN where no ray leads there. Numpy's warnings are off meanwhile.
        jacobian: derivative of `distort`, [N, 2, 2]; None takes central differences, exact to 1e-9 relative.
        bends_without_coefficients: it is no pinhole even if all coefficients are zero.
        is_of_opencv: OpenCV's `projectPoints` takes these coefficients and does the same.
    """

    num_coefficients: int
    distort: Callable[[FloatArray, FloatArray], FloatArray]
    undistort: Callable[[FloatArray, FloatArray], FloatArray]
    jacobian: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    bends_without_coefficients: bool = False
    is_of_opencv: bool = False

    def derivative(self, normalized: FloatArray, coefficients: FloatArray) -> FloatArray:
        """Return d distorted / d normalised, [N, 2, 2]."""
        if self.jacobian is not None:
            return self.jacobian(normalized, coefficients)
        result = np.empty((len(normalized), 2, 2))
        for axis in range(2):
            offset = np.zeros(2)
            offset[axis] = _DIFFERENCE_STEP
            ahead, behind = normalized + offset, normalized - offset
            difference = self.distort(ahead, coefficients) - self.distort(behind, coefficients)
            result[:, :, axis] = difference / (2.0 * _DIFFERENCE_STEP)
        return result


def _distort_brown(normalized: FloatArray, coefficients: FloatArray) -> FloatArray:
    return np.stack(_bent_by_brown(normalized[:, 0], normalized[:, 1], coefficients), axis=1)


def _bent_by_brown(x: FloatArray, y: FloatArray, coefficients: FloatArray) -> tuple[FloatArray, FloatArray]:
    k1, k2, p1, p2, k3, k4, k5, k6 = _eight(coefficients)
    xx, yy, xy = x * x, y * y, x * y
    r2 = xx + yy
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if k4 or k5 or k6:
        radial = radial / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    bent_x = x * radial + (2.0 * p1) * xy + p2 * (r2 + 2.0 * xx)
    bent_y = y * radial + p1 * (r2 + 2.0 * yy) + (2.0 * p2) * xy
    return bent_x, bent_y


def _slopes_of_brown(
    x: FloatArray, y: FloatArray, coefficients: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the derivatives of `_bent_by_brown`: x by x, x by y (and y by x), y by y."""
    k1, k2, p1, p2, k3, k4, k5, k6 = _eight(coefficients)
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = k1 + r2 * (2.0 * k2 + (3.0 * k3) * r2)  # d radial / d r2
    if k4 or k5 or k6:
        below = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = radial / below
        slope = (slope - radial * (k4 + r2 * (2.0 * k5 + (3.0 * k6) * r2))) / below
    outward_x, outward_y = (2.0 * slope) * x, (2.0 * slope) * y
    along_x = radial + x * outward_x + (2.0 * p1) * y + (6.0 * p2) * x
    across = x * outward_y + (2.0 * p1) * x + (2.0 * p2) * y
    along_y = radial + y * outward_y + (6.0 * p1) * y + (2.0 * p2) * x
    return along_x, across, along_y


def _eight(coefficients: FloatArray) -> tuple[float, ...]:
    """Return k1 k2 p1 p2 k3 k4 k5 k6, those that are not given zero."""
    return (*coefficients.tolist(), 0.0, 0.0, 0.0)[:8]


def _undistort_brown(target: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Undistort by the fixed point of OpenCV, which is quick, and by Newton's method where that leads to no ray."""
    fold = _brown_fold_radius(tuple(coefficients.tolist()))
    if len(target) == 0:
        return np.zeros((0, 2))
    found = _UNDISTORT(target[:, None], np.eye(3), coefficients, R=None, P=None, criteria=_FIXED_POINT)[:, 0]
    x, y = np.ascontiguousarray(found.T)
    bent_x, bent_y = _bent_by_brown(x, y, coefficients)
    off = np.maximum(np.abs(bent_x - target[:, 0]), np.abs(bent_y - target[:, 1]))
    right = ~_is_folded(x, y, coefficients, fold) & (off < _NEWTON_TOLERANCE)
    if not right.all():
        found[~right] = _undistort_brown_by_newton(target[~right], coefficients, fold)
    return np.asarray(found, np.float64)


def _is_folded(x: FloatArray, y: FloatArray, coefficients: FloatArray, fold: float) -> NDArray[np.bool_]:
    """Tell which points are past the fold of the polynomial: two share a pixel, and only the inner one is seen."""
    along_x, across, along_y = _slopes_of_brown(x, y, coefficients)
    # Further out the determinant may turn positive again (mirrored through the axis, or
    # behind a pole); tangential terms bend the fold a little, hence the margin.
    reach = _FOLD_MARGIN * fold
    is_inside = (along_x * along_y - across * across > 0.0) & (x * x + y * y <= reach * reach)
    return np.asarray(~is_inside)


def _undistort_brown_by_newton(target: FloatArray, coefficients: FloatArray, fold: float) -> FloatArray:
    target_x, target_y = np.ascontiguousarray(target.T)
    x, y = np.ascontiguousarray((target * _radial_start(target, coefficients, fold)).T)
    off = np.zeros(len(x))
    for _ in range(_MAX_NEWTON_ITERATIONS):
        bent_x, bent_y = _bent_by_brown(x, y, coefficients)
        off_x, off_y = bent_x - target_x, bent_y - target_y
        off = np.maximum(np.abs(off_x), np.abs(off_y))
        if np.fmax.reduce(off, initial=0.0) < _NEWTON_TOLERANCE:
            break
        step_x, step_y = _solve_symmetric(*_slopes_of_brown(x, y, coefficients), off_x, off_y)
        # A step longer than the point's own radius leaves the branch around the axis.
        length = np.hypot(step_x, step_y)
        shortened = np.minimum(1.0, 0.5 * (1.0 + np.hypot(x, y)) / np.maximum(length, 1e-300))
        x, y = x - step_x * shortened, y - step_y * shortened
    lost = (off > _UNREACHED) | _is_folded(x, y, coefficients, fold) | ~np.isfinite(x + y)
    return np.where(lost[:, None], np.nan, np.stack([x, y], axis=1))


def _solve_symmetric(
    along_x: FloatArray, across: FloatArray, along_y: FloatArray, right_x: FloatArray, right_y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Solve N systems of symmetric matrices by Cramer's rule; a singular one gives back its right side."""
    determinant = along_x * along_y - across * across
    solvable = np.abs(determinant) > 1e-6
    inverse = 1.0 / np.where(solvable, determinant, 1.0)
    x = (along_y * right_x - across * right_y) * inverse
    y = (along_x * right_y - across * right_x) * inverse
    return np.where(solvable, x, right_x), np.where(solvable, y, right_y)


def _distort_equidistant(normalized: FloatArray, coefficients: FloatArray) -> FloatArray:
    radius = np.linalg.norm(normalized, axis=1, keepdims=True)
    angle = np.arctan(radius)
    ratio = np.divide(
        _polynomial_angle(angle, coefficients), radius, out=np.ones_like(radius), where=radius > 1e-12
    )
    bent: FloatArray = normalized * ratio
    return bent


def _undistort_equidistant(target: FloatArray, coefficients: FloatArray) -> FloatArray:
    distorted = np.linalg.norm(target, axis=1, keepdims=True)
    fold, angles, appear = _equidistant_table(tuple(coefficients.tolist()))
    angle = np.interp(distorted, appear, angles)
    for _ in range(_MAX_NEWTON_ITERATIONS):
        residual = _polynomial_angle(angle, coefficients) - distorted
        if np.max(np.abs(residual), initial=0.0) < _NEWTON_TOLERANCE:
            break
        slope = _polynomial_angle_slope(angle, coefficients)
        angle -= residual / np.where(np.abs(slope) > 1e-6, slope, 1.0)
    unreached = np.abs(_polynomial_angle(angle, coefficients) - distorted) > _UNREACHED
    beyond = (angle < 0.0) | (angle >= np.pi / 2) | (angle > fold)
    angle = np.where(unreached | beyond, np.nan, angle)
    on_axis = distorted <= 1e-12
    scale = np.divide(np.tan(angle), distorted, out=np.ones_like(angle), where=~on_axis)
    return np.where(np.isfinite(scale), target * scale, np.nan)


def _radial_start(target: FloatArray, coefficients: FloatArray, fold: float) -> FloatArray:
    """Return factors [N, 1] that undo the radial part alone, good to the spacing of a table.

    Newton's method started at the distorted point itself jumps over the fold where the
    image is stretched (k1 > 0).
    """
    radii, appear = _radial_table(tuple(coefficients.tolist()), fold)
    distorted = np.linalg.norm(target, axis=1, keepdims=True)
    start = np.interp(distorted, appear, radii)
    factors: FloatArray = np.divide(start, distorted, out=np.ones_like(start), where=distorted > 1e-12)
    return factors


@lru_cache(maxsize=32)
def _radial_table(coefficients: tuple[float, ...], fold: float) -> tuple[FloatArray, FloatArray]:
    """Return radii x/z and where the radial part alone lets them appear, [512] each."""
    radii = np.minimum(np.tan(np.linspace(0.0, 1.55, 512)), 0.999 * fold)
    ahead = np.stack([radii, np.zeros_like(radii)], axis=1)
    radial_only = np.array(coefficients)
    radial_only[2:4] = 0.0
    return radii, _distort_brown(ahead, radial_only)[:, 0]


@lru_cache(maxsize=32)
def _brown_fold_radius(coefficients: tuple[float, ...]) -> float:
    """Return the radius x/z where the radial part d(r) = r N(r²) / D(r²) stops growing, or inf."""
    k1, k2, _, _, k3, k4, k5, k6 = (*coefficients, 0.0, 0.0, 0.0)[:8]
    numerator, denominator = _reduced(_polynomial([1.0, k1, k2, k3]), _polynomial([1.0, k4, k5, k6]))
    doubled = Polynomial([0.0, 2.0])
    growth = (numerator + doubled * numerator.deriv()) * denominator - (
        doubled * numerator * denominator.deriv()
    )
    return float(np.sqrt(min(_first_positive_root(growth), _first_positive_root(denominator))))


@lru_cache(maxsize=32)
def _equidistant_table(coefficients: tuple[float, ...]) -> tuple[float, FloatArray, FloatArray]:
    """Return the angle, rad, where the distorted angle stops growing, 90 degrees at the most; and angles up to there.

    These and where they appear, [256] each.
    """
    exact = np.array(coefficients)
    slope = _polynomial([1.0, *(exact * (3.0, 5.0, 7.0, 9.0))])
    fold = min(np.pi / 2, float(np.sqrt(_first_positive_root(slope))))
    angles = np.linspace(0.0, fold, 256)
    return fold, angles, _polynomial_angle(angles, exact)


def _polynomial(coefficients: Sequence[float]) -> Polynomial:
    """Return a polynomial, lowest degree first; leading ones that bend nothing would have roots beyond all numbers."""
    return Polynomial(coefficients).trim(_BENDS_NOTHING)


def _reduced(numerator: Polynomial, denominator: Polynomial) -> tuple[Polynomial, Polynomial]:
    """Return a fraction without the real zeros that numerator and denominator have in common.

    There the fraction is finite, and its neighbourhood no fold; calibrations with six radial coefficients have
    such pairs, as fits do that have more parameters than the lens needs.
    """
    zeros = [complex(root) for root in numerator.roots()]
    poles = [complex(root) for root in denominator.roots()]
    for pole in tuple(poles):
        near = [zero for zero in zeros if abs(zero - pole) <= _CANCELLED * abs(pole)]
        if near and abs(pole.imag) < 1e-9 * abs(pole):
            zeros.remove(near[0])
            poles.remove(pole)
    if len(poles) == denominator.degree():
        return numerator, denominator

    def of_roots(roots: list[complex]) -> Polynomial:
        """Return the polynomial that is 1 on the axis."""
        polynomial = Polynomial(np.real(Polynomial.fromroots(roots).coef)) if roots else Polynomial([1.0])
        return polynomial / polynomial(0.0)

    return of_roots(zeros), of_roots(poles)


def _first_positive_root(polynomial: Polynomial) -> float:
    roots = np.asarray(polynomial.roots())
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0.0)]
    return float(real.min(initial=np.inf))


def _polynomial_angle(angle: FloatArray, coefficients: FloatArray) -> FloatArray:
    k1, k2, k3, k4 = coefficients
    squared = angle * angle
    distorted: FloatArray = angle * (1.0 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))
    return distorted


def _polynomial_angle_slope(angle: FloatArray, coefficients: FloatArray) -> FloatArray:
    k1, k2, k3, k4 = coefficients
    squared = angle * angle
    slope: FloatArray = 1.0 + squared * (3 * k1 + squared * (5 * k2 + squared * (7 * k3 + squared * 9 * k4)))
    return slope


def _as_it_is(normalized: FloatArray, _: FloatArray) -> FloatArray:
    return normalized


PINHOLE = Lens(0, _as_it_is, _as_it_is, is_of_opencv=True)
PLUMB_BOB = Lens(5, _distort_brown, _undistort_brown, is_of_opencv=True)
RATIONAL_POLYNOMIAL = Lens(8, _distort_brown, _undistort_brown, is_of_opencv=True)
EQUIDISTANT = Lens(4, _distort_equidistant, _undistort_equidistant, bends_without_coefficients=True)
