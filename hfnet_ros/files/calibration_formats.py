"""Calibrations as other programs write them: what each file says, as a `Calibration`.

| written by | how it is told |
|---|---|
| ROS camera_calibration, OpenCV FileStorage | `camera_matrix` (any spelling), `distortion_coefficients` |
| Kalibr camchain | `cam0` with `intrinsics` and `resolution` |
| sensor.yaml of EuRoC | `intrinsics` and `resolution` without a name |
| `ros2 topic echo` of CameraInfo | `width`, `height`, `k`, `d` |
| ORB-SLAM | `Camera1.fx` and so on |
| camodocal (VINS) | `projection_parameters` |
| camera_calibration's ost.txt | `[image]`, `camera matrix` |
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.calibration import Calibration

_EXPECTED = (
    "expected a file of ROS camera_calibration, OpenCV FileStorage, Kalibr (camchain), ORB-SLAM or VINS, or what "
    "`ros2 topic echo --once CAMERA_INFO` prints"
)
# PyYAML takes 1e-05, which yaml-cpp writes, for text because YAML 1.1 wants a dot in floats.
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_NAMES = {
    "width": ("imagewidth", "width"),
    "height": ("imageheight", "height"),
    "K": ("cameramatrix", "k", "intrinsicmatrix", "m1"),
    "D": ("distortioncoefficients", "distcoeffs", "distortioncoeffs", "d", "d1"),
    "P": ("projectionmatrix", "p"),
    "model": ("distortionmodel",),
}
# Where programs that calibrate with cv2.fisheye say so.
_KINDS = ("model", "cameramodel", "cameratype", "modeltype", "lensmodel")
_FISHEYE = ("fisheye", "FISHEYE", "Fisheye")
_ORB_SLAM_K = ("fx", "fy", "cx", "cy")
_ORB_SLAM_D = {"pinhole": ("k1", "k2", "p1", "p2", "k3"), "kannalabrandt8": ("k1", "k2", "k3", "k4")}
# Of camodocal: names of fx fy cx cy, where the coefficients are, their names, and our name of the model.
_CAMODOCAL = {
    "PINHOLE": (("fx", "fy", "cx", "cy"), "distortion_parameters", ("k1", "k2", "p1", "p2"), "plumb_bob"),
    "KANNALA_BRANDT": (
        ("mu", "mv", "u0", "v0"),
        "projection_parameters",
        ("k2", "k3", "k4", "k5"),
        "equidistant",
    ),
}
_OPENCV_NOTE = "no distortion_model is named: the coefficients are taken for OpenCV's k1 k2 p1 p2 k3"


def calibration_of(document: Mapping[str, Any]) -> Calibration:
    """Return what a YAML document states.

    Raises:
        CalibrationError: a key is missing, of the wrong type or length; or the format is none of those above.
    """
    kalibr = [key for key, value in document.items() if isinstance(value, dict) and "intrinsics" in value]
    if kalibr:
        return _of_kalibr(document, kalibr)
    if "intrinsics" in document and "resolution" in document:
        return _of_kalibr_camera("sensor.yaml", document)
    if "projection_parameters" in document:
        return _of_camodocal(document)
    if any(str(key).startswith(("Camera.", "Camera1.")) for key in document):
        return _of_orb_slam(document)
    return _of_matrices(document)


def calibration_of_ini(text: str) -> Calibration:
    """Return what camera_calibration's ost.txt states; raises as `calibration_of`."""
    words = text.split()

    def numbers(name: str, count: int | None = None) -> list[float]:
        found = re.search(rf"(?im)^\s*{name}\s*$((?:\s+[-+0-9.eE]+)+)", text)
        if found is None or (count is not None and len(found[1].split()) != count):
            raise CalibrationError(f"'{name}' with {count or 'its'} numbers is missing; {_EXPECTED}")
        return [_number(word, name) for word in found[1].split()]

    size_wh = (round(numbers("width", 1)[0]), round(numbers("height", 1)[0]))
    matrix, coefficients = numbers("camera matrix", 9), numbers("distortion")
    projection = numbers("projection", 12) if "projection" in words else None
    return Calibration(
        size_wh,
        np.array(matrix).reshape(3, 3),
        "plumb_bob",
        np.array(coefficients),
        None if projection is None else np.array(projection).reshape(3, 4)[:, :3],
    )


