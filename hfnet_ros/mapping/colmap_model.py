"""Poses and cameras from a COLMAP model; its features are not used."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pycolmap

from hfnet_ros.errors import CalibrationError, DatasetError
from hfnet_ros.files.images import read_image
from hfnet_ros.geometry.plausibility import check_plausible
from hfnet_ros.mapping.colmap_convention import camera_from_colmap, pose_from_colmap, quiet_colmap
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage

_NS_PER_S = 1_000_000_000
_FILES = ("cameras", "images", "points3D")


def read_colmap_model(model: Path, image_folder: Path) -> PosedImages:
    """Read the registered images of a COLMAP model, sorted by name.

    They are named as in the model, with the folders between. Models know no time, so the stamp is
    the position in seconds.

    Raises:
        DatasetError: the model is missing, damaged or empty, images of it are missing, or a camera cannot be.
        MappingError: a camera model has no equal in ROS.
    """
    reconstruction = _load(model)
    registered = [reconstruction.images[image_id] for image_id in reconstruction.reg_image_ids()]
    registered.sort(key=lambda image: image.name)
    if not registered:
        raise DatasetError(f"{model}: holds no registered image, expected a finished reconstruction")
    _check_present([image.name for image in registered], image_folder, model)
    used = sorted({image.camera_id for image in registered})
    images = [
        MappingImage(
            image.name,
            position * _NS_PER_S,
            used.index(image.camera_id),
            partial(read_image, image_folder / image.name),
        )
        for position, image in enumerate(registered)
    ]
    cameras = [camera_from_colmap(reconstruction.cameras[camera_id]) for camera_id in used]
    try:
        for camera in cameras:
            check_plausible(camera)
    except CalibrationError as error:
        raise DatasetError(f"{model}: a camera cannot be: {error}") from None
    return PosedImages(images, [pose_from_colmap(image) for image in registered], cameras)


def _load(model: Path) -> pycolmap.Reconstruction:
    if not model.is_dir():
        raise DatasetError(f"{model}: no such folder; expected a COLMAP model ({', '.join(_FILES)})")
    complete = any(all((model / f"{name}{end}").is_file() for name in _FILES) for end in (".bin", ".txt"))
    if not complete:
        nested = sorted(entry.parent.name for entry in model.glob("*/cameras.*"))
        hint = f"; did you mean its subfolder {nested[0]}?" if nested else ""
        raise DatasetError(f"{model}: expected {', '.join(_FILES)}, all .bin or all .txt{hint}")
    try:
        with quiet_colmap():
            return pycolmap.Reconstruction(model)
    except (ValueError, RuntimeError, IndexError) as error:
        raise DatasetError(f"{model}: cannot be read as a COLMAP model: {error}") from error


def _check_present(names: list[str], image_folder: Path, model: Path) -> None:
    missing = [name for name in names if not (image_folder / name).is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(names)} images of {model} are not in {image_folder}, first {missing[0]}; "
            "give the folder that COLMAP was run on"
        )
