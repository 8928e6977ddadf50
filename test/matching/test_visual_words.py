"""Matching within visual words against exhaustive matching."""

import numpy as np
import pytest

from hfnet_ros.map.visual_words import assign_words
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.matching.visual_words import mutual_nearest_in_words


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_unit(seed, count, size=32):
    return unit(np.random.default_rng(seed).normal(size=(count, size)))


def sorted_by_word(landmarks, vocabulary):
    words = assign_words(landmarks, vocabulary)
    order = np.argsort(words, kind="stable")
    return landmarks[order], words[order]


@pytest.fixture
def scene():
    """Queries that are noisy copies of half of the landmarks, and strangers."""
    rng = np.random.default_rng(0)
    vocabulary = random_unit(1, 16)
    landmarks, words = sorted_by_word(random_unit(2, 600), vocabulary)
    copies = unit(landmarks[rng.permutation(600)[:300]] + 0.08 * rng.normal(size=(300, 32)))
    query = np.concatenate([copies, random_unit(3, 100)])[rng.permutation(400)]
    return query, landmarks, words, vocabulary


def test_words_are_the_nearest_centres():
    vocabulary = np.array([[1, 0], [0, 1]], np.float32)
    words = assign_words(np.array([[0.6, 0.8], [0.8, 0.6], [-1, 0]], np.float32), vocabulary)
    assert words.tolist() == [1, 0, 1]
    assert words.dtype == np.int32


@pytest.mark.parametrize("words_per_query", [16, 100])
def test_all_words_are_exhaustive(scene, words_per_query):
    query, landmarks, words, vocabulary = scene
    found = mutual_nearest_in_words(query, landmarks, words, vocabulary, words_per_query, 0.3)
    expected = mutual_nearest(query, landmarks, 0.3)
    assert len(expected[0]) > 250
    assert found[0].tolist() == expected[0].tolist()
    assert found[1].tolist() == expected[1].tolist()
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)


@pytest.mark.parametrize("words_per_query", [1, 3])
def test_few_words_equal_the_definition_on_the_pairs_that_share_one(scene, words_per_query):
    query, landmarks, words, vocabulary = scene
    nearest_words = np.argsort(-(query @ vocabulary.T), axis=1)[:, :words_per_query]
    cosines = np.where((nearest_words[:, :, None] == words).any(axis=1), query @ landmarks.T, -2.0)
    to_landmark, to_query = cosines.argmax(axis=1), cosines.argmax(axis=0)
    mutual = np.flatnonzero((to_query[to_landmark] == np.arange(len(query))) & (cosines.max(axis=1) >= 0.3))
    rows, columns, similarity = mutual_nearest_in_words(
        query, landmarks, words, vocabulary, words_per_query, 0.3
    )
    assert rows.tolist() == mutual.tolist()
    assert columns.tolist() == to_landmark[mutual].tolist()
    exact = np.einsum("ij,ij->i", query[rows].astype(np.float64), landmarks[columns].astype(np.float64))
    np.testing.assert_allclose(similarity, exact, atol=1e-6)


def test_few_words_find_most_true_pairs(scene):
    query, landmarks, words, vocabulary = scene
    exhaustive = set(zip(*(part.tolist() for part in mutual_nearest(query, landmarks, 0.6)[:2]), strict=True))
    rows, columns, _ = mutual_nearest_in_words(query, landmarks, words, vocabulary, 4, 0.6)
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert found <= exhaustive
    assert len(found) > 0.9 * len(exhaustive)


def test_equal_descriptors_are_used_once():
    vocabulary = random_unit(4, 4)
    landmarks, words = sorted_by_word(np.repeat(random_unit(5, 3), 2, axis=0), vocabulary)
    rows, columns, similarity = mutual_nearest_in_words(landmarks, landmarks, words, vocabulary, 4, 0.5)
    assert rows.tolist() == [0, 2, 4]
    assert columns.tolist() == [0, 2, 4]
    np.testing.assert_allclose(similarity, 1.0, atol=1e-6)


def test_queries_in_words_without_landmarks_stay_alone():
    vocabulary = np.eye(3, dtype=np.float32)
    landmarks = np.array([[1, 0, 0]], np.float32)
    query = np.array([[0, 1, 0], [0, 0, 1]], np.float32)
    found = mutual_nearest_in_words(query, landmarks, np.zeros(1, np.int32), vocabulary, 1, -1.0)
    assert [len(part) for part in found] == [0, 0, 0]


@pytest.mark.parametrize(("num_query", "num_landmarks"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_match(num_query, num_landmarks):
    vocabulary = random_unit(6, 4, 8)
    words = np.zeros(num_landmarks, np.int32)
    found = mutual_nearest_in_words(
        random_unit(7, num_query, 8), random_unit(8, num_landmarks, 8), words, vocabulary, 2, 0.5
    )
    assert [len(part) for part in found] == [0, 0, 0]
    assert [part.dtype for part in found] == [np.int64, np.int64, np.float32]
