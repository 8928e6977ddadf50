"""Sub-maps: each keyframe in one core, margins of neighbours, rigs together."""

import numpy as np
import pytest

from hfnet_ros.building.partition import overlapping, partition_by_position
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Rigid3

EYE = np.eye(3)


def poses_at(centers):
    return [Rigid3(EYE, np.asarray(center, np.float64)) for center in centers]


def corridor(count, step=0.5):
    return poses_at([[step * row, 0.0, 0.0] for row in range(count)])


def test_a_corridor_is_cut_into_pieces_that_overlap_their_neighbours():
    plans = partition_by_position(corridor(80), range(80), 4, 6)
    assert [plan.name for plan in plans] == ["sub-map-0", "sub-map-1", "sub-map-2", "sub-map-3"]
    assert [plan.core.tolist() for plan in plans] == [list(range(20 * n, 20 * n + 20)) for n in range(4)]
    # Six neighbours are three on each side.
    assert plans[1].keyframes.tolist() == list(range(17, 43))
    assert plans[0].keyframes.tolist() == list(range(23))
    assert overlapping(plans) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("num_sub_maps", [1, 2, 3, 5, 7])
def test_cores_are_a_partition_and_sizes_are_bounded(num_sub_maps):
    centers = np.random.default_rng(num_sub_maps).uniform(0, [30.0, 12.0, 3.0], (200, 3))
    plans = partition_by_position(poses_at(centers), range(200), num_sub_maps, 12)
    assert sorted(np.concatenate([plan.core for plan in plans])) == list(range(200))
    for plan in plans:
        assert abs(len(plan.core) - 200 / num_sub_maps) <= num_sub_maps
        assert set(plan.core) <= set(plan.keyframes)
        assert len(plan.keyframes) <= 1.5 * len(plan.core)


def test_the_unit_of_length_does_not_matter():
    centers = np.random.default_rng(3).uniform(0, 10, (90, 3))
    meters, millimeters = (
        partition_by_position(poses_at(scale * centers), range(90), 3, 8) for scale in (1.0, 1000.0)
    )
    for one, other in zip(meters, millimeters, strict=True):
        np.testing.assert_array_equal(one.keyframes, other.keyframes)


def test_images_of_one_time_stay_together():
    stamps = np.repeat(np.arange(40), 3)
    centers = [[0.5 * stamp, 0.1 * camera, 0.0] for stamp in range(40) for camera in range(3)]
    for plan in partition_by_position(poses_at(centers), stamps, 3, 4):
        for part in (plan.core, plan.keyframes):
            assert set(np.bincount(stamps[part], minlength=40)) <= {0, 3}


def test_parts_that_nothing_connects_do_not_overlap():
    far = poses_at([[0.1 * row + 100.0 * (row >= 20), 0.0, 0.0] for row in range(40)])
    plans = partition_by_position(far, range(40), 2, 5)
    assert overlapping(plans) == []
    assert [len(plan.keyframes) for plan in plans] == [20, 20]


@pytest.mark.parametrize(("count", "num_sub_maps"), [(30, 4), (30, 0), (5, 1)])
def test_too_few_keyframes_are_refused(count, num_sub_maps):
    with pytest.raises(MappingError, match=f"{num_sub_maps} sub-maps of {count} keyframes"):
        partition_by_position(corridor(count), range(count), num_sub_maps, 12)
