"""Codes of keyframes: what they keep, how they change with the map, and that damage is named."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map import array_files, keyframe_codes, visual_map
from hfnet_ros.map.keyframe_codes import LEVELS, changed_codes, codes_problem, make_codes
from hfnet_ros.map.manifest import read_manifest, sealed_manifest
from hfnet_ros.map.map_io import load_map, save_map, verify_map
from hfnet_ros.map.unit_vectors import UnitVectors


def descriptors_of(seed, count, size=48):
    return UnitVectors.encode(np.random.default_rng(seed).normal(0.3, 1.0, size=(count, size)))


def levels_of(codes):
    pairs = [(codes >> shift) & 3 for shift in (0, 2, 4, 6)]
    return LEVELS[np.stack(pairs, axis=-1).reshape(len(codes), -1)]


def test_axes_are_a_rotation_and_components_as_large_as_each_other():
    codes = make_codes(descriptors_of(0, 4000))
    np.testing.assert_allclose(codes.axes @ codes.axes.T, np.eye(48), atol=1e-5)
    assert codes.codes.shape == (4000, 12)
    assert codes.codes.dtype == np.uint8
    counts = np.bincount(np.searchsorted(LEVELS, levels_of(codes.codes)).ravel(), minlength=4) / (4000 * 48)
    # Shares of a normal distribution below -0.9816, and up to its middle.
    np.testing.assert_allclose(counts, [0.163, 0.337, 0.337, 0.163], atol=0.01)


def test_levels_come_back_to_what_was_coded():
    """A twelfth of the variance is lost: 0.1175 (Max, table I)."""
    descriptors = descriptors_of(1, 3000)
    codes = make_codes(descriptors)
    components = descriptors.decoded() @ codes.axes.T
    coded = levels_of(codes.codes) * codes.spread[:, 1] + codes.spread[:, 0]
    assert ((components - coded) ** 2).mean() == pytest.approx(
        0.1175 * components.var(axis=0).mean(), rel=0.05
    )


def test_weights_are_what_levels_count_for_a_cosine():
    descriptors = descriptors_of(2, 3000)
    codes = make_codes(descriptors)
    query = descriptors[7]
    estimated = levels_of(codes.codes) @ codes.weights(query)
    cosines = descriptors.decoded() @ query
    assert np.corrcoef(estimated, cosines)[0, 1] > 0.9


def test_adding_and_dropping_is_coding_all_by_the_same_axes():
    before, new = descriptors_of(4, 600), descriptors_of(5, 200)
    known = make_codes(before)
    source = np.concatenate([np.arange(100, 600), np.full(200, -1)])
    after = UnitVectors(np.concatenate([before.codes[100:], new.codes]))
    changed = changed_codes(known, after, source)
    assert changed.num_made == known.num_made
    assert changed.axes is known.axes
    np.testing.assert_array_equal(changed.codes, known.encode(after))


def test_of_what_stays_a_sample_is_read(monkeypatch):
    monkeypatch.setattr(keyframe_codes, "_MAX_FITTED", 20)
    before, new = descriptors_of(4, 600), descriptors_of(5, 10)
    known, read = make_codes(before), []

    class Watched(UnitVectors):
        __slots__ = ()

        def chosen(self, rows):
            read.extend(np.asarray(rows).tolist())
            return super().chosen(rows)

    after = Watched(np.concatenate([before.codes, new.codes]))
    changed_codes(known, after, np.concatenate([np.arange(600), np.full(10, -1)]))
    assert len(read) == 20 + 10 + 10


def of_a_kind(seed, count, dimensions):
    """Descriptors of 48 numbers that lie in some of the dimensions."""
    rng, rows = np.random.default_rng(seed), np.zeros((count, 48))
    rows[:, dimensions] = rng.normal(size=(count, len(range(48)[dimensions])))
    return UnitVectors.encode(rows)


@pytest.mark.parametrize(("kind", "is_made_anew"), [(slice(0, 24), False), (slice(24, 48), True)])
def test_few_of_another_kind_get_axes_of_their_own(kind, is_made_anew, monkeypatch):
    """Twelve components of 48: all of them are of what there was, half of the new ones' then."""
    monkeypatch.setattr(keyframe_codes, "_MAX_NUMBERS_OF_SHORT", 24)
    before, new = of_a_kind(0, 2000, slice(0, 24)), of_a_kind(1, 60, kind)
    known = make_codes(before)
    assert known.lost(before) < 1e-3
    after = UnitVectors(np.concatenate([before.codes, new.codes]))
    changed = changed_codes(known, after, np.concatenate([np.arange(2000), np.full(60, -1)]))
    assert (changed.axes is not known.axes) is is_made_anew
    assert changed.lost(new) < (0.6 if is_made_anew else 1e-3)
    assert (known.lost(new) > 0.99) is is_made_anew


@pytest.mark.parametrize(
    ("kept", "added", "is_made_anew"),
    [(600, 500, False), (600, 700, True), (200, 100, False), (200, 300, True)],
)
def test_half_a_map_of_others_makes_new_axes(kept, added, is_made_anew):
    before, new = descriptors_of(6, 600), descriptors_of(7, added)
    known = make_codes(before)
    after = UnitVectors(np.concatenate([before.codes[:kept], new.codes]))
    changed = changed_codes(known, after, np.concatenate([np.arange(kept), np.full(added, -1)]))
    assert (changed.num_made == kept + added) is is_made_anew
    assert (changed.axes is not known.axes) is is_made_anew


