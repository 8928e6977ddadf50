import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.files import atomic
from hfnet_ros.files.atomic import atomic_directory, atomic_file


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_map(directory: Path, text: str) -> None:
    (directory / "arrays").mkdir()
    (directory / "arrays" / "a.txt").write_text(text)
    (directory / "meta.txt").write_text(text)


@pytest.fixture(params=["exchange", "two renames"])
def way_of_replacing(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda left, right: False)
    return request.param


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "poses.tum"
    with atomic_file(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["poses.tum"]


def test_a_file_is_replaced_only_at_the_end(tmp_path):
    path = tmp_path / "poses.tum"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), SystemExit(1), ValueError("x")],
)
def test_any_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "poses.tum"
    path.write_text("old")
    with pytest.raises(type(failure)), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert names(tmp_path) == ["poses.tum"]


@pytest.mark.parametrize("names_sibling", [True, False])
@pytest.mark.parametrize("write", [atomic_file, atomic_directory])
def test_an_error_of_the_file_system_names_the_target(tmp_path, write, names_sibling):
    target = tmp_path / "map.html"
    with pytest.raises(OSError, match="Read-only") as caught, write(target) as temporary:
        raise OSError(errno.EROFS, "Read-only file system", str(temporary) if names_sibling else None)
    assert caught.value.filename == str(target)


def test_a_disk_that_is_full_at_fsync_leaves_the_old_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "poses.tum"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), atomic_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["poses.tum"]


def test_data_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    path = tmp_path / "poses.tum"
    synced = []

    def record(descriptor, fsync=os.fsync):
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with atomic_file(path) as temporary:
        temporary.write_text("new")
    assert synced == [(temporary, False), (tmp_path, True)]


def test_suffix_stays_for_writers_that_look_at_it(tmp_path):
    with atomic_file(tmp_path / "arrays.npz") as temporary:
        np.savez(temporary, a=np.arange(3))
    with np.load(tmp_path / "arrays.npz") as arrays:
        np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
    assert names(tmp_path) == ["arrays.npz"]


