"""The scene-coordinate network of a map on disk: an ONNX file and plain arrays, listed in the manifest as `scene`.

The ONNX file is compared with its size and digest, and read by no one here: what runs networks reads it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map import array_files
from hfnet_ros.map.array_files import ADVICE, ALWAYS_VERIFIED_BYTES
from hfnet_ros.map.records_json import consistency_from_json
from hfnet_ros.map.scene_network import FEATURES, IMAGE, SceneNetwork
from hfnet_ros.map.scene_points import DESCRIPTORS, LEAVES, XYZ

SCENE_FOLDER = "scene"
NETWORK_FILE = f"{SCENE_FOLDER}/network.onnx"

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_LONGEST_NAME = 120
_DTYPES = ("<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "|b1")
_RULES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "centers": ("<f4", ("N", 3)),
    "parents": ("<i4", ("N",)),
    "scales": ("<f4", ("N",)),
}
_OF_FEATURES: dict[str, tuple[str, tuple[str | int, ...]]] = {"identities": ("<f4", ("F", "I"))}
_OF_IMAGE: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "confidence_levels": ("<f4", ("K",)),
    "confidence_sigmas": ("<f4", ("K",)),
}
# Of the landmarks that a network may keep: all of these, or none.
_OF_POINTS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    XYZ: ("<f4", ("P", 3)),
    DESCRIPTORS: ("|i1", ("P", "D")),
    LEAVES: ("<i4", ("P",)),
}

_Array = NDArray[Any]


def write_scene(folder: Path, scene: SceneNetwork) -> dict[str, Any]:
    """Write the files of a network into the folder of a map and return its entry for the manifest.

    Raises:
        OSError: the disk refuses.
    """
    (folder / SCENE_FOLDER).mkdir()
    file = folder / NETWORK_FILE
    file.write_bytes(scene.network)
    network = {
        "file": NETWORK_FILE,
        "bytes": len(scene.network),
        "sha256": array_files.file_digest(file),
    }
    arrays = {
        name: array_files.write_array(folder, name, array, _stored_dtype(array), SCENE_FOLDER)
        for name, array in sorted(scene.arrays.items())
    }
    return {
        "takes": scene.takes,
        "network": network,
        "facts": dict(scene.facts),
        "consistency": dataclasses.asdict(scene.consistency),
        "arrays": arrays,
    }


def scene_bytes(entry: Mapping[str, Any]) -> int:
    """Return how many bytes the files of an entry have."""
    return int(entry["network"]["bytes"]) + sum(array["bytes"] for array in entry["arrays"].values())


def scene_entry_problems(entry: Any) -> Iterator[str]:
    """Yield what an entry of the manifest says that cannot be."""
    if not isinstance(entry, dict):
        yield f"'scene' is {type(entry).__name__}, expected dict"
        return
    kinds: dict[str, type] = {
        "takes": str,
        "network": dict,
        "facts": dict,
        "consistency": dict,
        "arrays": dict,
    }
    for key, kind in kinds.items():
        if not isinstance(entry.get(key), kind):
            yield f"'scene.{key}' is {type(entry.get(key)).__name__}, expected {kind.__name__}"
            return
    if entry["takes"] not in (FEATURES, IMAGE):
        yield f"'scene.takes' is '{entry['takes']}', expected '{FEATURES}' or '{IMAGE}'"
        return
    network = entry["network"]
    if network.get("file") != NETWORK_FILE:
        yield f"the scene network is listed in file {network.get('file')!r}, expected '{NETWORK_FILE}'"
    yield from _size_problems("the scene network", network, [])
    for name in _required(entry["takes"], entry["arrays"]):
        if name not in entry["arrays"]:
            yield f"scene array '{name}' is not listed"
    for name, array in entry["arrays"].items():
        yield from _array_entry_problems(name, array)


def open_scene(folder: Path, entry: Mapping[str, Any], num_keyframes: int, *, verify: bool) -> SceneNetwork:
    """Read the network of a map whose entry was checked; large arrays stay mapped from their files.

    Args:
        folder: the map.
        entry: what the manifest says of it.
        num_keyframes: F.
        verify: compare arrays with their digests, however large they are.

    Raises:
        MapFormatError: a file is missing or damaged, or the arrays contradict each other.
    """
    thorough = verify or scene_bytes(entry) <= ALWAYS_VERIFIED_BYTES
    network = _read_network(folder, entry["network"])
    arrays = {
        name: array_files.open_array(
            folder, name, entry["arrays"][name], digest=thorough, subfolder=SCENE_FOLDER
        )
        for name in entry["arrays"]
    }
    for problem in array_problems(entry["takes"], arrays, num_keyframes, whole=thorough):
        raise MapFormatError(f"{folder}: {problem}; {ADVICE}")
    return _assembled(folder, entry, network, arrays)


def verify_scene(folder: Path, entry: Mapping[str, Any], num_keyframes: int | None) -> Iterator[str]:
    """Check every byte and yield all that is wrong, as `map_io.verify_map` does; F is None where it is not known."""
    problems, arrays = [], {}
    try:
        network = _read_network(folder, entry["network"])
    except MapFormatError as error:
        problems.append(str(error))
    for name, array in entry["arrays"].items():
        try:
            arrays[name] = array_files.open_array(folder, name, array, digest=True, subfolder=SCENE_FOLDER)
        except MapFormatError as error:  # noqa: PERF203 (all damaged arrays are named, not the first)
            problems.append(str(error))
    if not problems:
        found = array_problems(entry["takes"], arrays, num_keyframes, whole=True)
        problems = [f"{folder}: {problem}; {ADVICE}" for problem in found]
    if not problems:
        try:
            _assembled(folder, entry, network, arrays)
        except MapFormatError as error:
            problems.append(str(error))
    yield from problems


def scene_problems(scene: SceneNetwork, num_keyframes: int) -> Iterator[str]:
    """Check a network in memory as a reader of it will."""
    if scene.takes not in (FEATURES, IMAGE):
        yield f"the scene network takes '{scene.takes}', expected '{FEATURES}' or '{IMAGE}'"
        return
    for name, array in scene.arrays.items():
        if not _is_name(name):
            yield f"scene array '{name}' has no plain name, expected letters, digits, _ and ."
            return
        if _stored_dtype(array) not in _DTYPES:
            yield f"scene array '{name}' is {np.asarray(array).dtype}, expected one of {', '.join(_DTYPES)}"
            return
    for name in _required(scene.takes, scene.arrays):
        if name not in scene.arrays:
            yield f"scene array '{name}' is not there"
            return
    yield from array_problems(scene.takes, scene.arrays, num_keyframes, whole=True)


def array_problems(
    takes: str, arrays: Mapping[str, _Array], num_keyframes: int | None, *, whole: bool
) -> Iterator[str]:
    """Yield what arrays say that cannot be; of all their numbers only where `whole`."""
    lengths: dict[str | int, int] = {} if num_keyframes is None else {"F": num_keyframes}
    for name, (dtype, dimensions) in _required(takes, arrays).items():
        array = arrays[name]
        shape, expected = (
            list(array.shape),
            [
                size if isinstance(size, int) else lengths.setdefault(size, length)
                for size, length in zip(dimensions, array.shape, strict=False)
            ],
        )
        if len(shape) != len(dimensions) or shape != expected or _stored_dtype(array) != dtype:
            yield (
                f"scene array '{name}' is {_stored_dtype(array)}{shape}, expected {dtype}{expected} of "
                f"[{', '.join(str(size) for size in dimensions)}]"
            )
            return
    count = len(arrays["centers"])
    if not count:
        yield "scene array 'centers' is empty, expected a leaf at least"
        return
    if not whole:
        return
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield f"scene array '{name}' is not finite"
            return
    parents, scales = arrays["parents"], arrays["scales"]
    if parents.min() < 0 or parents.max() >= count:
        yield f"scene array 'parents' ranges from {parents.min()} to {parents.max()}, expected 0 to {count - 1}"
    if scales.min() <= 0.0:
        yield f"scene array 'scales' has {scales.min():g}, expected sizes above 0"
    leaves = arrays.get(LEAVES, np.empty(0, np.int32))
    if len(leaves) and (leaves[0] < 0 or leaves[-1] >= count or (np.diff(leaves) < 0).any()):
        yield f"scene array '{LEAVES}' does not ascend within 0 to {count - 1}"
    if takes == IMAGE:
        levels, sigmas = arrays["confidence_levels"], arrays["confidence_sigmas"]
        if not len(levels) or (np.diff(levels) < 0.0).any() or sigmas.min() <= 0.0:
            yield "scene arrays 'confidence_levels' and 'confidence_sigmas': expected rising levels and sizes above 0"


def _required(takes: str, names: Collection[str]) -> dict[str, tuple[str, tuple[str | int, ...]]]:
    keeps_points = any(name in names for name in _OF_POINTS)
    return _RULES | (_OF_FEATURES if takes == FEATURES else _OF_IMAGE) | (_OF_POINTS if keeps_points else {})


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _stored_dtype(array: _Array) -> str:
    return np.asarray(array).dtype.newbyteorder("<").str


def _array_entry_problems(name: str, entry: Any) -> Iterator[str]:
    if not _is_name(name):
        yield f"scene array '{name}' has no plain name"
        return
    where = f"scene array '{name}'"
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        yield f"{where} is listed without a shape"
        return
    file = array_files.array_file(name, SCENE_FOLDER)
    if entry.get("file") != file:
        yield f"{where} is listed in file {entry.get('file')!r}, expected '{file}'"
    if entry.get("dtype") not in _DTYPES:
        yield f"{where} is listed as {entry.get('dtype')!r}, expected one of {', '.join(_DTYPES)}"
    yield from _size_problems(where, entry, entry["shape"])


def _size_problems(where: str, entry: Mapping[str, Any], shape: list[Any]) -> Iterator[str]:
    if not all(type(length) is int and length >= 0 for length in [*shape, entry.get("bytes")]):
        yield f"{where} is listed with shape {shape} and {entry.get('bytes')!r} bytes"
    if not isinstance(entry.get("sha256"), str):
        yield f"{where} is listed without a digest"


def _read_network(folder: Path, entry: Mapping[str, Any]) -> bytes:
    """Return the ONNX file; its digest is always compared, because all of it is read anyway."""
    file = folder / NETWORK_FILE
    try:
        problem = array_files.file_problem(file, entry, digest=True)
        content = b"" if problem else file.read_bytes()
    except OSError as error:
        problem, content = f"cannot be read: {error.strerror or error}", b""
    if problem:
        raise MapFormatError(f"{file}: the scene network {problem}; {ADVICE}")
    return content


def _assembled(
    folder: Path, entry: Mapping[str, Any], network: bytes, arrays: Mapping[str, _Array]
) -> SceneNetwork:
    try:
        consistency = consistency_from_json(entry["consistency"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MapFormatError(
            f"{folder}: the consistency of the scene network cannot be understood: {error!r}; {ADVICE}"
        ) from error
    return SceneNetwork(entry["takes"], network, dict(arrays), entry["facts"], consistency)
