"""Write a map to a folder and read it back: one manifest, one plain array file per array.

Nothing in a map is code: the manifest is JSON, the arrays are `.npy` files without objects,
and neither is ever unpickled. Arrays are mapped into memory, so a large map costs what is read
of it. The format is described in docs/map_format.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError, MapFormatError
from hfnet_ros.files.atomic import atomic_directory
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.map.visual_map import CovarianceCalibration, MapCamera, MapConsistency, VisualMap

FORMAT_NAME = "hfnet_ros map"
FORMAT_VERSION = 1
MANIFEST_NAME = "map.json"
ARRAYS_FOLDER = "arrays"

# Up to this size every load checks the digests: 64 MiB take less than 0.2 s, and a flipped bit
# never localizes.
ALWAYS_VERIFIED_BYTES = 64 * 1024 * 1024

_logger = logging.getLogger(__name__)

_Array = NDArray[Any]
_PathLike = str | os.PathLike[str]

# Letters are lengths that must agree: F keyframes, O observations, L landmarks, D and G sizes of
# the local and the global descriptor.
_SCHEMA: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "keyframe_stamps_ns": ("<i8", ("F",)),
    "keyframe_camera_idx": ("<i4", ("F",)),
    "keyframe_poses": ("<f8", ("F", 7)),
    "observation_offsets": ("<i8", ("F + 1",)),
    "observation_landmark_idx": ("<i4", ("O",)),
    "observation_xy": ("<f4", ("O", 2)),
    "landmark_xyz": ("<f8", ("L", 3)),
    "landmark_descriptors": ("<f4", ("L", "D")),
    "landmark_view_directions": ("<f4", ("L", 3)),
    "landmark_distance_ranges": ("<f4", ("L", 2)),
    "landmark_colors": ("|u1", ("L", 3)),
    "global_descriptors": ("<f4", ("F", "G")),
}
_AGGREGATION_PREFIX = "aggregation."
_AGGREGATION_SCHEMA: tuple[str, tuple[str | int, ...]] = ("<f4", ("rows", "columns"))
_AGGREGATION_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

_SEAL = re.compile(rb'"manifest_sha256": "([0-9a-f]{64})"')
_UNSEALED = "0" * 64
_MAX_QUATERNION_DEVIATION = 1e-3
_ADVICE = "copy the map again or rebuild it"


def save_map(visual_map: VisualMap, path: _PathLike) -> None:
    """Write a map to the folder `path`: the whole of it or nothing.

    Missing parent folders are created. A map that is already there is replaced in one step at
    the end; whoever has it loaded keeps the old one.

    Raises:
        MapFormatError: there is something else than a map at `path`, the map contradicts
            itself, or the disk refuses. What was there before is then untouched.
    """
    target = Path(path)
    check_map_target(target)
    arrays = _arrays_of(visual_map)
    for problem in _map_problems(visual_map, arrays):
        raise MapFormatError(f"{target}: not written, the map contradicts itself: {problem}")
    try:
        Path(os.path.realpath(target)).parent.mkdir(parents=True, exist_ok=True)
        with atomic_directory(target) as folder:
            (folder / ARRAYS_FOLDER).mkdir()
            entries = {name: _write_array(folder, name, array) for name, array in arrays.items()}
            (folder / MANIFEST_NAME).write_bytes(_sealed_manifest(visual_map, entries, target))
    except OSError as error:
        raise MapFormatError(
            f"{target}: map cannot be written: {error.strerror or error}; what was there is untouched"
        ) from error


def load_map(path: _PathLike, verify: bool = False) -> VisualMap:
    """Read a map; its arrays are read-only views of the files.

    Versions, sizes, types, shapes, indices, poses and landmark positions are always checked.
    Digests and the finiteness of all other arrays are checked too when the map is smaller than
    64 MiB or `verify` is given.

    Raises:
        MapFormatError: the map is damaged, incomplete or of a newer version; names the file,
            what was found and expected, and what to do.
    """
    folder = Path(path)
    manifest, content = _read_manifest(folder)
    size = sum(entry["bytes"] for entry in manifest["arrays"].values())
    thorough = verify or size <= ALWAYS_VERIFIED_BYTES
    arrays: dict[str, _Array] = {}
    for name in manifest["arrays"]:
        arrays[name] = _open_array(folder, name, manifest["arrays"][name], digest=thorough)
    for problem in _content_problems(manifest, arrays, thorough=thorough):
        raise MapFormatError(f"{folder}: {problem}; {_ADVICE}")
    if _manifest_bytes(folder) != content:
        raise MapFormatError(f"{folder}: map was replaced while it was read; load it again")
    if not thorough:
        _logger.info("%s: %.0f MB, digests not checked; `hfnet-ros map verify` does", folder, size / 1e6)
    return _assemble(folder, manifest, arrays)


def verify_map(path: _PathLike) -> list[str]:
    """Check every byte of a map and return what is wrong with it; empty means sound."""
    folder = Path(path)
    try:
        manifest, _ = _read_manifest(folder)
    except MapFormatError as error:
        return [str(error)]
    problems: list[str] = []
    arrays: dict[str, _Array] = {}
    for name, entry in manifest["arrays"].items():
        try:
            arrays[name] = _open_array(folder, name, entry, digest=True)
        except MapFormatError as error:  # noqa: PERF203 (all damaged arrays are named, not the first)
            problems.append(str(error))
    # Relations between arrays say nothing when one of them is known to be damaged.
    if not problems:
        found = _content_problems(manifest, arrays, thorough=True)
        problems.extend(f"{folder}: {problem}; {_ADVICE}" for problem in found)
    if not problems:
        try:
            _assemble(folder, manifest, arrays)
        except MapFormatError as error:
            problems.append(str(error))
    return problems


def read_map_header(path: _PathLike) -> dict[str, Any]:
    """Read what a map says of itself, without opening its arrays; JSON values only.

    Returns:
        The manifest without its list of keyframe names, and `num_keyframes`, `num_landmarks`,
        `num_observations`, `descriptor_size`, `global_size`, `bytes` (of all arrays).

    Raises:
        MapFormatError: the manifest is missing, damaged or of a newer version.
    """
    manifest, _ = _read_manifest(Path(path))
    shapes = {name: entry["shape"] for name, entry in manifest["arrays"].items()}
    header = {key: value for key, value in manifest.items() if key != "keyframe_names"}
    header["num_keyframes"] = len(manifest["keyframe_names"])
    header["num_landmarks"], header["descriptor_size"] = shapes["landmark_descriptors"]
    header["num_observations"] = shapes["observation_landmark_idx"][0]
    header["global_size"] = shapes["global_descriptors"][1]
    header["bytes"] = sum(entry["bytes"] for entry in manifest["arrays"].values())
    return header


def check_map_target(path: _PathLike) -> None:
    """Refuse a place where no map can be written; call it before a long build.

    Only a free name, an empty folder or a map with nothing but a map's files in it will do,
    because writing a map replaces the whole folder.

    Raises:
        MapFormatError: says what is there instead.
    """
    try:
        problem = _target_problem(Path(os.path.realpath(path)))
    except OSError as error:
        problem = f"cannot be examined: {error.strerror}"
    if problem:
        raise MapFormatError(f"{path}: {problem}; choose another folder for the map")


def _target_problem(target: Path) -> str:
    if target.exists():
        if not target.is_dir():
            return "is a file, expected a free name"
        if target.is_mount():
            return "is a mount point and cannot be replaced, a folder in it can"
        foreign = _foreign_entry(target)
        if foreign:
            return (
                f"holds '{foreign}', expected a free name, an empty folder or a map to replace: "
                "writing would delete it"
            )
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        return f"'{parent}' is a file, expected a folder to write the map in"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"no permission to write in '{parent}'"
    return ""


def _foreign_entry(folder: Path) -> str:
    """Return the name of something in `folder` that no map puts there, or ""."""
    entries = sorted(folder.iterdir())
    for entry in entries:
        if entry.name == ARRAYS_FOLDER and entry.is_dir() and not entry.is_symlink():
            for file in sorted(entry.iterdir()):
                if file.suffix != ".npy" or not file.is_file():
                    return f"{ARRAYS_FOLDER}/{file.name}"
        elif entry.name != MANIFEST_NAME or not entry.is_file():
            return entry.name
    # A damaged map may be replaced too, so the name is looked for, not parsed.
    manifest = folder / MANIFEST_NAME
    if entries and not (manifest.is_file() and FORMAT_NAME.encode() in manifest.read_bytes()):
        return entries[0].name
    return ""


def _arrays_of(visual_map: VisualMap) -> dict[str, _Array]:
    arrays: dict[str, _Array] = {name: getattr(visual_map, name) for name in _SCHEMA}
    for name, array in visual_map.aggregation.items():
        arrays[f"{_AGGREGATION_PREFIX}{name}"] = array
    return arrays


def _map_problems(visual_map: VisualMap, arrays: Mapping[str, _Array]) -> Iterator[str]:
    """Check a map in memory exactly as thoroughly as a reader will."""
    for name in visual_map.aggregation:
        if not _AGGREGATION_NAME.fullmatch(name):
            yield f"aggregation array '{name}' has no plain name, expected letters, digits and _"
            return
    for name, array in arrays.items():
        dtype, _ = _schema_of(name)
        if np.dtype(array.dtype).newbyteorder("<").str != dtype:
            yield f"array '{name}' is {array.dtype}, expected {np.dtype(dtype)}"
            return
    names = {"keyframe_names": visual_map.keyframe_names, "cameras": visual_map.cameras}
    yield from _content_problems(names, arrays, thorough=True)


def _write_array(folder: Path, name: str, array: _Array) -> dict[str, Any]:
    dtype, _ = _schema_of(name)
    plain = np.ascontiguousarray(array, dtype=dtype)
    file = folder / _array_file(name)
    np.save(file, plain, allow_pickle=False)
    return {
        "file": _array_file(name),
        "dtype": dtype,
        "shape": list(plain.shape),
        "bytes": file.stat().st_size,
        "sha256": _file_digest(file),
    }


def _sealed_manifest(visual_map: VisualMap, entries: Mapping[str, Any], target: Path) -> bytes:
    """Render the manifest and put its own digest in, taken with zeros in the digest's place."""
    manifest = {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "manifest_sha256": _UNSEALED,
        "frame_id": visual_map.frame_id,
        "extractor_id": visual_map.extractor_id,
        "cameras": [_camera_pair_to_json(camera) for camera in visual_map.cameras],
        "consistency": dataclasses.asdict(visual_map.consistency),
        "build_info": dict(visual_map.build_info),
        "arrays": dict(entries),
        "keyframe_names": list(visual_map.keyframe_names),
    }
    if visual_map.calibration is not None:
        manifest["calibration"] = dataclasses.asdict(visual_map.calibration)
    try:
        # ASCII, because file names on Linux need not be valid text.
        content = json.dumps(manifest, indent=1, allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError) as error:
        raise MapFormatError(
            f"{target}: not written, build_info or consistency is not plain JSON: {error}"
        ) from error
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(_UNSEALED.encode(), digest, 1)


