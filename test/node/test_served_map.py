import dataclasses
import shutil

import pytest

from hfnet_ros.map.map_io import save_map
from hfnet_ros.node.served_map import ServedMap


@pytest.fixture
def folder(room_map, tmp_path):
    return shutil.copytree(room_map, tmp_path / "room.map")


@pytest.fixture
def upstairs(apartment, tmp_path):
    path = tmp_path / "upstairs.map"
    save_map(dataclasses.replace(apartment.visual_map, frame_id="upstairs"), path)
    return path


def test_a_map_that_is_as_it_was_loaded_is_not_told_of(folder):
    served = ServedMap.load(str(folder))
    assert served.changed_on_disk == ""
    (folder / "map.json").touch()
    assert served.changed_on_disk == ""


def test_another_map_in_its_folder_is_told_until_it_is_loaded(folder, apartment):
    served = ServedMap.load(str(folder))
    save_map(dataclasses.replace(apartment.visual_map, frame_id="upstairs"), folder)
    for _ in range(2):
        assert served.changed_on_disk.startswith("another one is in its folder now; ")
    assert "~/load_map" in served.changed_on_disk
    assert ServedMap.load(str(folder)).changed_on_disk == ""


def test_the_same_map_put_back_is_no_change(folder, room_map):
    served = ServedMap.load(str(folder))
    shutil.rmtree(folder)
    assert "its folder is gone" in served.changed_on_disk
    shutil.copytree(room_map, folder)
    assert served.changed_on_disk == ""


def test_files_that_were_overwritten_in_place_are_told(folder, upstairs):
    served = ServedMap.load(str(folder))
    (folder / "map.json").write_bytes((upstairs / "map.json").read_bytes())
    assert "overwritten in place: answers may be wrong" in served.changed_on_disk
    assert "rename it" in served.changed_on_disk


def test_a_map_that_was_damaged_is_told_with_what_is_wrong(folder):
    served = ServedMap.load(str(folder))
    (folder / "map.json").write_text("{")
    assert "cannot be used" in served.changed_on_disk
    assert "map.json" in served.changed_on_disk
