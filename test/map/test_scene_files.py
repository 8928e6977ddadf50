"""The scene-coordinate network in a map: round trip, kinds, and every damage found and named."""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import re

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map import scene_files
from hfnet_ros.map.manifest import read_manifest
from hfnet_ros.map.map_io import check_map_target, load_map, read_map_header, save_map, verify_map
from hfnet_ros.map.scene_map import kind_of, need_landmarks, without_landmarks
from hfnet_ros.map.scene_points import ScenePoints
from hfnet_ros.map.unit_vectors import UnitVectors


@pytest.fixture
def both(visual_map, scene):
    return dataclasses.replace(visual_map, scene=scene)


@pytest.fixture
def folder(both, tmp_path):
    save_map(both, tmp_path / "map")
    return tmp_path / "map"


@pytest.fixture
def large(monkeypatch):
    """Treat every network as too large for digests at load time."""
    monkeypatch.setattr(scene_files, "ALWAYS_VERIFIED_BYTES", -1)


def seal(folder, manifest):
    content = json.dumps(manifest | {"manifest_sha256": "0" * 64}).encode()
    digest = hashlib.sha256(content).hexdigest().encode()
    (folder / "map.json").write_bytes(content.replace(b"0" * 64, digest, 1))


def manifest_of(folder):
    return json.loads((folder / "map.json").read_bytes())


def assert_refused(folder, *parts):
    problems = verify_map(folder)
    with pytest.raises(MapFormatError) as caught:
        load_map(folder)
    for part in parts:
        assert any(part in problem for problem in problems), (part, problems)
        assert part in str(caught.value)


def assert_same_scene(one, other):
    assert (one.takes, one.network, one.facts) == (other.takes, other.network, other.facts)
    assert one.consistency == other.consistency
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        assert (array.dtype, array.shape) == (other.arrays[name].dtype, other.arrays[name].shape)
        np.testing.assert_array_equal(array, other.arrays[name])


# Kinds


def test_a_map_may_hold_landmarks_and_a_network(folder, both, scene):
    loaded = load_map(folder, verify=True)
    assert_same_scene(loaded.scene, scene)
    assert loaded.scene.num_leaves == 3
    assert loaded.num_landmarks == both.num_landmarks
    assert read_manifest(folder)[0]["kind"] == "landmarks"
    assert verify_map(folder) == []
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != "map.json"]
    assert read_map_header(folder)["bytes"] == sum(sizes)


