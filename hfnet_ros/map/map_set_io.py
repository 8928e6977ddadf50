"""Sets of maps on disk: a manifest, the maps, and one index over the keyframes of all. docs/map_format.md has it.

    SET/map.json            which maps, where they lie, how they overlap
    SET/maps/NAME/          a map that works alone; NAME.3 after the third change of the set
    SET/index/3/*.npy       global descriptors, poses and names of all keyframes, as of the third change

A change writes the new maps and the new index beside the old ones, then replaces `map.json` in one step, then removes
what is no longer named. Whoever has the set open keeps the files that it has mapped, and finds the new ones when it
reads the manifest again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.files.atomic import atomic_directory, atomic_file
from hfnet_ros.map import array_files
from hfnet_ros.map.array_files import ADVICE, ALWAYS_VERIFIED_BYTES
from hfnet_ros.map.keyframe_codes import CODE_RULES, codes_problem
from hfnet_ros.map.manifest import MANIFEST_NAME, SET, PathLike, read_manifest, sealed_manifest
from hfnet_ros.map.map_io import verify_map
from hfnet_ros.map.map_set import MapSet, SubMap, map_set_from_json
from hfnet_ros.map.position_grid import GRID_RULES, grid_problem
from hfnet_ros.map.schema import OBSOLETE

Arrays = Mapping[str, NDArray[Any]]

INDEX_FOLDER = "index"
_TYPES: dict[str, tuple[str, int]] = {  # type, dimensions
    "global_descriptors": ("|i1", 2),
    "keyframe_poses": ("<f8", 2),
    "keyframe_name_offsets": ("<i8", 1),
    "keyframe_name_text": ("|u1", 1),
}
_OPTIONAL: dict[str, tuple[str, int]] = {
    "given_keyframe_poses": ("<f8", 2),
    "aggregation.vocabulary": ("<f4", 2),
    "aggregation.projection": ("<f4", 2),
} | {name: (dtype, len(lengths)) for name, (dtype, lengths) in (CODE_RULES | GRID_RULES | OBSOLETE).items()}


def read_map_set(path: PathLike) -> MapSet:
    """Read what a set says of itself, every value checked; neither index nor sub-maps are opened.

    Raises:
        MapFormatError: the manifest is missing, damaged, of a newer version or of another kind.
    """
    folder = Path(path)
    manifest, _ = read_manifest(folder)
    file = folder / MANIFEST_NAME
    if manifest["kind"] != SET:
        raise MapFormatError(f"{file}: map of kind '{manifest['kind']}', expected a set of maps; name one")
    try:
        found = map_set_from_json(manifest)
        for problem in _listing_problems(found):
            raise MapFormatError(problem)
    except MapFormatError as error:
        raise MapFormatError(f"{file}: {error}; {ADVICE}") from None
    return found


def open_index(path: PathLike, found: MapSet, *, verify: bool = False) -> dict[str, NDArray[Any]]:
    """Map the arrays of a set's index into memory.

    Args:
        path: of the set.
        found: what its manifest says.
        verify: compare digests however large the index is.

    Raises:
        MapFormatError: one is missing or damaged.
    """
    size = sum(entry["bytes"] for entry in found.index.values())
    arrays = {
        name: array_files.open_array(
            Path(path),
            name,
            entry,
            digest=verify or size <= ALWAYS_VERIFIED_BYTES,
            subfolder=index_folder(found),
        )
        for name, entry in found.index.items()
    }
    for problem in _index_problems(found, arrays):
        raise MapFormatError(f"{Path(path) / index_folder(found)}: {problem}; {ADVICE}")
    return arrays


def index_folder(found: MapSet) -> str:
    """Return where the index of a set lies, relative to it."""
    return f"{INDEX_FOLDER}/{found.generation}"


def write_index(folder: Path, subfolder: str, arrays: Arrays) -> dict[str, dict[str, Any]]:
    """Write the arrays of an index and return their entries for the manifest.

    Raises:
        OSError: the disk refuses.
    """
    kinds = _TYPES | _OPTIONAL
    (folder / subfolder).parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(folder / subfolder) as made:
        return {
            name: array_files.write_array(made.parent, name, array, kinds[name][0], made.name)
            | {"file": array_files.array_file(name, subfolder)}
            for name, array in arrays.items()
        }


def write_manifest(folder: Path, found: MapSet, target: PathLike) -> None:
    """Put a manifest in place in one step.

    Raises:
        OSError: the disk refuses.
    """
    content = sealed_manifest(SET, found.to_json(), target)
    with atomic_file(folder / MANIFEST_NAME) as temporary:
        temporary.write_bytes(content)


def remove_unnamed(folder: Path, found: MapSet) -> None:
    """Remove maps and indices that the manifest no longer names, as far as they can be."""
    kept = {folder / index_folder(found)} | {folder / sub_map.folder for sub_map in found.sub_maps}
    for parent in {path.parent for path in kept}:
        for path in parent.iterdir():
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def verify_map_set(path: PathLike) -> list[str]:
    """Check every byte of a set and return what is wrong with it, by sub-map; empty means sound."""
    folder = Path(path)
    try:
        found = read_map_set(folder)
    except MapFormatError as error:
        return [str(error)]
    problems = _problems(folder, found)
    # What is missing may have been replaced meanwhile.
    return verify_map_set(path) if problems and read_map_set(folder).digest != found.digest else problems


def _problems(folder: Path, found: MapSet) -> list[str]:
    problems = []
    try:
        open_index(folder, found, verify=True)
    except MapFormatError as error:
        problems.append(str(error))
    for sub_map in found.sub_maps:
        problems += [
            f"sub-map '{sub_map.name}': {problem}" for problem in _sub_map_problems(folder, found, sub_map)
        ]
    return problems


def verify_any(path: PathLike) -> list[str]:
    """Check every byte of a map or of a set; see `verify_map` and `verify_map_set`."""
    try:
        is_set = read_manifest(path)[0]["kind"] == SET
    except MapFormatError:
        is_set = False
    return verify_map_set(path) if is_set else verify_map(path)


def mismatch(found: MapSet, sub_map: SubMap, manifest: Mapping[str, Any]) -> str:
    """Return how the manifest of a sub-map contradicts the set's; "" if it does not."""
    if manifest.get("extractor_id") != found.extractor_id:
        return (
            f"was built with extractor '{manifest.get('extractor_id')}', the set with '{found.extractor_id}'; replace "
            "it by one of the set's extractor"
        )
    if manifest["manifest_sha256"] != sub_map.digest:
        return (
            f"has manifest {manifest['manifest_sha256'][:16]}..., the set names {sub_map.digest[:16]}...: it was "
            "changed in place; use `hfnet-ros map set replace`"
        )
    says, has = _listed(found, sub_map), _counted(manifest)
    if says != has:
        differing = [name for name in says if says[name] != has[name]]
        return (
            f"has {', '.join(f'{name} {has[name]}' for name in differing)}, the set says "
            f"{', '.join(str(says[name]) for name in differing)}; use `hfnet-ros map set replace`"
        )
    return ""


