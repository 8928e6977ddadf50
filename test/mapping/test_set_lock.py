"""One program at a time changes a set, the other is told who, and nobody who was killed keeps it locked."""

import fcntl
import os
import shutil
import subprocess
import sys

import pytest
from small_sets import save_small_maps, small_set

from hfnet_ros.building.results import check_target, replacing
from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.map_set_io import read_map_set
from hfnet_ros.mapping.map_sets import change_set
from hfnet_ros.mapping.set_lock import LOCK_NAME, check_unlocked, set_locked

HOLDER = """
import sys
from hfnet_ros.mapping.set_lock import set_locked
with set_locked(sys.argv[1], "builds it anew"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """A set as a build left it, and another process that builds it anew."""
    path = small_set(tmp_path, names=("sub-map-0", "sub-map-1"))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield path, process
    process.kill()
    process.communicate()


def test_who_comes_second_is_told_who_has_the_set_and_what_to_do(held, tmp_path):
    path, process = held
    before = read_map_set(path)
    maps = save_small_maps(tmp_path, ["more"])
    said = (
        rf"house\.set: process {process.pid} on {os.uname().nodename} builds it anew since \d{{4}}-\d\d-\d\d \d\d:\d\d "
        "and has it locked; try again when it is done, or end that program"
    )
    for change in (
        lambda: change_set(path, put=maps),
        lambda: change_set(path, put={"sub-map-0": maps["more"]}),
        lambda: change_set(path, drop=["sub-map-0"]),
        lambda: check_unlocked(path),
        lambda: check_target(path),
        lambda: replacing(path).__enter__(),
    ):
        with pytest.raises(MapFormatError, match=said):
            change()
    assert read_map_set(path).digest == before.digest
    process.communicate("")  # it is done
    check_unlocked(path)
    assert change_set(path, put=maps).names == ["sub-map-0", "sub-map-1", "more"]
    assert not (path / LOCK_NAME).exists()


def test_who_was_killed_keeps_nobody_out(held):
    path, process = held
    process.kill()
    process.wait()
    assert str(process.pid) in (path / LOCK_NAME).read_text()
    assert change_set(path, drop=["sub-map-1"]).names == ["sub-map-0"]


def test_a_set_that_is_built_anew_takes_nothing_until_it_is_there(tmp_path):
    path = small_set(tmp_path, names=("sub-map-0",))
    with replacing(path), pytest.raises(MapFormatError, match=rf"process {os.getpid()} on .* builds it anew"):
        change_set(path, put=save_small_maps(tmp_path, ["more"]))
    # Put in between a look at the set and the lock, it would be gone.
    change_set(path, put=save_small_maps(tmp_path, ["more"]))
    with pytest.raises(MapFormatError, match="sub-map 'more', which no build made"), replacing(path):
        pass
    check_unlocked(path)
    with replacing(tmp_path / "new.set"):
        assert not (tmp_path / "new.set").exists()


def test_a_lock_in_a_folder_that_was_replaced_locks_nothing(tmp_path, monkeypatch):
    path = small_set(tmp_path, names=("sub-map-0",))
    flock, num_tries = fcntl.flock, []

    def replace_first(lock, kind):
        if not num_tries:
            shutil.copytree(path, tmp_path / "anew", ignore=shutil.ignore_patterns(LOCK_NAME))
            path.rename(tmp_path / "old")
            (tmp_path / "anew").rename(path)
        num_tries.append(kind)
        flock(lock, kind)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    with set_locked(path, "changes it"):
        assert len(num_tries) == 2
        with pytest.raises(MapFormatError, match="changes it since"):
            check_unlocked(path)


def test_a_file_system_that_cannot_lock_is_changed_all_the_same(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = small_set(tmp_path, names=("a", "b"))
    assert change_set(path, drop=["a"]).names == ["b"]
