"""Camera models of ROS CameraInfo: projection, its Jacobian, and the way back to rays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.pixels import rescale_pixels

FloatArray = NDArray[np.float64]

_MAX_NEWTON_ITERATIONS = 50
_NEWTON_TOLERANCE = 1e-11
_MIN_DEPTH = 1e-9
_FOLD_MARGIN = 1.02


REFERENCE_FOCAL_PX = 525.0  # parameters in pixels are stated for this focal length


class DistortionModel(str, Enum):
    """Distortion models by their names in sensor_msgs/CameraInfo."""

    NONE = "none"
    PLUMB_BOB = "plumb_bob"
    RATIONAL_POLYNOMIAL = "rational_polynomial"
    EQUIDISTANT = "equidistant"

    @classmethod
    def from_ros(cls, name: str) -> DistortionModel:
        """Return the model for CameraInfo's `distortion_model` ("" means none, fisheye is equidistant).

        Raises:
            CalibrationError: the name is unknown.
        """
        aliases = {"": cls.NONE, "fisheye": cls.EQUIDISTANT, "radtan": cls.PLUMB_BOB}
        if name in aliases:
            return aliases[name]
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(model.value for model in cls)
            raise CalibrationError(f"distortion model '{name}' is unknown; known are {known}") from None


_NUM_COEFFICIENTS = {
    DistortionModel.NONE: 0,
    DistortionModel.PLUMB_BOB: 5,
    DistortionModel.RATIONAL_POLYNOMIAL: 8,
    DistortionModel.EQUIDISTANT: 4,
}


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """Pinhole camera with one of CameraInfo's distortion models.

    Attributes:
        model: distortion model.
        size_wh: image width and height, px.
        focal: [2] float64, fx fy, px.
        center: [2] float64, cx cy, px; the centre of the top-left pixel is (0, 0).
        distortion: [K] float64 in CameraInfo's order: k1 k2 p1 p2 k3 [k4 k5 k6] for plumb_bob
            and rational_polynomial, k1 k2 k3 k4 for equidistant.

    Raises:
        CalibrationError: a value is not finite, a focal length or size not positive, or the
            number of coefficients does not fit the model.

    Reference: sensor_msgs/CameraInfo; Brown 1966 (plumb_bob); Kannala and Brandt 2006
        (equidistant).
    """

    model: DistortionModel
    size_wh: tuple[int, int]
    focal: FloatArray
    center: FloatArray
    distortion: FloatArray

    def __post_init__(self) -> None:
        """Check what was given and fill trailing coefficients, which CameraInfo may leave out."""
        focal, center = _as_floats(self.focal, "focal"), _as_floats(self.center, "center")
        # OpenCV hands out coefficients as a row or a column matrix.
        distortion = _as_floats(self.distortion, "distortion").reshape(-1)
        width, height = self.size_wh
        if width <= 0 or height <= 0:
            raise CalibrationError(f"image size is {width}x{height}, expected both positive")
        if focal.shape != (2,) or center.shape != (2,):
            raise CalibrationError(
                f"focal and center have shapes {focal.shape}, {center.shape}, expected (2,)"
            )
        if (focal <= 0).any():
            raise CalibrationError(
                f"focal length is ({focal[0]:g}, {focal[1]:g}) px, expected both positive; "
                "an uncalibrated driver publishes zeros: calibrate the camera first"
            )
        expected = _NUM_COEFFICIENTS[self.model]
        if len(distortion) > expected:
            if np.any(distortion[expected:] != 0.0):
                raise CalibrationError(
                    f"{self.model.value} has at most {expected} coefficients, found {len(distortion)}"
                )
            distortion = distortion[:expected]
        distortion = np.concatenate([distortion, np.zeros(expected - len(distortion))])
        object.__setattr__(self, "focal", focal)
        object.__setattr__(self, "center", center)
        object.__setattr__(self, "distortion", distortion)

    @property
    def has_distortion(self) -> bool:
        """Tell whether projection differs from a plain pinhole."""
        return self.model is DistortionModel.EQUIDISTANT or bool(np.any(self.distortion))

    @property
    def intrinsics(self) -> FloatArray:
        """Return the [3, 3] camera matrix K."""
        (fx, fy), (cx, cy) = self.focal, self.center
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def is_same_as(self, other: Camera) -> bool:
        """Tell whether both calibrations describe the same projection (no distortion equals zeros)."""
        if self.size_wh != other.size_wh or self.has_distortion != other.has_distortion:
            return False
        if self.has_distortion and self.model is not other.model:
            return False
        mine = np.concatenate([self.focal, self.center, self.distortion if self.has_distortion else []])
        theirs = np.concatenate([other.focal, other.center, other.distortion if other.has_distortion else []])
        return bool(np.allclose(mine, theirs, rtol=1e-9, atol=1e-9))

    def project(self, points_camera: FloatArray) -> FloatArray:
        """Project points [N, 3] (m, optical frame) to pixels [N, 2]; NaN behind the camera."""
        points = np.asarray(points_camera, dtype=np.float64).reshape(-1, 3)
        with np.errstate(invalid="ignore", divide="ignore"):
            depth = np.where(points[:, 2:] > _MIN_DEPTH, points[:, 2:], np.nan)
            return self._distort(points[:, :2] / depth) * self.focal + self.center

    def project_with_jacobian(self, points_camera: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Project points [N, 3] and return d pixel / d point, [N, 2, 3] px/m.

        The equidistant model's own Jacobian is taken by central differences, exact to 1e-9
        relative.
        """
        points = np.asarray(points_camera, dtype=np.float64).reshape(-1, 3)
        with np.errstate(invalid="ignore", divide="ignore"):
            inverse_depth = 1.0 / np.where(points[:, 2] > _MIN_DEPTH, points[:, 2], np.nan)
        normalized = points[:, :2] * inverse_depth[:, None]
        pinhole = np.zeros((len(points), 2, 3))
        pinhole[:, 0, 0] = pinhole[:, 1, 1] = inverse_depth
        pinhole[:, :, 2] = -normalized * inverse_depth[:, None]
        pixels = self._distort(normalized) * self.focal + self.center
        if self.has_distortion:
            pinhole = self._distortion_jacobian(normalized) @ pinhole
        return pixels, pinhole * self.focal[:, None]

    def unproject(self, pixels: NDArray[np.floating]) -> FloatArray:
        """Return unit rays [N, 3] through pixels [N, 2]; NaN where no ray leads there."""
        normalized = self.undistort(pixels)
        rays = np.concatenate([normalized, np.ones((len(normalized), 1))], axis=1)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        return rays

    def undistort(self, pixels: NDArray[np.floating]) -> FloatArray:
        """Return normalised image coordinates [N, 2] (x/z, y/z) of pixels [N, 2].

        Newton's method; where it does not converge, or ends beyond the fold of the distortion
        polynomial, no ray leads to that pixel, and NaN says so.
        """
        target = (np.asarray(pixels, dtype=np.float64).reshape(-1, 2) - self.center) / self.focal
        if not self.has_distortion:
            return target
        # A diverging iteration meets inf and nan on its way; the checks at its end catch them.
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            if self.model is DistortionModel.EQUIDISTANT:
                return self._undistort_equidistant(target)
            return self._undistort_newton(target)

    def resized(self, size_wh: tuple[int, int]) -> Camera:
        """Return the calibration of the same image resized to another size."""
        scale = np.array(size_wh, dtype=np.float64) / self.size_wh
        center = rescale_pixels(self.center, scale)
        return Camera(self.model, size_wh, self.focal * scale, center, self.distortion)

    def _distort(self, normalized: FloatArray) -> FloatArray:
        if not self.has_distortion:
            return normalized
        if self.model is DistortionModel.EQUIDISTANT:
            radius = np.linalg.norm(normalized, axis=1, keepdims=True)
            angle = np.arctan(radius)
            ratio = np.divide(
                _polynomial_angle(angle, self.distortion),
                radius,
                out=np.ones_like(radius),
                where=radius > 1e-12,
            )
            bent: FloatArray = normalized * ratio
            return bent
        return _distort_brown(normalized, self.distortion)

    def _distortion_jacobian(self, normalized: FloatArray, step: float = 1e-5) -> FloatArray:
        """Return d distorted / d normalised, [N, 2, 2]; by central differences for equidistant."""
        if self.model is not DistortionModel.EQUIDISTANT:
            return _brown_jacobian(normalized, self.distortion)
        jacobian = np.empty((len(normalized), 2, 2))
        for axis in range(2):
            offset = np.zeros(2)
            offset[axis] = step
            difference = self._distort(normalized + offset) - self._distort(normalized - offset)
            jacobian[:, :, axis] = difference / (2.0 * step)
        return jacobian

    def _undistort_newton(self, target: FloatArray) -> FloatArray:
        fold = _brown_fold_radius(tuple(self.distortion.tolist()))
        estimate = target * _radial_start(target, self.distortion, fold)
        for _ in range(_MAX_NEWTON_ITERATIONS):
            residual = self._distort(estimate) - target
            if np.nanmax(np.abs(residual), initial=0.0) < _NEWTON_TOLERANCE:
                break
            step = _solve_2x2(self._distortion_jacobian(estimate), residual)
            # A step longer than the point's own radius leaves the branch around the axis.
            length = np.linalg.norm(step, axis=1, keepdims=True)
            limit = 0.5 * (1.0 + np.linalg.norm(estimate, axis=1, keepdims=True))
            estimate -= step * np.minimum(1.0, limit / np.maximum(length, 1e-300))
        unreached = np.abs(self._distort(estimate) - target).max(axis=1, initial=0.0) > 1e-8
        # Past the fold of the polynomial two points share a pixel; only the inner one is seen.
        folded = _determinant_2x2(self._distortion_jacobian(estimate)) <= 0.0
        # Further out the determinant may turn positive again (mirrored through the axis, or
        # behind a pole); tangential terms bend the fold a little, hence the margin.
        radius = np.linalg.norm(estimate, axis=1)
        folded |= radius > _FOLD_MARGIN * fold
        estimate[unreached | folded | ~np.isfinite(radius)] = np.nan
        return estimate

    def _undistort_equidistant(self, target: FloatArray) -> FloatArray:
        distorted = np.linalg.norm(target, axis=1, keepdims=True)
        fold = min(np.pi / 2, _equidistant_fold_angle(self.distortion))
        angles = np.linspace(0.0, fold, 256)
        angle = np.interp(distorted, _polynomial_angle(angles, self.distortion), angles)
        for _ in range(_MAX_NEWTON_ITERATIONS):
            residual = _polynomial_angle(angle, self.distortion) - distorted
            if np.max(np.abs(residual), initial=0.0) < _NEWTON_TOLERANCE:
                break
            slope = _polynomial_angle_slope(angle, self.distortion)
            angle -= residual / np.where(np.abs(slope) > 1e-6, slope, 1.0)
        unreached = np.abs(_polynomial_angle(angle, self.distortion) - distorted) > 1e-8
        beyond = (angle < 0.0) | (angle >= np.pi / 2) | (angle > fold)
        angle = np.where(unreached | beyond, np.nan, angle)
        on_axis = distorted <= 1e-12
        scale = np.divide(np.tan(angle), distorted, out=np.ones_like(angle), where=~on_axis)
        return np.where(np.isfinite(scale), target * scale, np.nan)


