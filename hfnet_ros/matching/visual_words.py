"""Mutual nearest neighbours among descriptors of similar visual words only.

Comparing every keypoint with every landmark costs more than the network on a CPU. Sorted by
the words of the map's vocabulary, a keypoint meets only the landmarks of its nearest words, an
eighth of all. On RedKitchen the poses come out the same (docs/notes/evaluation.md).

Reference: Sivic and Zisserman, "Video Google", ICCV 2003 (visual words); Jegou et al.,
"Improving bag-of-features for large scale image search", IJCV 2010 (multiple assignment).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

# Pairs that one product compares sooner than Python goes through the words.
_FEW_PAIRS = 1 << 18


def mutual_nearest_in_words(
    query: Float32Array,
    landmarks: Float32Array,
    landmark_words: NDArray[np.integer],
    vocabulary: Float32Array,
    words_per_query: int,
    min_similarity: float,
    words: NDArray[np.uint16] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], Float32Array]:
    """Return the pairs that are each other's most similar among those that share a word.

    Args:
        query: [N, D] float32 unit norm.
        landmarks: [M, D] float32 unit norm, sorted by word.
        landmark_words: [M] ascending.
        vocabulary: [K, D] float32 unit norm.
        words_per_query: words a query descriptor is compared in.
        min_similarity: cosine below which a pair is dropped.
        words: [N, C] of the query's `nearest_words`, where they are known.

    Returns:
        Rows of query, ascending, rows of landmarks, [P] int64 each, and their cosine [P].
    """
    if len(query) == 0 or len(landmarks) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    if words is None:
        words = nearest_words(query, vocabulary, words_per_query)
    best = _best_of_all if len(query) * len(landmarks) <= _FEW_PAIRS else _best_by_word
    row_best, nearest, column_best = best(query, landmarks, landmark_words, words, len(vocabulary))
    mutual = (row_best == column_best[nearest]) & (row_best >= min_similarity)
    rows = np.flatnonzero(mutual)
    # Equal descriptors may claim one landmark; the first keeps it.
    _, first = np.unique(nearest[rows], return_index=True)
    rows = rows[np.sort(first)]
    return rows.astype(np.int64), nearest[rows], row_best[rows]


def nearest_words(query: Float32Array, vocabulary: Float32Array, count: int) -> NDArray[np.uint16]:
    """Return the words [N, C] that each query is compared in."""
    count = min(count, len(vocabulary))
    similarity = query @ vocabulary.T
    return np.argpartition(-similarity, count - 1, axis=1)[:, :count].astype(np.uint16)


def _best_of_all(
    query: Float32Array,
    landmarks: Float32Array,
    landmark_words: NDArray[np.integer],
    words: NDArray[np.uint16],
    num_words: int,
) -> tuple[Float32Array, NDArray[np.int64], Float32Array]:
    """Do what `_best_by_word` does in one product, of which pairs without a common word are left out."""
    shared = np.zeros((len(query), num_words), np.bool_)
    shared[np.arange(len(query))[:, None], words] = True
    similarity = np.where(np.take(shared, landmark_words, axis=1), query @ landmarks.T, np.float32(-2.0))
    nearest = similarity.argmax(axis=1)
    return similarity[np.arange(len(query)), nearest], nearest, similarity.max(axis=0)


def _best_by_word(
    query: Float32Array,
    landmarks: Float32Array,
    landmark_words: NDArray[np.integer],
    words: NDArray[np.uint16],
    num_words: int,
) -> tuple[Float32Array, NDArray[np.int64], Float32Array]:
    """Return the highest similarity of each query [N], the landmark it is with [N], and that of each landmark [M].

    It is -2 of what shares a word with nothing.
    """
    order = np.argsort(words.ravel(), kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(words.ravel(), minlength=num_words))]).tolist()
    members = order // words.shape[1]
    bounds = np.searchsorted(landmark_words, np.arange(num_words + 1)).tolist()
    # Of each query and each of its words: the most similar landmark, and how similar.
    values = np.full(len(order), -2.0, np.float32)
    places = np.zeros(len(order), np.int64)
    column_best = np.full(len(landmarks), -2.0, np.float32)
    offsets = np.arange(len(query))
    for word in range(num_words):
        first, last = starts[word], starts[word + 1]
        low, high = bounds[word], bounds[word + 1]
        if first == last or low == high:
            continue
        part = np.take(query, members[first:last], axis=0) @ landmarks[low:high].T
        best = part.argmax(axis=1)
        np.take(part.ravel(), best + offsets[: last - first] * (high - low), out=values[first:last])
        np.add(best, low, out=places[first:last])
        part.max(axis=0, out=column_best[low:high])
    row_best, nearest = _best_entries(order, values, places, len(query))
    return row_best, nearest, column_best


def _best_entries(
    order: NDArray[np.intp], values: Float32Array, places: NDArray[np.int64], num_queries: int
) -> tuple[Float32Array, NDArray[np.int64]]:
    """Return the highest value of each query, and its landmark; of equal ones the first landmark's."""
    by_query = np.empty_like(values)
    by_query[order] = values
    by_query = by_query.reshape(num_queries, -1)
    row_best = by_query.max(axis=1)
    landmarks = np.empty_like(places)
    landmarks[order] = places
    is_best = by_query == row_best[:, None]
    largest = np.iinfo(np.int64).max
    return row_best, np.where(is_best, landmarks.reshape(num_queries, -1), largest).min(axis=1)
