"""The index of a set of maps: rows of all keyframes, sub-map by sub-map, made of the maps or of the index before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import quats_from_rotations, rotations_from_quats
from hfnet_ros.map.map_set import MapSet
from hfnet_ros.map.name_table import NameTable
from hfnet_ros.map.search_structure import make_cells
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.set_descriptors import Aggregation, descriptors_by

FloatArray = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class IndexPart:
    """Rows of the index that are of one sub-map; poses in the frame of the set."""

    descriptors: NDArray[np.int8]
    poses: FloatArray
    given_poses: FloatArray
    names: Sequence[str]

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
        positions = self.given_poses[:, :3]
        return np.stack([positions.min(axis=0), positions.max(axis=0)])

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
        name: IndexPart(arrays["global_descriptors"][rows], poses[rows], given[rows], names[rows])
        for name, rows in zip(found.names, _rows_of(found), strict=True)
    }


def index_arrays(parts: Sequence[IndexPart], aggregation: Aggregation) -> dict[str, NDArray[Any]]:
    """Return the arrays of the index over all sub-maps, in their order."""
    descriptors = UnitVectors(np.concatenate([part.descriptors for part in parts]))
    names = NameTable.of(name for part in parts for name in part.names)
    centers, cell_offsets, members = make_cells(descriptors, 0)
    arrays: dict[str, NDArray[Any]] = {
        "global_descriptors": descriptors.codes,
        "keyframe_poses": np.concatenate([part.poses for part in parts]),
        "keyframe_name_text": names.text,
        "keyframe_name_offsets": names.offsets,
        "cell_centers": centers.codes,
        "cell_offsets": cell_offsets,
        "cell_keyframe_idx": members,
        "cell_descriptors": descriptors.codes[members],
    }
    given = np.concatenate([part.given_poses for part in parts])
    if not np.array_equal(given, arrays["keyframe_poses"]):
        arrays["given_keyframe_poses"] = given
    return arrays | {f"aggregation.{name}": array for name, array in aggregation.items()}


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
