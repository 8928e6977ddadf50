"""Make sets of maps and change them: one step on disk each, whoever has the set open."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import ExtractorMismatchError, MapFormatError
from hfnet_ros.files.atomic import atomic_directory
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.areas import check_area_name
from hfnet_ros.map.manifest import LANDMARKS, MANIFEST_NAME, PathLike, read_manifest
from hfnet_ros.map.map_copy import NotCopiedError, copy_map
from hfnet_ros.map.map_io import load_map, read_map_header
from hfnet_ros.map.map_set import MAPS_FOLDER, MapSet, Overlap, SubMap, check_name
from hfnet_ros.map.map_set_io import (
    INDEX_FOLDER,
    open_index,
    read_map_set,
    remove_unnamed,
    write_index,
    write_manifest,
)
from hfnet_ros.map.map_target import check_map_target
from hfnet_ros.mapping.set_descriptors import Aggregation, common_aggregation
from hfnet_ros.mapping.set_index import IndexPart, index_arrays, parts_of
from hfnet_ros.mapping.set_lock import set_locked

FloatArray = NDArray[np.float64]
Placement = tuple[Rigid3, FloatArray]
Overlaps = Mapping[tuple[str, str], Overlap]


def write_set(
    folder: PathLike,
    sub_maps: Sequence[tuple[str, Path]],
    overlaps: Overlaps,
    *,
    frame_id: str,
    areas: Mapping[str, Sequence[str]] | None = None,
    placements: Mapping[str, Placement] | None = None,
    link: bool = False,
) -> None:
    """Write a set of maps: all of it or nothing.

    Args:
        folder: of the set; a free name or an empty folder.
        sub_maps: names and maps, which are copied; of one extractor.
        overlaps: as `align_overlap` measured them, by the names of both.
        frame_id: name of the set's frame.
        areas: names of the areas that each sub-map is part of.
        placements: set_from_map and its covariance [6, 6]; of those that are not named the map's frame is the set's.
        link: share the maps' files instead of copying them, where the file system can.

    Raises:
        MapFormatError: a map or a name cannot be used, the folder is taken, or the disk refuses.
        ExtractorMismatchError: the maps are of different extractors.
        MappingError: their keyframes cannot be compared.
    """
    target = Path(folder)
    check_set_target(target)
    if not sub_maps:
        raise MapFormatError(f"{target}: a set needs at least one map; name one")
    names = [name for name, _ in sub_maps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MapFormatError(f"two maps are named '{twice[0]}'; name one otherwise: NAME=MAP")
    paths = dict(sub_maps)
    extractor_id, size = (
        read_map_header(paths[names[0]])[key] for key in ("extractor_id", "descriptor_size")
    )
    given = {
        name: _Entry(paths[name], (placements or {}).get(name, _UNMOVED), tuple((areas or {}).get(name, ())))
        for name in names
    }
    check_maps(paths, extractor_id)
    aggregation = common_aggregation(lambda number: load_map(paths[names[number]]), len(names))
    try:
        Path(os.path.realpath(target)).parent.mkdir(parents=True, exist_ok=True)
        with atomic_directory(target) as made:
            listed, parts = [], []
            for name in names:
                place = f"{MAPS_FOLDER}/{name}"
                described, part = _take_in(given[name], name, made, place, aggregation, link=link)
                listed.append(described)
                parts.append(part)
            index = write_index(made, f"{INDEX_FOLDER}/0", index_arrays(parts, aggregation))
            found = MapSet(frame_id, extractor_id, size, tuple(listed), dict(overlaps), 0, index)
            write_manifest(made, found, target)
    except (OSError, NotCopiedError) as error:
        raise _refused_by_disk(target, error) from error


def change_set(
    folder: PathLike,
    *,
    put: Mapping[str, Path] | None = None,
    drop: Sequence[str] = (),
    areas: Mapping[str, Sequence[str]] | None = None,
    placements: Mapping[str, Placement] | None = None,
    overlaps: Overlaps | None = None,
) -> MapSet:
    """Add, replace and remove sub-maps, in one step; nodes that have the set open go on, and see it at the next image.

    Args:
        folder: of the set.
        put: maps by name, which are copied; one of a name that is there takes its place.
        drop: names to remove.
        areas: of those put; what is replaced keeps its areas unless they are named here.
        placements: of any of the set afterwards; what is replaced keeps its place unless it is named here.
        overlaps: to be stored instead of those that there are; of changed sub-maps the former ones are dropped.

    Returns:
        The set as it is now.

    Raises:
        MapFormatError: as `write_set`; what was there is untouched.
        ExtractorMismatchError: a map is of another extractor than the set.
    """
    target, put = Path(os.path.realpath(folder)), dict(put or {})
    read_map_set(target)
    with set_locked(target, "changes it"):
        before = read_map_set(target)
        for name in drop:
            before.named(name)
        check_maps(put, before.extractor_id)
        after = [name for name in before.names if name not in drop] + [
            name for name in put if name not in before.names
        ]
        if not after:
            raise MapFormatError(
                f"{folder}: these are all of its maps, and a set needs one; delete the folder instead"
            )
        arrays = open_index(target, before)
        try:
            return _rewrite(target, before, after, put, arrays, areas or {}, placements or {}, overlaps)
        except (OSError, NotCopiedError) as error:
            raise _refused_by_disk(target, error) from error


def check_maps(paths: Mapping[str, Path], extractor_id: str | None = None) -> None:
    """Refuse maps that cannot be in one set, before anything is done with them.

    Args:
        paths: maps by the names they are to have.
        extractor_id: that they must have; of the first one unless given.

    Raises:
        MapFormatError: a name or a map cannot be used.
        ExtractorMismatchError: a map is of another extractor.
    """
    for name, path in paths.items():
        check_name(name)
        manifest = _readable(path)
        extractor_id = extractor_id or str(manifest.get("extractor_id"))
        _check_extractor(path, manifest, extractor_id)


def check_set_target(target: Path) -> None:
    """Refuse a place where no set can be written: only a free name or an empty folder will do.

    Raises:
        MapFormatError: says what is there instead.
    """
    if (target / MANIFEST_NAME).exists():
        raise MapFormatError(
            f"{target}: is a map already; choose another folder, or use `hfnet-ros map set add` and `replace`"
        )
    check_map_target(target)


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A map that is to be taken in."""

    path: Path
    placement: Placement
    areas: tuple[str, ...]


