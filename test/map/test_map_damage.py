"""Every damage to a map on disk is found and named before anybody localizes in it."""

import hashlib
import io
import json
import os
import pickle

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map import array_files, map_io
from hfnet_ros.map.map_io import load_map, read_map_header, save_map, verify_map

IN_MILLIMETRES = {
    "model": "none",
    "size_wh": [320, 240],
    "focal": [2.15, 2.15],
    "center": [159.5, 119.5],
    "distortion": [],
}


SELF_TEST = {"residual_px": 1.0, "translation_m": 0.01, "rotation_rad": 0.01, "num_keyframes": 3}


@pytest.fixture
def folder(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    return tmp_path / "map"


@pytest.fixture
def large(monkeypatch):
    """Treat every map as too large for digests at load time."""
    monkeypatch.setattr(map_io, "ALWAYS_VERIFIED_BYTES", -1)


def array_file(folder, name):
    return folder / "arrays" / f"{name}.npy"


def seal(folder, manifest):
    """Write a manifest with the right digest: what a wrong writer, not a broken disk, leaves."""
    content = json.dumps(manifest | {"manifest_sha256": "0" * 64}).encode()
    digest = hashlib.sha256(content).hexdigest().encode()
    (folder / "map.json").write_bytes(content.replace(b"0" * 64, digest, 1))


def rewrite(folder, name, array):
    """Replace an array and its entry, digests included."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    array_file(folder, name).write_bytes(buffer.getvalue())
    manifest = json.loads((folder / "map.json").read_bytes())
    manifest["arrays"][name] |= {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "bytes": len(buffer.getvalue()),
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    seal(folder, manifest)


def assert_refused(folder, *parts):
    """Loading and verifying both say every part."""
    problems = verify_map(folder)
    for part in parts:
        assert any(part in problem for problem in problems), (part, problems)
    with pytest.raises(MapFormatError) as caught:
        load_map(folder)
    for part in parts:
        assert part in str(caught.value)


# The folder


@pytest.mark.parametrize("name", ["missing", "file", "empty", "photos"])
def test_what_is_not_a_map_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    words = {
        "missing": "no such map",
        "file": "is a file",
        "empty": "an empty folder",
        "photos": "found a.jpg",
    }
    assert_refused(tmp_path / name, str(tmp_path / name), words[name])
    with pytest.raises(MapFormatError, match=words[name]):
        read_map_header(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_map_nobody_may_read_is_refused(folder):
    folder.chmod(0)
    try:
        assert_refused(folder, "cannot be read")
    finally:
        folder.chmod(0o755)


# The manifest


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "format is 'list'"),
        (b"{}", "format is None"),
        (b'{"format": "another"}', "format is 'another'"),
        (b'{"format": "hfnet_ros map"}', "format version is None"),
        (b'{"format": "hfnet_ros map", "format_version": true}', "format version is True"),
        (b'{"format": "hfnet_ros map", "format_version": 0}', "format version is 0"),
        (b'{"format": "hfnet_ros map", "format_version": 2}', "has no 'manifest_sha256'"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder, content, word):
    (folder / "map.json").write_bytes(content)
    assert_refused(folder, str(folder / "map.json"), word)


def test_a_newer_version_says_what_to_do(folder):
    manifest = json.loads((folder / "map.json").read_bytes())
    seal(folder, manifest | {"format_version": 3, "arrays": "in one file now"})
    assert_refused(folder, "format version is 3", "reads 2", "update hfnet_ros")


def test_a_truncated_manifest_is_refused(folder):
    content = (folder / "map.json").read_bytes()
    for length in range(0, len(content), 97):
        (folder / "map.json").write_bytes(content[:length])
        assert_refused(folder, "map.json")


def test_every_flipped_bit_of_the_manifest_is_found(folder):
    content = (folder / "map.json").read_bytes()
    rng = np.random.default_rng(0)
    # All of the head, where the versions and the digest stand, and samples of the rest.
    positions = [*range(200), *rng.integers(200, len(content), 200).tolist()]
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        (folder / "map.json").write_bytes(damaged)
        with pytest.raises(MapFormatError, match=r"map\.json"):
            read_map_header(folder)


def test_whitespace_in_the_manifest_counts_too(folder):
    with (folder / "map.json").open("ab") as stream:
        stream.write(b"\n")
    assert_refused(folder, "manifest digest")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cameras": None}, ("'cameras' is NoneType, expected list",)),
        ({"cameras": [{"given": None}] * 2}, ("cameras or consistency cannot be understood",)),
        (
            {"cameras": [{"given": None, "refined": IN_MILLIMETRES}] * 2},
            ("a camera of the map cannot be: ", "which no lens has"),
        ),
        ({"cameras": ["camera"] * 2}, ("cameras or consistency cannot be understood",)),
        ({"cameras": []}, ("keyframe_camera_idx", "0 cameras")),
        ({"consistency": {}}, ("cameras or consistency cannot be understood",)),
        ({"consistency": SELF_TEST | {"pose_covariance": [1.0] * 35}}, ("36 finite ones or none",)),
        ({"consistency": SELF_TEST | {"pose_covariance": ["x"] * 36}}, ("cannot be understood",)),
        ({"consistency": SELF_TEST | {"residual_px": float("nan")}}, ("finite ones from 0",)),
        ({"consistency": SELF_TEST | {"translation_m": 10**400}}, ("cannot be understood",)),
        (
            {"consistency": SELF_TEST | {"contradicted_share": 1.1}},
            ("contradicted_share is 1.1, expected 0 to 1",),
        ),
        (
            {"consistency": SELF_TEST | {"weighs_depths": "yes"}},
            ("weighs_depths is 'yes', expected true or false",),
        ),
        ({"consistency": SELF_TEST | {"num_keyframes": -1}}, ("the self-test counted (-1",)),
        ({"consistency": SELF_TEST | {"num_elsewhere": [1]}}, ("expected numbers from 0",)),
        ({"frame_id": 3}, ("'frame_id' is int",)),
        ({"kind": "hologram"}, ("map of kind 'hologram'", "expected 'landmarks' or 'scene'")),
        ({"kind": "scene"}, ("'scene' is NoneType, expected dict",)),
        ({"kind": 3}, ("'kind' is 3",)),
        ({"arrays": {}}, ("not listed",)),
        ({"observation_steps_per_px": 0}, ("'observation_steps_per_px' is 0, expected 1 to 16",)),
        ({"observation_steps_per_px": -16}, ("'observation_steps_per_px' is -16",)),
        ({"observation_steps_per_px": 10**30}, ("'observation_steps_per_px' is 1000",)),
        ({"observation_steps_per_px": True}, ("'observation_steps_per_px' is True",)),
    ],
)
def test_a_manifest_of_a_wrong_writer_is_refused(folder, change, words):
    manifest = json.loads((folder / "map.json").read_bytes())
    seal(folder, manifest | change)
    assert_refused(folder, *words)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"file": "../../secret.npy"}, "../../secret.npy"),
        ({"dtype": "<f4"}, "listed as '<f4'"),
        ({"shape": [5, 3, 1]}, "[5, 3, 1]"),
        ({"shape": [5, -3]}, "[5, -3]"),
        ({"shape": 5}, "without a shape"),
        ({"bytes": "many"}, "'many' bytes"),
        ({"sha256": None}, "without a digest"),
    ],
)
def test_a_wrong_entry_of_an_array_is_refused(folder, entry, word):
    manifest = json.loads((folder / "map.json").read_bytes())
    manifest["arrays"]["landmark_xyz"] |= entry
    seal(folder, manifest)
    assert_refused(folder, "landmark_xyz", word)


def test_an_unknown_array_is_refused(folder):
    manifest = json.loads((folder / "map.json").read_bytes())
    manifest["arrays"]["landmark_smell"] = manifest["arrays"]["landmark_xyz"]
    seal(folder, manifest)
    assert_refused(folder, "landmark_smell", "unknown")


def test_unknown_words_in_the_manifest_are_ignored(folder, visual_map):
    manifest = json.loads((folder / "map.json").read_bytes())
    manifest["consistency"]["added_later"] = 1.0
    seal(folder, manifest | {"added_later": 2})
    assert load_map(folder).consistency == visual_map.consistency


# The arrays


@pytest.mark.usefixtures("large")
def test_a_truncated_array_is_found_without_digests(folder):
    file = array_file(folder, "landmark_descriptors")
    content = file.read_bytes()
    for length in (0, 10, 127, 128, len(content) - 1):
        file.write_bytes(content[:length])
        assert_refused(folder, str(file), f"{length} bytes", f"expected {len(content)}", "rebuild")
    file.write_bytes(content + b"\0")
    assert_refused(folder, "landmark_descriptors", f"{len(content) + 1} bytes")


@pytest.mark.usefixtures("large")
def test_a_missing_array_is_found_without_digests(folder):
    array_file(folder, "observation_xy").unlink()
    assert_refused(folder, "observation_xy", "is missing")
    array_file(folder, "observation_xy").mkdir()
    assert_refused(folder, "observation_xy", "is missing")


@pytest.mark.slow
def test_a_flipped_bit_of_any_array_is_found(folder):
    rng = np.random.default_rng(1)
    for file in sorted((folder / "arrays").iterdir()):
        content = file.read_bytes()
        for position in (5, 20, 130, len(content) - 1, int(rng.integers(len(content)))):
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            assert_refused(folder, str(file), f"'{file.stem}'", "SHA-256")
        file.write_bytes(content)
    assert verify_map(folder) == []


@pytest.mark.usefixtures("large")
def test_a_large_map_is_verified_on_request_only(folder, caplog):
    file = array_file(folder, "landmark_descriptors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with caplog.at_level("INFO"):
        load_map(folder)
    assert "digests not checked" in caplog.text
    with pytest.raises(MapFormatError, match="landmark_descriptors"):
        load_map(folder, verify=True)
    assert len(verify_map(folder)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("large")
def test_a_flipped_bit_in_an_array_header_never_escapes_as_another_error(folder, visual_map):
    file = array_file(folder, "landmark_xyz")
    content = file.read_bytes()
    # All bits of the magic number, the version and the header's length; samples of its text.
    for position in range(128):
        for bit in range(8) if position < 10 else (0, position % 8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            file.write_bytes(damaged)
            try:
                loaded = load_map(folder)
            except MapFormatError:
                continue
            # Only blanks and the file version may change without changing the array.
            np.testing.assert_array_equal(loaded.landmark_xyz, visual_map.landmark_xyz)


def test_an_aggregation_of_other_arrays_is_refused(folder):
    manifest = json.loads((folder / "map.json").read_bytes())
    del manifest["arrays"]["aggregation.projection"]
    seal(folder, manifest)
    assert_refused(folder, "aggregation consists of vocabulary, expected projection, vocabulary")


def test_all_damaged_arrays_are_named(folder):
    for name in ("landmark_xyz", "global_descriptors"):
        content = bytearray(array_file(folder, name).read_bytes())
        content[-1] ^= 0x80
        array_file(folder, name).write_bytes(content)
    array_file(folder, "keyframe_poses").unlink()
    problems = verify_map(folder)
    assert len(problems) == 3
    for name in ("landmark_xyz", "global_descriptors", "keyframe_poses"):
        assert sum(f"'{name}'" in problem for problem in problems) == 1


@pytest.mark.parametrize("kind", ["pickle", "object array", "zip", "other array"])
def test_nothing_but_the_listed_array_is_ever_read(folder, kind, large):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "executed"),))

    buffer = io.BytesIO()
    if kind == "pickle":
        pickle.dump(Trap(), buffer)
    elif kind == "object array":
        np.save(buffer, np.array([Trap()], object), allow_pickle=True)
    elif kind == "zip":
        np.savez(buffer, np.zeros((5, 3)))
    else:
        np.save(buffer, np.zeros((3, 5)))
    manifest = json.loads((folder / "map.json").read_bytes())
    content = buffer.getvalue()
    array_file(folder, "landmark_xyz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest["arrays"]["landmark_xyz"] |= {"bytes": len(content), "sha256": digest}
    seal(folder, manifest)
    assert_refused(folder, "landmark_xyz")
    assert not (folder / "executed").exists()


# What a wrong writer leaves: digests right, contents wrong


def with_value(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


WRONG_CONTENTS = pytest.mark.parametrize(
    ("name", "index", "value", "word"),
    [
        ("keyframe_poses", (2, 0), np.nan, "not finite in 1 rows, first row 2"),
        ("keyframe_poses", (1, slice(3, 7)), 0.0, "quaternion of length 0 in row 1"),
        ("landmark_xyz", (4, 2), np.inf, "not finite"),
        ("observation_landmark_idx", 3, 5, "expected 0 to 4 (5 landmarks)"),
        ("observation_landmark_idx", 3, -1, "ranges from -1"),
        ("keyframe_camera_idx", 0, 2, "expected 0 to 1 (2 cameras)"),
        ("observation_offsets", 2, 1, "without a step back"),
        ("observation_offsets", 0, 1, "runs from 1"),
        ("observation_offsets", 4, 10, "to 10, expected to rise from 0 to 9"),
        ("landmark_words", 2, 2, "expected 0 to 1 (2 words)"),
        ("covisible_keyframe_idx", 0, 4, "expected 0 to 3 (4 keyframes)"),
        ("covisible_offsets", 4, 1, "expected to rise from 0"),
    ],
)


def content(visual_map, name):
    return getattr(visual_map.search if hasattr(visual_map.search, name) else visual_map, name)


@WRONG_CONTENTS
def test_wrong_contents_are_found_at_every_load(folder, visual_map, name, index, value, word):
    rewrite(folder, name, with_value(content(visual_map, name), index, value))
    assert_refused(folder, str(folder), f"'{name}'", word)


@WRONG_CONTENTS
@pytest.mark.usefixtures("large")
def test_wrong_contents_of_a_large_map_are_found_on_request(folder, visual_map, name, index, value, word):
    rewrite(folder, name, with_value(content(visual_map, name), index, value))
    with pytest.raises(MapFormatError) as caught:
        load_map(folder, verify=True)
    assert f"'{name}'" in str(caught.value)
    assert word in str(caught.value)
    assert any(word in problem for problem in verify_map(folder))


def test_other_numbers_that_are_not_finite_are_found(folder, visual_map, monkeypatch):
    directions = visual_map.landmark_view_directions
    rewrite(folder, "landmark_view_directions", with_value(directions, (3, 1), np.nan))
    assert_refused(folder, "landmark_view_directions", "first row 3")
    monkeypatch.setattr(map_io, "ALWAYS_VERIFIED_BYTES", -1)
    load_map(folder)
    assert len(verify_map(folder)) == 1


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("landmark_xyz", np.zeros((5, 3, 1))),
        ("landmark_xyz", np.zeros((4, 3))),
        ("landmark_xyz", np.zeros((5, 2))),
        ("landmark_xyz", np.zeros((5, 3), np.float32)),
        ("landmark_xyz", np.zeros((5, 3), ">f8")),
        ("landmark_descriptors", np.zeros((6, 64), np.float32)),
        ("keyframe_stamps_ns", np.zeros(3, np.int64)),
        ("observation_offsets", np.zeros(4, np.int64)),
        ("global_descriptors", np.zeros((5, 3), np.float32)),
        ("aggregation.vocabulary", np.zeros(3, np.float32)),
        ("aggregation.vocabulary", np.zeros((2, 63), np.float32)),
        ("aggregation.vocabulary", np.zeros((0, 64), np.float32)),
        ("aggregation.projection", np.zeros((3, 127), np.float32)),
        ("aggregation.projection", np.zeros((4, 128), np.float32)),
    ],
)
def test_wrong_shapes_and_types_are_found(folder, name, array):
    rewrite(folder, name, array)
    # Landmarks are counted in landmark_xyz first, so a wrong count may be laid on another array.
    assert_refused(folder, "array '", "expected")
    problems = " ".join(verify_map(folder))
    assert name in problems or "landmark_" in problems


def test_columns_instead_of_rows_are_found(folder, visual_map):
    rewrite(folder, "landmark_xyz", np.asfortranarray(visual_map.landmark_xyz))
    assert_refused(folder, "landmark_xyz", "row by row")


def test_a_map_replaced_while_it_is_read_is_not_mixed(folder, changed, monkeypatch):
    open_array = array_files.open_array

    def replace_first(path, name, entry, *, digest):
        array = open_array(path, name, entry, digest=digest)
        if name == "landmark_xyz":
            monkeypatch.setattr(array_files, "open_array", open_array)
            save_map(changed(frame_id="new"), folder)
        return array

    monkeypatch.setattr(array_files, "open_array", replace_first)
    with pytest.raises(MapFormatError, match="replaced while it was read"):
        load_map(folder)
    assert load_map(folder).frame_id == "new"
