"""Keyframes by where they are: a sorted list of the cubes of space that hold any.

The keys of cubes beside each other along x follow each other, so that a ball is a few pieces of the list, found by
bisection: the same cost in every map, and nothing is made when one is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
FloatArray = NDArray[np.float64]

CELL_M = 4.0
_BITS = np.array(
    [23, 23, 17]
)  # of x, y, z: 16,700 km and 260 km to each side; what is further off is at the edge
_HALF = 1 << (_BITS - 1)
_MAX_PIECES = 4096

# Type and lengths of the arrays that are stored.
GRID_RULES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "grid_cells": ("<i8", ("U",)),
    "grid_offsets": ("<i8", ("U + 1",)),
    "grid_keyframe_idx": ("<i4", ("F",)),
}


@dataclass(frozen=True, eq=False)
class PositionGrid:
    """Cubes of space and their keyframes.

    Attributes:
        poses: [F, 7] what it was made of; of other poses it says nothing.
        cells: [U] int64 keys of cubes that hold keyframes, ascending.
        offsets: [U + 1] int64; cube u holds the members offsets[u]:offsets[u + 1].
        keyframe_idx: [F] int32 keyframes by cube, ascending in each.
    """

    poses: FloatArray
    cells: Int64Array
    offsets: Int64Array
    keyframe_idx: NDArray[np.int32]

    @classmethod
    def of(cls, poses: FloatArray) -> PositionGrid:
        """Sort the positions of poses [F, 7], x y z first, m; finite ones."""
        keys = cell_keys(poses[:, :3])
        order = np.argsort(keys, kind="stable")
        cells, first = np.unique(keys[order], return_index=True)
        return cls(poses, cells, np.append(first, len(keys)).astype(np.int64), order.astype(np.int32))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], poses: FloatArray) -> PositionGrid | None:
        """Return the grid among some arrays; None if there is none."""
        if "grid_cells" not in arrays:
            return None
        return cls(poses, arrays["grid_cells"], arrays["grid_offsets"], arrays["grid_keyframe_idx"])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored, by name."""
        return {
            "grid_cells": self.cells,
            "grid_offsets": self.offsets,
            "grid_keyframe_idx": self.keyframe_idx,
        }

    def around(self, center: FloatArray, radius_m: float) -> tuple[NDArray[np.int32], Int64Array]:
        """Return the keyframes in the cubes that a ball may touch, and the keys [N] of these cubes; in no order."""
        lows, highs = _cells(center - radius_m), _cells(center + radius_m)
        rows = (highs - lows + 1)[1:]
        if rows.prod() <= _MAX_PIECES:
            y, z = (grid.ravel() for grid in np.meshgrid(*(np.arange(lows[i], highs[i] + 1) for i in (1, 2))))
            starts = np.searchsorted(self.cells, _keys(lows[0], y, z))
            stops = np.searchsorted(self.cells, _keys(highs[0], y, z), side="right")
            found = _ranges(starts, stops)
        else:
            # Of a very large ball all cubes between its lowest and its highest layer.
            start = np.searchsorted(self.cells, _keys(0, 0, lows[2]))
            stop = np.searchsorted(self.cells, _keys(0, 0, highs[2] + 1))
            keys = self.cells[start:stop]
            x, y = keys & (2 * _HALF[0] - 1), (keys >> _BITS[0]) & (2 * _HALF[1] - 1)
            touched = (lows[0] <= x) & (x <= highs[0]) & (lows[1] <= y) & (y <= highs[1])
            found = start + np.flatnonzero(touched)
        members = _ranges(self.offsets[found], self.offsets[found + 1])
        counts = self.offsets[found + 1] - self.offsets[found]
        return self.keyframe_idx[members], np.repeat(self.cells[found], counts)


def cell_keys(positions: FloatArray) -> Int64Array:
    """Return the key of the cube that each position [N, 3], m, is in; -1 of what is not finite."""
    finite = np.asarray(np.isfinite(positions).all(axis=1))
    cells = _cells(np.where(finite[:, None], positions, 0.0))
    return np.where(finite, _keys(cells[:, 0], cells[:, 1], cells[:, 2]), -1)


def grid_problem(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return what arrays of a grid, of right type and number of dimensions, say that cannot be; "" if nothing."""
    names = arrays.keys() & GRID_RULES.keys()
    if names not in (set(), GRID_RULES.keys()):
        return f"the grid of positions consists of {', '.join(sorted(names))}, expected {', '.join(GRID_RULES)} or none"
    if names and len(arrays["grid_offsets"]) != len(arrays["grid_cells"]) + 1:
        return f"array 'grid_offsets' has {len(arrays['grid_offsets'])} numbers for {len(arrays['grid_cells'])} cells"
    return ""


def _cells(positions: FloatArray) -> Int64Array:
    """Return x, y and z [..., 3] of cubes, counted from 0; what is beyond the edges is at them."""
    cells = np.floor(positions / CELL_M)
    return (np.clip(cells, -_HALF, _HALF - 1) + _HALF).astype(np.int64)


def _keys(x: Any, y: Any, z: Any) -> Any:
    return (z << (_BITS[0] + _BITS[1])) | (y << _BITS[0]) | x


def _ranges(starts: Int64Array, stops: Int64Array) -> Int64Array:
    """Return all numbers from each start up to its stop, one range after the other."""
    counts = np.maximum(stops - starts, 0)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - counts), counts)
