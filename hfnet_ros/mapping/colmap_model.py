"""Poses and cameras from a COLMAP model; its features are not used."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np

from hfnet_ros.errors import CalibrationError, DatasetError
from hfnet_ros.files.images import natural_order
from hfnet_ros.geometry.plausibility import check_plausible
from hfnet_ros.mapping.colmap_convention import camera_from_colmap, pose_from_colmap, quiet_colmap
from hfnet_ros.mapping.colmap_files import check_text_whole, check_whole
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.sources import ColmapModel, PosedImages
from hfnet_ros.mapping.views import MappingImage

_NS_PER_S = 1_000_000_000
_FIELDS_BEFORE_NAME = 9  # IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME
_NORMALIZED = 0.02
_FILES = ("cameras", "images", "points3D")


def read_colmap_model(source: ColmapModel) -> PosedImages:
    """Read the registered images of a COLMAP model, in natural order of their names, those of a rig's frame together.

    They are named as in the model, with the folders between. Models know no time, so the stamp is the position in
    seconds, of the first image where a frame has several: the map's test of itself takes stretches of time, and what
    one camera of a rig saw then must not be held against what another did.

    Raises:
        DatasetError: the model is missing, damaged or empty, images of it are missing, or a camera cannot be.
        MappingError: a camera model has no equal in ROS.
    """
    model, image_folder = source.model, source.image_folder
    reconstruction, image_ids = _load(model)
    in_text = _names_in_text(model)
    named = [
        (in_text.get(image_id, reconstruction.images[image_id].name), reconstruction.images[image_id])
        for image_id in image_ids
    ]
    named.sort(key=lambda entry: natural_order(Path(entry[0])))
    if not named:
        raise DatasetError(f"{model}: holds no registered image, expected a finished reconstruction")
    _check_present([name for name, _ in named], image_folder, model)
    first_of = {image.frame_id: position for position, (_, image) in reversed(list(enumerate(named)))}
    named.sort(key=lambda entry: first_of[entry[1].frame_id])
    registered = [image for _, image in named]
    used = sorted({image.camera_id for image in registered})
    images = [
        MappingImage.of_file(
            image_folder / name,
            name,
            first_of[image.frame_id] * _NS_PER_S,
            used.index(image.camera_id),
            source.mask,
        )
        for name, image in named
    ]
    try:
        cameras = [camera_from_colmap(reconstruction.cameras[camera_id]) for camera_id in used]
        for camera in cameras:
            check_plausible(camera)
    except CalibrationError as error:
        raise DatasetError(f"{model}: a camera cannot be: {error}") from None
    poses = [pose_from_colmap(image) for image in registered]
    return PosedImages(images, poses, cameras, is_metric=not _is_normalized(reconstruction))


def _is_normalized(reconstruction: pycolmap.Reconstruction) -> bool:
    """Tell whether positions are as structure from motion leaves them: about the origin, ten units wide.

    A model that was brought into metres afterwards, by known positions or a marker, is not.
    """
    step = copy.deepcopy(reconstruction).normalize()
    moved = float(np.linalg.norm(step.translation))
    return abs(float(step.scale) - 1.0) < _NORMALIZED and moved < 10.0 * _NORMALIZED


def _load(model: Path) -> tuple[pycolmap.Reconstruction, list[int]]:
    """Return a model and the ids of its registered images."""
    if not model.is_dir():
        raise DatasetError(f"{model}: no such folder; expected a COLMAP model ({', '.join(_FILES)})")
    if not _is_complete(model, ".bin") and not _is_complete(model, ".txt"):
        nested = sorted(entry.parent.name for entry in model.glob("*/cameras.*"))
        hint = f"; did you mean its subfolder {nested[0]}?" if nested else ""
        raise DatasetError(f"{model}: expected {', '.join(_FILES)}, all .bin or all .txt{hint}")
    if _is_complete(model, ".bin"):
        check_whole(model)
    else:
        check_text_whole(model)
    try:
        with quiet_colmap():
            reconstruction = pycolmap.Reconstruction(model)
            return reconstruction, list(reconstruction.reg_image_ids())
    # MemoryError: a file cut off announces any length.
    except (ValueError, RuntimeError, IndexError, MemoryError) as error:
        raise DatasetError(
            f"{model}: cannot be read as a COLMAP model, as if a file of it were cut off or of another one; copy or "
            f"export it again: {error}"
        ) from error


def _is_complete(model: Path, suffix: str) -> bool:
    return all((model / f"{name}{suffix}").is_file() for name in _FILES)


def _names_in_text(model: Path) -> dict[int, str]:
    """Return the names by image id where the model is text, whose names pycolmap cuts off at the first space."""
    if _is_complete(model, ".bin"):
        return {}
    text = (model / "images.txt").read_text(encoding="utf-8", errors="surrogateescape")
    lines = iter(text.split("\n"))
    names = {}
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.rstrip("\r").split(maxsplit=_FIELDS_BEFORE_NAME)
        if len(fields) > _FIELDS_BEFORE_NAME and fields[0].isdigit():
            names[int(fields[0])] = fields[_FIELDS_BEFORE_NAME].rstrip()
        next(lines, None)  # the image's points, on a line that may be empty
    return names


def _check_present(names: list[str], image_folder: Path, model: Path) -> None:
    missing = [name for name in names if not (image_folder / name).is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(names)} images of {model} are not in {image_folder}, first {missing[0]}; "
            "give the folder that COLMAP was run on"
        )
