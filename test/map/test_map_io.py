"""A map on disk: round trip, what may be replaced, what is memory-mapped.

What damage looks like is in test_map_damage.py.
"""

import dataclasses
import hashlib
import json
import mmap
import shutil

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map import array_files, map_io
from hfnet_ros.map.map_io import check_map_target, load_map, read_map_header, save_map, verify_map
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.search_structure import SearchStructure
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap, with_search

COMPACT_FIELDS = ["landmark_descriptors", "global_descriptors", "observation_xy"]
ARRAY_FIELDS = COMPACT_FIELDS + [
    field.name for field in dataclasses.fields(VisualMap) if "NDArray" in str(field.type)
]
SEARCH_FIELDS = [field.name for field in dataclasses.fields(SearchStructure)]


def plain(array):
    return array.codes if isinstance(array, UnitVectors | PixelPositions) else array


def arrays_of(visual_map):
    """All arrays of a map by the name under which they are stored, names of keyframes included."""
    arrays = {name: plain(getattr(visual_map, name)) for name in ARRAY_FIELDS if name != "aggregation"}
    arrays |= {name: plain(getattr(visual_map.search, name)) for name in SEARCH_FIELDS}
    arrays |= {f"aggregation.{name}": array for name, array in visual_map.aggregation.items()}
    names = visual_map.keyframe_names
    return arrays | {"keyframe_name_text": names.text, "keyframe_name_offsets": names.offsets}


