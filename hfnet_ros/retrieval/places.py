"""Group prior frames into places by what they see in common.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large
Scale", CVPR 2019, section 3.2 (covisibility clustering).
"""

from __future__ import annotations

from collections.abc import Sequence

from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from hfnet_ros.types import Place, RetrievalHit


def group_into_places(
    hits: Sequence[RetrievalHit], covisibility: csr_matrix, min_shared_landmarks: int
) -> list[Place]:
    """Group prior frames into connected components of the covisibility graph.

    Args:
        hits: prior frames, most similar first.
        covisibility: sparse [F, F], number of landmarks two keyframes have in common.
        min_shared_landmarks: landmarks two frames must share to be joined.

    Returns:
        Places, the one with the largest sum of similarities first.
    """
    if not hits:
        return []
    rows = [hit.keyframe_idx for hit in hits]
    shared = covisibility[rows][:, rows].toarray()
    _, labels = connected_components(shared >= min_shared_landmarks, directed=False)
    places = []
    for label in range(labels.max() + 1):
        members = [hit for hit, of_place in zip(hits, labels == label, strict=True) if of_place]
        score = sum(max(hit.similarity, 0.0) for hit in members)
        places.append(Place(tuple(hit.keyframe_idx for hit in members), members[0].similarity, score))
    return sorted(places, key=lambda place: -place.score)
