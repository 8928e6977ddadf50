"""Find the keyframes whose global descriptors are nearest to the query's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import RetrievalConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.array_files import ADVICE
from hfnet_ros.map.search_structure import SearchStructure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.types import RetrievalHit

# Takes a unit descriptor [G] and how many keyframes; returns these, most similar first.
SearchDescriptor = Callable[[NDArray[np.float32], int], list[RetrievalHit]]


class DescriptorIndex(Protocol):
    """Search over the global descriptors of a map's keyframes."""

    def search(
        self, descriptor: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[RetrievalHit]:
        """Return the most similar keyframes, best first; ties by keyframe order.

        Args:
            descriptor: [G] unit norm.
            count: keyframes wanted; there may be fewer.
            among: [F] true for those that may be found; all without.

        Raises:
            MapFormatError: the map is damaged there.
        """
        ...


class ExactIndex:
    """One matrix-vector product: exact, and 0.1 ms for a thousand keyframes of 1024 dimensions."""

    def __init__(self, descriptors: UnitVectors | NDArray[np.float32]) -> None:
        """Take unit descriptors [F, G]; codes are decoded once, when they are searched first."""
        self._given = descriptors

    @cached_property
    def _descriptors(self) -> NDArray[np.float32]:
        return np.asarray(self._given, np.float32)

    def search(
        self, descriptor: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[RetrievalHit]:
        """Return the most similar keyframes; see `DescriptorIndex.search`."""
        if among is not None:
            return search_rows(self._descriptors, np.flatnonzero(among), descriptor, count)
        similarity = self._descriptors @ descriptor
        return best_hits(np.arange(len(similarity)), similarity, count)


class CellIndex:
    """The cells that look most like the query, compared exactly; what is not in them is not read.

    The cells are stored with the map, so that there is nothing to build when it is opened. With twice the root of
    F cells, a fixed number of them hold a share of the map that grows with the root of its size.

    Reference: Jegou et al., "Product quantization for nearest neighbor search", PAMI 2011, section IV (inverted
        file; here the descriptors in it are whole).
    """

    def __init__(self, descriptors: UnitVectors, structure: SearchStructure, num_cells: int) -> None:
        """Take descriptors [F, G], the map's cells of them, and how many of these are searched."""
        self._whole = descriptors
        self._structure = structure
        self._num_cells = num_cells

    @cached_property
    def _centers(self) -> NDArray[np.float32]:
        return self._structure.cell_centers.decoded()

    def search(
        self, descriptor: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[RetrievalHit]:
        """Return about the most similar keyframes; see `DescriptorIndex.search`."""
        structure = self._structure
        if among is not None:
            return search_rows(self._whole, np.flatnonzero(among), descriptor, count)
        cells = np.argsort(-(self._centers @ descriptor), kind="stable")[: self._num_cells]
        parts = [slice(*structure.cell_offsets[cell : cell + 2]) for cell in cells]
        members = np.concatenate([structure.cell_keyframe_idx[part] for part in parts])
        num_keyframes = len(structure.cell_keyframe_idx)
        if len(members) and not 0 <= members.min() <= members.max() < num_keyframes:
            raise MapFormatError(
                f"array 'cell_keyframe_idx' ranges from {members.min()} to {members.max()}, expected 0 to "
                f"{num_keyframes - 1}: the map is damaged; {ADVICE}"
            )
        similarity = np.concatenate([structure.cell_descriptors[part] @ descriptor for part in parts])
        return best_hits(members, similarity, count)


def create_index(
    descriptors: UnitVectors, structure: SearchStructure | None, config: RetrievalConfig
) -> DescriptorIndex:
    """Return an exact index, or above `exact_limit` keyframes one that searches the map's cells, if it has them."""
    if structure is not None and len(descriptors) > config.exact_limit:
        return CellIndex(descriptors, structure, config.num_cells)
    return ExactIndex(descriptors)


def search_in_turn(
    search: SearchDescriptor,
    descriptor: NDArray[np.float32],
    head_size: int,
    database: UnitVectors | NDArray[np.float32],
    count: int,
) -> list[RetrievalHit]:
    """Return prior frames of two lists in turn: by the whole descriptor, and by what the network's head gave of it.

    Where light has changed the keypoints' part finds more, elsewhere further down the list the head does; in turn
    neither loses what the other one has (docs/notes/night.md).

    Args:
        search: for the most similar keyframes.
        descriptor: [G] unit norm, the head's numbers first.
        head_size: how many these are.
        database: descriptors [F, G] of the keyframes.
        count: of prior frames.

    Returns:
        Hits with the similarity of whole descriptors, but in the order in which they were taken.
    """
    by_both = search(descriptor, count)
    of_head = np.zeros_like(descriptor)
    of_head[:head_size] = descriptor[:head_size]
    by_head = search(of_head, count)
    in_turn = [hit.keyframe_idx for pair in zip_longest(by_both, by_head) for hit in pair if hit is not None]
    frames = list(dict.fromkeys(in_turn))[:count]
    similarity = database[np.array(frames, np.intp)] @ descriptor
    return [RetrievalHit(*hit) for hit in zip(frames, similarity.tolist(), strict=True)]


def search_rows(
    database: UnitVectors | NDArray[np.float32],
    rows: NDArray[np.integer],
    descriptor: NDArray[np.float32],
    count: int,
) -> list[RetrievalHit]:
    """Return the most similar of some keyframes, rows [K] of descriptors [F, G], best first; compares all of them."""
    return best_hits(rows, database[rows] @ descriptor, count)


def best_hits(
    keyframe_idxs: NDArray[np.integer], similarity: NDArray[np.float32], count: int
) -> list[RetrievalHit]:
    """Return the `count` most similar hits, best first; ties by keyframe order."""
    order: Sequence[int] = np.lexsort((keyframe_idxs, -similarity))[:count].tolist()
    return [RetrievalHit(int(keyframe_idxs[row]), float(similarity[row])) for row in order]