def assert_equal_cameras(left, right):
    assert (left is None) == (right is None)
    if left is not None:
        assert (left.model, left.size_wh) == (right.model, right.size_wh)
        for name in ("focal", "center", "distortion"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def assert_equal_maps(left, right):
    for name in ("frame_id", "extractor_id", "keyframe_names", "consistency", "build_info"):
        assert getattr(left, name) == getattr(right, name), name
    assert len(left.cameras) == len(right.cameras)
    for one, other in zip(left.cameras, right.cameras, strict=True):
        assert_equal_cameras(one.given, other.given)
        assert_equal_cameras(one.refined, other.refined)
    left, right = (arrays_of(with_search(each)) for each in (left, right))
    assert left.keys() == right.keys()
    for name, one in left.items():
        assert one.dtype == right[name].dtype, name
        np.testing.assert_array_equal(one, right[name], err_msg=name)


def snapshot(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def memory_map_below(array):
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array


def test_a_map_comes_back_as_it_was(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    assert_equal_maps(loaded, visual_map)
    assert verify_map(tmp_path / "map") == []
    assert len(loaded.landmarks_seen_by(3)) == 4
    np.testing.assert_array_equal(loaded.landmarks_seen_by(3), visual_map.landmarks_seen_by(3))
    assert loaded.visibility.toarray().sum() == 9


def test_every_array_of_the_record_is_saved(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    files = {file.stem for file in (tmp_path / "map" / "arrays").iterdir()}
    assert files == set(arrays_of(visual_map))
    assert {"aggregation.vocabulary", "aggregation.projection", "landmark_words"} < files


def test_a_map_with_a_global_head_has_no_aggregation(changed, tmp_path):
    save_map(changed(aggregation={}, build_info={}), tmp_path / "map")
    assert load_map(tmp_path / "map").aggregation == {}


def test_a_map_without_landmarks_is_a_map(changed, tmp_path):
    empty = changed(
        observation_offsets=np.zeros(5, np.int64),
        observation_landmark_idx=np.empty(0, np.int32),
        observation_xy=np.empty((0, 2), np.float32),
        landmark_xyz=np.empty((0, 3)),
        landmark_descriptors=np.empty((0, 64), np.float32),
        landmark_view_directions=np.empty((0, 3), np.float32),
        landmark_distance_ranges=np.empty((0, 2), np.float32),
        landmark_colors=np.empty((0, 3), np.uint8),
    )
    save_map(empty, tmp_path / "map")
    assert_equal_maps(load_map(tmp_path / "map", verify=True), empty)


def test_the_same_map_gives_the_same_bytes(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "a")
    save_map(visual_map, tmp_path / "b")
    assert snapshot(tmp_path / "a") == snapshot(tmp_path / "b")


def test_a_map_may_be_moved(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "robot")
    assert_equal_maps(load_map(tmp_path / "robot"), visual_map)


def test_arrays_in_another_memory_order_are_written_row_by_row(changed, visual_map, tmp_path):
    turned = changed(landmark_xyz=np.asfortranarray(visual_map.landmark_xyz))
    save_map(turned, tmp_path / "map")
    assert load_map(tmp_path / "map").landmark_xyz.flags.c_contiguous
    assert_equal_maps(load_map(tmp_path / "map"), visual_map)


@pytest.mark.parametrize("is_large", [False, True])
def test_arrays_are_read_only_and_mapped_if_the_map_is_large(visual_map, tmp_path, monkeypatch, is_large):
    save_map(visual_map, tmp_path / "map")
    if is_large:
        monkeypatch.setattr(map_io, "ALWAYS_VERIFIED_BYTES", 0)
    loaded = load_map(tmp_path / "map")
    for array in arrays_of(loaded).values():
        assert type(array) is np.ndarray
        assert (memory_map_below(array) is not None) == is_large
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        loaded.landmark_xyz[0] = 0.0


def test_the_header_is_read_without_the_arrays(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    size = sum(file.stat().st_size for file in (tmp_path / "map" / "arrays").iterdir())
    shutil.rmtree(tmp_path / "map" / "arrays")
    header = read_map_header(tmp_path / "map")
    counts = ("num_keyframes", "num_landmarks", "num_observations", "descriptor_size", "global_size", "bytes")
    assert [header[name] for name in counts] == [4, 5, 9, 64, 3, size]
    assert header["extractor_id"] == visual_map.extractor_id
    assert header["cameras"][0]["given"]["model"] == "plumb_bob"
    assert header["build_info"] == visual_map.build_info
    assert json.loads(json.dumps(header)) == header


def test_the_manifest_can_be_checked_as_documented(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    content = (tmp_path / "map" / "map.json").read_bytes()
    manifest = json.loads(content)
    digest = manifest["manifest_sha256"]
    assert hashlib.sha256(content.replace(digest.encode(), b"0" * 64, 1)).hexdigest() == digest
    for entry in manifest["arrays"].values():
        data = (tmp_path / "map" / entry["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])


def test_build_info_cannot_forge_the_digest_place(changed, tmp_path):
    info = {"manifest_sha256": "0" * 64, "note": '"manifest_sha256": "' + "0" * 64 + '"'}
    save_map(changed(build_info=info), tmp_path / "map")
    assert load_map(tmp_path / "map").build_info == info


# Replacing


def test_a_map_is_replaced_and_a_reader_of_the_old_one_keeps_it(visual_map, changed, tmp_path):
    save_map(visual_map, tmp_path / "map")
    old = load_map(tmp_path / "map")
    save_map(changed(landmark_xyz=visual_map.landmark_xyz + 1.0), tmp_path / "map")
    assert_equal_maps(old, visual_map)
    np.testing.assert_array_equal(load_map(tmp_path / "map").landmark_xyz, visual_map.landmark_xyz + 1.0)


def test_a_loaded_map_can_be_saved_over_itself(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    save_map(load_map(tmp_path / "map"), tmp_path / "map")
    assert_equal_maps(load_map(tmp_path / "map"), visual_map)
    assert [entry.name for entry in tmp_path.iterdir()] == ["map"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_the_old_map_untouched(
    visual_map, changed, tmp_path, monkeypatch, failure
):
    save_map(visual_map, tmp_path / "map")
    before = snapshot(tmp_path)
    written = []
    write_array = array_files.write_array

    def fail_in_the_middle(folder, name, array, dtype):
        if len(written) == 5:
            raise failure
        written.append(name)
        return write_array(folder, name, array, dtype)

    monkeypatch.setattr(array_files, "write_array", fail_in_the_middle)
    expected = MapFormatError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        save_map(changed(frame_id="other"), tmp_path / "map")
    assert len(written) == 5
    assert snapshot(tmp_path) == before
    if expected is MapFormatError:
        assert "No space left" in str(caught.value)
        assert "untouched" in str(caught.value)


def test_missing_parents_are_made(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "maps" / "office" / "map")
    assert verify_map(tmp_path / "maps" / "office" / "map") == []


def test_a_link_to_a_map_stays_a_link(visual_map, changed, tmp_path):
    save_map(visual_map, tmp_path / "real")
    (tmp_path / "map").symlink_to("real")
    save_map(changed(frame_id="other"), tmp_path / "map")
    assert (tmp_path / "map").is_symlink()
    assert load_map(tmp_path / "real").frame_id == "other"


def foreign_targets(folder, visual_map):
    (folder / "photos").mkdir()
    (folder / "photos" / "holiday.jpg").write_bytes(b"mine")
    (folder / "json").mkdir()
    (folder / "json" / "map.json").write_text('{"format": "another map"}')
    (folder / "file").write_text("mine")
    for name in ("annotated", "inside", "subfolder"):
        save_map(visual_map, folder / name)
    (folder / "annotated" / "notes.txt").write_text("mine")
    (folder / "inside" / "arrays" / "notes.txt").write_text("mine")
    (folder / "subfolder" / "images").mkdir()


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("photos", "holiday.jpg"),
        ("json", "map.json"),
        ("file", "is a file"),
        ("annotated", "notes.txt"),
        ("inside", "arrays/notes.txt"),
        ("subfolder", "images"),
        ("file/map", "is a file"),
    ],
)
def test_what_is_not_a_map_is_never_replaced(visual_map, tmp_path, name, named):
    foreign_targets(tmp_path, visual_map)
    before = snapshot(tmp_path)
    with pytest.raises(MapFormatError, match=named):
        check_map_target(tmp_path / name)
    with pytest.raises(MapFormatError, match=named):
        save_map(visual_map, tmp_path / name)
    assert snapshot(tmp_path) == before


def test_a_mount_point_cannot_be_a_map():
    with pytest.raises(MapFormatError, match="mount point"):
        check_map_target("/proc")


def test_free_empty_and_damaged_targets_are_fine(visual_map, tmp_path):
    check_map_target(tmp_path / "free")
    check_map_target(tmp_path / "free" / "below")
    (tmp_path / "empty").mkdir()
    save_map(visual_map, tmp_path / "empty")
    assert verify_map(tmp_path / "empty") == []
    (tmp_path / "empty" / "arrays" / "landmark_xyz.npy").unlink()
    (tmp_path / "empty" / "map.json").write_bytes((tmp_path / "empty" / "map.json").read_bytes()[:200])
    assert verify_map(tmp_path / "empty") != []
    save_map(visual_map, tmp_path / "empty")
    assert verify_map(tmp_path / "empty") == []


def test_the_check_of_a_target_changes_nothing(tmp_path):
    check_map_target(tmp_path / "maps" / "office")
    assert list(tmp_path.iterdir()) == []


# Maps that must not be written


def bad_maps(visual_map):
    poses = visual_map.keyframe_poses.copy()
    poses[1, 2] = np.nan
    stretched = visual_map.keyframe_poses.copy()
    stretched[2, 3:] *= 1.1
    descriptors = visual_map.landmark_descriptors.decoded().copy()
    descriptors[3, 5] = np.inf
    seen = visual_map.observation_landmark_idx.copy()
    seen[0] = 5
    return {
        "pose not finite": ({"keyframe_poses": poses}, "keyframe_poses.*first row 1"),
        "quaternion not unit": ({"keyframe_poses": stretched}, "quaternion of length 1.1 in row 2"),
        "descriptor not finite": ({"landmark_descriptors": descriptors}, "landmark_descriptors.*first row 3"),
        "landmark out of range": ({"observation_landmark_idx": seen}, "observation_landmark_idx.*0 to 5"),
        "camera out of range": (
            {"keyframe_camera_idx": np.array([0, 0, -1, 1], np.int32)},
            "keyframe_camera_idx.*-1 to 1.*2 cameras",
        ),
        "offsets fall": ({"observation_offsets": np.array([0, 5, 3, 5, 9])}, "observation_offsets"),
        "offsets end early": ({"observation_offsets": np.array([0, 3, 5, 5, 8])}, "observation_offsets"),
        "a name too few": ({"keyframe_names": ("a", "b", "c")}, r"keyframe_stamps_ns.*\[4\].*F = 3"),
        "no keyframe": (
            {
                "keyframe_names": (),
                "keyframe_stamps_ns": np.empty(0, np.int64),
                "keyframe_camera_idx": np.empty(0, np.int32),
                "keyframe_poses": np.empty((0, 7)),
                "observation_offsets": np.zeros(1, np.int64),
                "observation_landmark_idx": np.empty(0, np.int32),
                "observation_xy": np.empty((0, 2), np.float32),
                "global_descriptors": np.empty((0, 3), np.float32),
            },
            "no keyframe",
        ),
        "another type": ({"landmark_xyz": visual_map.landmark_xyz.astype(np.float32)}, "float32.*float64"),
        "objects": ({"keyframe_stamps_ns": np.array([1, 2, 3, None], object)}, "object"),
        "extra dimension": ({"landmark_xyz": visual_map.landmark_xyz[None]}, r"\[1, 5, 3\]"),
        "no dimension": ({"keyframe_stamps_ns": np.array(1)}, r"shape \[\]"),
        "aggregation with a path": (
            {"aggregation": {"../../evil": np.zeros((1, 1), np.float32)}},
            "no plain name",
        ),
        "build_info not JSON": ({"build_info": {"path": object()}}, "not plain JSON"),
        "build_info not finite": ({"build_info": {"seconds": float("nan")}}, "not plain JSON"),
    }


def bad_map_names():
    return [
        "pose not finite", "quaternion not unit", "descriptor not finite", "landmark out of range",
        "camera out of range", "offsets fall", "offsets end early", "a name too few", "no keyframe",
        "another type", "objects", "extra dimension", "no dimension", "aggregation with a path",
        "build_info not JSON", "build_info not finite",
    ]  # fmt: skip


@pytest.mark.parametrize("case", bad_map_names())
def test_a_map_that_contradicts_itself_is_not_written(visual_map, changed, tmp_path, case):
    fields, message = bad_maps(visual_map)[case]
    with pytest.raises(MapFormatError, match=message):
        save_map(changed(**fields), tmp_path / "map")
    assert list(tmp_path.iterdir()) == []


def test_all_bad_maps_are_tried(visual_map):
    assert list(bad_maps(visual_map)) == bad_map_names()


def test_what_was_read_of_the_files_is_let_go_and_read_again(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    before = {name: np.array(array) for name, array in arrays_of(loaded).items()}
    loaded.release_pages()
    for name, array in arrays_of(loaded).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    visual_map.release_pages()  # in memory: nothing to let go
    assert_equal_maps(loaded, visual_map)