def _read_manifest(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the checked manifest and its bytes."""
    content = _manifest_bytes(folder)
    file = folder / MANIFEST_NAME
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MapFormatError(f"{file}: not JSON ({error}), expected a map's manifest; {_ADVICE}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_NAME:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise MapFormatError(f"{file}: format is {found!r}, expected '{FORMAT_NAME}'; name a map's folder")
    version = manifest.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise MapFormatError(
            f"{file}: format version is {version}, this program reads {FORMAT_VERSION}; "
            "update hfnet_ros or rebuild the map"
        )
    if type(version) is not int or version != FORMAT_VERSION:
        raise MapFormatError(f"{file}: format version is {version!r}, expected {FORMAT_VERSION}; {_ADVICE}")
    seal = _SEAL.search(content)
    if seal is None:
        raise MapFormatError(f"{file}: has no 'manifest_sha256', expected 64 hexadecimal digits; {_ADVICE}")
    unsealed = content[: seal.start(1)] + _UNSEALED.encode() + content[seal.end(1) :]
    digest = hashlib.sha256(unsealed).hexdigest()
    if digest != seal[1].decode():
        raise MapFormatError(
            f"{file}: manifest digest is {digest[:16]}..., expected {seal[1].decode()[:16]}...: "
            f"the file was changed or damaged; {_ADVICE}"
        )
    for problem in _manifest_problems(manifest):
        raise MapFormatError(f"{file}: {problem}; {_ADVICE}")
    return manifest, content


def _manifest_bytes(folder: Path) -> bytes:
    file = folder / MANIFEST_NAME
    try:
        if not folder.exists():
            raise MapFormatError(f"{folder}: no such map; build one with `hfnet-ros map build`")
        if not folder.is_dir():
            raise MapFormatError(f"{folder}: is a file, expected the folder of a map; name the folder")
        if file.is_file():
            return file.read_bytes()
        found = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise MapFormatError(f"{file}: cannot be read: {error.strerror}; check the permissions") from error
    listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    raise MapFormatError(
        f"{folder}: has no {MANIFEST_NAME}, found {listed or 'an empty folder'}; "
        "name a folder that `hfnet-ros map build` wrote"
    )


def _manifest_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Check the types of what is read from the manifest; its digest says only that it is unchanged."""
    kinds = {"frame_id": str, "extractor_id": str, "cameras": list, "consistency": dict}
    kinds |= {"build_info": dict, "arrays": dict, "keyframe_names": list}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            yield f"'{key}' is {type(manifest.get(key)).__name__}, expected {kind.__name__}"
            return
    if not all(isinstance(name, str) for name in manifest["keyframe_names"]):
        yield "'keyframe_names' holds something else than text"
    for name in _SCHEMA:
        if name not in manifest["arrays"]:
            yield f"array '{name}' is not listed, expected {len(_SCHEMA)} arrays"
    for name, entry in manifest["arrays"].items():
        yield from _entry_problems(name, entry)


def _entry_problems(name: str, entry: Any) -> Iterator[str]:
    aggregation = name.removeprefix(_AGGREGATION_PREFIX)
    if name not in _SCHEMA and (aggregation == name or not _AGGREGATION_NAME.fullmatch(aggregation)):
        yield f"array '{name}' is unknown in format version {FORMAT_VERSION}"
        return
    dtype, dimensions = _schema_of(name)
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        yield f"array '{name}' is listed without a shape"
        return
    if entry.get("file") != _array_file(name):
        yield f"array '{name}' is listed in file {entry.get('file')!r}, expected '{_array_file(name)}'"
    if entry.get("dtype") != dtype:
        yield f"array '{name}' is listed as {entry.get('dtype')!r}, expected '{dtype}'"
    lengths = [*entry["shape"], entry.get("bytes")]
    if not all(type(length) is int and length >= 0 for length in lengths):
        yield f"array '{name}' is listed with shape {entry['shape']} and {entry.get('bytes')!r} bytes"
    elif len(entry["shape"]) != len(dimensions):
        yield f"array '{name}' is listed with shape {entry['shape']}, expected {_dimension_text(dimensions)}"
    if not isinstance(entry.get("sha256"), str):
        yield f"array '{name}' is listed without a digest"


def _open_array(folder: Path, name: str, entry: Mapping[str, Any], *, digest: bool) -> _Array:
    """Map one array into memory after checking its file against the manifest."""
    file = folder / _array_file(name)
    where = f"{file}: array '{name}'"
    try:
        problem = _file_problem(file, entry, digest=digest)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    if problem:
        raise MapFormatError(f"{where} {problem}; {_ADVICE}")
    try:
        # open_memmap, unlike load, reads nothing but .npy, and never objects.
        mapped = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # a damaged header ends in Python's tokenizer, whose errors are many
        raise MapFormatError(f"{where} is not a plain array ({error}), expected .npy; {_ADVICE}") from error
    described = f"{mapped.dtype.str}{list(mapped.shape)}"
    expected = f"{entry['dtype']}{entry['shape']}"
    # A damaged header length would shift all numbers, and the size of the file would still be right.
    plain = mapped.flags.c_contiguous and mapped.offset + mapped.nbytes == entry["bytes"]
    if described != expected or not plain:
        raise MapFormatError(
            f"{where} is {described}, expected {expected}, row by row and nothing else; {_ADVICE}"
        )
    # A plain view: the memmap class itself would turn up in every result computed from it.
    return np.asarray(mapped)


def _file_problem(file: Path, entry: Mapping[str, Any], *, digest: bool) -> str:
    if not file.is_file():
        return f"is missing, expected {entry['bytes']} bytes"
    size = file.stat().st_size
    if size != entry["bytes"]:
        return f"has {size} bytes, expected {entry['bytes']}"
    found = _file_digest(file) if digest else entry["sha256"]
    if found != entry["sha256"]:
        return f"has SHA-256 {found[:16]}..., expected {entry['sha256'][:16]}...: it is damaged"
    return ""


def _content_problems(
    manifest: Mapping[str, Any], arrays: Mapping[str, _Array], *, thorough: bool
) -> Iterator[str]:
    """Check what arrays say about each other; stops at the first array of a wrong shape."""
    shape_problems = list(_shape_problems(len(manifest["keyframe_names"]), arrays))
    yield from shape_problems
    if shape_problems:
        return
    if not manifest["keyframe_names"]:
        yield "map has no keyframe, expected at least one"
    offsets, seen = arrays["observation_offsets"], arrays["observation_landmark_idx"]
    if offsets[0] != 0 or offsets[-1] != len(seen) or np.any(offsets[1:] < offsets[:-1]):
        yield (
            f"array 'observation_offsets' runs from {offsets[0]} to {offsets[-1]}, expected to rise from 0 "
            f"to {len(seen)} without a step back"
        )
    yield from _index_problems("observation_landmark_idx", seen, len(arrays["landmark_xyz"]), "landmarks")
    yield from _index_problems(
        "keyframe_camera_idx", arrays["keyframe_camera_idx"], len(manifest["cameras"]), "cameras"
    )
    always = ("keyframe_poses", "landmark_xyz")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and (thorough or name in always):
            broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
            if len(broken):
                yield f"array '{name}' is not finite in {len(broken)} rows, first row {broken[0]}"
    norms = np.linalg.norm(arrays["keyframe_poses"][:, 3:], axis=1)
    bent = np.flatnonzero(np.abs(norms - 1.0) > _MAX_QUATERNION_DEVIATION)
    if len(bent):
        yield (
            f"array 'keyframe_poses' has a quaternion of length {norms[bent[0]]:g} in row {bent[0]}, "
            "expected 1"
        )


def _shape_problems(num_keyframes: int, arrays: Mapping[str, _Array]) -> Iterator[str]:
    lengths: dict[str, int] = {"F": num_keyframes, "F + 1": num_keyframes + 1}
    for name, array in arrays.items():
        _, dimensions = _schema_of(name)
        own = {} if name.startswith(_AGGREGATION_PREFIX) else lengths
        expected = [
            own.setdefault(dimension, length) if isinstance(dimension, str) else dimension
            for dimension, length in zip(dimensions, array.shape, strict=False)
        ]
        if array.ndim != len(dimensions) or list(array.shape) != expected:
            described = ", ".join(f"{letter} = {length}" for letter, length in lengths.items())
            yield (
                f"array '{name}' has shape {list(array.shape)}, expected {_dimension_text(dimensions)} "
                f"with {described}"
            )


def _index_problems(name: str, idx: _Array, count: int, what: str) -> Iterator[str]:
    if len(idx) and (idx.min() < 0 or idx.max() >= count):
        yield (
            f"array '{name}' ranges from {idx.min()} to {idx.max()}, expected 0 to {count - 1} "
            f"({count} {what})"
        )


def _assemble(folder: Path, manifest: Mapping[str, Any], arrays: Mapping[str, _Array]) -> VisualMap:
    try:
        cameras = tuple(_camera_pair_from_json(entry) for entry in manifest["cameras"])
        consistency = _consistency_from_json(manifest["consistency"])
    except (CalibrationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise MapFormatError(
            f"{folder / MANIFEST_NAME}: cameras or consistency cannot be understood: {error!r}; {_ADVICE}"
        ) from error
    try:
        calibration = _calibration_from_json(manifest.get("calibration"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MapFormatError(
            f"{folder / MANIFEST_NAME}: calibration cannot be understood: {error}; {_ADVICE}"
        ) from error
    return VisualMap(
        frame_id=manifest["frame_id"],
        extractor_id=manifest["extractor_id"],
        cameras=cameras,
        keyframe_names=tuple(manifest["keyframe_names"]),
        consistency=consistency,
        aggregation={
            name.removeprefix(_AGGREGATION_PREFIX): array
            for name, array in arrays.items()
            if name.startswith(_AGGREGATION_PREFIX)
        },
        build_info=manifest["build_info"],
        calibration=calibration,
        **{name: arrays[name] for name in _SCHEMA},
    )


def _camera_pair_to_json(pair: MapCamera) -> dict[str, Any]:
    given = None if pair.given is None else _camera_to_json(pair.given)
    return {"given": given, "refined": _camera_to_json(pair.refined)}


def _camera_pair_from_json(entry: Mapping[str, Any]) -> MapCamera:
    given = None if entry["given"] is None else _camera_from_json(entry["given"])
    return MapCamera(given, _camera_from_json(entry["refined"]))


def _camera_to_json(camera: Camera) -> dict[str, Any]:
    return {
        "model": camera.model.value,
        "size_wh": [int(length) for length in camera.size_wh],
        "focal": camera.focal.tolist(),
        "center": camera.center.tolist(),
        "distortion": camera.distortion.tolist(),
    }


def _camera_from_json(entry: Mapping[str, Any]) -> Camera:
    width, height = entry["size_wh"]
    model = DistortionModel(entry["model"])
    return Camera(model, (width, height), entry["focal"], entry["center"], entry["distortion"])


def _consistency_from_json(entry: Mapping[str, Any]) -> MapConsistency:
    return MapConsistency(**_known_fields(entry, MapConsistency))


def _calibration_from_json(entry: Mapping[str, Any] | None) -> CovarianceCalibration | None:
    """Return None for a map without one, as maps written before there were any."""
    if entry is None:
        return None
    return CovarianceCalibration(**_known_fields(entry, CovarianceCalibration))


def _known_fields(entry: Mapping[str, Any], record: type[Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(record)}
    # A later writer of this version may add fields; lists stand for the record's tuples.
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in entry.items()
        if key in known
    }


def _schema_of(name: str) -> tuple[str, tuple[str | int, ...]]:
    return _SCHEMA.get(name, _AGGREGATION_SCHEMA)


def _array_file(name: str) -> str:
    return f"{ARRAYS_FOLDER}/{name}.npy"


def _dimension_text(dimensions: tuple[str | int, ...]) -> str:
    return "[" + ", ".join(str(dimension) for dimension in dimensions) + "]"


def _file_digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
