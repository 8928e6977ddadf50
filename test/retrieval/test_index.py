"""Search over global descriptors."""

import numpy as np
import pytest

from hfnet_ros.config import RetrievalConfig
from hfnet_ros.map.keyframe_codes import LEVELS, make_codes
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval import code_index
from hfnet_ros.retrieval.code_index import CodeIndex, CodeScan, find_faiss
from hfnet_ros.retrieval.descriptor_index import ExactIndex, StoredIndex, best_hits
from hfnet_ros.retrieval.index import create_index, search_in_turn


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_unit(seed, count, size=32):
    return unit(np.random.default_rng(seed).normal(size=(count, size)))


def exact(descriptors):
    return ExactIndex(UnitVectors.encode(descriptors))


def test_hand_computed_order():
    index = exact([[0, 1], [1, 0], [0.6, 0.8], [-1, 0]])
    hits = index.search(np.array([1, 0], np.float32), 4)
    assert [hit.keyframe_idx for hit in hits] == [1, 2, 0, 3]
    np.testing.assert_allclose([hit.similarity for hit in hits], [1.0, 0.6, 0.0, -1.0], atol=3e-3)


def test_equals_sorting_all_cosines():
    database, queries = UnitVectors.encode(random_unit(0, 200)).decoded(), random_unit(1, 20)
    index = exact(database)
    for query in queries:
        cosines = database.astype(np.float64) @ query.astype(np.float64)
        hits = index.search(query, 15)
        assert [hit.keyframe_idx for hit in hits] == np.argsort(-cosines)[:15].tolist()
        np.testing.assert_allclose([hit.similarity for hit in hits], np.sort(cosines)[::-1][:15], atol=1e-5)


def test_ties_are_broken_by_keyframe_order():
    same = np.tile(np.array([[1, 0]], np.float32), (5, 1))
    hits = exact(same).search(np.array([1, 0], np.float32), 3)
    assert [hit.keyframe_idx for hit in hits] == [0, 1, 2]
    shuffled = best_hits(np.array([7, 2, 5]), np.array([0.5, 0.5, 0.9], np.float32), 3)
    assert [hit.keyframe_idx for hit in shuffled] == [5, 2, 7]


def test_asking_for_more_than_there_is_gives_all():
    assert len(exact(random_unit(2, 3)).search(random_unit(3, 1)[0], 10)) == 3


def test_an_empty_map_has_no_hits():
    assert exact(np.empty((0, 8))).search(np.zeros(8, np.float32), 5) == []


def test_hits_hold_plain_numbers():
    hit = exact(random_unit(4, 3)).search(random_unit(5, 1)[0], 1)[0]
    assert type(hit.keyframe_idx) is int
    assert type(hit.similarity) is float


@pytest.fixture(scope="module")
def walk():
    """3000 keyframes of 60 rooms, and views near some of them: what a robot's map looks like."""
    rng = np.random.default_rng(8)
    rooms = unit(rng.normal(size=(60, 64)))
    database = unit(np.repeat(rooms, 50, axis=0) + 0.1 * rng.normal(size=(3000, 64)))
    queries = unit(database[::60] + 0.05 * rng.normal(size=(50, 64)))
    return UnitVectors.encode(database), queries


needs_faiss = pytest.mark.skipif(find_faiss() is None, reason="faiss is not installed: pip install faiss-cpu")


def idxs_of(hits):
    return [hit.keyframe_idx for hit in hits]


def test_small_maps_are_searched_exactly(walk):
    database = walk[0]
    assert isinstance(create_index(database, None, RetrievalConfig(exact_limit=3000)), ExactIndex)


def test_a_large_map_without_codes_is_compared_where_it_lies(walk, caplog):
    database, queries = walk
    index = create_index(database, None, RetrievalConfig(exact_limit=2999))
    assert "3000 keyframes" in caplog.text
    assert "map convert" in caplog.text
    whole = ExactIndex(database)
    for query in queries[:10]:
        found, expected = index.search(query, 10), whole.search(query, 10)
        assert idxs_of(found) == idxs_of(expected)
        np.testing.assert_allclose(
            [hit.similarity for hit in found], [hit.similarity for hit in expected], atol=1e-6
        )


