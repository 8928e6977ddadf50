"""Rigs of cameras as a file: which cameras there are, their calibrations, and where they sit on the rig.

    cameras:
      left: {calibration: camera_left.yaml, rig_from_camera: [0, 0, 0, 0, 0, 0, 1]}
      right: {calibration: camera_right.yaml, rig_from_camera: [0.11, 0, 0, 0, 0, 0, 1]}

or, of cameras one of which is the rig, `left_from_right: [...]` alone, with `camera_left.yaml` and `camera_right.yaml`
beside it. Poses are x y z (m) and a unit quaternion x y z w; calibrations are sought beside the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hfnet_ros.config.yaml_text import parse_yaml
from hfnet_ros.errors import CalibrationError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.files.camera_yaml import read_camera_yaml, write_camera_yaml
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import RigCamera

if TYPE_CHECKING:
    import os

_NAME = r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*?"
_RELATIVE = re.compile(rf"({_NAME})_from_({_NAME})\Z")
_EXPECTED = (
    "expected 'cameras: {NAME: {calibration: FILE, rig_from_camera: [x, y, z, qx, qy, qz, qw]}}' or "
    "'A_from_B: [...]'"
)


def read_rig(path: str | os.PathLike[str]) -> dict[str, RigCamera]:
    """Read the cameras of a rig by name, in the order of the file.

    Raises:
        CalibrationError: the file is missing or of another form, a pose is none, or a calibration cannot be read;
            says which.
    """
    file = Path(path)
    try:
        document = parse_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read: {error.strerror}; {_EXPECTED}") from error
    except ValueError as error:
        raise CalibrationError(f"{file}: {error}; {_EXPECTED}") from error
    if not isinstance(document, dict) or not document:
        raise CalibrationError(f"{file}: holds no rig; {_EXPECTED}")
    if "cameras" in document:
        return _of_cameras(file, document["cameras"])
    return _of_relative_poses(file, document)


def write_rig(path: str | os.PathLike[str], rig: Mapping[str, RigCamera]) -> None:
    """Write a rig that `read_rig` reads, with a calibration `camera_NAME.yaml` of each camera beside it.

    Raises:
        OSError: a file cannot be written.
    """
    file, cameras = Path(path), {}
    for name, mounted in rig.items():
        calibration, pose = f"camera_{name}.yaml", mounted.rig_from_camera
        write_camera_yaml(file.parent / calibration, mounted.camera, name)
        numbers = [*pose.translation.tolist(), *pose.quat_xyzw.tolist()]
        cameras[name] = {"calibration": calibration, "rig_from_camera": numbers}
    with atomic_file(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yaml.safe_dump({"cameras": cameras}, stream, sort_keys=False, default_flow_style=None)


def _of_cameras(file: Path, cameras: Any) -> dict[str, RigCamera]:
    if not isinstance(cameras, dict) or not cameras:
        raise CalibrationError(f"{file}: 'cameras' names no camera; {_EXPECTED}")
    rig = {}
    for name, entry in cameras.items():
        if not isinstance(entry, dict) or set(entry) != {"calibration", "rig_from_camera"}:
            raise CalibrationError(f"{file}: camera '{name}' is {entry!r}; {_EXPECTED}")
        camera = read_camera_yaml(file.parent / str(entry["calibration"]))
        rig[str(name)] = RigCamera(camera, _pose(file, f"{name}: rig_from_camera", entry["rig_from_camera"]))
    return rig


def _of_relative_poses(file: Path, document: dict[str, Any]) -> dict[str, RigCamera]:
    """Return the rig of `A_from_B` entries, all of one A, which is the rig."""
    names = [_RELATIVE.match(str(key)) for key in document]
    firsts = {found.group(1) for found in names if found}
    if None in names or len(firsts) != 1:
        raise CalibrationError(f"{file}: has {', '.join(map(str, document))}; {_EXPECTED}, all of one A")
    first = firsts.pop()
    poses = {first: Rigid3.identity()}
    for found, (key, value) in zip(names, document.items(), strict=True):
        assert found is not None
        poses[found.group(2)] = _pose(file, str(key), value)
    return {
        name: RigCamera(read_camera_yaml(file.parent / f"camera_{name}.yaml"), pose)
        for name, pose in poses.items()
    }


def _pose(file: Path, what: str, value: Any) -> Rigid3:
    try:
        x, y, z, *quat_xyzw = (float(number) for number in value)
        if len(quat_xyzw) != 4 or abs(sum(number * number for number in quat_xyzw) - 1.0) > 1e-2:
            raise ValueError
        return Rigid3.from_quat(quat_xyzw, [x, y, z])
    except (TypeError, ValueError):
        raise CalibrationError(
            f"{file}: '{what}' is {value!r}, expected seven numbers x y z qx qy qz qw with a quaternion of length 1"
        ) from None
