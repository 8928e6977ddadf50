"""Search over global descriptors."""

import builtins

import numpy as np
import pytest

from hfnet_ros.retrieval.index import ExactIndex, FaissIndex, best_hits, create_index


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_unit(seed, count, size=32):
    return unit(np.random.default_rng(seed).normal(size=(count, size)))


def test_hand_computed_order():
    index = ExactIndex(np.array([[0, 1], [1, 0], [0.6, 0.8], [-1, 0]], np.float32))
    hits = index.search(np.array([1, 0], np.float32), 4)
    assert [hit.keyframe_idx for hit in hits] == [1, 2, 0, 3]
    np.testing.assert_allclose([hit.similarity for hit in hits], [1.0, 0.6, 0.0, -1.0], atol=1e-6)


def test_equals_sorting_all_cosines():
    database, queries = random_unit(0, 200), random_unit(1, 20)
    index = ExactIndex(database)
    for query in queries:
        cosines = database.astype(np.float64) @ query.astype(np.float64)
        hits = index.search(query, 15)
        assert [hit.keyframe_idx for hit in hits] == np.argsort(-cosines)[:15].tolist()
        np.testing.assert_allclose([hit.similarity for hit in hits], np.sort(cosines)[::-1][:15], atol=1e-5)


def test_ties_are_broken_by_keyframe_order():
    same = np.tile(np.array([[1, 0]], np.float32), (5, 1))
    hits = ExactIndex(same).search(np.array([1, 0], np.float32), 3)
    assert [hit.keyframe_idx for hit in hits] == [0, 1, 2]
    shuffled = best_hits(np.array([7, 2, 5]), np.array([0.5, 0.5, 0.9], np.float32), 3)
    assert [hit.keyframe_idx for hit in shuffled] == [5, 2, 7]


def test_asking_for_more_than_there_is_gives_all():
    assert len(ExactIndex(random_unit(2, 3)).search(random_unit(3, 1)[0], 10)) == 3


def test_an_empty_map_has_no_hits():
    assert ExactIndex(np.empty((0, 8), np.float32)).search(np.zeros(8, np.float32), 5) == []


def test_hits_hold_plain_numbers():
    hit = ExactIndex(random_unit(4, 3)).search(random_unit(5, 1)[0], 1)[0]
    assert type(hit.keyframe_idx) is int
    assert type(hit.similarity) is float


def test_small_maps_are_searched_exactly():
    assert isinstance(create_index(random_unit(6, 10), exact_limit=10), ExactIndex)


def test_without_faiss_large_maps_are_searched_exactly(monkeypatch):
    real_import = builtins.__import__

    def import_without_faiss(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError("no faiss here")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", import_without_faiss)
    assert isinstance(create_index(random_unit(7, 11), exact_limit=10), ExactIndex)


def test_faiss_finds_nearly_what_exact_search_finds():
    pytest.importorskip("faiss", reason="faiss is optional and not installed")
    database, queries = random_unit(8, 2000), random_unit(9, 20)
    approximate, exact = create_index(database, exact_limit=100), ExactIndex(database)
    assert isinstance(approximate, FaissIndex)
    shared = 0
    for query in queries:
        found = approximate.search(query, 10)
        similarities = [hit.similarity for hit in found]
        assert similarities == sorted(similarities, reverse=True)
        wanted = {hit.keyframe_idx for hit in exact.search(query, 10)}
        shared += len(wanted & {hit.keyframe_idx for hit in found})
    assert shared >= 0.9 * 200
