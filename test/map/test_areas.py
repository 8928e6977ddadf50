"""Named boxes of a map: what is inside, and what cannot be one."""

import json

import numpy as np
import pytest
from small_sets import small_map

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.areas import areas_from_json, checked_box, inside
from hfnet_ros.map.manifest import read_manifest, sealed_manifest
from hfnet_ros.map.map_areas import change_area
from hfnet_ros.map.map_io import load_map, save_map, verify_map

BOX = (0.0, 0.0, 0.0, 2.0, 3.0, 4.0)


def test_a_box_holds_its_border():
    positions = np.array([[0.0, 0.0, 0.0], [2.0, 3.0, 4.0], [1.0, 1.0, 4.001], [-0.001, 1.0, 1.0]])
    assert inside(BOX, positions).tolist() == [True, True, False, False]
    assert bool(inside(BOX, positions[0]))


def test_areas_survive_writing_and_arrays_stay_as_they_are(tmp_path):
    path = tmp_path / "m"
    save_map(small_map(areas={"west": BOX}), path)
    before = {file.name: file.read_bytes() for file in (path / "arrays").iterdir()}
    change_area(path, "east", (5, 0, 0, 6, 1, 1))
    change_area(path, "west", None)
    assert load_map(path).areas == {"east": (5.0, 0.0, 0.0, 6.0, 1.0, 1.0)}
    assert verify_map(path) == []
    assert {file.name: file.read_bytes() for file in (path / "arrays").iterdir()} == before
    assert load_map(path).keyframes_in(["east"]).tolist() == [False] * 4


@pytest.mark.parametrize(
    "areas",
    [[], "west", {"a b": BOX}, {"": BOX}, {"w": BOX[:5]}, {"w": "012345"}, {"w": [0, 0, 0, 0, 1, 1]}, {"w": None},
     {"w": [1e999, 0, 0, 1, 1, 1]}, {"w": {"a": 1}}, {"w" * 65: BOX}, {"w,": BOX}],
)  # fmt: skip
def test_a_manifest_with_strange_areas_is_refused(tmp_path, areas):
    with pytest.raises(MapFormatError):
        areas_from_json(areas)
    if "inf" in json.dumps(areas).lower():
        return
    path = tmp_path / "m"
    save_map(small_map(), path)
    manifest, _ = read_manifest(path)
    entries = {name: manifest[name] for name in manifest if name not in ("format", "format_version", "kind")}
    del entries["manifest_sha256"]
    (path / "map.json").write_bytes(sealed_manifest("landmarks", entries | {"areas": areas}, path))
    with pytest.raises(MapFormatError, match=r"map\.json.*area"):
        load_map(path)
    assert len(verify_map(path)) == 1


def test_what_a_box_must_be_is_said():
    with pytest.raises(MapFormatError, match="xmin ymin zmin xmax ymax zmax"):
        checked_box("west", (0, 0, 0, 1, 1))
    with pytest.raises(MapFormatError, match="without spaces"):
        checked_box("the west", BOX)