def test_many_small_additions_make_new_axes_in_the_end():
    descriptors = descriptors_of(8, 100)
    codes = make_codes(descriptors)
    made = [codes.num_made]
    for step in range(12):
        source = np.concatenate([np.arange(len(descriptors)), np.full(20, -1)])
        descriptors = UnitVectors(np.concatenate([descriptors.codes, descriptors_of(step, 20).codes]))
        codes = changed_codes(codes, descriptors, source)
        made.append(codes.num_made)
    assert made[5] == 100
    assert made[-1] > 200


@pytest.fixture
def coded(visual_map, monkeypatch):
    monkeypatch.setattr(visual_map_module(), "MIN_CODED_KEYFRAMES", 3)
    size = visual_map.global_descriptors.shape[1]
    wide = UnitVectors.encode(np.random.default_rng(0).normal(size=(visual_map.num_keyframes, max(size, 8))))
    return dataclasses.replace(visual_map, global_descriptors=wide, aggregation={}, codes=None, search=None)


def visual_map_module():
    return visual_map


def test_codes_come_back_with_the_map(coded, tmp_path):
    save_map(coded, tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    assert verify_map(tmp_path / "map") == []
    expected = make_codes(coded.global_descriptors)
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(loaded.codes.arrays()[name], array)


def test_small_maps_have_none(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "map")
    assert load_map(tmp_path / "map").codes is None


def test_a_map_with_what_maps_had_before_is_read(coded, tmp_path):
    """They are checked, and nothing asks them."""
    save_map(coded, tmp_path / "map")
    manifest, _ = read_manifest(tmp_path / "map")
    count, size = coded.global_descriptors.shape
    entries = {
        name: entry for name, entry in manifest["arrays"].items() if "code" not in name and "grid" not in name
    }
    for name, array in (
        ("cell_centers", np.ones((2, size), np.int8)),
        ("cell_offsets", np.array([0, 1, count])),
        ("cell_keyframe_idx", np.arange(count, dtype=np.int32)),
        ("cell_descriptors", np.ones((count, size), np.int8)),
        ("head_code_axes", np.ones((4, 3), np.float32)),
        ("head_code_spread", np.ones((4, 2), np.float32)),
        ("head_codes", np.ones((count, 1), np.uint8)),
    ):
        entries[name] = array_files.write_array(
            tmp_path / "map", name, array, array.dtype.newbyteorder("<").str
        )
    kept = {key: value for key, value in manifest.items() if key not in ("format", "format_version", "kind")}
    kept.pop("manifest_sha256")
    sealed = sealed_manifest(manifest["kind"], kept | {"arrays": entries}, tmp_path)
    (tmp_path / "map" / "map.json").write_bytes(sealed)
    assert verify_map(tmp_path / "map") == []
    loaded = load_map(tmp_path / "map")
    assert loaded.codes is None
    np.testing.assert_array_equal(loaded.global_descriptors.codes, coded.global_descriptors.codes)
    save_map(loaded, tmp_path / "new")
    assert not {"cell_centers", "head_codes"} & set(read_manifest(tmp_path / "new")[0]["arrays"])
    assert load_map(tmp_path / "new").codes is not None


def of_other_keyframes(arrays):
    arrays["codes"] = arrays["codes"][1:]


def of_other_descriptors(arrays):
    arrays["code_axes"] = arrays["code_axes"][:, 1:]


def without_spread(arrays):
    del arrays["code_spread"]


def with_other_spread(arrays):
    arrays["code_spread"] = arrays["code_spread"][1:]


def with_half_a_byte(arrays):
    for name in ("code_axes", "code_spread"):
        arrays[name] = arrays[name][:-1]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (of_other_keyframes, "'codes' has shape"),
        (of_other_descriptors, "'code_axes' has shape"),
        (without_spread, "codes consist of"),
        (with_other_spread, "'code_spread' has shape"),
        (with_half_a_byte, "'code_axes' has shape"),
    ],
)
def test_what_contradicts_itself_is_named(damage, word):
    arrays = make_codes(descriptors_of(9, 50)).arrays()
    assert codes_problem(arrays, 50, 48) == ""
    damage(arrays)
    assert word in codes_problem(arrays, 50, 48)


def test_damaged_codes_are_not_opened(coded, tmp_path):
    save_map(coded, tmp_path / "map")
    file = tmp_path / "map" / "arrays" / "codes.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(MapFormatError, match=r"codes\.npy"):
        load_map(tmp_path / "map")
    file.write_bytes(content[:-1])
    with pytest.raises(MapFormatError, match=r"codes\.npy"):
        load_map(tmp_path / "map")


def test_a_large_sample_is_enough_for_axes(monkeypatch):
    monkeypatch.setattr(keyframe_codes, "_MAX_SAMPLE", 500)
    codes = make_codes(descriptors_of(10, 2000))
    assert codes.num_made == 2000
    assert len(codes) == 2000
