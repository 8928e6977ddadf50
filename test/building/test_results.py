"""Sets take the place of sets; images that are in no file are written to some, once, so that workers read them."""

import numpy as np
import pytest
from small_sets import small_map, small_set

from hfnet_ros.building.artefacts import Artefact
from hfnet_ros.building.map_graph import BuiltMaps
from hfnet_ros.building.results import check_target, with_files, write_map_set
from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.map_set_io import read_map_set
from hfnet_ros.mapping.map_sets import change_set
from hfnet_ros.mapping.views import MappingImage

PICTURES = [
    np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    for seed, shape in enumerate([(20, 30, 3), (20, 30), (20, 30, 3)])
]


def test_pictures_come_back_as_they_are(tmp_path):
    file = tmp_path / "there.png"
    images = [
        MappingImage(f"bag {row}", 1000 + row, row, lambda picture=picture: picture)
        for row, picture in enumerate(PICTURES)
    ]
    found = with_files([MappingImage.of_file(file, "there", 7, 0), *images], tmp_path / "images")
    assert found[0].file == file
    for image, picture, before in zip(found[1:], PICTURES, images, strict=True):
        np.testing.assert_array_equal(image.read(), picture)
        assert (image.name, image.stamp_ns, image.camera_idx) == (
            before.name,
            before.stamp_ns,
            before.camera_idx,
        )


def test_what_is_there_is_not_written_again(tmp_path):
    images = [MappingImage("a", 0, 0, lambda: PICTURES[0])]
    (first,) = with_files(images, tmp_path / "images")
    before = first.file.stat().st_mtime_ns
    (again,) = with_files(images, tmp_path / "images")
    assert again.file == first.file
    assert again.file.stat().st_mtime_ns == before
    assert len(list((tmp_path / "images").iterdir())) == 1


def test_areas_are_kept_where_a_sub_map_is_still_of_the_same_place(tmp_path, caplog):
    """Of three with areas one is built again, one begins 2 m further on, and one is not there any more."""
    target, work = tmp_path / "house.set", tmp_path / "work"
    work.mkdir()

    def write(run, *firsts):
        maps = []
        for number, first in enumerate(firsts):
            built = small_map(number)
            poses = built.keyframe_poses.copy()
            poses[:, 0] += first
            artefact = Artefact(work / f"{run}-{number}")
            made = artefact.write(
                small_map(number, keyframe_poses=poses), seconds=0.0, cpu_seconds=0.0, of=""
            )
            maps.append((f"sub-map-{number}", made))
        return write_map_set(work, target, BuiltMaps(maps), "map")

    assert write("first", 0.0, 4.0, 8.0)
    areas = {"sub-map-0": ["west"], "sub-map-1": ["middle", "hall"], "sub-map-2": ["east"]}
    change_set(target, areas=areas)
    assert write("second", 0.1, 6.0)
    assert {sub_map.name: sub_map.areas for sub_map in read_map_set(target).sub_maps} == {
        "sub-map-0": ("west",),
        "sub-map-1": (),
    }
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "areas not kept: middle, hall of sub-map-1, which covers another part now",
        "areas not kept: east of sub-map-2, which is not there now",
    ]


def test_a_set_on_a_disk_that_is_read_only_is_refused_before_the_work(tmp_path, monkeypatch):
    path = small_set(tmp_path, names=("sub-map-0",))
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write wherever the file system lets it
    with pytest.raises(MapFormatError, match=r"house\.set: cannot be replaced: no permission to write there"):
        check_target(path)


def test_a_set_with_maps_that_no_build_made_is_left_alone(tmp_path):
    path = small_set(tmp_path, names=("sub-map-0", "garage"))
    with pytest.raises(
        MapFormatError, match="has sub-map 'garage', which no build made: writing would delete it"
    ):
        check_target(path)
