"""What a map stores so that a query need not look at the whole of it.

Two things are computed once, when a map is built, and read where a query touches them:

- the visual word of every landmark, so that a keypoint meets only landmarks of similar words;
- which keyframes see landmarks in common, and how many, by which prior frames become places.

What keyframes are found by in a large map is in `keyframe_codes` and `position_grid`.

Reference: Sivic and Zisserman, "Video Google", ICCV 2003 (words); Sarlin et al., "From Coarse to Fine", CVPR 2019,
    section 3.2 (covisibility).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_words import assign_words, learn_words

Float32Array = NDArray[np.float32]

NUM_WORDS = 64
_MIN_SORTED_LANDMARKS = 2000  # fewer are compared as fast as they are sorted
_LARGEST_WORD = np.iinfo(np.uint16).max


@dataclass(frozen=True, eq=False)
class SearchStructure:
    """F keyframes, L landmarks, D descriptor size, K words, V pairs.

    Attributes:
        words: [K, D] float32 unit norm; none where all landmarks are compared.
        landmark_words: [L] uint16, the word nearest to each landmark's descriptor; zero without words.
        covisible_offsets: [F + 1] int64; keyframe f has the pairs offsets[f]:offsets[f + 1].
        covisible_keyframe_idx: [V] int32, the other keyframe, ascending for each keyframe.
        covisible_counts: [V] int32, landmarks they have in common, at least one.
    """

    words: Float32Array
    landmark_words: NDArray[np.uint16]
    covisible_offsets: NDArray[np.int64]
    covisible_keyframe_idx: NDArray[np.int32]
    covisible_counts: NDArray[np.int32]


def make_search_structure(
    landmark_descriptors: UnitVectors,
    visibility: Any,
    vocabulary: Float32Array | None = None,
    num_words: int = NUM_WORDS,
    seed: int = 0,
) -> SearchStructure:
    """Compute the search structure of a map.

    Args:
        landmark_descriptors: [L, D].
        visibility: sparse [F, L] (scipy's csr_matrix), 1 where a keyframe sees a landmark.
        vocabulary: [K, D] words to use; learned from the landmarks unless given, but for small maps.
        num_words: words to learn.
        seed: of the clustering.
    """
    words = vocabulary
    if words is None:
        is_worth_it = len(landmark_descriptors) >= _MIN_SORTED_LANDMARKS
        size = landmark_descriptors.shape[1]
        words = (
            learn_words(landmark_descriptors.decoded(), num_words, seed)
            if is_worth_it
            else np.empty((0, size), np.float32)
        )
    if len(words) > _LARGEST_WORD:
        raise ValueError(f"{len(words)} visual words, expected {_LARGEST_WORD} at most")
    landmark_words = (
        assign_words(landmark_descriptors, words)
        if len(words)
        else np.zeros(len(landmark_descriptors), np.int32)
    )
    pairs = _covisible_pairs(visibility)
    return SearchStructure(
        np.ascontiguousarray(words, np.float32),
        landmark_words.astype(np.uint16),
        pairs.indptr.astype(np.int64),
        pairs.indices.astype(np.int32),
        pairs.data.astype(np.int32),
    )


def visibility_of(offsets: NDArray[np.int64], landmark_idx: NDArray[np.int32], num_landmarks: int) -> Any:
    """Return the sparse [F, L] matrix (scipy's csr_matrix), 1 where a keyframe sees a landmark.

    Args:
        offsets: [F + 1] where each keyframe's observations start.
        landmark_idx: [O] landmarks they are of.
        num_landmarks: L.
    """
    # Imported here: a tenth of a second, which maps that are only searched do not wait for.
    from scipy.sparse import csr_matrix

    seen = np.ones(len(landmark_idx), np.int32)
    return csr_matrix((seen, landmark_idx, offsets), shape=(len(offsets) - 1, num_landmarks))


def _covisible_pairs(visibility: Any) -> Any:
    shared = (visibility @ visibility.T).tocsr()
    shared.setdiag(0)
    shared.eliminate_zeros()
    shared.sort_indices()
    return shared
