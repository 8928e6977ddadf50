"""Mutual nearest neighbours against the definition."""

import tracemalloc

import numpy as np
import pytest

from hfnet_ros.matching.mutual_nearest import mutual_nearest


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _random(seed: int, count: int, size: int = 64) -> np.ndarray:
    return _unit(np.random.default_rng(seed).normal(size=(count, size)))


def test_hand_computed_pairs():
    a = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    b = np.array([[0, 1], [0.8, 0.6]], np.float32)
    # Cosines: a0: 0, 0.8; a1: 1, 0.6; a2: 0.8, 0.96. b1 prefers a2, so a0 stays alone.
    rows_a, rows_b, similarity = mutual_nearest(a, b)
    assert rows_a.tolist() == [1, 2]
    assert rows_b.tolist() == [0, 1]
    np.testing.assert_allclose(similarity, [1.0, 0.96], atol=1e-6)


@pytest.mark.parametrize(("num_a", "num_b"), [(1, 1), (5, 700), (700, 5), (601, 977), (40, 30000)])
def test_equals_the_definition_over_many_blocks(num_a, num_b):
    a, b = _random(1, num_a), _random(2, num_b)
    cosines = a.astype(np.float64) @ b.T.astype(np.float64)
    to_b, to_a = cosines.argmax(axis=1), cosines.argmax(axis=0)
    expected = np.flatnonzero(to_a[to_b] == np.arange(num_a))
    rows_a, rows_b, similarity = mutual_nearest(a, b)
    assert rows_a.tolist() == expected.tolist()
    assert rows_b.tolist() == to_b[expected].tolist()
    np.testing.assert_allclose(similarity, cosines[rows_a, rows_b], atol=1e-5)


def test_swapping_the_sides_gives_the_same_pairs():
    a, b = _random(3, 300), _random(4, 200)
    forward = set(zip(*(rows.tolist() for rows in mutual_nearest(a, b)[:2]), strict=True))
    backward = {(i, j) for j, i in zip(*(rows.tolist() for rows in mutual_nearest(b, a)[:2]), strict=True)}
    assert forward == backward


def test_noisy_copies_find_each_other():
    rng = np.random.default_rng(5)
    a = _random(5, 500)
    order = rng.permutation(500)
    b = _unit(a[order] + 0.05 * rng.normal(size=a.shape))
    rows_a, rows_b, _ = mutual_nearest(a, b, min_similarity=0.8)
    assert len(rows_a) == 500
    assert (order[rows_b] == rows_a).all()


def test_low_similarity_is_dropped():
    a, b = _random(6, 200), _random(7, 200)
    similarity = mutual_nearest(a, b, min_similarity=0.4)[2]
    assert 0 < len(similarity) < len(mutual_nearest(a, b)[2])
    assert (similarity >= 0.4).all()


def test_equal_descriptors_are_used_once():
    a = np.repeat(_random(8, 3), 2, axis=0)
    rows_a, rows_b, _ = mutual_nearest(a, a)
    assert rows_a.tolist() == [0, 2, 4]
    assert rows_b.tolist() == [0, 2, 4]


@pytest.mark.parametrize(("num_a", "num_b"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_match(num_a, num_b):
    found = mutual_nearest(np.empty((num_a, 8), np.float32), np.empty((num_b, 8), np.float32))
    assert [len(part) for part in found] == [0, 0, 0]


def test_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 8\) and \(4, 16\)"):
        mutual_nearest(np.zeros((4, 8), np.float32), np.zeros((4, 16), np.float32))


def test_the_product_is_never_held_as_a_whole():
    """Blocks that stay in the cache take 1.2 times the product alone; reducing it afterwards takes 4 times."""
    a, b = _random(9, 2048), _random(10, 2048)
    tracemalloc.start()
    try:
        mutual_nearest(a, b)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.25 * 4 * len(a) * len(b)
