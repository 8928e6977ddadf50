"""The index of a set of maps changes with them: codes of what stays are not made again."""

import numpy as np
import pytest
from small_sets import small_map, small_set

from hfnet_ros.map.joined_map import join_set
from hfnet_ros.map.keyframe_codes import KeyframeCodes
from hfnet_ros.map.map_io import save_map
from hfnet_ros.map.map_set_io import open_index, read_map_set
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.mapping import set_index
from hfnet_ros.mapping.map_sets import change_set


@pytest.fixture(autouse=True)
def _coded(monkeypatch):
    monkeypatch.setattr(set_index, "MIN_CODED_KEYFRAMES", 3)


def index_of(path):
    return open_index(path, read_map_set(path), verify=True)


def test_a_map_that_is_replaced_brings_its_own_codes(tmp_path):
    path = small_set(tmp_path)
    before = KeyframeCodes.of_arrays(index_of(path))
    save_map(small_map(9, 3), tmp_path / "new.map")
    change_set(path, put={"b": tmp_path / "new.map"})
    arrays = index_of(path)
    after = KeyframeCodes.of_arrays(arrays)
    assert len(before) == 15
    assert len(after) == 4 + 3 + 6
    np.testing.assert_array_equal(after.axes, before.axes)
    np.testing.assert_array_equal(after.codes[:4], before.codes[:4])
    np.testing.assert_array_equal(after.codes[7:], before.codes[9:])
    np.testing.assert_array_equal(after.codes, before.encode(UnitVectors(arrays["global_descriptors"])))


def test_many_others_make_it_anew(tmp_path):
    path = small_set(tmp_path)
    before = KeyframeCodes.of_arrays(index_of(path))
    save_map(small_map(9, 40), tmp_path / "new.map")
    change_set(path, put={"d": tmp_path / "new.map"})
    after = KeyframeCodes.of_arrays(index_of(path))
    assert len(after) == after.num_made == 55
    assert not np.array_equal(after.axes, before.axes)


def test_the_set_is_searched_with_it(tmp_path):
    path = small_set(tmp_path)
    found = read_map_set(path)
    joined = join_set(path, found, None)
    assert len(joined.codes) == joined.num_keyframes == 15
    assert joined.grid.poses is joined.given_poses
    assert sorted(joined.grid.keyframe_idx.tolist()) == list(range(15))


def test_small_sets_have_none(tmp_path, monkeypatch):
    monkeypatch.setattr(set_index, "MIN_CODED_KEYFRAMES", 2000)
    assert not {"codes", "grid_cells"} & index_of(small_set(tmp_path)).keys()