def test_a_map_without_a_network_is_written_as_before(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    assert not (tmp_path / "map" / "scene").exists()
    assert "scene" not in manifest_of(tmp_path / "map")
    assert load_map(tmp_path / "map").scene is None


def test_landmarks_can_be_left_out(both, tmp_path):
    small = without_landmarks(both)
    save_map(small, tmp_path / "map")
    loaded = load_map(tmp_path / "map", verify=True)
    assert read_manifest(tmp_path / "map")[0]["kind"] == "scene" == kind_of(loaded)
    assert (loaded.num_landmarks, loaded.num_observations) == (0, 0)
    np.testing.assert_array_equal(loaded.keyframe_poses, both.keyframe_poses)
    np.testing.assert_array_equal(loaded.global_descriptors.codes, both.global_descriptors.codes)
    assert loaded.aggregation.keys() == both.aggregation.keys()
    for name in ("covisible_offsets", "covisible_keyframe_idx", "covisible_counts"):
        kept = getattr(loaded.search, name)
        np.testing.assert_array_equal(kept, getattr(both.search, name))
    assert len(loaded.search.covisible_counts) > 0
    arrays = {name: array for name, array in both.scene.arrays.items() if not name.startswith("weights.")}
    assert len(arrays) == 4
    assert_same_scene(loaded.scene, dataclasses.replace(both.scene, arrays=arrays))


def test_without_a_network_landmarks_stay(visual_map):
    with pytest.raises(ValueError, match="nothing would be left"):
        without_landmarks(visual_map)


def test_what_needs_landmarks_says_so(both):
    need_landmarks(both, "kitchen.map", "`map prune`")
    with pytest.raises(MapFormatError, match=r"kitchen\.map: map of kind 'scene', which has no landmarks"):
        need_landmarks(without_landmarks(both), "kitchen.map", "`map prune`")


def test_the_same_network_gives_the_same_bytes(both, tmp_path):
    for name in ("a", "b"):
        save_map(both, tmp_path / name)
    for file in (tmp_path / "a").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_a_map_with_a_network_is_replaced_but_nothing_else_is(folder, visual_map):
    check_map_target(folder)
    (folder / "scene" / "notes.txt").write_text("mine")
    with pytest.raises(MapFormatError, match=r"scene/notes\.txt"):
        check_map_target(folder)
    (folder / "scene" / "notes.txt").unlink()
    save_map(visual_map, folder)
    assert load_map(folder).scene is None


# A network that contradicts itself is not written


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("../secret", np.zeros(3, np.float32), "has no plain name"),
        ("weights..x", np.zeros(3, np.float32), "has no plain name"),
        ("weights.x", np.array([None]), "is object"),
        ("weights.x", np.array([np.nan], np.float32), "'weights.x' is not finite"),
        ("centers", np.zeros((0, 3), np.float32), "expected a leaf"),
        ("centers", np.zeros((3, 3)), "'centers' is <f8"),
        ("parents", np.zeros(2, np.int32), "'parents' is <i4[2], expected <i4[3]"),
        ("parents", np.array([0, 1, 3], np.int32), "ranges from 0 to 3, expected 0 to 2"),
        ("scales", np.zeros(3, np.float32), "expected sizes above 0"),
        ("identities", np.zeros((5, 6), np.float32), "'identities' is <f4[5, 6], expected <f4[4, 6]"),
    ],
)
def test_a_network_that_cannot_be_is_not_written(both, scene, tmp_path, name, array, words):
    arrays = {**scene.arrays, name: array}
    if name == "centers" and not len(array):
        arrays |= {"parents": np.empty(0, np.int32), "scales": np.empty(0, np.float32)}
    wrong = dataclasses.replace(both, scene=dataclasses.replace(scene, arrays=arrays))
    with pytest.raises(MapFormatError) as caught:
        save_map(wrong, tmp_path / "map")
    assert words in str(caught.value)
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize("name", ["centers", "identities"])
def test_an_array_that_is_needed_is_missed(both, scene, tmp_path, name):
    arrays = {key: array for key, array in scene.arrays.items() if key != name}
    with pytest.raises(MapFormatError, match=f"'{name}' is not there"):
        save_map(dataclasses.replace(both, scene=dataclasses.replace(scene, arrays=arrays)), tmp_path / "map")


def test_a_dense_network_knows_no_keyframes(both, scene, tmp_path):
    arrays = {key: array for key, array in scene.arrays.items() if key != "identities"}
    arrays["confidence_levels"] = np.array([0.0, 0.5, 1.0], np.float32)
    for name, values, is_sound in (
        ("confidence_sigmas", [2.0, 0.5, 0.1], True),
        ("confidence_sigmas", [2.0, 0.0, 0.1], False),
        ("confidence_sigmas", [2.0, 0.1], False),
        ("confidence_levels", [0.0, 1.0, 0.5], False),
    ):
        arrays |= {"confidence_sigmas": np.ones(3, np.float32), name: np.array(values, np.float32)}
        dense = dataclasses.replace(scene, takes="image", arrays=arrays)
        if is_sound:
            save_map(dataclasses.replace(both, scene=dense), tmp_path / "map")
            assert load_map(tmp_path / "map").scene.takes == "image"
        else:
            with pytest.raises(MapFormatError, match="confidence_"):
                save_map(dataclasses.replace(both, scene=dense), tmp_path / "map")


# Damage


