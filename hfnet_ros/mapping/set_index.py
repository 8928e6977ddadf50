"""The index of a set of maps: rows of all keyframes, sub-map by sub-map, made of the maps or of the index before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import quats_from_rotations, rotations_from_quats
from hfnet_ros.map.areas import extent_of
from hfnet_ros.map.keyframe_codes import MIN_CODED_KEYFRAMES, KeyframeCodes, changed_codes, make_codes
from hfnet_ros.map.map_set import MapSet
from hfnet_ros.map.name_table import NameTable
from hfnet_ros.map.position_grid import PositionGrid
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.set_descriptors import Aggregation, descriptors_by

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class IndexPart:
    """Rows of the index that are of one sub-map; poses in the frame of the set.

    Attributes:
        first_before: where they begin in the index that they come from; None of a map that is taken in.
    """

    descriptors: NDArray[np.int8]
    poses: FloatArray
    given_poses: FloatArray
    names: Sequence[str]
    first_before: int | None = None

    @classmethod
    def of(
        cls, visual_map: VisualMap, name: str, set_from_map: Rigid3, aggregation: Aggregation
    ) -> IndexPart:
        """Return the rows of a map that is taken into a set."""
        return cls(
            descriptors_by(visual_map, aggregation).codes,
            _moved(visual_map.keyframe_poses, set_from_map),
            _moved(visual_map.given_poses, set_from_map),
            [f"{name}/{keyframe}" for keyframe in visual_map.keyframe_names],
        )

    @property
    def extent(self) -> FloatArray:
        """[2, 3] smallest and largest position of a keyframe, m, frame of the set."""
        return extent_of(self.given_poses)

    def moved(self, motion: Rigid3) -> IndexPart:
        """Return the rows of the map put elsewhere."""
        return dataclasses.replace(
            self, poses=_moved(self.poses, motion), given_poses=_moved(self.given_poses, motion)
        )


def parts_of(found: MapSet, arrays: Mapping[str, NDArray[Any]]) -> dict[str, IndexPart]:
    """Return the rows of an index by sub-map."""
    names = NameTable(arrays["keyframe_name_text"], arrays["keyframe_name_offsets"])
    poses = arrays["keyframe_poses"]
    given = arrays.get("given_keyframe_poses", poses)
    return {
        name: IndexPart(arrays["global_descriptors"][rows], poses[rows], given[rows], names[rows], rows.start)
        for name, rows in zip(found.names, _rows_of(found), strict=True)
    }


def index_arrays(
    parts: Sequence[IndexPart], aggregation: Aggregation, before: Mapping[str, NDArray[Any]] | None = None
) -> dict[str, NDArray[Any]]:
    """Return the arrays of the index over all sub-maps, in their order.

    Args:
        parts: of the sub-maps.
        aggregation: that their descriptors are made with.
        before: arrays of the index that some of them come from: their codes are not made again.
    """
    descriptors = UnitVectors(np.concatenate([part.descriptors for part in parts]))
    names = NameTable.of(name for part in parts for name in part.names)
    given = np.concatenate([part.given_poses for part in parts])
    arrays: dict[str, NDArray[Any]] = {
        "global_descriptors": descriptors.codes,
        "keyframe_poses": np.concatenate([part.poses for part in parts]),
        "keyframe_name_text": names.text,
        "keyframe_name_offsets": names.offsets,
    }
    if not np.array_equal(given, arrays["keyframe_poses"]):
        arrays["given_keyframe_poses"] = given
    if len(given) > MIN_CODED_KEYFRAMES:
        arrays |= PositionGrid.of(given).arrays()
    codes = _codes(parts, descriptors, KeyframeCodes.of_arrays(before or {}))
    if codes is not None:
        arrays |= codes.arrays()
    return arrays | {f"aggregation.{name}": array for name, array in aggregation.items()}


def _codes(
    parts: Sequence[IndexPart], descriptors: UnitVectors, before: KeyframeCodes | None
) -> KeyframeCodes | None:
    if len(descriptors) <= MIN_CODED_KEYFRAMES:
        return None
    if before is None:
        return make_codes(descriptors)
    source = [
        np.full(len(part.names), -1)
        if part.first_before is None
        else part.first_before + np.arange(len(part.names))
        for part in parts
    ]
    return changed_codes(before, descriptors, np.concatenate(source))


def _moved(poses: FloatArray, new_from_old: Rigid3) -> FloatArray:
    """Return poses [F, 7] in another frame; bit by bit as they are where nothing moves."""
    if new_from_old.is_identity:
        return np.array(poses)
    turned = quats_from_rotations(new_from_old.rotation @ rotations_from_quats(poses[:, 3:]))
    return np.concatenate([new_from_old @ poses[:, :3], turned], axis=1)


def _rows_of(found: MapSet) -> Iterator[slice]:
    start = 0
    for sub_map in found.sub_maps:
        yield slice(start, start + sub_map.num_keyframes)
        start += sub_map.num_keyframes
