"""A set of maps as data: which maps, where each lies in the set's frame, and how they overlap.

Each sub-map is a map that works alone. What is here is what the manifest of a set says; nothing of it opens a
sub-map.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError, MapFormatError
from hfnet_ros.geometry.covariance import is_semidefinite
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.areas import check_area_name
from hfnet_ros.map.records_json import camera_pair_from_json, camera_pair_to_json
from hfnet_ros.map.visual_map import MapCamera

FloatArray = NDArray[np.float64]

MAPS_FOLDER = "maps"
# No dot and no separator: a name is part of a folder's, and never leads out of the set.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FOLDER = re.compile(rf"{MAPS_FOLDER}/({NAME.pattern})(\.[0-9]{{1,9}})?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1e12  # of any length or variance; squares of more than is possible overflow
_COUNTS = ("num_keyframes", "num_landmarks", "num_observations", "num_covisible_pairs", "bytes")


@dataclass(frozen=True, eq=False)
class Overlap:
    """Where the second of two sub-maps lies in the first, by what both show.

    Attributes:
        first_from_second: the motion, in the frames in which the sub-maps answer.
        covariance: [6, 6] of it, (translation, rotation) in the axes of the first, m and rad.
        num_pairs: keyframes of the second that were found in the first and agree with it.
        residuals: (m, rad) root mean squares of where these keyframes are off it.
    """

    first_from_second: Rigid3
    covariance: FloatArray
    num_pairs: int
    residuals: tuple[float, float]


@dataclass(frozen=True, eq=False)
class SubMap:
    """One map of a set, as the manifest describes it.

    Attributes:
        name: letters, digits, _ and -.
        folder: of the map, relative to the set.
        digest: `manifest_sha256` of the map.
        extent: [2, 3] smallest and largest position of a keyframe, m, frame of the set.
        num_keyframes: F.
        num_landmarks: L.
        num_observations: O.
        num_covisible_pairs: V, see `SearchStructure`.
        bytes: of its arrays.
        set_from_map: where the map lies, in the frames in which both answer.
        covariance: [6, 6] of it, (translation, rotation) in the axes of the set; zero where the map was given in the
            frame of the set.
        areas: names of what it is part of: a building, a floor.
        cameras: of the map.
        lever_arms_m: [C, 3] of the map's given frame; None where its poses were not refined.
        has_observation_descriptors: the map keeps what each keyframe saw.
        self_test: (`residual_px`, `num_keyframes`, `num_asked`, `num_elsewhere`) of the map's consistency.
    """

    name: str
    folder: str
    digest: str
    extent: FloatArray
    num_keyframes: int
    num_landmarks: int
    num_observations: int
    num_covisible_pairs: int
    bytes: int
    set_from_map: Rigid3
    covariance: FloatArray
    areas: tuple[str, ...]
    cameras: tuple[MapCamera, ...]
    lever_arms_m: FloatArray | None
    has_observation_descriptors: bool
    self_test: tuple[float, int, int, int]

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the manifest."""
        entry = {name: getattr(self, name) for name in ("name", "folder", *_COUNTS)}
        entry |= {"manifest_sha256": self.digest, "extent": self.extent.tolist()}
        entry |= {"set_from_map": pose_to_json(self.set_from_map)}
        entry |= {"covariance": self.covariance.ravel().tolist(), "areas": list(self.areas)}
        entry |= {"cameras": [camera_pair_to_json(pair) for pair in self.cameras]}
        entry |= {"lever_arms_m": None if self.lever_arms_m is None else self.lever_arms_m.tolist()}
        entry["has_observation_descriptors"] = self.has_observation_descriptors
        return entry | {"self_test": list(self.self_test)}


