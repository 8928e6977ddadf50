"""Keyframes by position: all that are near, in every part of space, whatever the map's size."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map import position_grid, visual_map
from hfnet_ros.map.map_io import load_map, save_map, verify_map
from hfnet_ros.map.position_grid import CELL_M, PositionGrid, cell_keys, grid_problem


def poses_at(positions):
    return np.column_stack([positions, np.tile([0.0, 0.0, 0.0, 1.0], (len(positions), 1))])


def test_cubes_beside_each_other_along_x_follow_each_other():
    keys = cell_keys(
        np.array([[0.5, 0, 0], [CELL_M + 0.5, 0, 0], [-0.5, 0, 0], [0.5, -0.1, 0], [0.5, 0, CELL_M]])
    )
    assert keys[1] == keys[0] + 1
    assert keys[2] == keys[0] - 1
    assert keys[3] < keys[2]
    assert keys[4] > keys[1]
    assert cell_keys(np.array([[np.nan, 0, 0]])).tolist() == [-1]


@pytest.mark.parametrize("radius_m", [0.0, 1.0, 7.0, 40.0, 900.0])
@pytest.mark.parametrize("scale_m", [10.0, 300.0])
def test_all_of_a_ball_are_among_those_around_it(radius_m, scale_m):
    rng = np.random.default_rng(0)
    positions = rng.normal(scale=[scale_m, scale_m, 5.0], size=(3000, 3))
    grid = PositionGrid.of(poses_at(positions))
    assert sorted(grid.keyframe_idx.tolist()) == list(range(3000))
    for center in positions[:20]:
        found, cells = grid.around(center, radius_m)
        assert len(set(found.tolist())) == len(found)
        np.testing.assert_array_equal(cells, cell_keys(positions[found]))
        inside = np.flatnonzero(np.linalg.norm(positions - center, axis=1) <= radius_m)
        assert set(inside.tolist()) <= set(found.tolist())
        far = np.abs(positions[found] - center).max(axis=1)
        assert far.max() <= radius_m + CELL_M + 1e-9


def test_the_edges_of_space_hold_what_is_beyond():
    positions = np.array([[1e9, 0, 0], [-1e9, 2e9, 0], [0, 0, 1e8], [0, 0, 0]], float)
    grid = PositionGrid.of(poses_at(positions))
    for row, position in enumerate(positions):
        assert row in grid.around(position, 1.0)[0]
    assert grid.around(np.zeros(3), 10.0)[0].tolist() == [3]


def test_an_empty_map_has_none():
    assert len(PositionGrid.of(np.empty((0, 7))).around(np.zeros(3), 5.0)[0]) == 0


def test_pieces_and_layers_find_the_same(monkeypatch):
    positions = np.random.default_rng(1).normal(scale=60.0, size=(2000, 3))
    grid = PositionGrid.of(poses_at(positions))
    by_pieces = [sorted(grid.around(center, 30.0)[0].tolist()) for center in positions[:20]]
    monkeypatch.setattr(position_grid, "_MAX_PIECES", 0)
    assert by_pieces == [sorted(grid.around(center, 30.0)[0].tolist()) for center in positions[:20]]


@pytest.fixture
def large(visual_map, monkeypatch):
    monkeypatch.setattr(visual_map_module(), "MIN_CODED_KEYFRAMES", 3)
    return dataclasses.replace(
        visual_map,
        global_descriptors=np.random.default_rng(0).normal(size=(visual_map.num_keyframes, 8)),
        aggregation={},
        search=None,
    )


def visual_map_module():
    return visual_map


def test_a_grid_comes_back_with_the_map_and_knows_its_poses(large, tmp_path):
    save_map(large, tmp_path / "map")
    assert verify_map(tmp_path / "map") == []
    loaded = load_map(tmp_path / "map")
    assert loaded.grid.poses is loaded.given_poses
    expected = PositionGrid.of(large.given_poses)
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(loaded.grid.arrays()[name], array)
    moved = dataclasses.replace(
        loaded, keyframe_poses=loaded.keyframe_poses + np.array([100.0, 0, 0, 0, 0, 0, 0]), given=None
    )
    save_map(moved, tmp_path / "moved")
    fresh = load_map(tmp_path / "moved").grid
    np.testing.assert_array_equal(fresh.cells, PositionGrid.of(moved.keyframe_poses).cells)


@pytest.mark.parametrize(
    ("name", "word"), [("grid_keyframe_idx", "ranges from"), ("grid_offsets", "without a step back")]
)
def test_a_grid_that_cannot_be_is_not_written(large, tmp_path, name, word):
    broken = {field: array.copy() for field, array in PositionGrid.of(large.given_poses).arrays().items()}
    broken[name][1] = 99
    grid = PositionGrid.of_arrays(broken, large.given_poses)
    with pytest.raises(MapFormatError, match=word):
        save_map(dataclasses.replace(large, grid=grid), tmp_path / "map")


def test_half_a_grid_is_named():
    arrays = PositionGrid.of(poses_at(np.zeros((4, 3)))).arrays()
    assert grid_problem(arrays) == ""
    assert "grid_offsets' has 3" in grid_problem(arrays | {"grid_offsets": np.arange(3)})
    del arrays["grid_offsets"]
    assert "consists of" in grid_problem(arrays)
    assert grid_problem({}) == ""