def test_without_faiss_it_says_what_is_missing(walk, caplog, monkeypatch):
    database, queries = walk
    monkeypatch.setattr(code_index, "find_faiss", lambda: None)
    index = create_index(database, make_codes(database), RetrievalConfig(exact_limit=0))
    assert "pip install faiss-cpu" in caplog.text
    assert idxs_of(index.search(queries[0], 10)) == idxs_of(ExactIndex(database).search(queries[0], 10))


@needs_faiss
@pytest.mark.parametrize("head_size", [0, 32])
def test_codes_find_what_exact_search_finds(walk, head_size):
    database, queries = walk
    codes = make_codes(database)
    index = create_index(database, codes, RetrievalConfig(exact_limit=0))
    assert isinstance(index, CodeIndex)
    whole, shared = ExactIndex(database), 0
    if head_size:
        queries = queries.copy()
        queries[:, head_size:] = 0.0
    for query in queries:
        found, expected = index.search(query, 10), whole.search(query, 10)
        similarities = [hit.similarity for hit in found]
        assert similarities == sorted(similarities, reverse=True)
        np.testing.assert_allclose(similarities, database[idxs_of(found)] @ query, atol=1e-6)
        shared += len(set(idxs_of(found)) & set(idxs_of(expected)))
    assert shared >= 0.98 * 500


@needs_faiss
def test_one_scan_finds_both_lists_of_an_image(walk, monkeypatch):
    """By the whole descriptor, and by its first 24 numbers of 64; half of what is found differs."""
    monkeypatch.setattr(code_index, "_MIN_COMPARED", 1)
    database, queries = walk
    scans, best = [], CodeScan.best
    monkeypatch.setattr(CodeScan, "best", lambda *given: scans.append(given) or best(*given))
    index, exact_index = CodeIndex(database, make_codes(database), 3.0), ExactIndex(database)
    shared, same = np.zeros(2), 0
    for query in queries:
        wanted = np.stack([query, np.where(np.arange(64) < 24, query, 0.0)]).astype(np.float32)
        found = [idxs_of(hits) for hits in index.search_lists(wanted, 10)]
        expected = [idxs_of(hits) for hits in exact_index.search_lists(wanted, 10)]
        shared += [len(set(one) & set(other)) for one, other in zip(found, expected, strict=True)]
        same += len(set(expected[0]) & set(expected[1]))
    assert len(scans) == len(queries)
    assert same < 350
    assert (shared >= 0.97 * 500).all()


@needs_faiss
@pytest.mark.parametrize(("first", "num_compared"), [(0, 200), (100, 300), (200, 200)])
def test_lists_are_compared_further_as_long_as_that_changes_one(walk, monkeypatch, first, num_compared):
    """The ten best of the second list are in the round of a hundred that begins with `first`: not beyond a calm one."""
    database, queries = walk
    wanted = np.stack([queries[0], np.where(np.arange(64) < 24, queries[0], 0.0)]).astype(np.float32)
    best, second = (idxs_of(hits) for hits in ExactIndex(database).search_lists(wanted, 10))
    others = [row for row in range(3000) if row not in {*best, *second}]
    late = [row for row in second if row not in best]
    rows = best + others[: 400 - len(best)]
    rows[first + 20 : first + 20] = late
    monkeypatch.setattr(CodeScan, "best", lambda *_: np.array(rows[:300]))
    compared = []
    stored = UnitVectors.products
    monkeypatch.setattr(
        UnitVectors, "products", lambda self, rows, of: compared.extend(rows) or stored(self, rows, of)
    )
    found = CodeIndex(database, make_codes(database), 0.1).search_lists(wanted, 10)
    assert idxs_of(found[0]) == best
    assert (idxs_of(found[1]) == second) is (first < 200)
    assert len(compared) == num_compared


