"""Camera calibrations as files: read of several programs, written as ROS camera_calibration does."""

from __future__ import annotations

import codecs
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from hfnet_ros.config.yaml_text import parse_yaml
from hfnet_ros.errors import CalibrationError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.files.calibration_formats import calibration_of, calibration_of_ini
from hfnet_ros.geometry.calibration import Calibration, as_part_of_whole
from hfnet_ros.geometry.camera import Camera

if TYPE_CHECKING:
    import os

_RECALIBRATE = "write the file with ROS camera_calibration or `write_camera_yaml`"
_INI_BEGINNINGS = (b"# oST version", b"[image]")
_OPENCV_HEADER = re.compile(rb"\A\s*%YAML:1\.[0-9]+[^\n]*\n")


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Read a calibration as ROS camera_calibration, OpenCV, Kalibr or ORB-SLAM write it, or an echoed CameraInfo.

    Raises:
        CalibrationError: the file is missing or of no known format, a key is missing, stands twice or is of
            the wrong type or length.
    """
    source = f"{Path(path)}"
    try:
        return dataclasses.replace(_document(Path(path)), source=source)
    except CalibrationError as error:
        raise CalibrationError(f"{source}: {error} (option --camera)") from None


def read_camera_yaml(path: str | os.PathLike[str]) -> Camera:
    """Read a calibration of raw images.

    Raises:
        CalibrationError: as `read_calibration`, or there can be no such camera, see `Calibration.camera`.
    """
    return read_calibration(path).camera()


def write_camera_yaml(path: str | os.PathLike[str], camera: Camera, name: str) -> None:
    """Write a calibration that `read_camera_yaml` and ROS read; replaced as a whole or not at all.

    Args:
        path: file to create or replace.
        camera: calibration of raw images.
        name: camera name for the file.

    Raises:
        OSError: the file cannot be written; what was there before stays.
    """
    whole, (left, top) = as_part_of_whole(camera)
    width, height = whole.size_wh
    projection = np.hstack([whole.intrinsics, np.zeros((3, 1))])
    document: dict[str, Any] = {
        "image_width": int(width),
        "image_height": int(height),
        "camera_name": name,
        "camera_matrix": _matrix(whole.intrinsics),
        "distortion_model": camera.model.value,
        "distortion_coefficients": _matrix(camera.distortion[None, :]),
        "rectification_matrix": _matrix(np.eye(3)),
        "projection_matrix": _matrix(projection),
    }
    if whole is not camera:
        size = dict(zip(("width", "height"), map(int, camera.size_wh), strict=True))
        document["roi"] = {"x_offset": left, "y_offset": top, **size}
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yaml.safe_dump(document, stream, sort_keys=False, default_flow_style=None, allow_unicode=True)


def _matrix(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    rows, cols = values.shape
    return {"rows": rows, "cols": cols, "data": values.ravel().tolist()}


def _document(file: Path) -> Calibration:
    """Return what a file states."""
    try:
        content = file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise CalibrationError(f"cannot be read: {error.strerror}; expected a calibration YAML") from error
    if content.lstrip().startswith(_INI_BEGINNINGS):
        return calibration_of_ini(content.decode(errors="replace"))
    if content.lstrip().startswith(b"<"):
        raise CalibrationError("is XML; let cv2.FileStorage write it under a name that ends in .yml")
    # OpenCV's first line is no directive of YAML: %YAML:1.0.
    text = _OPENCV_HEADER.sub(b"", content, count=1)
    try:
        document = parse_yaml(text, _Loader, first=True)
    except ValueError as error:
        raise CalibrationError(f"is not YAML ({error}); {_RECALIBRATE}") from error
    if not isinstance(document, dict):
        kind = "nothing" if document is None else type(document).__name__
        raise CalibrationError(f"found {kind}, expected a mapping with image_width and so on; {_RECALIBRATE}")
    return calibration_of(document)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, for which a key may stand once and OpenCV's matrices are mappings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping.

        Raises:
            CalibrationError: a key stands twice, of which YAML readers would take the last.
        """
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line, name = key.start_mark.line + 1, key.value
            if not isinstance(key, yaml.ScalarNode):
                continue
            if name in lines:
                raise CalibrationError(
                    f"'{name}' stands in lines {lines[name]} and {line}; leave one calibration in the file"
                )
            lines[name] = line
        return super().construct_mapping(node, deep)


def _matrix_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix_mapping)
