"""Camera calibrations as YAML files of ROS camera_calibration (camera_calibration_parsers)."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from hfnet_ros.errors import CalibrationError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.geometry.camera import Camera, DistortionModel

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

_RECALIBRATE = "write the file with ROS camera_calibration or `write_camera_yaml`"
# PyYAML takes 1e-05, which yaml-cpp writes, for text because YAML 1.1 wants a dot in floats.
_EXPONENT_WITHOUT_DOT = re.compile(r"[+-]?[0-9]+[eE][+-]?[0-9]+")
# Longer lists occur with zeros at the end (OpenCV's thin prism and tilt); Camera checks that.
_NUM_COEFFICIENTS = {
    DistortionModel.NONE: (0, 4, 5, 8),
    DistortionModel.PLUMB_BOB: (4, 5),
    DistortionModel.RATIONAL_POLYNOMIAL: (8, 12, 14),
    DistortionModel.EQUIDISTANT: (4,),
}


def read_camera_yaml(path: str | os.PathLike[str]) -> Camera:
    """Read a calibration of raw images; rectification and projection matrices are not used.

    Raises:
        CalibrationError: the file is missing or not YAML, a key is missing or of the wrong
            type or length, or a value is not usable (size or focal length not positive, NaN,
            skew, unknown distortion model).
    """
    file = Path(path)
    try:
        return _parse(_load(file))
    except CalibrationError as error:
        raise CalibrationError(f"{file}: {error}") from None


def write_camera_yaml(path: str | os.PathLike[str], camera: Camera, name: str) -> None:
    """Write a calibration that `read_camera_yaml` and ROS read; replaced as a whole or not at all.

    Args:
        path: file to create or replace.
        camera: calibration of raw images.
        name: camera name for the file.

    Raises:
        OSError: the file cannot be written; what was there before stays.
    """
    width, height = camera.size_wh
    projection = np.hstack([camera.intrinsics, np.zeros((3, 1))])
    document = {
        "image_width": int(width),
        "image_height": int(height),
        "camera_name": name,
        "camera_matrix": _matrix(camera.intrinsics),
        "distortion_model": camera.model.value,
        "distortion_coefficients": _matrix(camera.distortion[None, :]),
        "rectification_matrix": _matrix(np.eye(3)),
        "projection_matrix": _matrix(projection),
    }
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yaml.safe_dump(document, stream, sort_keys=False, default_flow_style=None, allow_unicode=True)


def _matrix(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    rows, cols = values.shape
    return {"rows": rows, "cols": cols, "data": values.ravel().tolist()}


def _load(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise CalibrationError(f"cannot be read: {error.strerror}; expected a calibration YAML") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CalibrationError(f"is not YAML ({reason}); {_RECALIBRATE}") from error
    if not isinstance(document, dict):
        kind = "nothing" if document is None else type(document).__name__
        raise CalibrationError(f"found {kind}, expected a mapping with image_width and so on; {_RECALIBRATE}")
    return document


def _parse(document: Mapping[str, Any]) -> Camera:
    size_wh = _size(document, "image_width"), _size(document, "image_height")
    focal, center = _intrinsics(_matrix_data(document, "camera_matrix", shape=(3, 3)))
    name = _get(document, "distortion_model")
    if not isinstance(name, str):
        raise CalibrationError(f"distortion_model is {name!r}, expected a name such as plumb_bob")
    try:
        model = DistortionModel.from_ros(name)
    except CalibrationError as error:
        raise CalibrationError(f"distortion_model: {error}; recalibrate with one of these") from None
    coefficients = _matrix_data(document, "distortion_coefficients", shape=None)
    allowed = _NUM_COEFFICIENTS.get(model, (model.lens.num_coefficients,))
    if len(coefficients) not in allowed:
        expected = " or ".join(map(str, allowed))
        raise CalibrationError(
            f"distortion_coefficients: found {len(coefficients)} numbers, expected {expected} for "
            f"{model.value}; check distortion_model"
        )
    try:
        return Camera(model, size_wh, np.array(focal), np.array(center), np.array(coefficients))
    except CalibrationError as error:
        raise CalibrationError(f"distortion_coefficients: {error}; recalibrate") from None


def _get(document: Mapping[str, Any], key: str) -> Any:
    if key not in document:
        found = ", ".join(map(str, document)) or "none"
        raise CalibrationError(f"{key} is missing (found keys: {found}); {_RECALIBRATE}")
    return document[key]


def _size(document: Mapping[str, Any], key: str) -> int:
    value = _get(document, key)
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise CalibrationError(f"{key} is {value!r}, expected a positive integer: the size of the raw image")
    return value


def _matrix_data(document: Mapping[str, Any], key: str, shape: tuple[int, int] | None) -> list[float]:
    entry = _get(document, key)
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), list):
        raise CalibrationError(f"{key} is {entry!r}, expected rows, cols and a list called data")
    data = [_number(value, f"{key}: data[{index}]") for index, value in enumerate(entry["data"])]
    default = shape or (1, len(data))
    rows, cols = entry.get("rows", default[0]), entry.get("cols", default[1])
    expected = f"{shape[0]}x{shape[1]} = {shape[0] * shape[1]}" if shape else "rows x cols"
    # An empty list has no agreed rows and cols.
    fits = (rows, cols) == shape if shape else not data or _product(rows, cols) == len(data)
    if not fits or (shape and len(data) != shape[0] * shape[1]):
        raise CalibrationError(
            f"{key}: found rows {rows!r}, cols {cols!r} and {len(data)} numbers, expected {expected} numbers"
        )
    return data


def _product(rows: object, cols: object) -> int:
    return rows * cols if isinstance(rows, int) and isinstance(cols, int) else -1


def _number(value: object, where: str) -> float:
    if isinstance(value, str) and _EXPONENT_WITHOUT_DOT.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CalibrationError(f"{where} is {value!r}, expected a number")
    if not math.isfinite(value):
        raise CalibrationError(f"{where} is {value}, expected a finite number; recalibrate the camera")
    return float(value)


def _intrinsics(matrix: Sequence[float]) -> tuple[tuple[float, float], tuple[float, float]]:
    fx, skew, cx, zero, fy, cy, *last_row = matrix
    if fx <= 0.0 or fy <= 0.0:
        raise CalibrationError(
            f"camera_matrix: found focal length ({fx:g}, {fy:g}) px, expected both positive; a file of "
            "an uncalibrated camera holds zeros: calibrate first"
        )
    if skew != 0.0:
        raise CalibrationError(
            f"camera_matrix: found skew {skew:g} in data[1], expected 0; recalibrate without skew"
        )
    if zero != 0.0 or last_row != [0.0, 0.0, 1.0]:
        raise CalibrationError(
            f"camera_matrix: found {list(matrix)}, expected [fx, 0, cx, 0, fy, cy, 0, 0, 1] row by row"
        )
    return (fx, fy), (cx, cy)
