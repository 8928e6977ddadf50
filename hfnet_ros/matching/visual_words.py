"""Mutual nearest neighbours among descriptors of similar visual words only.

Comparing every keypoint with every landmark costs more than the network on a CPU. Sorted by
the words of the map's vocabulary, a keypoint meets only the landmarks of its nearest words, an
eighth of all. On RedKitchen the poses come out the same (docs/notes/evaluation.md).

Reference: Sivic and Zisserman, "Video Google", ICCV 2003 (visual words); Jegou et al.,
"Improving bag-of-features for large scale image search", IJCV 2010 (multiple assignment).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

# Pairs that one product compares sooner than Python goes through the words.
FEW_PAIRS = 1 << 18


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
    best = _best_of_all if len(query) * len(landmarks) <= FEW_PAIRS else _best_by_word
    row_best, nearest, column_best = best(query, landmarks, landmark_words, words, len(vocabulary))
    return _mutual(row_best, nearest, column_best[0], min_similarity)


def mutual_nearest_of_views(
    queries: Sequence[Float32Array],
    landmarks: Float32Array,
    landmark_words: NDArray[np.integer],
    num_words: int,
    words: Sequence[NDArray[np.uint16]],
    min_similarity: float,
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], Float32Array]]:
    """Return for each of several views what `mutual_nearest_in_words` does; the words are gone through once for all.

    Args:
        queries: [N, D] float32 unit norm of each view.
        landmarks: [M, D] float32 unit norm, sorted by word; at least one.
        landmark_words: [M] ascending.
        num_words: K.
        words: [N, C] of the queries' `nearest_words`.
        min_similarity: cosine below which a pair is dropped.
    """
    lengths = [len(query) for query in queries]
    row_best, nearest, column_best = _best_by_word(
        np.concatenate(queries), landmarks, landmark_words, np.concatenate(words), num_words, lengths
    )
    ends = np.cumsum(lengths).tolist()
    return [
        _mutual(row_best[end - length : end], nearest[end - length : end], best_of_view, min_similarity)
        for length, end, best_of_view in zip(lengths, ends, column_best, strict=True)
    ]


def _mutual(
    row_best: Float32Array, nearest: NDArray[np.int64], column_best: Float32Array, min_similarity: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Float32Array]:
    """Return the pairs that are each other's best; see `mutual_nearest_in_words`."""
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
    return similarity[np.arange(len(query)), nearest], nearest, similarity.max(axis=0)[None]


def _best_by_word(
    query: Float32Array,
    landmarks: Float32Array,
    landmark_words: NDArray[np.integer],
    words: NDArray[np.uint16],
    num_words: int,
    lengths: Sequence[int] = (),
) -> tuple[Float32Array, NDArray[np.int64], Float32Array]:
    """Return the highest similarity of each query [N], the landmark it is with [N], and that of each landmark [V, M].

    It is -2 of what shares a word with nothing. The queries are those of V views one after the other, as many as
    `lengths` says of each; of one view without. Landmarks have a best one in each view.
    """
    num_views = max(len(lengths), 1)
    order = np.argsort(words.ravel(), kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(words.ravel(), minlength=num_words))]).tolist()
    members = order // words.shape[1]
    cuts = _cuts(words, num_words, lengths) if num_views > 1 else [[0, len(order)]] * num_words
    bounds = np.searchsorted(landmark_words, np.arange(num_words + 1)).tolist()
    # Of each query and each of its words: the most similar landmark, and how similar.
    values = np.full(len(order), -2.0, np.float32)
    places = np.zeros(len(order), np.int64)
    column_best = np.full((num_views, len(landmarks)), -2.0, np.float32)
    offsets = np.arange(len(query))
    for word, cut in enumerate(cuts):
        first, last = starts[word], starts[word + 1]
        low, high = bounds[word], bounds[word + 1]
        if first == last or low == high:
            continue
        part = np.take(query, members[first:last], axis=0) @ landmarks[low:high].T
        best = part.argmax(axis=1)
        np.take(part.ravel(), best + offsets[: last - first] * (high - low), out=values[first:last])
        np.add(best, low, out=places[first:last])
        for view_idx in range(num_views):
            if cut[view_idx] < cut[view_idx + 1]:
                part[cut[view_idx] : cut[view_idx + 1]].max(axis=0, out=column_best[view_idx, low:high])
    row_best, nearest = _best_entries(order, values, places, len(query))
    return row_best, nearest, column_best


def _cuts(words: NDArray[np.uint16], num_words: int, lengths: Sequence[int]) -> list[list[int]]:
    """Return for each word where its queries of each of V views begin, and the last ones end, V + 1 positions."""
    num_views = len(lengths)
    views = np.repeat(np.arange(num_views), lengths)[:, None]
    counts = np.bincount(
        (words.astype(np.int64) * num_views + views).ravel(), minlength=num_words * num_views
    )
    cuts = np.cumsum(counts.reshape(num_words, num_views), axis=1)
    return np.pad(cuts, ((0, 0), (1, 0))).tolist()


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