def _of_matrices(document: Mapping[str, Any]) -> Calibration:
    """Return what K and D say, by whatever name: camera_calibration, OpenCV, an echoed message."""
    known = {re.sub("[^a-z0-9]", "", str(key).lower()): (str(key), value) for key, value in document.items()}

    def get(name: str) -> tuple[str, Any] | None:
        return next((known[spelling] for spelling in _NAMES[name] if spelling in known), None)

    def need(name: str, called: str) -> tuple[str, Any]:
        found = get(name)
        if found is None:
            keys = ", ".join(map(str, document)) or "none"
            raise CalibrationError(f"{called} is missing (found keys: {keys}); {_EXPECTED}")
        return found

    size_wh = (_size(*need("width", "image_width")), _size(*need("height", "image_height")))
    matrix = _matrix(*need("K", "camera_matrix"), shape=(3, 3)).reshape(3, 3)
    coefficients = _matrix(*need("D", "distortion_coefficients"))
    stated, notes = get("model"), list[str]()
    if stated is not None:
        model = stated[1]
        if not isinstance(model, str):
            raise CalibrationError(f"{stated[0]} is {model!r}, expected a name such as plumb_bob")
    elif known.get("fisheyemodel", ("", 0))[1] or any(
        known.get(key, ("", 0))[1] in _FISHEYE for key in _KINDS
    ):
        model = "equidistant"
    else:
        model = "plumb_bob"
        if coefficients.any():
            notes.append(_OPENCV_NOTE)
    projection = get("P")
    region = known.get("roi", ("roi", None))[1]
    roi: Mapping[str, Any] = region if isinstance(region, dict) else {}

    def whole(values: Mapping[str, Any], key: str) -> int:
        value = values.get(key, 0)
        return value if isinstance(value, int) else 0

    return Calibration(
        size_wh,
        matrix,
        model,
        coefficients,
        None if projection is None else _matrix(*projection, shape=(3, 4)).reshape(3, 4)[:, :3],
        offset=(whole(roi, "x_offset"), whole(roi, "y_offset")),
        region_wh=(whole(roi, "width"), whole(roi, "height")),
        binning=(max(1, whole(document, "binning_x")), max(1, whole(document, "binning_y"))),
        notes=tuple(notes),
    )


def _of_kalibr(document: Mapping[str, Any], cameras: Sequence[str]) -> Calibration:
    if len(cameras) > 1:
        raise CalibrationError(
            f"a Kalibr file of {len(cameras)} cameras ({', '.join(cameras)}); leave the one of these images in it"
        )
    return _of_kalibr_camera(cameras[0], document[cameras[0]])


def _of_kalibr_camera(name: str, entry: Mapping[str, Any]) -> Calibration:
    kind = entry.get("camera_model")
    if kind != "pinhole":
        raise CalibrationError(
            f"{name}: camera_model is {kind!r}, expected pinhole; calibrate with Kalibr's pinhole-radtan or "
            "pinhole-equi"
        )
    intrinsics = _matrix(f"{name}: intrinsics", entry.get("intrinsics"))
    resolution = entry.get("resolution")
    bending = "distortion_coefficients" if "distortion_coefficients" in entry else "distortion_coeffs"
    if len(intrinsics) != 4 or not isinstance(resolution, list) or len(resolution) != 2:
        raise CalibrationError(f"{name}: expected intrinsics [fx, fy, cx, cy] and resolution [width, height]")
    return Calibration(
        (_size(f"{name}: resolution", resolution[0]), _size(f"{name}: resolution", resolution[1])),
        _pinhole(intrinsics),
        str(entry.get("distortion_model", "none")),
        _matrix(f"{name}: {bending}", entry.get(bending, [])),
    )


