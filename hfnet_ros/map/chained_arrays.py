"""Arrays of several maps as one, each read from its map when its rows are touched.

They have what queries ask of NumPy's arrays: `shape`, `dtype`, `len`, and rows by number, slice, mask or numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ReadPart = Callable[[int], Array]
ChangeRows = Callable[[int, Array], Array]


def keep(_: int, rows: Array) -> Array:
    """Return rows as they are."""
    return rows


class ChainedArray:
    """Rows of arrays, one after the other."""

    def __init__(
        self,
        read: ReadPart,
        starts: NDArray[np.int64],
        tail: tuple[int, ...],
        dtype: Any,
        change: ChangeRows = keep,
    ) -> None:
        """Take what reads them.

        Args:
            read: returns the array of a part.
            starts: [P + 1] first row of each part, and the number of rows.
            tail: shape of a row.
            dtype: of the numbers.
            change: makes the chain's rows of those read of a part.
        """
        self._read, self._starts, self._change = read, starts, change
        self.shape = (int(starts[-1]), *tail)
        self.dtype = np.dtype(dtype)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, rows: Any) -> Array:
        """Return some rows; opens the parts that they are of and no other."""
        if isinstance(rows, slice):
            return self._of_range(*self._range(rows))
        numbers = np.asarray(rows)
        if numbers.dtype == np.bool_:
            numbers = np.flatnonzero(numbers)
        found = np.empty((numbers.size, *self.shape[1:]), self.dtype)
        flat = numbers.ravel().astype(np.int64)
        if len(flat) and not (flat.min() >= 0 and flat.max() < len(self)):
            raise IndexError(f"rows {flat.min()} to {flat.max()} of {len(self)}")
        of_part = np.searchsorted(self._starts, flat, side="right") - 1
        for part in np.unique(of_part).tolist():
            chosen = of_part == part
            found[chosen] = self._rows(part, flat[chosen] - self._starts[part])
        return found.reshape((*numbers.shape, *self.shape[1:]))

    def _range(self, rows: slice) -> tuple[int, int]:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError("rows of maps are read without steps")
        return start, max(start, stop)

    def _of_range(self, start: int, stop: int) -> Array:
        pieces = [self._rows(part, slice(low, high)) for part, low, high in self._pieces(start, stop)]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty((0, *self.shape[1:]), self.dtype)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield parts with their own first row and the one after the last."""
        part = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self._starts[part + 1]))
            if end > start:
                yield part, start - int(self._starts[part]), end - int(self._starts[part])
            start, part = end, part + 1

    def _rows(self, part: int, rows: Any) -> Array:
        return self._change(part, self._read(part)[rows])


class ChainedOffsets:
    """Where the rows of each of F things start in a chained array: [F + 1], as if it were one map's."""

    def __init__(self, read: ReadPart, starts: NDArray[np.int64], bases: NDArray[np.int64]) -> None:
        """Take what reads the offsets [F_p + 1] of a part, and where its things and their rows start, [P + 1]."""
        self._read, self._starts, self._bases = read, starts, bases

    def __len__(self) -> int:
        """Return F + 1."""
        return int(self._starts[-1]) + 1

    def __getitem__(self, rows: Any) -> Any:
        """Return one offset, or those of a slice within a map: its ends are known without opening it."""
        if isinstance(rows, slice):
            return np.array([self._at(row) for row in range(*rows.indices(len(self)))], np.int64)
        return self._at(int(rows))

    def _at(self, row: int) -> int:
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        # Parts without rows begin where the next one does.
        if self._starts[part] == row:
            return int(self._bases[part])
        return int(self._bases[part]) + int(self._read(part)[row - int(self._starts[part])])
