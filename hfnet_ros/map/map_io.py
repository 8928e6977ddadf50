"""Write a map to a folder and read it back: one manifest, one plain array file per array.

Nothing in a map is code: the manifest is JSON, the arrays are `.npy` files without objects,
and neither is ever unpickled. Those of a large map are mapped into memory: opening it costs the
manifest and the heads of its arrays, and using it what is read of it. docs/map_format.md describes the format.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError, MapFormatError
from hfnet_ros.files.atomic import atomic_directory
from hfnet_ros.geometry.plausibility import principal_point_problem
from hfnet_ros.map import array_files, schema
from hfnet_ros.map.areas import areas_from_json
from hfnet_ros.map.arrangement import arranged
from hfnet_ros.map.array_files import ADVICE, ALWAYS_VERIFIED_BYTES, ARRAYS_FOLDER
from hfnet_ros.map.entries import manifest_problems
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.keyframe_codes import KeyframeCodes
from hfnet_ros.map.manifest import (
    FORMAT_VERSION,
    LANDMARKS,
    MANIFEST_NAME,
    SCENE,
    SET,
    PathLike,
    manifest_bytes,
    read_manifest,
    sealed_manifest,
)
from hfnet_ros.map.map_target import check_map_target
from hfnet_ros.map.name_table import NameTable
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.position_grid import PositionGrid
from hfnet_ros.map.records_json import (
    calibration_from_json,
    camera_pair_from_json,
    camera_pair_to_json,
    consistency_from_json,
)
from hfnet_ros.map.scene_files import open_scene, scene_bytes, scene_problems, verify_scene, write_scene
from hfnet_ros.map.scene_map import kind_of
from hfnet_ros.map.search_structure import SearchStructure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import MapCamera, VisualMap, indexed

__all__ = ["check_map_target", "load_map", "read_map_header", "save_map", "verify_map"]

_logger = logging.getLogger(__name__)

_Array = NDArray[Any]
_COMPACT = ("landmark_descriptors", "global_descriptors", "observation_descriptors")
_SEARCH_FIELDS = tuple(field.name for field in dataclasses.fields(SearchStructure))


def save_map(visual_map: VisualMap, path: PathLike) -> None:
    """Write a map to the folder `path`: the whole of it or nothing.

    A map without its search structure gets one, and its landmarks an order in which they are read together.
    Missing parent folders are created. A map that is already there is replaced in one step at
    the end; whoever has it loaded keeps the old one.

    Raises:
        MapFormatError: there is something else than a map at `path`, the map contradicts
            itself, or the disk refuses. What was there before is then untouched.
    """
    target = Path(path)
    check_map_target(target)
    for problem in _map_problems(visual_map):
        raise MapFormatError(f"{target}: not written, the map contradicts itself: {problem}")
    visual_map = indexed(visual_map)
    arrays = _arrays_of(visual_map if visual_map.search is not None else arranged(visual_map))
    try:
        Path(os.path.realpath(target)).parent.mkdir(parents=True, exist_ok=True)
        with atomic_directory(target) as folder:
            (folder / ARRAYS_FOLDER).mkdir()
            entries = {
                name: array_files.write_array(folder, name, array, _rule(name)[0])
                for name, array in arrays.items()
            }
            listed = _manifest_of(visual_map) | {"arrays": entries}
            if visual_map.scene is not None:
                listed["scene"] = write_scene(folder, visual_map.scene)
            content = sealed_manifest(kind_of(visual_map), listed, target)
            (folder / MANIFEST_NAME).write_bytes(content)
    except OSError as error:
        raise MapFormatError(
            f"{target}: map cannot be written: {error.strerror or error}; what was there is untouched"
        ) from error


def load_map(path: PathLike, verify: bool = False, *, note_format: bool = True) -> VisualMap:
    """Read a map of landmarks, of a scene-coordinate network or of both; its arrays are read-only.

    Versions, sizes, types, shapes and lengths are always checked. Digests and every number are checked too when
    the map is smaller than 64 MiB or `verify` is given; what a query reads of a larger one is checked then.

    Args:
        path: folder of the map.
        verify: read all of it, however large it is.
        note_format: log a line if the map is of an older format, and what to do about it.

    Raises:
        MapFormatError: the map is damaged, incomplete, of a newer version or of another kind; names the file,
            what was found and expected, and what to do.
    """
    folder = Path(path)
    manifest, content = _read_map_manifest(folder)
    version = manifest["format_version"]
    size = sum(entry["bytes"] for entry in manifest["arrays"].values())
    thorough = verify or size <= ALWAYS_VERIFIED_BYTES
    arrays: dict[str, _Array] = {}
    for name in manifest["arrays"]:
        arrays[name] = array_files.open_array(folder, name, manifest["arrays"][name], digest=thorough)
    for problem in _stored_problems(manifest, arrays, whole=thorough):
        raise MapFormatError(f"{folder}: {problem}; {ADVICE}")
    visual_map = _assemble(folder, manifest, arrays)
    if "scene" in manifest:
        scene = open_scene(folder, manifest["scene"], visual_map.num_keyframes, verify=verify)
        visual_map = dataclasses.replace(visual_map, scene=scene)
    if manifest_bytes(folder) != content:
        raise MapFormatError(f"{folder}: map was replaced while it was read; load it again")
    if version < FORMAT_VERSION and note_format:
        _logger.warning(
            "%s: map of format %d, made ready anew at every opening; `hfnet-ros map convert %s --out NEW` writes "
            "one of format %d",
            folder,
            version,
            folder,
            FORMAT_VERSION,
        )
    elif not thorough:
        _logger.info("%s: %.0f MB, digests not checked; `hfnet-ros map verify` does", folder, size / 1e6)
    return visual_map


def verify_map(path: PathLike) -> list[str]:
    """Check every byte of a map and return what is wrong with it; empty means sound."""
    folder = Path(path)
    try:
        manifest, _ = _read_map_manifest(folder)
    except MapFormatError as error:
        return [str(error)]
    problems: list[str] = []
    arrays: dict[str, _Array] = {}
    for name, entry in manifest["arrays"].items():
        try:
            arrays[name] = array_files.open_array(folder, name, entry, digest=True)
        except MapFormatError as error:  # noqa: PERF203 (all damaged arrays are named, not the first)
            problems.append(str(error))
    # Relations between arrays say nothing when one of them is known to be damaged.
    if not problems:
        found = _stored_problems(manifest, arrays, whole=True)
        problems.extend(f"{folder}: {problem}; {ADVICE}" for problem in found)
    if not problems:
        try:
            _assemble(folder, manifest, arrays)
        except MapFormatError as error:
            problems.append(str(error))
    if "scene" in manifest:
        names = arrays.get("keyframe_name_offsets")
        problems.extend(verify_scene(folder, manifest["scene"], None if names is None else len(names) - 1))
    return problems


def read_map_header(path: PathLike) -> dict[str, Any]:
    """Read what a map says of itself, without opening its arrays; JSON values only.

    Returns:
        The manifest without names of keyframes, and `num_keyframes`, `num_landmarks`,
        `num_observations`, `descriptor_size`, `global_size`, `bytes` (of all arrays).

    Raises:
        MapFormatError: the manifest is missing, damaged, of a newer version or of another kind.
    """
    manifest, _ = _read_map_manifest(Path(path))
    shapes = {name: entry["shape"] for name, entry in manifest["arrays"].items()}
    header = {key: value for key, value in manifest.items() if key != "keyframe_names"}
    header["num_keyframes"] = shapes["keyframe_stamps_ns"][0]
    header["num_landmarks"], header["descriptor_size"] = shapes["landmark_descriptors"]
    header["num_observations"] = shapes["observation_landmark_idx"][0]
    header["global_size"] = shapes["global_descriptors"][1]
    header["bytes"] = sum(entry["bytes"] for entry in manifest["arrays"].values())
    if "scene" in manifest:
        header["bytes"] += scene_bytes(manifest["scene"])
    return header


def _manifest_of(visual_map: VisualMap) -> dict[str, Any]:
    entries = {
        "frame_id": visual_map.frame_id,
        "extractor_id": visual_map.extractor_id,
        "cameras": [camera_pair_to_json(camera) for camera in visual_map.cameras],
        "observation_steps_per_px": visual_map.observation_xy.steps_per_px,
        "consistency": dataclasses.asdict(visual_map.consistency),
        "build_info": dict(visual_map.build_info),
    }
    if visual_map.areas:
        entries["areas"] = {name: list(box) for name, box in visual_map.areas.items()}
    if visual_map.given is not None:
        entries["lever_arms_m"] = visual_map.given.lever_arms_m.tolist()
    if visual_map.calibration is not None:
        entries["calibration"] = dataclasses.asdict(visual_map.calibration)
    return entries


def _arrays_of(visual_map: VisualMap) -> dict[str, _Array]:
    """Return the arrays of a map as they are stored; those of its search structure if it has one."""
    names = visual_map.keyframe_names
    assert isinstance(names, NameTable)
    arrays: dict[str, Any] = {"keyframe_name_offsets": names.offsets, "keyframe_name_text": names.text}
    for name in schema.REQUIRED[FORMAT_VERSION]:
        if name in _SEARCH_FIELDS:
            if visual_map.search is not None:
                arrays[name] = getattr(visual_map.search, name)
        elif name not in arrays:
            arrays[name] = getattr(visual_map, name)
    if visual_map.observation_descriptors is not None:
        arrays["observation_descriptors"] = visual_map.observation_descriptors
    if visual_map.given is not None:
        arrays["given_keyframe_poses"] = visual_map.given.keyframe_poses
    for stored in (visual_map.codes, visual_map.grid):
        if stored is not None:
            arrays |= stored.arrays()
    for name, array in visual_map.aggregation.items():
        arrays[f"{schema.AGGREGATION_PREFIX}{name}"] = array
    return {
        name: array.codes if isinstance(array, UnitVectors | PixelPositions) else array
        for name, array in arrays.items()
    }


def _rule(name: str) -> schema.Rule:
    rule = schema.rule_of(name, FORMAT_VERSION)
    assert rule is not None
    return rule


def _map_problems(visual_map: VisualMap) -> Iterator[str]:
    """Check a map in memory exactly as thoroughly as a reader will."""
    for name in visual_map.aggregation:
        if not schema.AGGREGATION_NAME.fullmatch(name):
            yield f"aggregation array '{name}' has no plain name, expected letters, digits and _"
            return
    try:
        for pair in visual_map.cameras:
            camera_pair_from_json(camera_pair_to_json(pair))
    except CalibrationError as error:
        yield f"a camera cannot be: {error}"
        return
    arrays = _arrays_of(visual_map)
    for name, array in arrays.items():
        dtype, _ = _rule(name)
        if np.dtype(array.dtype).newbyteorder("<").str != dtype:
            yield f"array '{name}' is {array.dtype}, expected {np.dtype(dtype)}"
            return
    count = len(visual_map.keyframe_names)
    yield from _array_problems(arrays, count, len(visual_map.cameras), FORMAT_VERSION, whole=True)
    if visual_map.scene is not None:
        yield from scene_problems(visual_map.scene, count)


def _read_map_manifest(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the manifest of a map of landmarks or of a scene network, its entries checked, and its bytes."""
    manifest, content = read_manifest(folder)
    file = folder / MANIFEST_NAME
    if manifest["kind"] not in (LANDMARKS, SCENE):
        raise MapFormatError(
            f"{file}: map of kind '{manifest['kind']}', expected '{LANDMARKS}' or '{SCENE}'; what is asked for needs "
            + ("one map: name one in its folder maps/" if manifest["kind"] == SET else "one of these")
        )
    for problem in manifest_problems(manifest):
        raise MapFormatError(f"{file}: {problem}; {ADVICE}")
    return manifest, content


