"""Camera models of ROS CameraInfo: projection, its Jacobian, and the way back to rays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError, ImageError
from hfnet_ros.geometry import lenses
from hfnet_ros.geometry.lenses import Lens
from hfnet_ros.geometry.pixels import rescale_pixels

FloatArray = NDArray[np.float64]

_MIN_DEPTH = 1e-9


MAX_COEFFICIENT = 1e6  # of a lens; the largest that calibrations of real ones hold are some thousands
REFERENCE_FOCAL_PX = 525.0  # parameters in pixels are stated for this focal length


# Kalibr, ORB-SLAM, RealSense and OpenCV have names of their own for CameraInfo's models.
_OTHER_NAMES = {
    "": "none",
    "pinhole": "none",
    "fisheye": "equidistant",
    "equi": "equidistant",
    "kannala_brandt": "equidistant",
    "kannala_brandt4": "equidistant",
    "kannalabrandt8": "equidistant",
    "radtan": "plumb_bob",
    "radial_tangential": "plumb_bob",
    "brown_conrady": "plumb_bob",
    "rational": "rational_polynomial",
}


class DistortionModel(str):
    """A distortion model by its name in sensor_msgs/CameraInfo; there is one object of each.

    `DistortionModel("plumb_bob")` returns the registered one. Another project's joins by `register`.
    """

    NONE: ClassVar[DistortionModel]
    PLUMB_BOB: ClassVar[DistortionModel]
    RATIONAL_POLYNOMIAL: ClassVar[DistortionModel]
    EQUIDISTANT: ClassVar[DistortionModel]

    lens: Lens
    _known: ClassVar[dict[str, DistortionModel]] = {}

    def __new__(cls, name: str) -> DistortionModel:
        """Return the registered model of this name.

        Raises:
            ValueError: there is none.
        """
        if name not in cls._known:
            raise ValueError(f"'{name}' is no known distortion model")
        return cls._known[name]

    @property
    def value(self) -> str:
        """The name, as plain text."""
        return str(self)

    @classmethod
    def register(cls, name: str, lens: Lens) -> DistortionModel:
        """Add a model, or give the one of this name another lens; return it."""
        model = cls._known.setdefault(name, str.__new__(cls, name))
        model.lens = lens
        return model

    @classmethod
    def known(cls) -> tuple[DistortionModel, ...]:
        """Return all registered models."""
        return tuple(cls._known.values())

    @classmethod
    def from_ros(cls, name: str) -> DistortionModel:
        """Return the model for CameraInfo's `distortion_model`, or for what other projects call it.

        Raises:
            CalibrationError: the name is unknown.
        """
        plain = name.strip().lower().replace("-", "_").replace(" ", "_")
        try:
            return cls(_OTHER_NAMES.get(plain, plain))
        except ValueError:
            known = ", ".join(cls.known())
            raise CalibrationError(f"distortion model '{name}' is unknown; known are {known}") from None


DistortionModel.NONE = DistortionModel.register("none", lenses.PINHOLE)
DistortionModel.PLUMB_BOB = DistortionModel.register("plumb_bob", lenses.PLUMB_BOB)
DistortionModel.RATIONAL_POLYNOMIAL = DistortionModel.register(
    "rational_polynomial", lenses.RATIONAL_POLYNOMIAL
)
DistortionModel.EQUIDISTANT = DistortionModel.register("equidistant", lenses.EQUIDISTANT)


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
        notes: what is odd about the calibration, in sentences for people.

    Raises:
        CalibrationError: a value is not finite, a focal length or size not positive, or the
            number of coefficients does not fit the model.

    Reference: sensor_msgs/CameraInfo; the lenses are in `geometry.lenses`.
    """

    model: DistortionModel
    size_wh: tuple[int, int]
    focal: FloatArray
    center: FloatArray
    distortion: FloatArray
    notes: tuple[str, ...] = ()

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
        if np.abs(distortion).max(initial=0.0) > MAX_COEFFICIENT:
            raise CalibrationError(
                f"the coefficients of distortion are {distortion.tolist()}, expected at most {MAX_COEFFICIENT:g}; "
                "calibrate the camera again"
            )
        expected = self.model.lens.num_coefficients
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
        return self.model.lens.bends_without_coefficients or bool(np.any(self.distortion))

    @property
    def intrinsics(self) -> FloatArray:
        """Return the [3, 3] camera matrix K."""
        (fx, fy), (cx, cy) = self.focal, self.center
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def is_same_as(self, other: Camera) -> bool:
        """Tell whether both calibrations describe the same projection (no distortion equals zeros)."""
        if self.size_wh != other.size_wh or self.has_distortion != other.has_distortion:
            return False
        mine, theirs = np.zeros(0), np.zeros(0)
        if self.has_distortion:
            if self.model.lens.distort is not other.model.lens.distort:
                return False
            mine, theirs = self.distortion, other.distortion
            length = max(len(mine), len(theirs))
            mine, theirs = (np.pad(values, (0, length - len(values))) for values in (mine, theirs))
        mine = np.concatenate([self.focal, self.center, mine])
        theirs = np.concatenate([other.focal, other.center, theirs])
        return bool(np.allclose(mine, theirs, rtol=1e-9, atol=1e-9))

    def project(self, points_camera: FloatArray) -> FloatArray:
        """Project points [N, 3] (m, optical frame) to pixels [N, 2]; NaN behind the camera."""
        points = np.asarray(points_camera, dtype=np.float64).reshape(-1, 3)
        with np.errstate(invalid="ignore", divide="ignore"):
            depth = np.where(points[:, 2:] > _MIN_DEPTH, points[:, 2:], np.nan)
            return self._bent(points[:, :2] / depth) * self.focal + self.center

    def project_with_jacobian(self, points_camera: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Project points [N, 3] and return d pixel / d point, [N, 2, 3] px/m; NaN behind the camera.

        The models that OpenCV has, too, are projected by it, in one pass; the equidistant model's own Jacobian is taken
        by central differences, exact to 1e-9 relative.
        """
        points = np.asarray(points_camera, dtype=np.float64).reshape(-1, 3)
        if self.model.lens.is_of_opencv and len(points):
            return self._projected_by_opencv(points)
        with np.errstate(invalid="ignore", divide="ignore"):
            inverse_depth = 1.0 / np.where(points[:, 2] > _MIN_DEPTH, points[:, 2], np.nan)
        normalized = points[:, :2] * inverse_depth[:, None]
        pinhole = np.zeros((len(points), 2, 3))
        pinhole[:, 0, 0] = pinhole[:, 1, 1] = inverse_depth
        pinhole[:, :, 2] = -normalized * inverse_depth[:, None]
        pixels = self._bent(normalized) * self.focal + self.center
        if self.has_distortion:
            pinhole = self.model.lens.derivative(normalized, self.distortion) @ pinhole
        return pixels, pinhole * self.focal[:, None]

    def _projected_by_opencv(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        nothing = np.zeros(3)
        pixels, jacobian = cv2.projectPoints(points, nothing, nothing, self.intrinsics, self.distortion)[:2]
        pixels = np.asarray(pixels, np.float64)[:, 0]
        by_point = np.asarray(jacobian, np.float64)[:, 3:6].reshape(-1, 2, 3)
        behind = ~(points[:, 2] > _MIN_DEPTH)
        if behind.any():
            pixels[behind], by_point[behind] = np.nan, np.nan
        return pixels, by_point

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
            return self.model.lens.undistort(target, self.distortion)

    def _bent(self, normalized: FloatArray) -> FloatArray:
        return self.model.lens.distort(normalized, self.distortion) if self.has_distortion else normalized

    def check_size(self, image_shape: Sequence[int], source: str = "") -> None:
        """Refuse an image [H, W, ...] that is not of the calibration's size; `source` names it.

        Raises:
            ImageError: it is of another size; nothing is resized to fit.
        """
        height, width = image_shape[:2]
        if (width, height) == self.size_wh:
            return
        advice = "give the calibration of this camera at this size, or resize image and calibration together"
        if (height, width) == self.size_wh:
            advice = (
                "the pixels are stored turned by 90 degrees, and EXIF orientation is ignored: calibrate with images "
                "as stored"
            )
        named = f"{source}: " if source else ""
        raise ImageError(
            f"{named}the image is {width}x{height} px, expected the calibration's {self.size_wh[0]}x"
            f"{self.size_wh[1]} px; {advice}"
        )

    def resized(self, size_wh: tuple[int, int]) -> Camera:
        """Return the calibration of the same image resized to another size."""
        scale = np.array(size_wh, dtype=np.float64) / self.size_wh
        center = rescale_pixels(self.center, scale)
        return Camera(self.model, size_wh, self.focal * scale, center, self.distortion, self.notes)


def _as_floats(values: object, name: str) -> FloatArray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise CalibrationError(f"camera {name} is not made of numbers: {values!r}") from None
    if not np.isfinite(array).all():
        raise CalibrationError(f"camera {name} is not finite: {array.tolist()}")
    return array
