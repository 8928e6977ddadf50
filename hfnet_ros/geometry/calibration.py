"""What the numbers of a calibration mean, whether a file, a message or a map holds them: one set of rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.camera import MAX_COEFFICIENT, Camera, DistortionModel
from hfnet_ros.geometry.pixels import rescale_pixels
from hfnet_ros.geometry.plausibility import check_plausible, principal_point_problem
from hfnet_ros.geometry.prism_fit import fit_without_prism

FloatArray = NDArray[np.float64]

# Half a pixel at the upper and lower edge of 480 rows; larger than that, it is no rounding of a calibration.
_MAX_SKEW = 2e-3
_NOTED_SKEW = 1e-9
_MAX_NOT_ZERO = 1e-6  # of what a camera matrix has no entry for
# OpenCV's k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]]; ROS's two names are of the first five and eight.
_OPENCV_LENGTHS = (0, 4, 5, 8, 12, 14)
_OPENCV_MODELS = (DistortionModel.PLUMB_BOB, DistortionModel.RATIONAL_POLYNOMIAL)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A calibration as it was stated, not yet checked.

    Attributes:
        size_wh: of the full image, px.
        matrix: [3, 3] K of raw images; all zeros where only rectified ones are described.
        model: name of the distortion model.
        coefficients: [K] of it.
        projection: [3, 3] left part of P, the camera matrix of rectified images; None where it is not stated.
        offset: of the region of interest in the full image, px.
        region_wh: size of that region, px; 0 means up to the edge.
        binning: pixels joined to one, across and down.
        notes: what was odd about how it was stated.
        source: file of --camera that states it, for errors; may be empty.
    """

    size_wh: tuple[int, int]
    matrix: FloatArray
    model: str
    coefficients: FloatArray
    projection: FloatArray | None = None
    offset: tuple[int, int] = (0, 0)
    region_wh: tuple[int, int] = (0, 0)
    binning: tuple[int, int] = (1, 1)
    notes: tuple[str, ...] = ()
    source: str = ""

    def is_same_as(self, other: Calibration) -> bool:
        """Tell whether both state the same, number by number; NaN is nothing else than NaN."""
        return _content(self) == _content(other)

    def camera(self, *, rectified: bool = False) -> Camera:
        """Return the camera that takes raw images, or rectified ones; what is odd about it is in its notes.

        Rectified images follow P and have no distortion. A driver of rectified images may leave K and D at zero,
        or P where there is no distortion to take out; the other matrix then says both.

        Raises:
            CalibrationError: it is not calibrated, or is one that cannot be.
        """
        try:
            return self._camera(rectified=rectified)
        except CalibrationError as error:
            if not self.source:
                raise
            raise CalibrationError(f"{self.source}: {error} (option --camera)") from None

    def _camera(self, *, rectified: bool) -> Camera:
        if min(self.size_wh) <= 0:
            raise CalibrationError(
                f"the image size is {self.size_wh[0]}x{self.size_wh[1]} px, expected both positive; let the driver "
                "fill in width and height"
            )
        for name, values in (("K", self.matrix), ("D", self.coefficients), ("P", self.projection)):
            if values is not None and not np.isfinite(values).all():
                raise CalibrationError(f"{name} is not finite: {np.asarray(values).tolist()}")
        if np.abs(self.coefficients).max(initial=0.0) > MAX_COEFFICIENT:
            raise CalibrationError(
                f"D is {np.asarray(self.coefficients).tolist()}, expected at most {MAX_COEFFICIENT:g}; calibrate the "
                "camera again"
            )
        has_k = bool(self.matrix.any())
        has_p = self.projection is not None and bool(self.projection.any())
        if not has_k and not (has_p and (rectified or not self.coefficients.any())):
            raise CalibrationError(
                "K is all zeros: the driver has no calibration; calibrate the camera first"
            )
        notes = list(self.notes)
        if self.projection is not None and has_p and (rectified or not has_k):
            name, matrix, model, distortion = "P", self.projection, DistortionModel.NONE, np.zeros(0)
        else:
            if rectified and self.coefficients.any():
                raise CalibrationError(
                    "P is all zeros, which rectified images follow, and D is not; give the calibration of the "
                    "rectified images"
                )
            name, matrix = "K", self.matrix
            model, distortion = _lens(self.model, self.coefficients, notes)
        _check_matrix(matrix, name, notes)
        full = Camera(model, self.size_wh, matrix[[0, 1], [0, 1]], matrix[:2, 2], distortion)
        if len(self.coefficients) > 8 and model in _OPENCV_MODELS and self.coefficients[8:].any():
            full, note = fit_without_prism(full, self.coefficients)
            notes.append(note)
        notes += check_plausible(full)
        return dataclasses.replace(self._cut_and_bin(full), notes=tuple(notes))

    def _cut_and_bin(self, full: Camera) -> Camera:
        """Return the calibration of the region of interest after binning.

        Pixel areas scale, so the centre moves by `(c - offset + 0.5) / binning - 0.5` (image_geometry
        leaves out the halves).
        """
        if self.offset == self.region_wh == (0, 0) and self.binning == (1, 1):
            return full
        size = np.where(self.region_wh, self.region_wh, np.subtract(full.size_wh, self.offset))
        binning = np.array(self.binning)
        end = np.add(self.offset, size)
        if (end > full.size_wh).any() or size.min() < 1 or (size < binning).any():
            raise CalibrationError(
                f"the region of interest {size[0]}x{size[1]} at {self.offset} with binning "
                f"{binning[0]}x{binning[1]} does not fit the image of {full.size_wh[0]}x{full.size_wh[1]} px"
            )
        width, height = (size // binning).tolist()
        center = rescale_pixels(full.center - self.offset, 1.0 / binning)
        return Camera(full.model, (width, height), full.focal / binning, center, full.distortion)


def as_part_of_whole(camera: Camera) -> tuple[Camera, tuple[int, int]]:
    """Return a whole image that a camera's image may be cut from, and the offset [px] in it.

    As a rule that is the image itself. One whose principal point no whole image has would be refused when it is read
    again; as the region of interest of an image around that point it comes back as it was.
    """
    if not principal_point_problem(camera):
        return camera, (0, 0)
    size = np.array(camera.size_wh)
    offset = np.maximum(0, np.ceil(size - 1.0 - 2.0 * camera.center)).astype(int)
    center = camera.center + offset
    width, height = np.maximum(size + offset, np.ceil(2.0 * center + 1.0)).astype(int).tolist()
    left, top = offset.tolist()
    return Camera(camera.model, (width, height), camera.focal, center, camera.distortion), (left, top)


def _content(stated: Calibration) -> tuple[object, ...]:
    values = (getattr(stated, field.name) for field in dataclasses.fields(stated))
    return tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in values)