def _listed(found: MapSet, sub_map: SubMap) -> dict[str, Any]:
    """Return what a set relies on, as it lists it."""
    return {
        "keyframes": sub_map.num_keyframes,
        "landmarks": sub_map.num_landmarks,
        "observations": sub_map.num_observations,
        "covisible pairs": sub_map.num_covisible_pairs,
        "cameras": len(sub_map.cameras),
        "numbers in a descriptor": found.descriptor_size,
        "given poses": sub_map.lever_arms_m is not None,
    }


def _counted(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same as a map's own manifest says it; None of what is not there."""

    def length(name: str, axis: int = 0) -> Any:
        try:
            return arrays[name]["shape"][axis]
        except (KeyError, TypeError, IndexError):
            return None

    arrays, cameras = manifest.get("arrays") or {}, manifest.get("cameras")
    return {
        "keyframes": length("keyframe_stamps_ns"),
        "landmarks": length("landmark_xyz"),
        "observations": length("observation_landmark_idx"),
        "covisible pairs": length("covisible_keyframe_idx"),
        "cameras": len(cameras) if isinstance(cameras, list) else None,
        "numbers in a descriptor": length("landmark_descriptors", 1),
        "given poses": "given_keyframe_poses" in arrays,
    }


def _sub_map_problems(folder: Path, found: MapSet, sub_map: SubMap) -> Iterator[str]:
    where = folder / sub_map.folder
    try:
        contradiction = mismatch(found, sub_map, read_manifest(where)[0])
    except MapFormatError as error:
        yield str(error)
        return
    if contradiction:
        yield f"{where}: {contradiction}"
    yield from verify_map(where)


def _listing_problems(found: MapSet) -> Iterator[str]:
    """Yield what the entries of the index say that cannot be."""
    for name in _TYPES:
        if name not in found.index:
            yield f"array '{name}' is not listed, expected {len(_TYPES)} arrays"
    for name, entry in found.index.items():
        dtype, dimensions = (_TYPES | _OPTIONAL).get(name, ("", 0))
        if not dtype:
            yield f"array '{name}' is unknown in a set"
            continue
        file = array_files.array_file(name, index_folder(found))
        lengths = [*entry["shape"], entry.get("bytes")] if _has_shape(entry) else [None]
        if (
            not all(type(length) is int and length >= 0 for length in lengths)
            or len(lengths) != dimensions + 1
        ):
            yield f"array '{name}' is listed without a shape of {dimensions} lengths and a size"
        elif (
            entry.get("file") != file
            or entry.get("dtype") != dtype
            or not isinstance(entry.get("sha256"), str)
        ):
            yield f"array '{name}' is listed as {entry}, expected file '{file}', type '{dtype}' and a digest"


def _has_shape(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("shape"), list)


def _index_problems(found: MapSet, arrays: Arrays) -> Iterator[str]:
    """Yield what arrays say about each other and the manifest that cannot be."""
    count = sum(sub_map.num_keyframes for sub_map in found.sub_maps)
    size = arrays["global_descriptors"].shape[1]
    expected: dict[str, tuple[int, ...]] = {
        "global_descriptors": (count, size),
        "keyframe_poses": (count, 7),
        "given_keyframe_poses": (count, 7),
        "keyframe_name_offsets": (count + 1,),
        "grid_keyframe_idx": (count,),
    }
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            yield f"array '{name}' is {list(arrays[name].shape)}, expected {list(shape)}"
            return
    offsets, last = arrays["keyframe_name_offsets"], len(arrays["keyframe_name_text"])
    if offsets[0] != 0 or offsets[-1] != last or (np.diff(offsets) < 0).any():
        yield f"array 'keyframe_name_offsets' does not rise from 0 to {last}"
    for problem in (codes_problem(arrays, count, size), grid_problem(arrays)):
        if problem:
            yield problem
    projection, vocabulary = (arrays.get(f"aggregation.{name}") for name in ("projection", "vocabulary"))
    if (projection is None) != (vocabulary is None):
        yield "of 'aggregation.vocabulary' and 'aggregation.projection' one is there, expected both or none"
    if projection is None or vocabulary is None:
        return
    if projection.shape[1] != vocabulary.size or len(projection) > size:
        yield f"array 'aggregation.projection' is {list(projection.shape)} for {vocabulary.size} numbers of words"
