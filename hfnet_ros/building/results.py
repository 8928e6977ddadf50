"""Bring what a graph made to where it was asked for, and images to where workers find them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.building.artefacts import DamagedArtefactError, digest_of
from hfnet_ros.building.map_graph import BuiltMaps
from hfnet_ros.building.partition import NAME as SUB_MAP_NAME
from hfnet_ros.errors import BuildingError, MapFormatError
from hfnet_ros.files.atomic import atomic_directory, atomic_file
from hfnet_ros.map.areas import extent_of
from hfnet_ros.map.array_files import file_digest
from hfnet_ros.map.manifest import MANIFEST_NAME
from hfnet_ros.map.map_io import save_map
from hfnet_ros.map.map_set import MAPS_FOLDER, MapSet
from hfnet_ros.map.map_set_io import INDEX_FOLDER, read_map_set
from hfnet_ros.mapping.map_sets import check_set_target, write_set
from hfnet_ros.mapping.set_lock import LOCK_NAME, check_unlocked, set_locked
from hfnet_ros.mapping.views import MappingImage

FloatArray = NDArray[np.float64]

_logger = logging.getLogger(__name__)

_WRITTEN = "written.json"
_IN_A_SET = (MANIFEST_NAME, MAPS_FOLDER, INDEX_FOLDER, LOCK_NAME)
# A sub-map of the same name is of the same place: by this share of the longer extent, a little more than which a cut
# moves when images are added. What is shorter than half a metre has no place of its own along an axis.
_SAME_SHARE, _SHORT_M = 0.8, 0.5


def check_target(target: Path) -> None:
    """Refuse a place where no set can be written: a free name, an empty folder or a set that a build made will do.

    Raises:
        MapFormatError: says what is there instead, or who is changing the set.
    """
    if not (target / MANIFEST_NAME).exists():
        check_set_target(target)
        return
    _refuse_what_no_build_made(target)
    check_unlocked(target)


def _refuse_what_no_build_made(target: Path) -> None:
    if not os.access(os.path.realpath(target), os.W_OK) or not os.access(target.resolve().parent, os.W_OK):
        raise MapFormatError(
            f"{target}: cannot be replaced: no permission to write there; choose another folder"
        )
    own = [name for name in read_map_set(target).names if not SUB_MAP_NAME.fullmatch(name)]
    if own:
        raise MapFormatError(
            f"{target}: has sub-map '{own[0]}', which no build made: writing would delete it; choose another folder, "
            "or take it out with `hfnet-ros map set remove` and add it again afterwards"
        )
    foreign = sorted(entry.name for entry in target.iterdir() if entry.name not in _IN_A_SET)
    if foreign:
        raise MapFormatError(
            f"{target}: holds '{foreign[0]}' beside a set: writing would delete it; choose another folder"
        )


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[None]:
    """Let nobody else change a set from when it is built anew until it is replaced: what they put in would be lost.

    Raises:
        MapFormatError: as `check_target`.
    """
    if not (target / MANIFEST_NAME).exists():
        yield
        return
    with set_locked(target, "builds it anew"):
        _refuse_what_no_build_made(target)
        yield


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

    Sub-maps keep the names of the areas that they are part of, where they still lie where they lay.

    Raises:
        MapFormatError: the disk refuses.
    """
    if _is_written(work, target, built):
        return False
    extents = _refuse_damaged(built)
    maps = [(name, artefact.map_folder) for name, artefact in built.maps]
    if (target / MANIFEST_NAME).exists():
        areas = _areas_kept(read_map_set(target), extents)
        try:
            with atomic_directory(target) as beside:
                write_set(beside, maps, built.overlaps, frame_id=frame_id, areas=areas)
        except OSError as error:
            raise MapFormatError(
                f"{target}: cannot be replaced: {error.strerror or error}; what was there is untouched"
            ) from error
    else:
        write_set(target, maps, built.overlaps, frame_id=frame_id)
    _note_written(work, target, built)
    return True


def _areas_kept(before: MapSet, extents: Mapping[str, FloatArray]) -> dict[str, tuple[str, ...]]:
    """Return the areas of sub-maps that are in the same place as the one of their name was; warn of the others."""
    kept = {}
    for sub_map in before.sub_maps:
        if not sub_map.areas:
            continue
        if sub_map.name in extents and _is_same_place(sub_map.extent, extents[sub_map.name]):
            kept[sub_map.name] = sub_map.areas
            continue
        _logger.warning(
            "areas not kept: %s of %s, which %s now; give names again with `hfnet-ros map area`",
            ", ".join(sub_map.areas),
            sub_map.name,
            "covers another part" if sub_map.name in extents else "is not there",
        )
    return kept


def _is_same_place(before: FloatArray, after: FloatArray) -> bool:
    """Tell whether two extents [2, 3] overlap by most of the longer one along each axis."""
    shared = np.minimum(before[1], after[1]) - np.maximum(before[0], after[0])
    longer = np.maximum(np.ptp(before, axis=0), np.ptp(after, axis=0))
    return bool((shared + _SHORT_M >= _SAME_SHARE * (longer + _SHORT_M)).all())


def _refuse_damaged(built: BuiltMaps) -> dict[str, FloatArray]:
    """Check every byte of the maps, and return where the positions of their keyframes lie, [2, 3], m.

    Raises:
        BuildingError: one was damaged since it was made; it is removed, so that it is made anew.
    """
    extents = {}
    for name, artefact in built.maps:
        try:
            extents[name] = extent_of(artefact.read_map().given_poses)
        except DamagedArtefactError as error:  # noqa: PERF203 (the one that is damaged is removed)
            artefact.forget()
            raise BuildingError(
                f"{error}: removed; start the same command again, which makes it anew"
            ) from error
    return extents


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
