"""Parts and leaves of a scene."""

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.training.scene_labels import SceneLabels, combine_labels, make_labels


def cloud(seed=0, count=4000, shift=(0.0, 0.0, 0.0)):
    return np.random.default_rng(seed).uniform([0, 0, 0], [6, 4, 2.5], (count, 3)) + shift


def test_leaves_divide_the_parts_and_are_found_again():
    labels = make_labels(cloud(), 9, 7)
    assert labels.num_parts == 9 and labels.num_subclasses == 7 and len(labels.centers) == 63
    assert np.all(np.diff(labels.parents) >= 0)
    # The middle of a leaf is nearest to itself among its part's, and most are of their own part.
    assert np.mean(labels.of(labels.centers) == np.arange(63)) > 0.9
    leaves = labels.of(cloud(1))
    distance = np.linalg.norm(cloud(1) - labels.centers[leaves], axis=1)
    assert np.median(distance) < 0.6 and set(labels.parents[leaves]) == set(range(9))


def test_same_seed_same_labels():
    first, again, other = (make_labels(cloud(), 5, 5, seed) for seed in (3, 3, 4))
    assert first.centers.tobytes() == again.centers.tobytes()
    assert first.centers.tobytes() != other.centers.tobytes()


def test_parts_of_few_points_have_fewer_leaves():
    few = np.concatenate([cloud(count=500), np.array([[90.0, 90.0, 1.0], [90.1, 90.0, 1.0]])])
    labels = make_labels(few, 8, 10)
    assert len(labels.centers) == len(labels.scales) < 80 and labels.scales.min() >= 0.05


def test_too_few_points_are_refused_with_a_remedy():
    with pytest.raises(MappingError, match=r"20 points, 25 needed.*scene.classes"):
        make_labels(cloud(count=20))


def test_combined_scenes_keep_their_parts_apart():
    first, second = make_labels(cloud(), 4, 5), make_labels(cloud(2, shift=(20.0, 0, 0)), 6, 5)
    both = combine_labels([first, second])
    assert both.num_parts == 10 and len(both.centers) == len(first.centers) + len(second.centers)
    leaves = both.of(cloud(5, shift=(20.0, 0, 0)))
    assert leaves.min() >= len(first.centers) and both.parents[leaves].min() >= 4


def test_labels_of_a_map_can_be_changed_and_are_missed():
    made = make_labels(np.random.default_rng(3).normal(size=(200, 3)), 3, 4)
    stored = made.arrays()
    for array in stored.values():
        array.flags.writeable = False
    again = SceneLabels.from_arrays(stored)
    assert again.centers.flags.writeable
    np.testing.assert_array_equal(again.part_centers, made.part_centers)
    del stored["part_centers"]
    with pytest.raises(MappingError, match="does not hold part_centers"):
        SceneLabels.from_arrays(stored)
