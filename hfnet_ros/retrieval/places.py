"""Group prior frames into places by what they see in common.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large
Scale", CVPR 2019, section 3.2 (covisibility clustering).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfnet_ros.map.search_structure import SearchStructure
from hfnet_ros.types import Place, RetrievalHit


def group_into_places(
    hits: Sequence[RetrievalHit], structure: SearchStructure, min_shared_landmarks: int
) -> list[Place]:
    """Group prior frames into connected components of the covisibility graph.

    Args:
        hits: prior frames, most similar first.
        structure: of the map, which knows how many landmarks two keyframes have in common.
        min_shared_landmarks: landmarks two frames must share to be joined.

    Returns:
        Places, the one with the largest sum of similarities first.
    """
    if not hits:
        return []
    rows = np.array([hit.keyframe_idx for hit in hits])
    joined = np.stack([_shares_with(row, rows, structure) for row in rows]) >= min_shared_landmarks
    firsts = _first_connected(joined)
    places = []
    for first in np.unique(firsts):
        members = [hit for hit, of_place in zip(hits, firsts == first, strict=True) if of_place]
        score = sum(max(hit.similarity, 0.0) for hit in members)
        places.append(Place(tuple(hit.keyframe_idx for hit in members), members[0].similarity, score))
    return sorted(places, key=lambda place: -place.score)


def _first_connected(joined: np.ndarray) -> np.ndarray:
    """Return for each of a few nodes the first one [N] that leads to it, by edges [N, N] in either direction."""
    reached = joined | joined.T | np.eye(len(joined), dtype=np.bool_)
    while True:
        further = reached @ reached
        if (further == reached).all():
            return reached.argmax(axis=1)
        reached = further


def _shares_with(row: int, others: np.ndarray, structure: SearchStructure) -> np.ndarray:
    """Return how many landmarks a keyframe has in common with each of the others [N]."""
    start, stop = structure.covisible_offsets[row : row + 2]
    neighbors = structure.covisible_keyframe_idx[start:stop]
    if len(neighbors) == 0:
        return np.zeros(len(others), np.int64)
    position = np.minimum(np.searchsorted(neighbors, others), len(neighbors) - 1)
    counts = structure.covisible_counts[start:stop][position]
    return np.where(neighbors[position] == others, counts, 0)