@pytest.mark.slow
def test_a_flipped_bit_of_any_file_is_found(folder):
    rng = np.random.default_rng(1)
    for file in sorted((folder / "scene").iterdir()):
        content = file.read_bytes()
        for position in (0, 5, len(content) - 1, int(rng.integers(len(content)))):
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            assert_refused(folder, str(file), "SHA-256")
        file.write_bytes(content)
    assert verify_map(folder) == []


@pytest.mark.usefixtures("large")
def test_truncated_and_missing_files_are_found_without_digests(folder):
    for file in sorted((folder / "scene").iterdir()):
        content = file.read_bytes()
        for length in (0, 10, len(content) - 1):
            file.write_bytes(content[:length])
            assert_refused(folder, str(file), f"{length} bytes", f"expected {len(content)}", "rebuild")
        file.unlink()
        assert_refused(folder, str(file), "is missing")
        file.write_bytes(content)


@pytest.mark.usefixtures("large")
def test_arrays_of_a_large_network_are_verified_on_request_only(folder):
    file = folder / "scene" / "weights.input.weight.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    load_map(folder)
    with pytest.raises(MapFormatError, match=r"weights\.input\.weight"):
        load_map(folder, verify=True)
    assert len(verify_map(folder)) == 1


def test_all_damaged_files_are_named(folder):
    for name in ("arrays/landmark_xyz.npy", "scene/centers.npy", "scene/network.onnx"):
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 0x80
        (folder / name).write_bytes(content)
    (folder / "scene" / "scales.npy").unlink()
    problems = verify_map(folder)
    assert len(problems) == 4
    for name in ("landmark_xyz.npy", "centers.npy", "network.onnx", "scales.npy"):
        assert sum(name in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ((), None, "'scene' is NoneType"),
        ((), [], "'scene' is list"),
        (("takes",), "smells", "'scene.takes' is 'smells'"),
        (("facts",), [], "'scene.facts' is list"),
        (("consistency",), {}, "consistency of the scene network cannot be understood"),
        (("consistency", "num_keyframes"), -1, "consistency of the scene network cannot be understood"),
        (("network", "file"), "../../secret.onnx", "../../secret.onnx"),
        (("network", "bytes"), -1, "listed with shape [] and -1 bytes"),
        (("network", "bytes"), True, "and True bytes"),
        (("network", "sha256"), None, "listed without a digest"),
        (("arrays", "centers"), {}, "listed without a shape"),
        (("arrays", "centers", "file"), "arrays/landmark_xyz.npy", "arrays/landmark_xyz.npy"),
        (("arrays", "centers", "dtype"), "|O", "listed as '|O'"),
        (("arrays", "centers", "dtype"), ["<f4"], "listed as ['<f4']"),
        (("arrays", "centers", "shape"), [3, -3], "[3, -3]"),
        (("arrays", "../x"), {}, "'../x' has no plain name"),
        (("arrays",), {}, "'centers' is not listed"),
    ],
)
def test_an_entry_of_a_wrong_writer_is_refused(folder, path, value, words):
    manifest = manifest_of(folder)
    place = manifest
    for key in ("scene", *path)[:-1]:
        place = place[key]
    place[("scene", *path)[-1]] = value
    seal(folder, manifest)
    assert_refused(folder, words)


def test_a_map_of_kind_scene_has_no_landmarks(folder):
    seal(folder, manifest_of(folder) | {"kind": "scene"})
    assert_refused(folder, "a map of kind 'scene' lists landmarks of shape [5, 3], expected none")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("parents", np.array([0, -1, 0], np.int32), "ranges from -1"),
        ("centers", np.full((3, 3), np.inf, np.float32), "'centers' is not finite"),
        ("scales", np.zeros(2, np.float32), "'scales' is <f4[2]"),
        ("identities", np.zeros((3, 6), np.float32), "'identities' is <f4[3, 6], expected <f4[4, 6]"),
        ("identities", np.zeros((4, 6), np.float16), "'identities' is <f2"),
    ],
)
def test_contents_of_a_wrong_writer_are_refused(folder, name, array, words):
    buffer = io.BytesIO()
    np.save(buffer, array)
    place(folder, name, buffer.getvalue(), {"dtype": array.dtype.str, "shape": list(array.shape)})
    assert_refused(folder, words)


