"""From query keypoints and a place's landmarks to 2D-3D matches."""

import numpy as np
import pytest
from given_place import GivenPlace

from hfnet_ros.config import MatchingConfig
from hfnet_ros.map.visual_words import assign_words
from hfnet_ros.matching import landmark_matcher
from hfnet_ros.matching.landmark_matcher import MutualNearestMatcher
from hfnet_ros.types import ImageFeatures, LocalFeatures


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def features(descriptors):
    count = len(descriptors)
    keypoints = np.stack([np.arange(count), 2 * np.arange(count) + 0.25], axis=1).astype(np.float32)
    local = LocalFeatures(keypoints, np.linspace(1, 0.5, count, dtype=np.float32), descriptors)
    return ImageFeatures(local, None, "test")


@pytest.fixture
def world():
    """300 landmarks with far-off map rows, and a query that sees 120 of them noisily."""
    rng = np.random.default_rng(0)
    descriptors = unit(rng.normal(size=(300, 32)))
    landmarks = GivenPlace(np.arange(300) * 7 + 1000, rng.normal(size=(300, 3)), descriptors)
    seen = rng.permutation(300)[:120]
    query = features(unit(descriptors[seen] + rng.uniform(0.02, 0.12, (120, 1)) * rng.normal(size=(120, 32))))
    return query, landmarks, seen


def with_words(landmarks, vocabulary):
    words = assign_words(landmarks.descriptors, vocabulary)
    order = np.argsort(words, kind="stable")
    return GivenPlace(
        landmarks.idxs[order], landmarks.xyz[order], landmarks.descriptors[order], words[order], vocabulary
    )


