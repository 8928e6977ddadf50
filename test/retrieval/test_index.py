"""Search over global descriptors."""

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from hfnet_ros.config import RetrievalConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.search_structure import make_search_structure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.index import CellIndex, ExactIndex, best_hits, create_index, search_in_turn


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


@pytest.mark.parametrize("exact_limit", [0, 3000])
def test_only_some_are_searched(walk, exact_limit):
    database, structure, queries = walk
    index = create_index(database, structure, RetrievalConfig(exact_limit=exact_limit))
    among = np.random.default_rng(1).random(3000) < 0.3
    for query in queries[:10]:
        cosines = np.where(among, database.decoded() @ query, -2.0)
        hits = index.search(query, 10, among)
        assert [hit.keyframe_idx for hit in hits] == np.argsort(-cosines, kind="stable")[:10].tolist()
    assert index.search(queries[0], 10, np.zeros(3000, np.bool_)) == []
    few = np.zeros(3000, np.bool_)
    few[[7, 2999]] = True
    assert {hit.keyframe_idx for hit in index.search(queries[0], 10, few)} == {7, 2999}


def test_asking_for_more_than_there_is_gives_all():
    assert len(exact(random_unit(2, 3)).search(random_unit(3, 1)[0], 10)) == 3


def test_an_empty_map_has_no_hits():
    assert exact(np.empty((0, 8))).search(np.zeros(8, np.float32), 5) == []


def test_hits_hold_plain_numbers():
    hit = exact(random_unit(4, 3)).search(random_unit(5, 1)[0], 1)[0]
    assert type(hit.keyframe_idx) is int
    assert type(hit.similarity) is float


def structure_of(descriptors):
    local = UnitVectors.encode(np.ones((1, 4)))
    return make_search_structure(local, descriptors, csr_matrix((len(descriptors), 1), dtype=np.int32))


@pytest.fixture(scope="module")
def walk():
    """3000 keyframes of 60 rooms, and views near some of them: what a robot's map looks like."""
    rng = np.random.default_rng(8)
    rooms = unit(rng.normal(size=(60, 64)))
    database = unit(np.repeat(rooms, 50, axis=0) + 0.1 * rng.normal(size=(3000, 64)))
    queries = unit(database[::60] + 0.05 * rng.normal(size=(50, 64)))
    encoded = UnitVectors.encode(database)
    return encoded, structure_of(encoded), queries


def test_small_maps_are_searched_exactly(walk):
    database, structure, _ = walk
    assert isinstance(create_index(database, structure, RetrievalConfig(exact_limit=3000)), ExactIndex)
    assert isinstance(create_index(database, structure, RetrievalConfig(exact_limit=2999)), CellIndex)


def test_cells_hold_nearly_what_exact_search_finds(walk):
    database, structure, queries = walk
    cells, whole = CellIndex(database, structure, 16), ExactIndex(database)
    shared = 0
    for query in queries:
        found = cells.search(query, 10)
        similarities = [hit.similarity for hit in found]
        assert similarities == sorted(similarities, reverse=True)
        shared += len(
            {hit.keyframe_idx for hit in found} & {hit.keyframe_idx for hit in whole.search(query, 10)}
        )
    assert shared >= 0.98 * 500


def test_all_cells_are_the_whole_map(walk):
    database, structure, queries = walk
    everything = CellIndex(database, structure, len(structure.cell_centers))
    for query in queries[:5]:
        found, exact = everything.search(query, 3000), ExactIndex(database).search(query, 3000)
        assert len({hit.keyframe_idx for hit in found}) == 3000
        expected = [hit.similarity for hit in exact]
        np.testing.assert_allclose([hit.similarity for hit in found], expected, atol=1e-6)


def test_only_the_searched_cells_are_read(walk):
    database, structure, queries = walk
    read = []

    class Watched(UnitVectors):
        __slots__ = ()

        def __getitem__(self, rows):
            read.append(super().__getitem__(rows))
            return read[-1]

    watched = dataclasses.replace(structure, cell_descriptors=Watched(structure.cell_descriptors.codes))
    CellIndex(database, watched, 4).search(queries[0], 10)
    assert len(read) == 4
    assert sum(map(len, read)) < 0.2 * len(database)


def test_every_keyframe_is_in_one_cell(walk):
    _, structure, _ = walk
    assert sorted(structure.cell_keyframe_idx.tolist()) == list(range(3000))
    assert structure.cell_offsets[0] == 0
    assert structure.cell_offsets[-1] == 3000
    database = walk[0]
    np.testing.assert_array_equal(structure.cell_descriptors[:], database[structure.cell_keyframe_idx])


@pytest.mark.parametrize("keyframe_idx", [-1, 3000])
def test_a_keyframe_that_is_none_is_named(walk, keyframe_idx):
    database, structure, queries = walk
    damaged = np.full_like(structure.cell_keyframe_idx, keyframe_idx)
    broken = CellIndex(database, dataclasses.replace(structure, cell_keyframe_idx=damaged), 4)
    with pytest.raises(MapFormatError, match="cell_keyframe_idx"):
        broken.search(queries[0], 10)


def test_two_lists_are_taken_in_turn():
    """By both: 0, 1, 2; by the head's two numbers alone: 3, 1, 0. In turn, each once: 0, 3, 1, 2."""
    database = unit([[0.6, 0.0, 0.8], [0.8, 0.0, 0.6], [0.0, 0.6, 0.8], [1.0, 0.0, 0.0]])
    query = unit([[0.6, 0.1, 0.8]])[0]
    hits = search_in_turn(ExactIndex(database).search, query, 2, database, 3)
    assert [hit.keyframe_idx for hit in hits] == [0, 3, 1]
    np.testing.assert_allclose([hit.similarity for hit in hits], database[[0, 3, 1]] @ query, atol=1e-6)


def test_a_list_that_ends_leaves_the_rest_to_the_other():
    """A large map's cells may hold fewer keyframes than are asked for."""
    database = random_unit(4, 6, 8)
    all_hits = exact(database).search(database[0], 6)
    lists = iter([all_hits, all_hits[:1]])
    hits = search_in_turn(lambda *_: next(lists), database[0], 4, database, 6)
    assert [hit.keyframe_idx for hit in hits] == [hit.keyframe_idx for hit in all_hits]