def kept_points():
    descriptors = UnitVectors.encode(np.eye(4, 8))
    return ScenePoints(np.ones((4, 3), np.float32), descriptors, np.array([0, 0, 1, 2], np.int32))


def test_landmarks_that_a_network_keeps_stay_with_it(both, tmp_path):
    scene = dataclasses.replace(both.scene, arrays={**both.scene.arrays, **kept_points().arrays()})
    save_map(without_landmarks(dataclasses.replace(both, scene=scene)), tmp_path / "map")
    kept = ScenePoints.of(load_map(tmp_path / "map", verify=True).scene.arrays)
    np.testing.assert_array_equal(kept.leaves, [0, 0, 1, 2])
    np.testing.assert_allclose(kept.descriptors[:], np.eye(4, 8), atol=1e-6)
    assert ScenePoints.of(both.scene.arrays) is None


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("point_leaves", None, "'point_leaves' is not there"),
        ("point_xyz", None, "'point_xyz' is not there"),
        ("point_xyz", np.ones((3, 3), np.float32), "'point_descriptors' is |i1[4, 8], expected |i1[3, 8]"),
        ("point_leaves", np.array([0, 1, 0, 2], np.int32), "'point_leaves' does not ascend within 0 to 2"),
        ("point_leaves", np.array([0, 1, 1, 3], np.int32), "'point_leaves' does not ascend within 0 to 2"),
        ("point_descriptors", np.ones((4, 8), np.float32), "'point_descriptors' is <f4"),
    ],
)
def test_landmarks_that_a_network_cannot_keep_are_refused(both, tmp_path, name, array, words):
    arrays = {**both.scene.arrays, **kept_points().arrays(), name: array}
    arrays = {key: value for key, value in arrays.items() if value is not None}
    wrong = dataclasses.replace(both, scene=dataclasses.replace(both.scene, arrays=arrays))
    with pytest.raises(MapFormatError, match=re.escape(words)):
        save_map(wrong, tmp_path / "map")


@pytest.mark.parametrize("kind", ["pickle", "object array", "zip"])
@pytest.mark.usefixtures("large")
def test_nothing_is_ever_unpickled(folder, kind):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "executed"),))

    buffer = io.BytesIO()
    if kind == "pickle":
        pickle.dump(Trap(), buffer)
    elif kind == "object array":
        np.save(buffer, np.array([Trap()], object), allow_pickle=True)
    else:
        np.savez(buffer, np.zeros((5, 3)))
    place(folder, "centers", buffer.getvalue(), {})
    assert_refused(folder, "centers")
    assert not (folder / "executed").exists()


def place(folder, name, content, entry):
    """Replace a scene array and its entry, digest included."""
    (folder / "scene" / f"{name}.npy").write_bytes(content)
    manifest = manifest_of(folder)
    digest = hashlib.sha256(content).hexdigest()
    manifest["scene"]["arrays"][name] |= {"bytes": len(content), "sha256": digest, **entry}
    seal(folder, manifest)


@pytest.mark.slow
def test_every_flipped_value_of_the_entry_is_refused_or_harmless(folder):
    """Values of another type anywhere in the entry end in an error of the map, or in the same network."""
    sound = manifest_of(folder)
    known = load_map(folder).scene
    rng = np.random.default_rng(3)
    for _ in range(150):
        manifest = json.loads(json.dumps(sound))
        node, key = manifest, "scene"
        while isinstance(node[key], dict) and node[key] and rng.random() < 0.85:
            node = node[key]
            key = str(rng.choice(list(node)))
        node[key] = [None, True, -1, 10**30, "x", [], {}, 0.5][int(rng.integers(8))]
        seal(folder, manifest)
        try:
            loaded = load_map(folder).scene
        except MapFormatError:
            assert verify_map(folder)
            continue
        assert verify_map(folder) == []
        np.testing.assert_array_equal(loaded.arrays["centers"], known.arrays["centers"])
