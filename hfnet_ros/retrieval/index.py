"""Find the keyframes whose global descriptors are nearest to the query's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.types import RetrievalHit


class DescriptorIndex(Protocol):
    """Search structure over the global descriptors of a map's keyframes."""

    def search(self, descriptor: NDArray[np.float32], count: int) -> list[RetrievalHit]:
        """Return the `count` most similar keyframes, best first, for a unit descriptor [G]."""
        ...


class ExactIndex:
    """One matrix-vector product: exact, and 0.1 ms for a thousand keyframes of 1024 dimensions."""

    def __init__(self, descriptors: NDArray[np.float32]) -> None:
        """Take unit descriptors [F, G]."""
        self._descriptors = np.ascontiguousarray(descriptors, dtype=np.float32)

    def search(self, descriptor: NDArray[np.float32], count: int) -> list[RetrievalHit]:
        """Return the `count` most similar keyframes, best first; ties by keyframe order."""
        similarity = self._descriptors @ descriptor
        return best_hits(np.arange(len(similarity)), similarity, count)


class FaissIndex:
    """Graph search (HNSW) by faiss: approximate, its cost grows with the logarithm of the map."""

    def __init__(self, descriptors: NDArray[np.float32]) -> None:
        """Build the graph over unit descriptors [F, G]."""
        import faiss

        self._index = faiss.IndexHNSWFlat(descriptors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 80
        self._index.hnsw.efSearch = 128
        self._index.add(np.ascontiguousarray(descriptors, dtype=np.float32))

    def search(self, descriptor: NDArray[np.float32], count: int) -> list[RetrievalHit]:
        """Return about the `count` most similar keyframes, best first."""
        similarity, rows = self._index.search(descriptor[None], count)
        found = rows[0] >= 0
        return best_hits(rows[0][found], similarity[0][found], count)


def create_index(descriptors: NDArray[np.float32], exact_limit: int) -> DescriptorIndex:
    """Return an exact index, or above `exact_limit` keyframes faiss's where it is installed."""
    if len(descriptors) > exact_limit:
        try:
            return FaissIndex(descriptors)
        except ImportError:
            pass  # exact search stays right, only slower
    return ExactIndex(descriptors)


def best_hits(
    keyframe_idxs: NDArray[np.integer], similarity: NDArray[np.float32], count: int
) -> list[RetrievalHit]:
    """Return the `count` most similar hits, best first; ties by keyframe order."""
    order: Sequence[int] = np.lexsort((keyframe_idxs, -similarity))[:count].tolist()
    return [RetrievalHit(int(keyframe_idxs[row]), float(similarity[row])) for row in order]
