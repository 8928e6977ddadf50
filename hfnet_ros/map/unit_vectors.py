"""Unit vectors in one byte a number: what descriptors are stored, and held in memory, as."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hfnet_ros.map.array_files import read_rows

Float32Array = NDArray[np.float32]

_LARGEST_CODE = 127.0


class UnitVectors:
    """Vectors [N, D] of length one, of which only the direction is kept, as int8.

    A row is scaled so that its largest number is 127, then rounded; decoding divides by the length of what is
    left. The angle lost is at most sqrt(D) / 254 of the largest number's share: for descriptors of 64 to 1024
    numbers the cosine between a vector and what comes back is 0.9999 and more (docs/map_format.md). A row of
    zeros, as of an image in which nothing was found, stays one.

    Indexing by rows decodes just these rows, so that an array on disk costs what is touched.
    """

    __slots__ = ("codes",)

    def __init__(self, codes: NDArray[np.int8]) -> None:
        """Take codes [N, D] int8 as `encode` makes them; not copied, they may be mapped from a file."""
        if codes.ndim != 2 or codes.dtype != np.int8:
            raise ValueError(f"codes are {codes.dtype}{list(codes.shape)}, expected int8 [N, D]")
        self.codes = codes

    @classmethod
    def encode(cls, vectors: ArrayLike | UnitVectors) -> UnitVectors:
        """Return vectors [N, D], of any length, as codes; those that are codes already as they are.

        Raises:
            ValueError: a number is not finite, or there are not two dimensions.
        """
        if isinstance(vectors, cls):
            return vectors
        rows = np.asarray(vectors, np.float32)
        if rows.ndim != 2:
            raise ValueError(f"has shape {list(rows.shape)}, expected [N, D]")
        largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
        broken = np.flatnonzero(~np.isfinite(largest))
        if len(broken):
            raise ValueError(f"is not finite in {len(broken)} rows, first row {broken[0]}")
        scale = _LARGEST_CODE / np.maximum(largest, np.float32(1e-30))
        return cls(np.rint(rows * scale).astype(np.int8))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of vectors and of numbers in each."""
        return self.codes.shape[0], self.codes.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self.codes.nbytes

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Float32Array:
        """Return some vectors decoded: [D] of one row, [..., D] of several."""
        numbers = self.codes[rows].astype(np.float32)
        squared = np.einsum("...d,...d->...", numbers, numbers)
        numbers /= np.sqrt(np.maximum(squared, np.float32(1.0)))[..., None]
        return numbers

    def products(self, rows: NDArray[np.integer], vectors: Float32Array) -> Float32Array:
        """Return the products [V, K] of some vectors with others [V, D], as if they were decoded."""
        numbers = read_rows(self.codes, rows).astype(np.float32)
        lengths = np.sqrt(np.maximum(np.einsum("kd,kd->k", numbers, numbers), 1.0))
        # One by one: what comes of a vector does not depend on the others.
        return np.stack([numbers @ vector for vector in vectors]) / lengths

    def decoded(self) -> Float32Array:
        """Return all vectors, [N, D] float32."""
        return self[:]

    def chosen(self, rows: Any) -> UnitVectors:
        """Return some vectors as codes; nothing is lost a second time."""
        return UnitVectors(self.codes[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all vectors, so that numpy's functions take this for an array of float32."""
        if copy is False:
            raise ValueError("unit vectors must be decoded into a new array")
        return self.decoded().astype(dtype or np.float32, copy=False)


def concatenate(first: UnitVectors, second: UnitVectors) -> UnitVectors:
    """Return the vectors of both, one after the other."""
    return UnitVectors(np.concatenate([first.codes, second.codes]))
