"""What tasks leave on disk is there as a whole or not at all, and damage is noticed."""

import errno
import json

import numpy as np
import pytest

from hfnet_ros.building.artefacts import Artefact, DamagedArtefactError, digest_of, open_work_folder
from hfnet_ros.errors import BuildingError, ConfigError

ARRAYS = {"rows": np.arange(6).reshape(3, 2), "names": np.array(["a", "bc"]), "none": np.empty((0, 4))}


def written(tmp_path, arrays=ARRAYS):
    return Artefact(tmp_path / "ab" / "abcd").write(arrays, seconds=1.0, cpu_seconds=0.5, of="a test")


def test_arrays_come_back(tmp_path):
    made = written(tmp_path)
    read = made.read_arrays()
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    assert made.read_arrays(("rows",)).keys() == {"rows"}
    assert Artefact(made.path).found() == made


def test_the_same_arrays_are_the_same_bytes(tmp_path):
    assert written(tmp_path / "one").sha256 == written(tmp_path / "other").sha256


def test_what_has_no_record_is_not_there(tmp_path):
    made = written(tmp_path)
    made.record_file.unlink()
    assert Artefact(made.path).found() is None


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"sha256": 3}', "\0"])
def test_a_damaged_record_is_none(tmp_path, record):
    made = written(tmp_path)
    made.record_file.write_text(record)
    assert Artefact(made.path).found() is None


def test_what_was_cut_off_is_not_there(tmp_path):
    made = written(tmp_path)
    content = made.arrays_file.read_bytes()
    made.arrays_file.write_bytes(content[:-7])
    assert Artefact(made.path).found() is None


def test_every_flipped_byte_of_the_numbers_is_noticed(tmp_path):
    made = written(tmp_path, {"rows": np.arange(40)})
    content = made.arrays_file.read_bytes()
    start = content.index(np.arange(40).tobytes())
    for place in range(start, start + 320, 13):
        made.arrays_file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedArtefactError, match="abcd"):
            made.read_arrays()


def test_nothing_is_unpickled(tmp_path):
    made = written(tmp_path)
    np.savez(made.arrays_file, rows=np.array([{}], object))
    with pytest.raises(DamagedArtefactError):
        made.read_arrays()
    with pytest.raises(TypeError, match="pickled"):
        written(tmp_path, {"rows": np.array([{}], object)})


def test_a_full_disk_is_named_with_what_is_needed(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(
        BuildingError, match=rf"{tmp_path}.*disk is full: 2.0 MB are needed.*MB are free.*--work"
    ):
        written(tmp_path, {"rows": np.zeros(250_000)})
    assert Artefact(tmp_path / "ab" / "abcd").found() is None


def test_a_work_folder_is_gone_on_with_and_others_are_refused(tmp_path):
    open_work_folder(tmp_path / "a" / "work")
    open_work_folder(tmp_path / "a" / "work")
    with pytest.raises(ConfigError, match="something else than a build"):
        open_work_folder(tmp_path / "a")
    about = tmp_path / "a" / "work" / "about.json"
    about.write_text(json.dumps({"format": "hfnet_ros work folder", "format_version": 99}))
    with pytest.raises(ConfigError, match="another program or version"):
        open_work_folder(tmp_path / "a" / "work")


def test_digests_tell_values_arrays_and_types_apart():
    values = [
        {"a": 1},
        {"a": 2},
        {"b": 1},
        {"a": np.array([1])},
        {"a": np.array([1], np.int32)},
        {"a": np.array([[1]])},
    ]
    assert len({digest_of(value) for value in values}) == len(values)
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    with pytest.raises(TypeError):
        digest_of({"a": object()})
