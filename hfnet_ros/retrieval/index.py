"""Find the keyframes whose global descriptors are nearest to the query's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import RetrievalConfig
from hfnet_ros.map.keyframe_codes import MIN_CODED_KEYFRAMES, KeyframeCodes
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.descriptor_index import DescriptorIndex, ExactIndex, StoredIndex
from hfnet_ros.types import RetrievalHit

_logger = logging.getLogger(__name__)

# Takes descriptors [L, G] and how many keyframes; returns so many for each, most similar first.
SearchLists = Callable[[NDArray[np.float32], int], list[list[RetrievalHit]]]


def create_index(
    descriptors: UnitVectors, codes: KeyframeCodes | None, config: RetrievalConfig, num_threads: int = 1
) -> DescriptorIndex:
    """Return an exact index, or above `exact_limit` keyframes one that looks through codes first.

    Args:
        descriptors: [F, G] unit norm.
        codes: of these; None where a map has none.
        config: how much is compared.
        num_threads: that look through the codes of a very large map.
    """
    if len(descriptors) <= (
        config.exact_limit if codes is not None else max(config.exact_limit, MIN_CODED_KEYFRAMES)
    ):
        return ExactIndex(descriptors)
    if codes is None:
        _logger.warning(
            "the map's %d keyframes are compared one by one, some ms for each 1000: it has no codes of them; "
            "`hfnet-ros map convert` makes them",
            len(descriptors),
        )
        return StoredIndex(descriptors)
    # Imported here: faiss takes a third of a second and 40 MB, which small maps do not wait for.
    from hfnet_ros.retrieval.code_index import CodeIndex, find_faiss

    if find_faiss() is None:
        _logger.warning(
            "the map's %d keyframes are compared one by one, some ms for each 1000: faiss is not installed; "
            "`pip install faiss-cpu` brings it",
            len(descriptors),
        )
        return StoredIndex(descriptors)
    return CodeIndex(descriptors, codes, config.compared_per_root, num_threads)


def search_in_turn(
    search: SearchLists,
    descriptor: NDArray[np.float32],
    head_size: int,
    database: UnitVectors | NDArray[np.float32],
    count: int,
) -> list[RetrievalHit]:
    """Return prior frames of two lists in turn: by the whole descriptor, and by what the network's head gave of it.

    Where light has changed the keypoints' part finds more, elsewhere further down the list the head does; in turn
    neither loses what the other one has (docs/notes/night.md).

    Args:
        search: for the most similar keyframes of both.
        descriptor: [G] unit norm, the head's numbers first.
        head_size: how many these are.
        database: descriptors [F, G] of the keyframes.
        count: of prior frames.

    Returns:
        Hits with the similarity of whole descriptors, but in the order in which they were taken.
    """
    wanted = np.stack([descriptor, np.zeros_like(descriptor)])
    wanted[1, :head_size] = descriptor[:head_size]
    by_both, by_head = search(wanted, count)
    in_turn = [hit.keyframe_idx for pair in zip_longest(by_both, by_head) for hit in pair if hit is not None]
    frames = list(dict.fromkeys(in_turn))[:count]
    similarity = database[np.array(frames, np.intp)] @ descriptor
    return [RetrievalHit(*hit) for hit in zip(frames, similarity.tolist(), strict=True)]