@needs_faiss
def test_comparing_all_that_codes_find_is_exact_search(walk):
    database, queries = walk
    index = CodeIndex(database, make_codes(database), 1000.0)
    for query in queries[:5]:
        assert idxs_of(index.search(query, 20)) == idxs_of(ExactIndex(database).search(query, 20))
    assert len(index.search(queries[0], 5000)) == 3000


@needs_faiss
def test_a_scan_sums_levels():
    """Of 400 rows of 24 components the best are those of the largest weighted sums, within its tables' rounding."""
    rng = np.random.default_rng(2)
    levels = rng.integers(4, size=(400, 24)).astype(np.uint8)
    quads = levels.reshape(400, -1, 4)
    codes = quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6
    weights = rng.normal(size=24).astype(np.float32)
    sums = LEVELS[levels] @ weights
    found = CodeScan(codes).best(weights, 10)
    assert len(found) == 10
    assert sums[found].min() >= np.sort(sums)[-10] - 0.01 * np.abs(weights).sum()
    assert len(CodeScan(codes[:3]).best(weights, 10)) == 3


@needs_faiss
def test_threads_that_share_a_scan_find_what_one_does(monkeypatch):
    monkeypatch.setattr("hfnet_ros.retrieval.code_index._ROWS_OF_A_THREAD", 100)
    rng = np.random.default_rng(3)
    codes = rng.integers(256, size=(450, 24)).astype(np.uint8)
    weights = rng.normal(size=96).astype(np.float32)
    for count in (7, 200, 1000):
        alone, shared = (CodeScan(codes, threads).best(weights, count) for threads in (1, 3))
        np.testing.assert_array_equal(np.sort(alone), np.sort(shared))


@needs_faiss
@pytest.mark.parametrize("share", [0.001, 0.1, 0.6])
def test_only_some_are_found(walk, share, monkeypatch):
    """Few are compared, of some their own codes are looked through, many are among the best of all."""
    monkeypatch.setattr(code_index, "_MAX_COMPARED_AMONG", 20)
    database, queries = walk
    among = np.random.default_rng(1).random(3000) < share
    index, whole, shared = CodeIndex(database, make_codes(database), 5.0), ExactIndex(database), 0
    for query in queries:
        found = idxs_of(index.search(query, 10, among))
        assert among[found].all()
        assert len(found) == min(10, among.sum())
        shared += len(set(found) & set(idxs_of(whole.search(query, 10, among))))
    assert shared >= 0.98 * len(queries) * min(10, among.sum())
    assert index.search(queries[0], 10, np.zeros(3000, np.bool_)) == []


@pytest.mark.parametrize("make", [ExactIndex, StoredIndex])
def test_exact_search_among_some(walk, make):
    database, queries = walk
    among = np.random.default_rng(1).random(3000) < 0.3
    for query in queries[:10]:
        cosines = np.where(among, database.decoded() @ query, -2.0)
        assert (
            idxs_of(make(database).search(query, 10, among))
            == np.argsort(-cosines, kind="stable")[:10].tolist()
        )


def test_two_lists_are_taken_in_turn():
    """By both: 0, 1, 2; by the head's two numbers alone: 3, 1, 0. In turn, each once: 0, 3, 1, 2."""
    database = unit([[0.6, 0.0, 0.8], [0.8, 0.0, 0.6], [0.0, 0.6, 0.8], [1.0, 0.0, 0.0]])
    query = unit([[0.6, 0.1, 0.8]])[0]
    hits = search_in_turn(ExactIndex(database).search_lists, query, 2, database, 3)
    assert [hit.keyframe_idx for hit in hits] == [0, 3, 1]
    np.testing.assert_allclose([hit.similarity for hit in hits], database[[0, 3, 1]] @ query, atol=1e-6)


def test_a_list_that_ends_leaves_the_rest_to_the_other():
    """What may be found may be fewer keyframes than are asked for."""
    database = random_unit(4, 6, 8)
    all_hits = exact(database).search(database[0], 6)
    hits = search_in_turn(lambda *_: [all_hits, all_hits[:1]], database[0], 4, database, 6)
    assert [hit.keyframe_idx for hit in hits] == [hit.keyframe_idx for hit in all_hits]