_UNMOVED: Placement = (Rigid3.identity(), np.zeros((6, 6)))


def _rewrite(
    target: Path,
    before: MapSet,
    after: Sequence[str],
    put: Mapping[str, Path],
    arrays: Mapping[str, NDArray[Any]],
    areas: Mapping[str, Sequence[str]],
    placements: Mapping[str, Placement],
    overlaps: Overlaps | None,
) -> MapSet:
    """Write what is new beside what there is, then the manifest, then remove what it no longer names."""
    generation = before.generation + 1
    prefix = "aggregation."
    aggregation = {
        name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)
    }
    known = {sub_map.name: sub_map for sub_map in before.sub_maps}
    parts_before = parts_of(before, arrays)
    remove_unnamed(target, before)
    written: list[Path] = []
    try:
        listed, parts = [], []
        for name in after:
            old = known.get(name)
            if name in put:
                placement = placements.get(name) or ((old.set_from_map, old.covariance) if old else _UNMOVED)
                named = tuple(areas[name]) if name in areas else (old.areas if old else ())
                place = f"{MAPS_FOLDER}/{name}.{generation}"
                written.append(target / place)
                sub_map, part = _take_in(
                    _Entry(put[name], placement, named), name, target, place, aggregation
                )
            else:
                assert old is not None
                sub_map, part = old, parts_before[name]
                if name in areas:
                    sub_map = dataclasses.replace(sub_map, areas=tuple(areas[name]))
                if name in placements:
                    sub_map, part = _placed_anew(sub_map, part, placements[name])
            listed.append(sub_map)
            parts.append(part)
        subfolder = f"{INDEX_FOLDER}/{generation}"
        written.append(target / subfolder)
        index = write_index(target, subfolder, index_arrays(parts, aggregation, arrays))
        changed = set(put) | (set(before.names) - set(after))
        if overlaps is None:
            overlaps = {pair: overlap for pair, overlap in before.overlaps.items() if not changed & set(pair)}
        found = MapSet(
            before.frame_id,
            before.extractor_id,
            before.descriptor_size,
            tuple(listed),
            dict(overlaps),
            generation,
            index,
        )
        write_manifest(target, found, target)
    except BaseException:
        for path in written:
            shutil.rmtree(path, ignore_errors=True)
        raise
    remove_unnamed(target, found)
    return read_map_set(target)


