"""Names of keyframes as two arrays: a map of a million opens without reading one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

# File names on Linux need not be text; what is none is kept as Python spells it.
_ERRORS = "surrogateescape"


class NameTable(Sequence[str]):
    """A sequence of names, each decoded when it is asked for.

    Attributes:
        text: [T] uint8, all names in UTF-8 one after the other.
        offsets: [F + 1] int64; name f is text[offsets[f]:offsets[f + 1]].
    """

    __slots__ = ("offsets", "text")

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        """Take the arrays; not copied."""
        self.text = text
        self.offsets = offsets

    @classmethod
    def of(cls, names: Iterable[str]) -> NameTable:
        """Return a table of names; one that is a table already as it is."""
        if isinstance(names, cls):
            return names
        encoded = [name.encode("utf-8", _ERRORS) for name in names]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        """Return one name, or several."""
        if isinstance(index, slice):
            return tuple(self[row] for row in range(len(self))[index])
        row = range(len(self))[index]
        return bytes(self.text[self.offsets[row] : self.offsets[row + 1]]).decode("utf-8", _ERRORS)

    def __eq__(self, other: object) -> bool:
        """Compare with any sequence of names."""
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the names."""
        return f"NameTable({tuple(self)!r})"
