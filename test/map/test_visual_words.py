"""Visual words, and global descriptors made of local ones."""

import numpy as np

from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.map.visual_words import learn_words


def bundles(rng, directions, count, spread):
    """Unit vectors [N, D] around some directions [K, D], and which of them each belongs to."""
    of = rng.integers(len(directions), size=count)
    return unit_rows((directions[of] + spread * rng.normal(size=(count, 8))).astype(np.float32)), of


def test_words_are_the_directions_that_descriptors_gather_around():
    rng = np.random.default_rng(3)
    directions = np.eye(8, dtype=np.float32)[:4]
    descriptors, of = bundles(rng, directions, 800, 0.05)
    words = learn_words(descriptors, 16, seed=0)
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1.0, rtol=1e-5)
    nearest = np.argmax(descriptors @ words.T, axis=1)
    # Sixteen words share four bundles; none of them has members of two.
    assert all(len(np.unique(of[nearest == word])) == 1 for word in np.unique(nearest))


def test_words_are_the_same_every_time_and_no_more_than_descriptors():
    descriptors, _ = bundles(np.random.default_rng(0), np.eye(8, dtype=np.float32), 25000, 0.3)
    np.testing.assert_array_equal(learn_words(descriptors, 32, seed=1), learn_words(descriptors, 32, seed=1))
    assert learn_words(descriptors[:5], 32, seed=1).shape == (5, 8)