def _distort_brown(normalized: FloatArray, coefficients: FloatArray) -> FloatArray:
    k1, k2, p1, p2, k3, k4, k5, k6 = np.concatenate([coefficients, np.zeros(8 - len(coefficients))])
    x, y = normalized[:, 0], normalized[:, 1]
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if k4 or k5 or k6:
        radial = radial / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    distorted = np.empty_like(normalized)
    distorted[:, 0] = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
    distorted[:, 1] = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y
    return distorted


def _brown_jacobian(normalized: FloatArray, coefficients: FloatArray) -> FloatArray:
    k1, k2, p1, p2, k3, k4, k5, k6 = np.concatenate([coefficients, np.zeros(8 - len(coefficients))])
    x, y = normalized[:, 0], normalized[:, 1]
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = k1 + r2 * (2.0 * k2 + 3.0 * r2 * k3)  # d radial / d r2
    if k4 or k5 or k6:
        below = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = radial / below
        slope = (slope - radial * (k4 + r2 * (2.0 * k5 + 3.0 * r2 * k6))) / below
    across = 2.0 * (x * y * slope + p1 * x + p2 * y)
    jacobian = np.empty((len(normalized), 2, 2))
    jacobian[:, 0, 0] = radial + 2.0 * x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x
    jacobian[:, 1, 1] = radial + 2.0 * y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x
    jacobian[:, 0, 1] = jacobian[:, 1, 0] = across
    return jacobian