def _take_in(
    entry: _Entry, name: str, made: Path, place: str, aggregation: Aggregation, *, link: bool = False
) -> tuple[SubMap, IndexPart]:
    """Copy a map into a set and return what the set says of it, and its rows of the index."""
    for area in entry.areas:
        check_area_name(area)
    (made / place).parent.mkdir(exist_ok=True)
    with atomic_directory(made / place) as folder:
        copy_map(entry.path, folder, name, link=link)
    visual_map = load_map(made / place, verify=True)
    manifest = read_manifest(made / place)[0]
    search = visual_map.search
    if search is None or manifest["format_version"] == 1:
        raise MapFormatError(
            f"{entry.path}: is of an older format; write it anew with `hfnet-ros map convert`"
        )
    set_from_map, covariance = entry.placement
    part = IndexPart.of(visual_map, name, set_from_map, aggregation)
    consistency = visual_map.consistency
    tested = (
        consistency.residual_px,
        consistency.num_keyframes,
        consistency.num_asked,
        consistency.num_elsewhere,
    )
    return (
        SubMap(
            name=name,
            folder=place,
            digest=str(manifest["manifest_sha256"]),
            extent=part.extent,
            num_keyframes=visual_map.num_keyframes,
            num_landmarks=visual_map.num_landmarks,
            num_observations=visual_map.num_observations,
            num_covisible_pairs=len(search.covisible_keyframe_idx),
            bytes=sum(listed["bytes"] for listed in manifest["arrays"].values()),
            set_from_map=set_from_map,
            covariance=covariance,
            areas=entry.areas,
            cameras=visual_map.cameras,
            lever_arms_m=None if visual_map.given is None else visual_map.given.lever_arms_m,
            has_observation_descriptors=visual_map.observation_descriptors is not None,
            self_test=tested,
        ),
        part,
    )


def _placed_anew(sub_map: SubMap, part: IndexPart, placement: Placement) -> tuple[SubMap, IndexPart]:
    set_from_map, covariance = placement
    motion = set_from_map @ sub_map.set_from_map.inverse()
    part = part.moved(motion)
    return (
        dataclasses.replace(sub_map, set_from_map=set_from_map, covariance=covariance, extent=part.extent),
        part,
    )


def _readable(path: Path) -> dict[str, Any]:
    """Return the manifest of a map that can be part of a set.

    Raises:
        MapFormatError: it is of another kind, or its lengths have no unit.
    """
    manifest, _ = read_manifest(path)
    if manifest["kind"] != LANDMARKS:
        raise MapFormatError(
            f"{path}: is of kind '{manifest['kind']}', expected a map of landmarks; name one"
        )
    info = manifest.get("build_info")
    if isinstance(info, dict) and info.get("scale") == "arbitrary":
        raise MapFormatError(
            f"{path}: was built of images alone and its lengths are no metres; give it a scale by `hfnet-ros map scale`"
        )
    return manifest


def _check_extractor(path: Path, manifest: Mapping[str, Any], extractor_id: str) -> None:
    if manifest.get("extractor_id") != extractor_id:
        raise ExtractorMismatchError(
            f"{path}: was built with '{manifest.get('extractor_id')}', the set with '{extractor_id}': descriptors of "
            "two extractors cannot be compared; build it anew with the set's"
        )


def _refused_by_disk(target: Path, error: OSError | NotCopiedError) -> MapFormatError:
    said = getattr(error, "strerror", None) or error
    return MapFormatError(f"{target}: set cannot be written: {said}; what was there is untouched")
