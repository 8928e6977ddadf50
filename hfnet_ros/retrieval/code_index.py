"""Look through two bits a number of all keyframes, then compare the descriptors of the best ones."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.array_files import release_pages
from hfnet_ros.map.keyframe_codes import LEVELS, KeyframeCodes
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.descriptor_index import DescriptorIndex, best_hits, search_rows, similarities
from hfnet_ros.retrieval.shared_work import SharedWork
from hfnet_ros.types import RetrievalHit

_COUNT_OF_ROOT = 10  # prior frames that `compared_per_root` is said for
_MIN_COMPARED = 100
# What lists after the first one ask for counts so much, and as many as for one list are compared for all of them
# again, as long as that changes a list (docs/notes/retrieval.md).
_OF_FURTHER_LISTS = 1.5
_MAX_ROUNDS_OF_LISTS = 3
_ROWS_OF_A_THREAD = 100_000  # a millisecond's worth: fewer are not worth handing over
# Of so few keyframes all are compared.
_MAX_COMPARED_AMONG = 2000
# Of this share of a map, enough are among the best of all; of less, what may be found is looked through by itself.
_LARGE_SHARE = 0.25


def find_faiss() -> Any:
    """Return the module faiss, which works on one thread; None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(1)
    return faiss


class CodeScan:
    """Finds the rows of codes with the largest sums of levels, all of them in 8 ms for a million of 768 components.

    A level of two bits is half of a sub-quantiser of four, so that faiss's scan of such codes does it: sixteen rows
    at a time out of tables that stay in registers. Only the codes are stored; what faiss makes of them is not.

    Reference: Andre et al., "Cache locality is not enough: high-performance nearest neighbor search with product
        quantization fast scan", VLDB 2015.
    """

    def __init__(self, codes: NDArray[np.uint8], num_threads: int = 1) -> None:
        """Take codes [N, P / 4] as `KeyframeCodes` has them, which are copied, and threads to share them where many."""
        num_parts = max(1, min(num_threads, len(codes) // _ROWS_OF_A_THREAD))
        self.shared = SharedWork(num_parts)
        self._firsts = [len(codes) * part // num_parts for part in range(num_parts)]
        bounds = zip(self._firsts, [*self._firsts[1:], len(codes)], strict=True)
        self._parts = [_scanned(codes[first:end]) for first, end in bounds]

    def best(self, weights: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return the `count` rows, or all there are, with the largest sums, for weights [P] of the components."""

        def best_of(part: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            sums, rows = part.search(weights[None], min(count, part.ntotal))
            return sums[0], rows[0]

        found = self.shared.do(best_of, self._parts)
        sums = np.concatenate([sums for sums, _ in found])
        rows = np.concatenate(
            [
                np.where(rows < 0, -1, rows + first)
                for (_, rows), first in zip(found, self._firsts, strict=True)
            ]
        )
        if len(found) > 1:
            rows = rows[np.argsort(-sums, kind="stable")]
        return rows[rows >= 0][:count]


def _scanned(codes: NDArray[np.uint8]) -> Any:
    """Return faiss's index of codes [N, P / 4]."""
    faiss = find_faiss()
    count, width = codes.shape
    plain = faiss.IndexPQ(4 * width, 2 * width, 4, faiss.METRIC_INNER_PRODUCT)
    first, second = np.tile(LEVELS, len(LEVELS)), np.repeat(LEVELS, len(LEVELS))
    centers = np.tile(np.column_stack([first, second]), (2 * width, 1))
    faiss.copy_array_to_vector(centers.ravel(), plain.pq.centroids)
    faiss.copy_array_to_vector(np.ascontiguousarray(codes).ravel(), plain.codes)
    plain.ntotal, plain.is_trained = count, True
    return faiss.IndexPQFastScan(plain)


class CodeIndex(DescriptorIndex):
    """Search in a large map; what it finds among codes is compared as it is stored.

    Lists of one image have much in common, since what the second one asks for is part of what the first one does. So
    one scan looks for the keyframes with the largest sums for both, and each list is made of all of these.
    """

    def __init__(
        self, descriptors: UnitVectors, codes: KeyframeCodes, compared_per_root: float, num_threads: int = 1
    ) -> None:
        """Take descriptors [F, G], their codes, how many are compared (`RetrievalConfig`), and threads to scan on."""
        self._descriptors = descriptors
        self._codes = codes
        self._num_compared = compared_per_root * np.sqrt(len(descriptors)) / _COUNT_OF_ROOT
        self._scan = CodeScan(codes.codes, num_threads)
        release_pages(codes.codes)
        # What was asked for last, its rows and the codes of these: an area is asked for again and again.
        self._some: tuple[Any, NDArray[np.int64], CodeScan] | None = None

    def search_lists(
        self, descriptors: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[list[RetrievalHit]]:
        """Return about the most similar keyframes; see `DescriptorIndex.search_lists`."""
        of_round = max(round(self._num_compared * count), _MIN_COMPARED, count)
        wanted = of_round * (_MAX_ROUNDS_OF_LISTS if len(descriptors) > 1 else 1)
        num_among = len(self._descriptors) if among is None else int(np.count_nonzero(among))
        if among is not None and num_among <= max(_MAX_COMPARED_AMONG, wanted):
            return search_rows(self._descriptors, np.flatnonzero(among), descriptors, count)
        weights = self._codes.weights(descriptors[0] + _OF_FURTHER_LISTS * descriptors[1:].sum(axis=0))
        if among is None:
            rows = self._scan.best(weights, wanted)
        else:
            rows = self._best_among(weights, wanted, among, num_among)
        return self._compared(rows, of_round, descriptors, count)

    def _compared(
        self, rows: NDArray[np.int64], of_round: int, descriptors: NDArray[np.float32], count: int
    ) -> list[list[RetrievalHit]]:
        """Return the most similar of rows [K], those first that codes call so, until more of them change nothing."""
        similarity = np.empty((len(descriptors), 0), np.float32)
        found: list[list[RetrievalHit]] = []
        compared = rows[:0]
        for start in range(0, len(rows), of_round):
            more = np.sort(rows[start : start + of_round])
            compared = np.concatenate([compared, more])
            of_more = similarities(self._descriptors, more, descriptors, self._scan.shared)
            similarity = np.concatenate([similarity, of_more], axis=1)
            before, found = found, [best_hits(compared, of_list, count) for of_list in similarity]
            if found == before:
                break
        return found or [[] for _ in descriptors]

    def _best_among(
        self, weights: NDArray[np.float32], wanted: int, among: NDArray[np.bool_], num_among: int
    ) -> NDArray[np.int64]:
        if num_among >= _LARGE_SHARE * len(among):
            rows = self._scan.best(weights, round(2 * wanted * len(among) / num_among))
            rows = rows[among[rows]]
            if len(rows) >= wanted:
                return rows[:wanted]
        if self._some is None or self._some[0]() is not among:
            idxs = np.flatnonzero(among)
            self._some = weakref.ref(among), idxs, CodeScan(self._codes.codes[idxs])
        _, idxs, scan = self._some
        return idxs[scan.best(weights, wanted)]
