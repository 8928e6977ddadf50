"""Sets of maps are written and changed in one step, and everything that is not sound is named."""

import dataclasses
import errno
import json
import os
import re
import shutil

import numpy as np
import pytest
from small_sets import save_small_maps, small_map, small_set

from hfnet_ros.errors import ExtractorMismatchError, MapFormatError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.manifest import read_manifest, sealed_manifest
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.map_set import Overlap, slips
from hfnet_ros.map.map_set_io import open_index, read_map_set, verify_any, verify_map_set
from hfnet_ros.mapping import map_sets
from hfnet_ros.mapping.map_sets import change_set, write_set
from hfnet_ros.mapping.set_lock import set_locked

TURNED = Rigid3.from_rotvec([0.0, 0.0, 0.5], [10.0, 2.0, 0.0])


def tree(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_set_says_what_is_in_it(tmp_path):
    overlap = Overlap(TURNED, np.diag([1e-4] * 6), 12, (0.01, 0.002))
    path = small_set(
        tmp_path,
        areas={"a": ["ground"], "b": ["ground", "west"]},
        placements={"b": (TURNED, np.diag([4e-4] * 6))},
        overlaps={("a", "b"): overlap},
    )
    found = read_map_set(path)
    assert found.names == ["a", "b", "c"]
    assert [sub_map.num_keyframes for sub_map in found.sub_maps] == [4, 5, 6]
    assert found.area_names == ["ground", "west"]
    moved = TURNED @ load_map(tmp_path / "b.map").keyframe_poses[:, :3]
    assert found.named("b").extent == pytest.approx(np.stack([moved.min(axis=0), moved.max(axis=0)]))
    assert found.named("b").covariance == pytest.approx(np.diag([4e-4] * 6))
    assert found.overlaps["a", "b"].first_from_second.translation_to(TURNED) < 1e-12
    index = open_index(path, found)
    assert index["keyframe_poses"][4:9, :3] == pytest.approx(moved)
    assert verify_any(path) == []
    # Each sub-map is a map that works alone.
    for sub_map in found.sub_maps:
        assert load_map(path / sub_map.folder, verify=True).num_keyframes == sub_map.num_keyframes


def test_maps_are_added_replaced_and_removed(tmp_path):
    path = small_set(tmp_path, areas={"b": ["west"]}, placements={"b": (TURNED, np.zeros((6, 6)))})
    save_map(small_map(9, 7), tmp_path / "new.map")
    found = change_set(path, put={"b": tmp_path / "new.map", "d": tmp_path / "new.map"}, drop=["a"])
    assert found.names == ["b", "c", "d"]
    assert found.named("b").num_keyframes == 7
    # What is replaced keeps its place and its areas.
    assert found.named("b").set_from_map.translation_to(TURNED) < 1e-12
    assert found.named("b").areas == ("west",)
    index = open_index(path, found)
    described = load_map(tmp_path / "new.map").global_descriptors.codes
    assert np.array_equal(index["global_descriptors"][:7], described)
    assert np.array_equal(index["global_descriptors"][-7:], described)
    assert verify_map_set(path) == []
    assert sorted(folder.name for folder in (path / "maps").iterdir()) == ["b.1", "c", "d.1"]
    assert [folder.name for folder in (path / "index").iterdir()] == ["1"]


def test_a_change_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch):
    path = small_set(tmp_path)
    before = tree(path)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(map_sets, "write_index", refuse)
    with pytest.raises(MapFormatError, match="No space left"):
        change_set(path, put={"a": tmp_path / "b.map"})
    assert {name: content for name, content in tree(path).items() if name != ".lock"} == before
    with pytest.raises(MapFormatError, match="No space left"):
        write_set(tmp_path / "other.set", [("a", tmp_path / "a.map")], {}, frame_id="map")
    assert not (tmp_path / "other.set").exists()