def test_a_link_stays_a_link_and_permissions_stay(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    with atomic_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_device_is_written_to_and_not_replaced():
    with atomic_file("/dev/null") as path:
        path.write_text("gone")
    assert Path("/dev/null").is_char_device()


def test_wrong_kinds_of_target_are_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(IsADirectoryError), atomic_file(tmp_path):
        pytest.fail("work was done")
    with pytest.raises(NotADirectoryError), atomic_directory(tmp_path / "file"):
        pytest.fail("work was done")
    with pytest.raises(FileNotFoundError, match="create it first"), atomic_file(tmp_path / "no" / "file"):
        pytest.fail("work was done")
    with pytest.raises(OSError, match="mount point"), atomic_directory("/proc"):
        pytest.fail("work was done")
    assert names(tmp_path) == ["file"]


def test_names_as_long_as_the_system_allows(tmp_path):
    for name in ("x" * 255, "é" * 120 + ".yaml"):
        with atomic_file(tmp_path / name) as temporary:
            temporary.write_text("new")
        assert (tmp_path / name).read_text() == "new"


def test_a_directory_appears_whole_and_alone(tmp_path, way_of_replacing):
    path = tmp_path / "map"
    with atomic_directory(path) as temporary:
        write_map(temporary, "new")
        assert not path.exists()
    assert (path / "arrays" / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["map"]


def test_a_directory_is_replaced_as_a_whole(tmp_path, way_of_replacing):
    path = tmp_path / "map"
    path.mkdir()
    write_map(path, "old")
    (path / "only_in_old.txt").write_text("old")
    with atomic_directory(path) as temporary:
        write_map(temporary, "new")
        assert (path / "meta.txt").read_text() == "old"
    assert (path / "meta.txt").read_text() == "new"
    assert names(path) == ["arrays", "meta.txt"]
    assert names(tmp_path) == ["map"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_any_failure_leaves_the_old_directory_and_nothing_else(tmp_path, way_of_replacing, failure):
    path = tmp_path / "map"
    path.mkdir()
    write_map(path, "old")
    with pytest.raises(type(failure)), atomic_directory(path) as temporary:
        write_map(temporary, "half")
        raise failure
    assert (path / "arrays" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["map"]


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "rename failed"), KeyboardInterrupt()])
def test_if_the_second_rename_fails_the_first_is_undone(tmp_path, monkeypatch, failure):
    path = tmp_path / "map"
    path.mkdir()
    write_map(path, "old")

    def fail_to_install(self, target, rename=Path.rename):
        if ".tmp-" in self.name:
            raise failure
        return rename(self, target)

    monkeypatch.setattr(atomic, "_exchange", lambda left, right: False)
    monkeypatch.setattr(Path, "rename", fail_to_install)
    with pytest.raises(type(failure)), atomic_directory(path) as temporary:
        write_map(temporary, "new")
    assert (path / "meta.txt").read_text() == "old"
    assert names(tmp_path) == ["map"]


def test_exchange_is_used_where_linux_has_it(tmp_path):
    left, right = tmp_path / "left", tmp_path / "right"
    left.mkdir()
    right.mkdir()
    (left / "l").touch()
    if not atomic._exchange(left, right):
        pytest.skip("no renameat2 on this file system")
    assert names(right) == ["l"]
    assert names(left) == []


def test_exchange_with_nothing_says_no(tmp_path):
    assert not atomic._exchange(tmp_path / "a", tmp_path / "b")


def test_leftovers_of_a_killed_writer_go_with_the_next_write(tmp_path):
    pid = dead_pid()
    stale_file = tmp_path / f".poses.tmp-{pid}-00000000.tum"
    stale_map = tmp_path / f".map.tmp-{pid}-00000000"
    stale_own = tmp_path / f".poses.tmp-{os.getpid()}-00000000.tum"  # the same pid after a container restart
    alive = tmp_path / f".poses.tmp-{os.getppid()}-00000000.tum"
    foreign = tmp_path / f".other.tmp-{pid}-00000000.tum"
    for file in (stale_file, stale_own, alive, foreign):
        file.touch()
    stale_map.mkdir()
    (stale_map / "half").touch()
    with atomic_file(tmp_path / "poses.tum"):
        assert not stale_file.exists()
        assert not stale_own.exists()
    assert stale_map.exists()
    with atomic_directory(tmp_path / "map"):
        pass
    assert names(tmp_path) == sorted([alive.name, foreign.name, "map", "poses.tum"])


def test_a_kill_between_two_renames_loses_nothing(tmp_path):
    old = tmp_path / f".map.old-{dead_pid()}-00000000"
    old.mkdir()
    write_map(old, "old")
    with pytest.raises(ValueError, match="stop"), atomic_directory(tmp_path / "map"):
        raise ValueError("stop")
    assert (tmp_path / "map" / "meta.txt").read_text() == "old"
    assert names(tmp_path) == ["map"]


def test_threads_do_not_sweep_each_other(tmp_path):
    path = tmp_path / "poses.tum"
    with atomic_file(path) as first:
        first.write_text("first")

        def write_second():
            with atomic_file(path) as second:
                second.write_text("second")

        thread = threading.Thread(target=write_second)
        thread.start()
        thread.join()
        assert path.read_text() == "second"
        assert first.exists()
    assert path.read_text() == "first"
    assert names(tmp_path) == ["poses.tum"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_writer_ended_from_outside(tmp_path, how):
    path = tmp_path / "map"
    path.mkdir()
    write_map(path, "old")
    script = textwrap.dedent(f"""
        import signal
        from hfnet_ros.files.atomic import atomic_directory
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with atomic_directory({str(path)!r}) as temporary:
            (temporary / "half").touch()
            print("writing", flush=True)
            signal.pause()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as writer:
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(how)
    assert writer.returncode != 0
    assert (path / "meta.txt").read_text() == "old"
    # Only SIGKILL gives Python no chance to clean up.
    assert len(names(tmp_path)) == (2 if how is signal.SIGKILL else 1)
    with atomic_directory(path) as temporary:
        write_map(temporary, "new")
    assert (path / "meta.txt").read_text() == "new"
    assert names(tmp_path) == ["map"]