def _determinant_2x2(matrices: FloatArray) -> FloatArray:
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _solve_2x2(matrices: FloatArray, right: FloatArray) -> FloatArray:
    """Solve N systems [N, 2, 2] for [N, 2] by Cramer's rule; a singular one gives back its right side."""
    determinant = _determinant_2x2(matrices)
    solvable = np.abs(determinant) > 1e-6
    inverse = 1.0 / np.where(solvable, determinant, 1.0)
    solution = np.empty_like(right)
    solution[:, 0] = (matrices[:, 1, 1] * right[:, 0] - matrices[:, 0, 1] * right[:, 1]) * inverse
    solution[:, 1] = (matrices[:, 0, 0] * right[:, 1] - matrices[:, 1, 0] * right[:, 0]) * inverse
    return np.where(solvable[:, None], solution, right)


def _radial_start(target: FloatArray, coefficients: FloatArray, fold: float) -> FloatArray:
    """Return factors [N, 1] that undo the radial part alone, good to the spacing of a table.

    Newton's method started at the distorted point itself jumps over the fold where the
    image is stretched (k1 > 0).
    """
    radii = np.minimum(np.tan(np.linspace(0.0, 1.55, 512)), 0.999 * fold)
    ahead = np.stack([radii, np.zeros_like(radii)], axis=1)
    radial_only = coefficients.copy()
    radial_only[2:4] = 0.0
    distorted = np.linalg.norm(target, axis=1, keepdims=True)
    start = np.interp(distorted, _distort_brown(ahead, radial_only)[:, 0], radii)
    factors: FloatArray = np.divide(start, distorted, out=np.ones_like(start), where=distorted > 1e-12)
    return factors