def test_what_cannot_be_in_a_set_is_refused_by_name(tmp_path):
    path = small_set(tmp_path)
    save_map(small_map(extractor_id="toy-2"), tmp_path / "foreign.map")
    with pytest.raises(ExtractorMismatchError, match=r"foreign\.map.*toy-2"):
        change_set(path, put={"x": tmp_path / "foreign.map"})
    save_map(small_map(build_info={"scale": "arbitrary"}), tmp_path / "unscaled.map")
    with pytest.raises(MapFormatError, match=r"unscaled\.map.*no metres"):
        change_set(path, put={"x": tmp_path / "unscaled.map"})
    for name in ("../x", "/tmp/x", "a/b", ".", "..", "", "a" * 65, "a.b", "é"):
        with pytest.raises(MapFormatError, match="cannot be the name of a sub-map"):
            change_set(path, put={name: tmp_path / "a.map"})
    with pytest.raises(MapFormatError, match="no sub-map 'nix', it has a, b, c"):
        change_set(path, drop=["nix"])
    with pytest.raises(MapFormatError, match="a set needs one"):
        change_set(path, drop=["a", "b", "c"])
    with pytest.raises(MapFormatError, match="is a map already"):
        write_set(path, [("a", tmp_path / "a.map")], {}, frame_id="map")
    with pytest.raises(MapFormatError, match="kind 'set'"):
        change_set(path, put={"x": path})


def test_only_one_program_changes_a_set_at_a_time(tmp_path):
    path = small_set(tmp_path)
    with set_locked(path, "changes it"), pytest.raises(MapFormatError, match="changes it since"):
        change_set(path, drop=["a"])


def test_damage_is_named_by_sub_map(tmp_path):
    path = small_set(tmp_path)
    array = path / "maps" / "b" / "arrays" / "landmark_xyz.npy"
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    shutil.rmtree(path / "maps" / "c")
    shutil.rmtree(path / "maps" / "a")
    shutil.copytree(tmp_path / "b.map", path / "maps" / "a")
    problems = verify_map_set(path)
    assert len(problems) == 3
    for name, said in (("a", "changed in place"), ("b", "landmark_xyz"), ("c", "no such map")):
        assert any(problem.startswith(f"sub-map '{name}': ") and said in problem for problem in problems)


def test_a_set_of_maps_with_vocabularies_of_their_own_describes_them_alike(tmp_path, apartment):
    rng = np.random.default_rng(0)
    turned = {
        "vocabulary": apartment.visual_map.aggregation["vocabulary"],
        "projection": np.linalg.qr(
            rng.normal(size=(apartment.visual_map.aggregation["projection"].shape[::-1]))
        )[0].T.astype(np.float32),
    }
    other = dataclasses.replace(apartment.visual_map, aggregation=turned)
    for name, visual_map in (("a", apartment.visual_map), ("b", other)):
        save_map(visual_map, tmp_path / name)
    write_set(tmp_path / "s", [("a", tmp_path / "a"), ("b", tmp_path / "b")], {}, frame_id="map")
    index = open_index(tmp_path / "s", read_map_set(tmp_path / "s"))
    codes, count = index["global_descriptors"], apartment.visual_map.num_keyframes
    # The same keyframes twice, described by what they saw: the same twice.
    assert np.array_equal(codes[:count], codes[count:])


def spoiled(manifest, change):
    """Return a manifest with one value exchanged, properly sealed: it is the values that are looked at."""
    entries = json.loads(json.dumps(manifest))
    change(entries)
    kept = {
        name: value for name, value in entries.items() if name not in ("format", "format_version", "kind")
    }
    del kept["manifest_sha256"]
    return sealed_manifest("set", kept, "test")


