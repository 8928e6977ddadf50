"""Grouping prior frames by covisibility."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from hfnet_ros.map.search_structure import make_search_structure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.places import group_into_places
from hfnet_ros.types import RetrievalHit

# Frames 0-1 share landmarks 2, 3; frames 1-2 share 4, 5; frame 3 shares only 9 with frame 4; 5 sees nothing.
SEEN = ((0, 1, 2, 3), (2, 3, 4, 5), (4, 5, 6), (7, 8, 9), (9, 10, 11), ())


def structure_of(seen):
    """The search structure of a map whose keyframes see landmarks as a matrix [F, L] says."""
    num_landmarks = seen.shape[1]
    local = UnitVectors.encode(np.ones((num_landmarks, 4)))
    return make_search_structure(local, csr_matrix(seen))


@pytest.fixture
def covisibility():
    dense = np.zeros((len(SEEN), 12), np.int32)
    for row, landmarks in enumerate(SEEN):
        dense[row, list(landmarks)] = 1
    return structure_of(dense)


def hits(*pairs):
    return [RetrievalHit(idx, similarity) for idx, similarity in pairs]


def frames(places):
    return [place.keyframe_idxs for place in places]


def test_no_hits_no_places(covisibility):
    assert group_into_places([], covisibility, 1) == []


def test_components_are_transitive(covisibility):
    found = group_into_places(hits((2, 0.9), (0, 0.8), (1, 0.7)), covisibility, 2)
    assert frames(found) == [(2, 0, 1)]


def test_a_missing_link_separates(covisibility):
    # Without frame 1 nothing connects 0 and 2.
    found = group_into_places(hits((2, 0.9), (0, 0.8)), covisibility, 2)
    assert frames(found) == [(2,), (0,)]


@pytest.mark.parametrize(("needed", "expected"), [(1, [(3, 4)]), (2, [(3,), (4,)])])
def test_the_limit_counts_shared_landmarks(covisibility, needed, expected):
    assert frames(group_into_places(hits((3, 0.5), (4, 0.4)), covisibility, needed)) == expected


def test_places_are_ordered_by_the_sum_of_similarities(covisibility):
    found = group_into_places(hits((3, 0.9), (0, 0.6), (1, 0.5)), covisibility, 2)
    assert frames(found) == [(0, 1), (3,)]
    assert found[0].score == pytest.approx(1.1)
    assert found[0].similarity == pytest.approx(0.6)
    assert found[1].similarity == pytest.approx(0.9)


def test_equal_scores_keep_the_order_of_the_hits(covisibility):
    assert frames(group_into_places(hits((4, 0.5), (0, 0.5)), covisibility, 2)) == [(4,), (0,)]


def test_an_opposite_frame_does_not_lower_a_place(covisibility):
    found = group_into_places(hits((0, 0.6), (1, -0.4)), covisibility, 2)
    assert found[0].score == pytest.approx(0.6)


def test_a_frame_that_sees_nothing_stands_alone(covisibility):
    assert frames(group_into_places(hits((5, 0.9), (0, 0.8), (1, 0.7)), covisibility, 1)) == [(0, 1), (5,)]


def test_every_hit_is_in_exactly_one_place():
    rng = np.random.default_rng(0)
    seen = csr_matrix((rng.random((60, 200)) < 0.05).astype(np.int32))
    order = rng.permutation(60)[:30]
    given = hits(*zip(order.tolist(), np.sort(rng.random(30))[::-1].tolist(), strict=True))
    found = group_into_places(given, structure_of(seen), 2)
    assert sorted(sum(frames(found), ())) == sorted(order.tolist())
    rank = {idx: position for position, idx in enumerate(order.tolist())}
    for place in found:
        assert [rank[idx] for idx in place.keyframe_idxs] == sorted(rank[idx] for idx in place.keyframe_idxs)
    shared = (seen @ seen.T).toarray()
    for first in found:
        for second in found:
            if first is not second:
                assert shared[np.ix_(first.keyframe_idxs, second.keyframe_idxs)].max() < 2