def _check_matrix(matrix: FloatArray, name: str, notes: list[str]) -> None:
    """Refuse a camera matrix [3, 3] that is no pinhole's; note a skew that is too small to matter."""
    fx, skew, fy = matrix[0, 0], matrix[0, 1], matrix[1, 1]
    if fx <= 0.0 or fy <= 0.0:
        raise CalibrationError(
            f"{name}: the focal length is ({fx:g}, {fy:g}) px, expected both positive; calibrate the camera first"
        )
    if abs(skew) > _MAX_SKEW * fy:
        raise CalibrationError(
            f"{name} has a skew of {skew:g} px, expected 0; recalibrate without skew (--fisheye-fix-skew of ROS "
            "camera_calibration)"
        )
    if np.abs([matrix[1, 0], *matrix[2, :2], matrix[2, 2] - 1.0]).max() > _MAX_NOT_ZERO:
        raise CalibrationError(f"{name} is {matrix.tolist()}, expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
    if abs(skew) > _NOTED_SKEW * fy:
        notes.append(f"{name} has a skew of {skew:g} px, which is taken for 0")


def _lens(
    name: str, coefficients: Sequence[float] | FloatArray, notes: list[str]
) -> tuple[DistortionModel, FloatArray]:
    """Return the model and its coefficients [K], by one rule for all that OpenCV and ROS write."""
    model, given = DistortionModel.from_ros(name), np.array(coefficients, np.float64)
    if model not in _OPENCV_MODELS:
        known = model.lens.num_coefficients
        if given[known:].any():
            raise CalibrationError(
                f"D has {len(given)} coefficients, expected {known} for the distortion model "
                f"'{model.value}'; name the model they are of"
            )
        if model is DistortionModel.EQUIDISTANT and 0 < len(given) < known:
            raise CalibrationError(f"D has {len(given)} coefficients, expected {known} for {model.value}")
        return model, given[:known]
    if len(given) not in _OPENCV_LENGTHS:
        raise CalibrationError(
            f"D has {len(given)} coefficients, expected {', '.join(map(str, _OPENCV_LENGTHS[:-1]))} or "
            f"{_OPENCV_LENGTHS[-1]} for {model.value}"
        )
    if model is DistortionModel.PLUMB_BOB and given[5:].any():
        model = DistortionModel.RATIONAL_POLYNOMIAL
        notes.append(f"plumb_bob has 5 coefficients; the {len(given)} are taken for {model.value}")
    return model, given[: model.lens.num_coefficients]