def _of_orb_slam(document: Mapping[str, Any]) -> Calibration:
    start = "Camera1." if "Camera1.fx" in document else "Camera."
    kind = str(document.get("Camera.type", "PinHole")).lower()
    names = _ORB_SLAM_D.get(kind, ())
    if not names and kind != "rectified":
        raise CalibrationError(f"Camera.type is {kind!r}, expected PinHole, KannalaBrandt8 or Rectified")

    def value(key: str, absent: float | None = None) -> float:
        if key not in document and absent is None:
            raise CalibrationError(f"{key} is missing; {_EXPECTED}")
        return _number(document.get(key, absent), key)

    return Calibration(
        (
            _size("Camera.width", document.get("Camera.width")),
            _size("Camera.height", document.get("Camera.height")),
        ),
        _pinhole(np.array([value(start + name) for name in _ORB_SLAM_K])),
        kind if kind == "kannalabrandt8" else "plumb_bob",
        np.array([value(start + name, 0.0) for name in names]),
    )


def _of_camodocal(document: Mapping[str, Any]) -> Calibration:
    kind = document.get("model_type")
    if kind not in _CAMODOCAL:
        raise CalibrationError(f"model_type is {kind!r}, expected {' or '.join(_CAMODOCAL)}")
    names, section, coefficients, model = _CAMODOCAL[kind]
    projection = document["projection_parameters"]
    bending = document.get(section)
    if not isinstance(projection, dict) or not isinstance(bending, dict):
        raise CalibrationError(f"projection_parameters or {section} hold no names and numbers")

    def numbers(of: Mapping[str, Any], wanted: Sequence[str], where: str) -> NDArray[np.float64]:
        return np.array([_number(of.get(name), f"{where}: {name}") for name in wanted])

    return Calibration(
        (
            _size("image_width", document.get("image_width")),
            _size("image_height", document.get("image_height")),
        ),
        _pinhole(numbers(projection, names, "projection_parameters")),
        model,
        numbers(bending, coefficients, section),
    )


def _pinhole(intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _size(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise CalibrationError(f"{key} is {value!r}, expected a positive integer: the size of the raw image")
    return value


def _matrix(key: str, entry: object, shape: tuple[int, int] | None = None) -> NDArray[np.float64]:
    """Return the numbers of a matrix, row by row: rows, cols and data, or lists, nested or not."""
    rows = cols = None
    if isinstance(entry, dict) and isinstance(entry.get("data"), list):
        rows, cols, entry = entry.get("rows"), entry.get("cols"), entry["data"]
    if not isinstance(entry, list):
        raise CalibrationError(f"{key} is {entry!r}, expected a list of numbers, or rows, cols and data")
    flat: list[Any] = []
    for row in entry:
        flat += row if isinstance(row, list) else [row]
    data = [_number(value, f"{key}: data[{index}]") for index, value in enumerate(flat)]
    expected = len(data) if shape is None else shape[0] * shape[1]
    stated = expected if rows is None or cols is None else _product(rows, cols)
    is_transposed = shape is not None and None not in (rows, cols) and (rows, cols) != shape
    # An empty list has no agreed rows and cols.
    if len(data) != expected or (data and stated != expected) or is_transposed:
        wanted = "rows x cols" if shape is None else f"{shape[0]}x{shape[1]} = {expected}"
        raise CalibrationError(
            f"{key}: found rows {rows!r}, cols {cols!r} and {len(data)} numbers, expected {wanted} numbers"
            + ("; is a comma used for the decimal point?" if len(data) > expected else "")
        )
    return np.array(data, np.float64)


def _product(rows: object, cols: object) -> int:
    return rows * cols if isinstance(rows, int) and isinstance(cols, int) else -1


def _number(value: object, where: str) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CalibrationError(f"{where} is {value!r}, expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CalibrationError(f"{where} is {number}, expected a finite number; recalibrate the camera")
    return number
