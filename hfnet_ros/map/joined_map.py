"""A set of maps behind the face of one map: whatever searches a map searches the set, and opens what it touches.

Rows of keyframes, landmarks and observations are those of all sub-maps one after the other. Poses, names and global
descriptors of keyframes come from the set's index; everything else from the sub-map that a row is of, moved into the
frame of the set when it is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.covariance import change_child_covariance, rotate_covariance
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.map.chained_arrays import ChainedArray, ChainedOffsets, ChangeRows, keep
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.keyframe_codes import KeyframeCodes
from hfnet_ros.map.map_set import MapSet, SubMap, pooled_self_test, slips
from hfnet_ros.map.map_set_io import open_index
from hfnet_ros.map.name_table import NameTable
from hfnet_ros.map.open_maps import OpenMaps
from hfnet_ros.map.position_grid import PositionGrid
from hfnet_ros.map.search_structure import SearchStructure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import MapConsistency, VisualMap

Array = NDArray[Any]

# What sub-maps that were not tested may disagree by, m and rad; and what is another place, whatever they say: a pose
# that is off by so much counts as wrong.
_LEAST_DISAGREEMENT = np.array([0.03] * 3 + [0.01] * 3)
_SAME_M, _SAME_RAD = 0.5, np.deg2rad(10.0)
_CHI_SQUARE = 22.5  # exceeded by one of a thousand, with six degrees of freedom


@dataclass(frozen=True, eq=False)
class JoinedMap(VisualMap):
    """A `VisualMap` whose arrays are of several; made by `join_set`.

    Attributes:
        found: the set.
        opener: opens its sub-maps.
        starts: [P + 1] first keyframe of each sub-map.
    """

    found: MapSet = None  # type: ignore[assignment]
    opener: OpenMaps = None  # type: ignore[assignment]
    starts: NDArray[np.int64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Take everything as it is: it was checked when it was read."""

    @property
    def num_landmarks(self) -> int:
        """Number of landmarks of all sub-maps."""
        return int(self._landmark_starts[-1])

    @property
    def area_names(self) -> list[str]:
        """Names of the areas that the sub-maps are parts of."""
        return self.found.area_names

    def keyframes_in(self, areas: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which keyframes [F] are of a sub-map that is part of any of some areas."""
        wanted = [bool(set(areas) & set(sub_map.areas)) for sub_map in self.found.sub_maps]
        return np.repeat(wanted, np.diff(self.starts))

    def is_in(self, areas: Sequence[str], position: NDArray[np.float64]) -> bool:  # noqa: ARG002
        """Return True: what is found by keyframes of sub-maps is in what these are parts of."""
        return True

    def part_idx(self, keyframe_idx: int) -> int:
        """Return the position of the sub-map that a keyframe is of."""
        return int(np.searchsorted(self.starts, keyframe_idx, side="right")) - 1

    def part_of(self, part_idx: int) -> VisualMap:
        """Return a sub-map as it is, but for the places of its look-alikes, which are in the frame of the set.

        Raises:
            SubMapError: it cannot be used.
        """
        sub_map = self.found.sub_maps[part_idx]
        opened = self.opener.get(self.found, sub_map)
        rows = opened.consistency.look_alikes
        if not rows or sub_map.set_from_map.is_identity:
            return opened
        moved = tuple((*(sub_map.set_from_map @ np.array(row[:3])).tolist(), *row[3:]) for row in rows)
        return dataclasses.replace(
            opened, consistency=dataclasses.replace(opened.consistency, look_alikes=moved)
        )

    def placement_covariance(self, keyframe_idx: int, set_from_camera: Rigid3) -> NDArray[np.float64]:
        """Return [6, 6] what a camera is uncertain by because its sub-map's place in the set is.

        Where that was given, it is what the sub-map and its neighbours disagree by.
        """
        sub_map = self.found.sub_maps[self.part_idx(keyframe_idx)]
        camera_in_map = sub_map.set_from_map.inverse() @ set_from_camera.translation
        placed = change_child_covariance(sub_map.covariance, sub_map.set_from_map, camera_in_map)
        return placed + self._slips[sub_map.name]

    def is_same_place(
        self,
        keyframe_idx: int,
        map_from_camera: Rigid3,
        landmark_idxs: NDArray[np.int64],
        other_map_from_camera: Rigid3,
    ) -> bool:
        """Tell whether two poses differ by no more than their sub-maps are known to disagree.

        Each sub-map is off by what its test of itself found, and by what is not known of its place in the set.
        """
        own = self.part_idx(keyframe_idx)
        parts, counts = np.unique(self._parts_of_landmarks(landmark_idxs), return_counts=True)
        if not len(parts) or parts[counts.argmax()] == own:
            return False
        covariance = np.diag(_LEAST_DISAGREEMENT**2)
        for part, pose in ((own, map_from_camera), (int(parts[counts.argmax()]), other_map_from_camera)):
            covariance += rotate_covariance(self.part_of(part).covariance_model[1], pose)
            covariance += self.placement_covariance(int(self.starts[part]), pose)
        away = pose_difference(map_from_camera, other_map_from_camera)
        if np.linalg.norm(away[:3]) > _SAME_M or np.linalg.norm(away[3:]) > _SAME_RAD:
            return False
        return bool(away @ np.linalg.solve(covariance, away) < _CHI_SQUARE)

    def part_text(self, landmark_idxs: NDArray[np.int64]) -> str:
        """Return the name of the sub-map that most of some landmarks [N] are of, to be put into a sentence."""
        if not len(landmark_idxs):
            return ""
        parts, counts = np.unique(self._parts_of_landmarks(landmark_idxs), return_counts=True)
        return f" (sub-map '{self.found.sub_maps[parts[counts.argmax()]].name}')"

    def words_of(self, landmark_idxs: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        """Return the visual words of landmarks; none where they are of maps with different ones."""
        assert self.search is not None
        parts = np.unique(self._parts_of_landmarks(landmark_idxs))
        found = [self._words(part) for part in parts.tolist()]
        if not found:
            return np.empty((0, 0), np.float32), np.zeros(0, np.uint16)
        if all(words is found[0] or np.array_equal(words, found[0]) for words in found[1:]):
            return found[0], self.search.landmark_words[landmark_idxs]
        return np.empty((0, found[0].shape[1]), np.float32), np.zeros(len(landmark_idxs), np.uint16)

    def _parts_of_landmarks(self, landmark_idxs: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._landmark_starts, landmark_idxs, side="right") - 1

    @cached_property
    def _slips(self) -> dict[str, NDArray[np.float64]]:
        return slips(self.found)

    @cached_property
    def _landmark_starts(self) -> NDArray[np.int64]:
        return _starts(sub_map.num_landmarks for sub_map in self.found.sub_maps)

    def _words(self, part_idx: int) -> NDArray[np.float32]:
        search = self.opener.get(self.found, self.found.sub_maps[part_idx]).search
        assert search is not None  # as `OpenMaps` makes sure
        return search.words

    def release_pages(self) -> None:
        """Let go of what was read of the index and of the sub-maps that are open."""
        super().release_pages()
        self.opener.each(VisualMap.release_pages)


def join_set(path: Path, found: MapSet, opener: OpenMaps) -> JoinedMap:
    """Return a set as one map; opens its index and no sub-map.

    Raises:
        MapFormatError: the index is damaged.
    """
    index = open_index(path, found)
    sub_maps = found.sub_maps
    keyframes = _starts(sub_map.num_keyframes for sub_map in sub_maps)
    landmarks = _starts(sub_map.num_landmarks for sub_map in sub_maps)
    observations = _starts(sub_map.num_observations for sub_map in sub_maps)
    pairs = _starts(sub_map.num_covisible_pairs for sub_map in sub_maps)
    cameras = _starts(len(sub_map.cameras) for sub_map in sub_maps)

    def reader(name: str) -> Callable[[int], Any]:
        def read(part: int) -> Any:
            opened = opener.get(found, sub_maps[part])
            array = getattr(opened if hasattr(opened, name) else opened.search, name)
            return array.codes if isinstance(array, UnitVectors) else array

        return read

    def chained(
        name: str, starts: NDArray[np.int64], tail: tuple[int, ...], dtype: Any, change: ChangeRows = keep
    ) -> Any:
        return ChainedArray(reader(name), starts, tail, dtype, change)

    def offsets(name: str, bases: NDArray[np.int64]) -> Any:
        return ChainedOffsets(reader(name), keyframes, bases)

    size = found.descriptor_size
    move = [sub_map.set_from_map for sub_map in sub_maps]

    def shifted(starts: NDArray[np.int64]) -> ChangeRows:
        return lambda part, rows: rows if starts[part] == 0 else rows + starts[part]

    def moved(part: int, rows: Array) -> Array:
        return rows if move[part].is_identity else cast("Array", move[part] @ rows)

    def turned(part: int, rows: Array) -> Array:
        return rows if move[part].is_identity else (rows @ move[part].rotation.T).astype(np.float32)

    search = SearchStructure(
        words=np.empty((0, size), np.float32),
        landmark_words=chained("landmark_words", landmarks, (), np.uint16),
        covisible_offsets=offsets("covisible_offsets", pairs),
        covisible_keyframe_idx=chained("covisible_keyframe_idx", pairs, (), np.int64, shifted(keyframes)),
        covisible_counts=chained("covisible_counts", pairs, (), np.int32),
    )
    keeps_observed = all(sub_map.has_observation_descriptors for sub_map in sub_maps)
    return JoinedMap(
        frame_id=found.frame_id,
        extractor_id=found.extractor_id,
        cameras=tuple(pair for sub_map in sub_maps for pair in sub_map.cameras),
        keyframe_names=NameTable(index["keyframe_name_text"], index["keyframe_name_offsets"]),
        keyframe_stamps_ns=chained("keyframe_stamps_ns", keyframes, (), np.int64),
        keyframe_camera_idx=chained("keyframe_camera_idx", keyframes, (), np.int64, shifted(cameras)),
        keyframe_poses=index["keyframe_poses"],
        observation_offsets=offsets("observation_offsets", observations),
        observation_landmark_idx=chained(
            "observation_landmark_idx", observations, (), np.int64, shifted(landmarks)
        ),
        observation_xy=chained("observation_xy", observations, (2,), np.float32),
        landmark_xyz=chained("landmark_xyz", landmarks, (3,), np.float64, moved),
        landmark_descriptors=UnitVectors(chained("landmark_descriptors", landmarks, (size,), np.int8)),
        landmark_view_directions=chained("landmark_view_directions", landmarks, (3,), np.float32, turned),
        landmark_distance_ranges=chained("landmark_distance_ranges", landmarks, (2,), np.float32),
        landmark_colors=chained("landmark_colors", landmarks, (3,), np.uint8),
        global_descriptors=UnitVectors(index["global_descriptors"]),
        consistency=_pooled(sub_maps),
        aggregation=_aggregation(index),
        build_info={},
        observation_descriptors=(
            UnitVectors(chained("observation_descriptors", observations, (size,), np.int8))
            if keeps_observed
            else None
        ),
        search=search,
        codes=KeyframeCodes.of_arrays(index),
        grid=PositionGrid.of_arrays(index, index.get("given_keyframe_poses", index["keyframe_poses"])),
        given=_given(index, sub_maps),
        found=found,
        opener=opener,
        starts=keyframes,
    )


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    """Return the first row [P + 1] of each part, and the number of rows."""
    return np.cumsum([0, *lengths], dtype=np.int64)


def _aggregation(index: Mapping[str, Array]) -> dict[str, Array]:
    prefix = "aggregation."
    return {name.removeprefix(prefix): array for name, array in index.items() if name.startswith(prefix)}


def _pooled(sub_maps: Sequence[SubMap]) -> MapConsistency:
    """Return what the self-tests say of the set as a whole; answers are judged by those of the sub-maps."""
    residual_px, num_keyframes, num_asked, num_elsewhere = pooled_self_test(sub_maps)
    return MapConsistency(
        residual_px, 0.0, 0.0, num_keyframes, num_asked=num_asked, num_elsewhere=num_elsewhere
    )


def _given(index: Mapping[str, Array], sub_maps: Sequence[SubMap]) -> GivenFrame | None:
    """Return the frame of the given poses; a sub-map whose poses were not refined has them as they are."""
    if "given_keyframe_poses" not in index and all(sub_map.lever_arms_m is None for sub_map in sub_maps):
        return None
    arms = [
        np.zeros((len(sub_map.cameras), 3)) if sub_map.lever_arms_m is None else sub_map.lever_arms_m
        for sub_map in sub_maps
    ]
    return GivenFrame(index.get("given_keyframe_poses", index["keyframe_poses"]), np.concatenate(arms))