@dataclass(frozen=True, eq=False)
class MapSet:
    """What the manifest of a set says.

    Attributes:
        frame_id: name of the set's frame.
        extractor_id: of all sub-maps.
        descriptor_size: D, of local descriptors.
        sub_maps: in the order of the index's rows.
        overlaps: by the names of both sub-maps.
        generation: rises with every change; names the folder of the index.
        index: entries of the index's arrays, by name.
        digest: `manifest_sha256`.
    """

    frame_id: str
    extractor_id: str
    descriptor_size: int
    sub_maps: tuple[SubMap, ...]
    overlaps: Mapping[tuple[str, str], Overlap]
    generation: int
    index: Mapping[str, Mapping[str, Any]]
    digest: str = ""

    @property
    def names(self) -> list[str]:
        """Return the names of the sub-maps."""
        return [sub_map.name for sub_map in self.sub_maps]

    @property
    def area_names(self) -> list[str]:
        """Return the names of all areas, each once."""
        return sorted({area for sub_map in self.sub_maps for area in sub_map.areas})

    def named(self, name: str) -> SubMap:
        """Return a sub-map.

        Raises:
            MapFormatError: there is none of this name; lists those there are.
        """
        for sub_map in self.sub_maps:
            if sub_map.name == name:
                return sub_map
        raise MapFormatError(
            f"the set has no sub-map '{name}', it has {', '.join(self.names)}; name one of these"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entries of the manifest."""
        overlaps = [
            {"first": first, "second": second, **_overlap_to_json(overlap)}
            for (first, second), overlap in self.overlaps.items()
        ]
        return {
            "frame_id": self.frame_id,
            "extractor_id": self.extractor_id,
            "descriptor_size": self.descriptor_size,
            "generation": self.generation,
            "sub_maps": [sub_map.to_json() for sub_map in self.sub_maps],
            "overlaps": overlaps,
            "arrays": dict(self.index),
        }


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a sub-map.

    Raises:
        MapFormatError: says what can.
    """
    if not NAME.fullmatch(name):
        raise MapFormatError(
            f"'{name}' cannot be the name of a sub-map, expected up to 64 letters, digits, '_' and '-', beginning with "
            "a letter or digit; rename the map's folder, or name it otherwise"
        )


def pose_to_json(pose: Rigid3) -> list[float]:
    """Return x y z qx qy qz qw."""
    return [*pose.translation.tolist(), *pose.quat_xyzw.tolist()]


def map_set_from_json(manifest: Mapping[str, Any]) -> MapSet:
    """Return what a manifest of kind `set` says, every value checked.

    Raises:
        MapFormatError: says which value cannot be; the caller adds the file.
    """
    frame_id, extractor_id = (_of_kind(manifest, name, str) for name in ("frame_id", "extractor_id"))
    sub_maps = tuple(_sub_map(entry) for entry in _of_kind(manifest, "sub_maps", list))
    if not sub_maps:
        raise MapFormatError("'sub_maps' is empty, expected at least one")
    names = [sub_map.name for sub_map in sub_maps]
    if len(set(names)) != len(names):
        raise MapFormatError(f"'sub_maps' names one twice: {', '.join(names)}")
    overlaps = {}
    for entry in _of_kind(manifest, "overlaps", list):
        between, overlap = _overlap(entry)
        if not set(between) <= set(names):
            raise MapFormatError(f"an overlap is of {between}, which are not both sub-maps")
        overlaps[between] = overlap
    index = _of_kind(manifest, "arrays", dict)
    size, generation = _count(manifest, "descriptor_size"), _count(manifest, "generation")
    return MapSet(
        frame_id, extractor_id, size, sub_maps, overlaps, generation, index, manifest["manifest_sha256"]
    )


def _sub_map(entry: Any) -> SubMap:
    if not isinstance(entry, dict):
        raise MapFormatError(f"'sub_maps' holds {type(entry).__name__}, expected dict")
    name = _of_kind(entry, "name", str)
    try:
        check_name(name)
        return _checked_sub_map(name, entry)
    except (
        MapFormatError,
        CalibrationError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        said = str(error) if isinstance(error, MapFormatError) else f"cannot be understood: {error!r}"
        raise MapFormatError(f"sub-map {name!r}: {said}") from None


def _checked_sub_map(name: str, entry: Mapping[str, Any]) -> SubMap:
    folder, digest = _of_kind(entry, "folder", str), _of_kind(entry, "manifest_sha256", str)
    match = _FOLDER.fullmatch(folder)
    if match is None or match[1] != name:
        raise MapFormatError(f"'folder' is {folder!r}, expected '{MAPS_FOLDER}/{name}'")
    if not _DIGEST.fullmatch(digest):
        raise MapFormatError(f"'manifest_sha256' is {digest!r}, expected 64 hexadecimal digits")
    counts = {count: _count(entry, count) for count in _COUNTS}
    extent = _numbers(entry, "extent", (2, 3))
    areas = _of_kind(entry, "areas", list)
    for area in areas:
        check_area_name(area)
    cameras = tuple(_camera_pair(json.dumps(pair)) for pair in _of_kind(entry, "cameras", list))
    if not cameras:
        raise MapFormatError("'cameras' is empty, expected at least one")
    arms = entry.get("lever_arms_m")
    residual_px, *tested = _of_kind(entry, "self_test", list)
    if len(tested) != 3 or not all(type(count) is int and count >= 0 for count in tested):
        raise MapFormatError(f"'self_test' is {entry['self_test']}, expected four numbers")
    return SubMap(
        name=name,
        folder=folder,
        digest=digest,
        extent=extent,
        **counts,
        set_from_map=_pose(entry, "set_from_map"),
        covariance=_covariance(entry),
        areas=tuple(areas),
        cameras=cameras,
        lever_arms_m=None if arms is None else _numbers(entry, "lever_arms_m", (len(cameras), 3)),
        has_observation_descriptors=_of_kind(entry, "has_observation_descriptors", bool),
        self_test=(_finite(residual_px), *tested),
    )


@lru_cache(maxsize=1024)
def _camera_pair(entry: str) -> MapCamera:
    """Return a camera; the same one for entries that are alike, as those of thousands of sub-maps mostly are."""
    return camera_pair_from_json(json.loads(entry))


def _overlap_to_json(overlap: Overlap) -> dict[str, Any]:
    return {
        "first_from_second": pose_to_json(overlap.first_from_second),
        "covariance": np.asarray(overlap.covariance).ravel().tolist(),
        "num_pairs": overlap.num_pairs,
        "residuals": [float(residual) for residual in overlap.residuals],
    }


def _overlap(entry: Any) -> tuple[tuple[str, str], Overlap]:
    if not isinstance(entry, dict):
        raise MapFormatError(f"'overlaps' holds {type(entry).__name__}, expected dict")
    between = _of_kind(entry, "first", str), _of_kind(entry, "second", str)
    residuals = _numbers(entry, "residuals", (2,)).tolist()
    found = Overlap(
        _pose(entry, "first_from_second"),
        _covariance(entry),
        _count(entry, "num_pairs"),
        (residuals[0], residuals[1]),
    )
    return between, found


def _of_kind(entry: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    if not isinstance(entry.get(name), kind):
        raise MapFormatError(f"'{name}' is {type(entry.get(name)).__name__}, expected {kind.__name__}")
    return entry[name]


def _count(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if type(value) is not int or not 0 <= value < 2**62:
        raise MapFormatError(f"'{name}' is {value!r}, expected a whole number from 0")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise MapFormatError(f"{value!r} is no finite number")
    return float(value)


def _numbers(entry: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> FloatArray:
    try:
        found = np.array(entry.get(name), np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.empty(0)
    if found.shape != shape or not (np.abs(found) <= _LARGEST).all():
        raise MapFormatError(
            f"'{name}' is not {' x '.join(map(str, shape))} numbers of at most {_LARGEST:.0e}"
        )
    return found


def _pose(entry: Mapping[str, Any], name: str) -> Rigid3:
    numbers = _numbers(entry, name, (7,))
    try:
        return Rigid3.from_quat(numbers[3:], numbers[:3])
    except ValueError as error:
        raise MapFormatError(f"'{name}' is no pose: {error}") from None


def _covariance(entry: Mapping[str, Any]) -> FloatArray:
    found = _numbers(entry, "covariance", (36,)).reshape(6, 6)
    if not is_semidefinite(found):
        raise MapFormatError("'covariance' is none: not symmetric or not positive")
    return found


def slips(found: MapSet) -> dict[str, FloatArray]:
    """Return by sub-map what its neighbours show that its place is off by, [6, 6] about a camera in it.

    Poses of one survey slip against each other by centimetres and a degree. A map's test of itself sees what they
    slip by within it; what two maps that were given in one frame disagree by where they overlap, d = d_2 - d_1, is
    the rest. Of equal and independent slips sigma^2 = E|d|^2 / 6, of position and of rotation. Zero without
    overlaps, and where a map's place was estimated, whose covariance says it.
    """
    given = {sub_map.name: sub_map for sub_map in found.sub_maps if not sub_map.covariance.any()}
    squares: dict[str, list[tuple[float, float]]] = {name: [] for name in given}
    for (first, second), overlap in found.overlaps.items():
        if first in given and second in given:
            square = _disagreement(given[first], given[second], overlap)
            squares[first].append(square)
            squares[second].append(square)
    slipped = {sub_map.name: np.zeros((6, 6)) for sub_map in found.sub_maps}
    for name, some in squares.items():
        if some:
            slipped[name] = np.diag(np.repeat(np.mean(some, axis=0) / 6.0, 3))
    return slipped


def _disagreement(first: SubMap, second: SubMap, overlap: Overlap) -> tuple[float, float]:
    """Return the squares, m^2 and rad^2, of what an overlap says that two maps are off, in the middle of both."""
    low, high = (
        limit(first.extent[row], second.extent[row]) for row, limit in ((0, np.maximum), (1, np.minimum))
    )
    middle = 0.5 * (low + high)
    shown = first.set_from_map @ overlap.first_from_second @ second.set_from_map.inverse()
    shift, turn = shown @ middle - middle, shown.rotvec
    return float(shift @ shift), float(turn @ turn)


def pooled_self_test(sub_maps: Iterable[SubMap]) -> tuple[float, int, int, int]:
    """Return the self-tests of sub-maps as one: mean residual of the keyframes tested, and the sums of the counts."""
    tests = [sub_map.self_test for sub_map in sub_maps]
    counts = [sum(int(test[place]) for test in tests) for place in (1, 2, 3)]
    weighted = sum(test[0] * test[1] for test in tests)
    return weighted / counts[0] if counts[0] else 0.0, counts[0], counts[1], counts[2]
