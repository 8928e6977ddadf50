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

    def search(self, descriptor: NDArray[np.float32], count: int) -> list[RetrievalHit]:
        """Return the `count` most similar keyframes, best first, for a unit descriptor [G]."""
        ...


class ExactIndex:
    """One matrix-vector product: exact, and 0.1 ms for a thousand keyframes of 1024 dimensions."""

    def __init__(self, descriptors: UnitVectors | NDArray[np.float32]) -> None:
        """Take unit descriptors [F, G]; codes are decoded once."""
        self._descriptors = np.asarray(descriptors, np.float32)

    def search(self, descriptor: NDArray[np.float32], count: int) -> list[RetrievalHit]:
        """Return the `count` most similar keyframes, best first; ties by keyframe order."""
        similarity = self._descriptors @ descriptor
        return best_hits(np.arange(len(similarity)), similarity, count)


class CellIndex:
    """The cells that look most like the query, compared exactly; what is not in them is not read.

    The cells are stored with the map, so that there is nothing to build when it is opened. With twice the root of
    F cells, a fixed number of them hold a share of the map that grows with the root of its size.

    Reference: Jegou et al., "Product quantization for nearest neighbor search", PAMI 2011, section IV (inverted
        file; here the descriptors in it are whole).
    """

    def __init__(self, structure: SearchStructure, num_cells: int) -> None:
        """Take a map's cells, and how many of these are searched."""
        self._structure = structure
        self._num_cells = num_cells

    @cached_property
    def _centers(self) -> NDArray[np.float32]:
        return self._structure.cell_centers.decoded()

    def search(self, descriptor: NDArray[np.float32], count: int) -> list[RetrievalHit]:
        """Return about the `count` most similar keyframes, best first; ties by keyframe order.

        Raises:
            MapFormatError: the map is damaged there.
        """
        structure = self._structure
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
    descriptors: UnitVectors, structure: SearchStructure, config: RetrievalConfig
) -> DescriptorIndex:
    """Return an exact index, or above `exact_limit` keyframes one that searches cells."""
    if len(descriptors) > config.exact_limit:
        return CellIndex(structure, config.num_cells)
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


def best_hits(
    keyframe_idxs: NDArray[np.integer], similarity: NDArray[np.float32], count: int
) -> list[RetrievalHit]:
    """Return the `count` most similar hits, best first; ties by keyframe order."""
    order: Sequence[int] = np.lexsort((keyframe_idxs, -similarity))[:count].tolist()
    return [RetrievalHit(int(keyframe_idxs[row]), float(similarity[row])) for row in order]
