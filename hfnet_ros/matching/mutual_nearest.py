"""Mutual nearest neighbours between two sets of descriptors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 21  # a block of the product stays in the second-level cache while it is read twice
_MIN_BLOCK_ROWS = 16


def mutual_nearest(
    descriptors_a: NDArray[np.float32],
    descriptors_b: NDArray[np.float32],
    min_similarity: float = -1.0,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the pairs of rows that are each other's most similar row.

    The product A Bᵀ is never held as a whole: blocks of its rows are reduced while they are in
    the cache. Only values are kept for the columns, no positions: a row's best entry is mutual
    exactly when it equals the highest value of its column.

    Args:
        descriptors_a: [N, D] float32, unit norm.
        descriptors_b: [M, D] float32, unit norm.
        min_similarity: cosine below which a pair is dropped.

    Returns:
        Rows of a, ascending, and rows of b, [K] int64 each, each row at most once; their cosine
        [K] float32. Of equal descriptors the first one is taken.

    Raises:
        ValueError: the descriptors have different sizes.
    """
    a = np.ascontiguousarray(descriptors_a, dtype=np.float32)
    b = np.ascontiguousarray(descriptors_b, dtype=np.float32)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"descriptors have shapes {a.shape} and {b.shape}, expected [N, D] and [M, D]")
    if len(a) == 0 or len(b) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    nearest, row_best, column_best = _best_of_rows_and_columns(a, b)
    rows = np.flatnonzero((row_best == column_best[nearest]) & (row_best >= min_similarity))
    # Two equal rows of a tie for one column.
    _, first = np.unique(nearest[rows], return_index=True)
    rows = rows[np.sort(first)]
    return rows.astype(np.int64), nearest[rows].astype(np.int64), row_best[rows]


def _best_of_rows_and_columns(
    a: NDArray[np.float32], b: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Return of A Bᵀ the position [N] and value [N] of each row's maximum and each column's value [M]."""
    block = max(_MIN_BLOCK_ROWS, _BLOCK_BYTES // (4 * len(b)))
    product = np.empty((min(block, len(a)), len(b)), np.float32)
    nearest = np.empty(len(a), np.intp)
    row_best = np.empty(len(a), np.float32)
    column_best = np.full(len(b), -np.inf, np.float32)
    for start in range(0, len(a), block):
        stop = min(start + block, len(a))
        part = np.dot(a[start:stop], b.T, out=product[: stop - start])
        best = part.argmax(axis=1)
        nearest[start:stop] = best
        row_best[start:stop] = part[np.arange(len(part)), best]
        np.maximum(column_best, part.max(axis=0), out=column_best)
    return nearest, row_best, column_best