def _stored_problems(
    manifest: Mapping[str, Any], arrays: Mapping[str, _Array], *, whole: bool
) -> Iterator[str]:
    if manifest["format_version"] == 1:
        count = len(manifest["keyframe_names"])
    else:
        count = max(len(arrays["keyframe_name_offsets"]) - 1, 0)
    yield from _array_problems(
        arrays, count, len(manifest["cameras"]), manifest["format_version"], whole=whole
    )


def _array_problems(
    arrays: Mapping[str, _Array], num_keyframes: int, num_cameras: int, version: int, *, whole: bool
) -> Iterator[str]:
    """Check what arrays say about each other; stops at the first array of a wrong shape."""
    found = list(schema.shape_problems(num_keyframes, arrays, version))
    yield from found
    if found:
        return
    yield from schema.end_problems(arrays, num_keyframes)
    if whole:
        yield from schema.content_problems(arrays, num_keyframes, num_cameras)


def _doubt_cameras(file: Path, cameras: Sequence[MapCamera]) -> None:
    """Warn of principal points that only parts of larger images have: maps do not tell such parts."""
    for row, pair in enumerate(cameras):
        problem = principal_point_problem(pair.given or pair.refined)
        if problem:
            _logger.warning(
                "%s: camera %d: %s (an image cut out of a larger one may be like that; if this one is whole, build the "
                "map anew with the right calibration)",
                file,
                row,
                problem,
            )