def paths_of(value, prefix=()):
    """Yield the way to every value of a manifest."""
    yield prefix
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_of(item, (*prefix, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from paths_of(item, (*prefix, place))


STRANGE = (None, True, -1, 3.5, 10**400, "", "../x", "/etc", [], {}, [[]], {"a": 1}, "maps/../../x", 2**63)


def test_no_value_of_a_manifest_is_taken_for_granted(tmp_path):
    """Whatever stands there, a set opens or is refused by a sentence; nothing else is raised, nothing outside read."""
    path = small_set(tmp_path, names=("a",), areas={"a": ["west"]})
    manifest, _ = read_manifest(path)
    places = [
        place
        for place in paths_of(manifest)
        if place and place[0] not in ("format", "format_version", "kind")
    ]
    rng = np.random.default_rng(0)
    num_refused = 0
    for place in places:
        for strange in rng.choice(len(STRANGE), 5, replace=False):

            def change(entries, place=place, value=STRANGE[strange]):
                for key in place[:-1]:
                    entries = entries[key]
                entries[place[-1]] = value

            if place == ("manifest_sha256",):
                continue
            (path / "map.json").write_bytes(spoiled(manifest, change))
            try:
                open_index(path, read_map_set(path))
            except MapFormatError as error:
                assert str(path) in str(error)
                num_refused += 1
    assert num_refused > 4 * len(places)


@pytest.mark.parametrize(
    "folder", ["../x", "/etc", "maps/../../x", "maps/b", "maps", "maps/a/arrays", "maps/a.", "a"]
)
def test_a_sub_map_is_never_sought_outside_of_the_set(tmp_path, folder):
    path = small_set(tmp_path, names=("a",))
    manifest, _ = read_manifest(path)
    (path / "map.json").write_bytes(
        spoiled(manifest, lambda entries: entries["sub_maps"][0].update(folder=folder))
    )
    with pytest.raises(MapFormatError, match="'folder' is"):
        read_map_set(path)


def test_a_set_is_no_map_and_says_so(tmp_path):
    path = small_set(tmp_path)
    with pytest.raises(MapFormatError, match="kind 'set'"):
        load_map(path)
    paths = save_small_maps(tmp_path / "other", ["z"])
    with pytest.raises(MapFormatError, match="expected a set"):
        read_map_set(paths["z"])


def test_maps_given_in_one_frame_are_off_by_what_they_disagree_by(tmp_path):
    """0.3 m and 0.2 rad between two of them, where they overlap; the third was placed by its overlap, and says so."""
    turned = Rigid3.from_rotvec([0.0, 0.0, 0.2], [0.0, 0.0, 0.0])
    middle = np.array([1.5, 0.0, 0.0])  # of keyframes at x = 0 to 3 and 0 to 4
    disagreeing = Rigid3(turned.rotation, middle - turned @ middle + [0.1, 0.2, 0.2])
    covariance = np.diag([1e-4] * 6)
    path = small_set(
        tmp_path,
        overlaps={
            ("a", "b"): Overlap(disagreeing, covariance, 12, (0.01, 0.002)),
            ("b", "c"): Overlap(Rigid3.identity(), covariance, 12, (0.01, 0.002)),
        },
        placements={"c": (TURNED, covariance)},
    )
    found = slips(read_map_set(path))
    expected = np.diag([0.3**2 / 6] * 3 + [0.2**2 / 6] * 3)
    assert found["a"] == pytest.approx(expected)
    assert found["b"] == pytest.approx(expected)
    assert not found["c"].any()


def test_a_full_disk_is_said_in_one_sentence(tmp_path, monkeypatch):
    """And not once for each file; what was there stays."""
    path = small_set(tmp_path)
    before = read_map_set(path).digest
    save_map(small_map(7), tmp_path / "new.map")

    def refuse(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    monkeypatch.setattr(shutil, "copy2", refuse)
    with pytest.raises(MapFormatError) as refused:
        change_set(path, put={"new": tmp_path / "new.map"})
    assert re.fullmatch(
        r"\S+: set cannot be written: sub-map 'new': No space left on device, 0\.0 MB are needed and [0-9.]+ MB were "
        r"free; free some space, then give the same command again; what was there is untouched",
        str(refused.value),
    )
    assert read_map_set(path).digest == before
    assert verify_map_set(path) == []