@lru_cache(maxsize=32)
def _brown_fold_radius(coefficients: tuple[float, ...]) -> float:
    """Return the radius x/z where the radial part d(r) = r N(r²) / D(r²) stops growing, or inf."""
    k1, k2, _, _, k3, k4, k5, k6 = (*coefficients, 0.0, 0.0, 0.0)[:8]
    numerator, denominator = Polynomial([1.0, k1, k2, k3]), Polynomial([1.0, k4, k5, k6])
    doubled = Polynomial([0.0, 2.0])
    growth = (numerator + doubled * numerator.deriv()) * denominator - (
        doubled * numerator * denominator.deriv()
    )
    return float(np.sqrt(min(_first_positive_root(growth), _first_positive_root(denominator))))


def _equidistant_fold_angle(coefficients: FloatArray) -> float:
    """Return the angle, rad, where the distorted angle stops growing, or inf."""
    slope = Polynomial([1.0, *(coefficients * (3.0, 5.0, 7.0, 9.0))])
    return float(np.sqrt(_first_positive_root(slope)))


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


def _as_floats(values: object, name: str) -> FloatArray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise CalibrationError(f"camera {name} is not made of numbers: {values!r}") from None
    if not np.isfinite(array).all():
        raise CalibrationError(f"camera {name} is not finite: {array.tolist()}")
    return array
