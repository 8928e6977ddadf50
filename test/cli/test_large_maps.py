"""A map of many keyframes without codes of them, as maps of before are: it gets them by `map convert`."""

import pytest
from small_sets import small_map

from hfnet_ros.map import keyframe_codes, visual_map
from hfnet_ros.map.map_io import load_map, save_map


@pytest.fixture
def large_from_now(monkeypatch):
    def set_limit():
        for module in (keyframe_codes, visual_map):
            monkeypatch.setattr(module, "MIN_CODED_KEYFRAMES", 3)

    return set_limit


def test_codes_come_by_converting(run, tmp_path, large_from_now):
    save_map(small_map(), tmp_path / "old.map")
    refused = run("map", "convert", tmp_path / "old.map", "--out", tmp_path / "new.map")
    assert refused.status != 0
    assert "nothing to convert" in refused.err
    large_from_now()
    made = run("map", "convert", tmp_path / "old.map", "--out", tmp_path / "new.map")
    assert made.status == 0, made.err
    assert load_map(tmp_path / "old.map").codes is None
    assert len(load_map(tmp_path / "new.map").codes) == 4
    assert run("map", "verify", tmp_path / "new.map").status == 0
    assert run("map", "convert", tmp_path / "new.map", "--out", tmp_path / "newer.map").status != 0
