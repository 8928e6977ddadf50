"""Search over the global descriptors of a map's keyframes, and the exact ways to do it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.shared_work import SharedWork
from hfnet_ros.types import RetrievalHit

_BLOCK_ROWS = 128  # decoded at a time: what stays in the cache


class DescriptorIndex(Protocol):
    """Search over the global descriptors of a map's keyframes."""

    def search_lists(
        self, descriptors: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[list[RetrievalHit]]:
        """Return, for each of some descriptors of one image, the most similar keyframes, best first; ties by order.

        Args:
            descriptors: [L, G] that of the image, of unit norm, and others that are part of it.
            count: keyframes wanted for each; there may be fewer.
            among: [F] true for those that may be found; all without.

        Raises:
            MapFormatError: the map is damaged there.
        """
        ...

    def search(
        self, descriptor: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[RetrievalHit]:
        """Return the keyframes most similar to a descriptor [G] of unit norm; see `search_lists`."""
        return self.search_lists(descriptor[None], count, among)[0]


class ExactIndex(DescriptorIndex):
    """One matrix-vector product: exact, and 0.1 ms for a thousand keyframes of 1024 dimensions."""

    def __init__(self, descriptors: UnitVectors | NDArray[np.float32]) -> None:
        """Take unit descriptors [F, G]; codes are decoded once, when they are searched first."""
        self._given = descriptors

    @cached_property
    def _descriptors(self) -> NDArray[np.float32]:
        return np.asarray(self._given, np.float32)

    def search_lists(
        self, descriptors: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[list[RetrievalHit]]:
        """Return the most similar keyframes; see `DescriptorIndex.search_lists`."""
        if among is not None:
            return search_rows(self._descriptors, np.flatnonzero(among), descriptors, count)
        rows = np.arange(len(self._descriptors))
        return [best_hits(rows, self._descriptors @ descriptor, count) for descriptor in descriptors]


class StoredIndex(DescriptorIndex):
    """All descriptors compared where they lie, block by block: exact, and 1 ms for each thousand of 2048 numbers."""

    def __init__(self, descriptors: UnitVectors) -> None:
        """Take unit descriptors [F, G], which stay codes."""
        self._descriptors = descriptors

    def search_lists(
        self, descriptors: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[list[RetrievalHit]]:
        """Return the most similar keyframes; see `DescriptorIndex.search_lists`."""
        rows = np.arange(len(self._descriptors)) if among is None else np.flatnonzero(among)
        return search_rows(self._descriptors, rows, descriptors, count)


def search_rows(
    database: UnitVectors | NDArray[np.float32],
    rows: NDArray[np.integer],
    descriptors: NDArray[np.float32],
    count: int,
) -> list[list[RetrievalHit]]:
    """Return the most similar of some keyframes for each descriptor [L, G], best first; compares all.

    Args:
        database: descriptors [F, G] of keyframes.
        rows: [K] those that may be found.
        descriptors: of one image.
        count: wanted for each.
    """
    return [best_hits(rows, of_list, count) for of_list in similarities(database, rows, descriptors)]


def similarities(
    database: UnitVectors | NDArray[np.float32],
    rows: NDArray[np.integer],
    descriptors: NDArray[np.float32],
    shared: SharedWork | None = None,
) -> NDArray[np.float32]:
    """Return the products [L, K] of descriptors [L, G] with those of keyframes, rows [K] of [F, G].

    Args:
        database: of the keyframes.
        rows: that are read.
        descriptors: of one image.
        shared: threads that compare; the caller's without.
    """
    stored = database if isinstance(database, UnitVectors) else None
    similarity = np.empty((len(descriptors), len(rows)), np.float32)

    def compare(start: int) -> None:
        block = rows[start : start + _BLOCK_ROWS]
        of_block = similarity[:, start : start + len(block)]
        if stored is not None:
            of_block[:] = stored.products(block, descriptors)
        else:
            of_block[:] = [database[block] @ descriptor for descriptor in descriptors]

    (shared or SharedWork()).do(compare, range(0, len(rows), _BLOCK_ROWS))
    return similarity


def best_hits(
    keyframe_idxs: NDArray[np.integer], similarity: NDArray[np.float32], count: int
) -> list[RetrievalHit]:
    """Return the `count` most similar hits, best first; ties by keyframe order."""
    if 0 < count < len(similarity):
        # Those as similar as the last one stay, so that ties are broken below.
        rows = np.flatnonzero(-similarity <= np.partition(-similarity, count - 1)[count - 1])
        if len(rows):
            keyframe_idxs, similarity = keyframe_idxs[rows], similarity[rows]
    order: Sequence[int] = np.lexsort((keyframe_idxs, -similarity))[:count].tolist()
    return [RetrievalHit(int(keyframe_idxs[row]), float(similarity[row])) for row in order]