def test_matches_carry_the_right_rows_pixels_and_points(world):
    query, landmarks, seen = world
    found = MutualNearestMatcher(MatchingConfig()).match(query, landmarks)
    assert len(found) > 100
    right = found.landmark_idxs == landmarks.idxs[seen[found.keypoint_idxs]]
    assert right.mean() > 0.98
    np.testing.assert_array_equal(
        found.points2d, query.local.keypoints[found.keypoint_idxs].astype(np.float64)
    )
    np.testing.assert_array_equal(found.points3d, landmarks.xyz[(found.landmark_idxs - 1000) // 7])
    cosines = np.einsum(
        "ij,ij->i",
        query.local.descriptors[found.keypoint_idxs],
        landmarks.descriptors[(found.landmark_idxs - 1000) // 7],
    )
    np.testing.assert_allclose(found.similarity, cosines, atol=1e-6)
    assert [found.points2d.dtype, found.points3d.dtype] == [np.float64, np.float64]


def test_matches_are_ordered_and_unique(world):
    query, landmarks, _ = world
    found = MutualNearestMatcher(MatchingConfig(min_similarity=-1.0)).match(query, landmarks)
    assert (np.diff(found.similarity) <= 0).all()
    assert len(set(found.keypoint_idxs.tolist())) == len(set(found.landmark_idxs.tolist())) == len(found)


def test_the_words_of_a_view_are_looked_up_once_and_never_taken_for_those_of_another(world, monkeypatch):
    query, landmarks, _ = world
    vocabulary = unit(np.random.default_rng(3).normal(size=(16, 32)))
    place, asked = with_words(landmarks, vocabulary), []
    counted = landmark_matcher.nearest_words
    monkeypatch.setattr(
        landmark_matcher, "nearest_words", lambda *given: asked.append(None) or counted(*given)
    )
    matcher = MutualNearestMatcher(MatchingConfig())
    first, again = matcher.match(query, place), matcher.match(query, place)
    assert len(asked) == 1
    np.testing.assert_array_equal(first.landmark_idxs, again.landmark_idxs)
    for seed in range(20):  # each may lie where one that is gone lay
        other = features(unit(np.random.default_rng(seed).normal(size=(120, 32))))
        fresh = MutualNearestMatcher(MatchingConfig()).match(other, place)
        np.testing.assert_array_equal(matcher.match(other, place).landmark_idxs, fresh.landmark_idxs)
        np.testing.assert_array_equal(matcher.match(other, place).similarity, fresh.similarity)


@pytest.mark.parametrize("ratio", [1.0, 0.9])
def test_views_matched_together_have_the_matches_of_each_by_itself(world, monkeypatch, ratio):
    query, landmarks, _ = world
    rng = np.random.default_rng(4)
    place = with_words(landmarks, unit(rng.normal(size=(16, 32))))
    seen = unit(landmarks.descriptors[rng.permutation(300)[:80]] + 0.05 * rng.normal(size=(80, 32)))
    views = [query, features(unit(rng.normal(size=(0, 32)))), features(seen), features(seen[:1])]
    matcher = MutualNearestMatcher(MatchingConfig(max_query_keypoints=100, words_per_keypoint=4, ratio=ratio))
    monkeypatch.setattr(landmark_matcher, "FEW_PAIRS", 0)
    for together, view in zip(matcher.match_views(views, place), views, strict=True):
        alone = matcher.match(view, place)
        np.testing.assert_array_equal(together.keypoint_idxs, alone.keypoint_idxs)
        np.testing.assert_array_equal(together.landmark_idxs, alone.landmark_idxs)
        np.testing.assert_allclose(together.similarity, alone.similarity, atol=1e-6)
    assert len(alone) == 1


def test_only_the_best_query_keypoints_are_matched(world):
    query, landmarks, _ = world
    found = MutualNearestMatcher(MatchingConfig(max_query_keypoints=64)).match(query, landmarks)
    assert 50 < len(found) <= 64
    assert found.keypoint_idxs.max() < 64


def test_all_words_give_the_same_matches_as_no_vocabulary(world):
    query, landmarks, _ = world
    vocabulary = unit(np.random.default_rng(1).normal(size=(8, 32)))
    config = MatchingConfig(words_per_keypoint=8)
    plain = MutualNearestMatcher(config).match(query, landmarks)
    in_words = MutualNearestMatcher(config).match(query, with_words(landmarks, vocabulary))
    assert in_words.keypoint_idxs.tolist() == plain.keypoint_idxs.tolist()
    assert in_words.landmark_idxs.tolist() == plain.landmark_idxs.tolist()
    np.testing.assert_array_equal(in_words.points3d, plain.points3d)


def test_landmarks_without_words_are_matched_exhaustively(world):
    query, landmarks, _ = world
    found = MutualNearestMatcher(MatchingConfig(words_per_keypoint=1)).match(query, landmarks)
    exhaustive = MutualNearestMatcher(MatchingConfig(words_per_keypoint=8)).match(query, landmarks)
    assert found.keypoint_idxs.tolist() == exhaustive.keypoint_idxs.tolist()


@pytest.mark.parametrize("use_words", [False, True])
@pytest.mark.parametrize(("num_query", "num_landmarks"), [(0, 4), (4, 0), (0, 0)])
@pytest.mark.parametrize("ratio", [1.0, 0.9])
def test_nothing_to_match(num_query, num_landmarks, use_words, ratio):
    descriptors = np.eye(8, dtype=np.float32)
    words = np.zeros(num_landmarks, np.int32) if use_words else None
    landmarks = GivenPlace(
        np.arange(num_landmarks),
        np.zeros((num_landmarks, 3)),
        descriptors[:num_landmarks],
        words,
        descriptors[:2] if use_words else descriptors[:0],
    )
    found = MutualNearestMatcher(MatchingConfig(ratio=ratio)).match(
        features(descriptors[:num_query]), landmarks
    )
    assert len(found) == 0
    assert found.points2d.shape == (0, 2)
    assert found.points3d.shape == (0, 3)


def leaning(first, second, angle_deg, size=16):
    """Unit vector [size] along axis `first`, turned towards axis `second`."""
    vector = np.zeros(size, np.float32)
    vector[first], vector[second] = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return vector


def ratio_match(second_best_xyz, ratio=0.9, extra_duplicates=0, seed=2):
    """Query 10 deg from landmark 0, 10.5 deg from landmark 1, duplicates of 0 between; 200 others far off."""
    rng = np.random.default_rng(seed)
    others = rng.normal(size=(200, 16))
    others[:, [0, 1, 12]] = 0.0
    duplicates = [leaning(0, 12, -0.2 * (n + 1)) for n in range(extra_duplicates)]
    descriptors = np.stack([leaning(0, 1, 0.0), leaning(0, 1, 20.5), *duplicates, *unit(others)])
    xyz = np.concatenate(
        [
            [[0.0, 0.0, 0.0], second_best_xyz],
            np.full((extra_duplicates, 3), 0.001),
            rng.uniform(10.0, 30.0, (200, 3)),
        ]
    )
    idxs = rng.permutation(len(descriptors))
    landmarks = GivenPlace(idxs, xyz[idxs], descriptors[idxs].astype(np.float32))
    query = features(leaning(0, 1, 10.0)[None])
    return MutualNearestMatcher(MatchingConfig(ratio=ratio)).match(query, landmarks)


def test_a_second_best_elsewhere_is_ambiguous():
    assert len(ratio_match([4.0, 0.0, 0.0])) == 0


def test_a_second_best_at_the_same_point_is_not_ambiguous():
    assert ratio_match([0.003, 0.0, 0.0]).landmark_idxs.tolist() == [0]


def test_the_ratio_is_one_of_distances():
    # d ~ sin(angle / 2): 10 / 10.5 = 0.952.
    assert len(ratio_match([4.0, 0.0, 0.0], ratio=0.94)) == 0
    assert len(ratio_match([4.0, 0.0, 0.0], ratio=0.96)) == 1


def test_ratio_one_is_off():
    assert len(ratio_match([4.0, 0.0, 0.0], ratio=1.0)) == 1


@pytest.mark.parametrize("extra_duplicates", [1, 3, 5])
def test_copies_of_the_best_landmark_do_not_hide_a_rival_elsewhere(extra_duplicates):
    # The rival is only the third, fifth or seventh most similar landmark.
    for seed in range(20):
        assert len(ratio_match([4.0, 0.0, 0.0], extra_duplicates=extra_duplicates, seed=seed)) == 0


def test_many_copies_nearer_than_the_rival_do_not_hide_it():
    copies = [leaning(0, 12, -0.05 * (n + 1)) for n in range(12)]
    descriptors = np.stack([leaning(0, 1, 0.0), *copies, leaning(0, 1, 20.5)])
    xyz = np.zeros((14, 3))
    xyz[:13, 0], xyz[13, 0] = np.linspace(0.0, 0.01, 13), 4.0
    query = features(leaning(0, 1, 10.0)[None])
    for rows, expected in ((range(14), 0), (range(13), 1)):
        rows = np.array(rows)
        # Another landmark far off gives the set its extent, and is no rival.
        landmarks = GivenPlace(
            np.append(rows, 14),
            np.append(xyz[rows], [[0.0, 9.0, 0.0]], axis=0),
            np.append(descriptors[rows], leaning(9, 8, 0.0)[None], axis=0),
        )
        assert len(MutualNearestMatcher(MatchingConfig(ratio=0.9)).match(query, landmarks)) == expected


def test_a_single_landmark_has_no_rival():
    landmarks = GivenPlace(np.array([5]), np.ones((1, 3)), np.eye(1, 8, dtype=np.float32))
    found = MutualNearestMatcher(MatchingConfig(ratio=0.9)).match(
        features(np.eye(1, 8, dtype=np.float32)), landmarks
    )
    assert found.landmark_idxs.tolist() == [5]