def _assemble(folder: Path, manifest: Mapping[str, Any], arrays: Mapping[str, _Array]) -> VisualMap:
    file = folder / MANIFEST_NAME
    try:
        cameras = tuple(camera_pair_from_json(entry) for entry in manifest["cameras"])
        consistency = consistency_from_json(manifest["consistency"])
    except CalibrationError as error:
        raise MapFormatError(f"{file}: a camera of the map cannot be: {error}; {ADVICE}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MapFormatError(
            f"{file}: cameras or consistency cannot be understood: {error!r}; {ADVICE}"
        ) from error
    _doubt_cameras(file, cameras)
    try:
        calibration = calibration_from_json(manifest.get("calibration"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MapFormatError(f"{file}: calibration cannot be understood: {error}; {ADVICE}") from error
    try:
        areas = areas_from_json(manifest.get("areas"))
    except MapFormatError as error:
        raise MapFormatError(f"{file}: {error}; {ADVICE}") from None
    given = None
    if "given_keyframe_poses" in arrays:
        try:
            lever_arms_m = np.array(manifest.get("lever_arms_m"), np.float64).reshape(len(cameras), 3)
        except (TypeError, ValueError, OverflowError) as error:
            raise MapFormatError(
                f"{file}: 'lever_arms_m' cannot be understood, expected three numbers for each of "
                f"{len(cameras)} cameras: {error}; {ADVICE}"
            ) from error
        given = GivenFrame(arrays["given_keyframe_poses"], lever_arms_m)
    fields: dict[str, Any] = {
        name: array for name, array in arrays.items() if name in VisualMap.__dataclass_fields__
    }
    search = None
    if manifest["format_version"] == 1:
        fields["keyframe_names"] = manifest["keyframe_names"]
    else:
        fields |= {name: UnitVectors(arrays[name]) for name in _COMPACT if name in arrays}
        fields["observation_xy"] = PixelPositions(
            arrays["observation_xy"], manifest["observation_steps_per_px"]
        )
        fields["keyframe_names"] = NameTable(arrays["keyframe_name_text"], arrays["keyframe_name_offsets"])
        search = SearchStructure(**{name: arrays[name] for name in _SEARCH_FIELDS})
        fields["codes"] = KeyframeCodes.of_arrays(arrays)
        poses = arrays["keyframe_poses"] if given is None else given.keyframe_poses
        fields["grid"] = PositionGrid.of_arrays(arrays, poses)
    return VisualMap(
        frame_id=manifest["frame_id"],
        extractor_id=manifest["extractor_id"],
        cameras=cameras,
        consistency=consistency,
        aggregation={
            name.removeprefix(schema.AGGREGATION_PREFIX): array
            for name, array in arrays.items()
            if name.startswith(schema.AGGREGATION_PREFIX)
        },
        build_info=manifest["build_info"],
        calibration=calibration,
        search=search,
        given=given,
        areas=areas,
        **fields,
    )
