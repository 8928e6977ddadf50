"""Bring what a graph made to where it was asked for, and images to where workers find them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from hfnet_ros.building.artefacts import DamagedArtefactError, digest_of
from hfnet_ros.building.map_graph import BuiltMaps
from hfnet_ros.errors import BuildingError, MapFormatError
from hfnet_ros.files.atomic import atomic_directory, atomic_file
from hfnet_ros.map.array_files import file_digest
from hfnet_ros.map.manifest import MANIFEST_NAME
from hfnet_ros.map.map_io import save_map
from hfnet_ros.map.map_set import MAPS_FOLDER
from hfnet_ros.map.map_set_io import INDEX_FOLDER, read_map_set
from hfnet_ros.mapping.map_sets import check_set_target, write_set
from hfnet_ros.mapping.views import MappingImage

_WRITTEN = "written.json"
_IN_A_SET = (MANIFEST_NAME, MAPS_FOLDER, INDEX_FOLDER, ".lock")


def check_target(target: Path) -> None:
    """Refuse a place where no set can be written: a free name, an empty folder or another set will do.

    Raises:
        MapFormatError: says what is there instead.
    """
    if not (target / MANIFEST_NAME).exists():
        check_set_target(target)
        return
    read_map_set(target)
    foreign = sorted(entry.name for entry in target.iterdir() if entry.name not in _IN_A_SET)
    if foreign:
        raise MapFormatError(
            f"{target}: holds '{foreign[0]}' beside a set: writing would delete it; choose another folder"
        )


def write_map(work: Path, target: Path, built: BuiltMaps) -> bool:
    """Write the one map that was built; False if it is there already.

    Args:
        work: folder, which remembers what was written.
        target: where to.
        built: what the graph made.

    Raises:
        BuildingError: what the graph made was damaged since.
        MapFormatError: the disk refuses.
    """
    if _is_written(work, target, built):
        return False
    _refuse_damaged(built)
    save_map(built.maps[0][1].read_map(), target)
    _note_written(work, target, built)
    return True


def write_map_set(work: Path, target: Path, built: BuiltMaps, frame_id: str) -> bool:
    """Write the set of the sub-maps that were built, in place of one that is there; False if it is that one.

    Raises:
        MapFormatError: the disk refuses.
    """
    if _is_written(work, target, built):
        return False
    _refuse_damaged(built)
    maps = [(name, artefact.map_folder) for name, artefact in built.maps]
    if (target / MANIFEST_NAME).exists():
        with atomic_directory(target) as beside:
            write_set(beside, maps, built.overlaps, frame_id=frame_id)
    else:
        write_set(target, maps, built.overlaps, frame_id=frame_id)
    _note_written(work, target, built)
    return True


def _refuse_damaged(built: BuiltMaps) -> None:
    """Check every byte of the maps.

    Raises:
        BuildingError: one was damaged since it was made; it is removed, so that it is made anew.
    """
    for _, artefact in built.maps:
        try:
            artefact.read_map()
        except DamagedArtefactError as error:  # noqa: PERF203 (the one that is damaged is removed)
            artefact.forget()
            raise BuildingError(
                f"{error}: removed; start the same command again, which makes it anew"
            ) from error


def _key_of(built: BuiltMaps) -> str:
    overlaps = {
        f"{first} {second}": [overlap.first_from_second.matrix, overlap.covariance, overlap.num_pairs]
        for (first, second), overlap in built.overlaps.items()
    }
    return digest_of({"maps": [[name, made.sha256] for name, made in built.maps], "overlaps": overlaps})


def _note_of(target: Path, built: BuiltMaps) -> dict[str, str]:
    return {
        "target": os.path.realpath(target),
        "key": _key_of(built),
        "sha256": file_digest(target / MANIFEST_NAME),
    }


def _is_written(work: Path, target: Path, built: BuiltMaps) -> bool:
    """Tell whether the target is what was written of exactly these maps."""
    try:
        return bool(json.loads((work / _WRITTEN).read_text()) == _note_of(target, built))
    except (OSError, ValueError):
        return False


def _note_written(work: Path, target: Path, built: BuiltMaps) -> None:
    with atomic_file(work / _WRITTEN) as temporary:
        temporary.write_text(json.dumps(_note_of(target, built)))


def with_files(images: Sequence[MappingImage], folder: Path) -> list[MappingImage]:
    """Return the images, those that come from elsewhere written to files that workers can read.

    They are named by their pixels: what is there is not written again.

    Args:
        images: to build from.
        folder: where to write; made when it is needed.

    Raises:
        OSError: the disk refuses.
    """
    return [image if image.file is not None else _kept(image, folder) for image in images]


def _kept(image: MappingImage, folder: Path) -> MappingImage:
    pixels = np.ascontiguousarray(image.read())
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{digest}.png"
    if not file.is_file():
        with atomic_file(file) as temporary:
            encoded = cv2.imencode(".png", pixels)[1]
            temporary.write_bytes(encoded.tobytes())
    return MappingImage.of_file(file, image.name, image.stamp_ns, image.camera_idx)
