"""Rows of large files: what is read is what is mapped, and a file that shrank is an error, not a crash."""

import errno
import gc
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map import array_files
from hfnet_ros.map.array_files import open_array, read_rows, write_array

ROWS = np.random.default_rng(0).integers(-127, 128, size=(500, 24)).astype(np.int8)


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "ALWAYS_VERIFIED_BYTES", 0)
    (tmp_path / "arrays").mkdir()
    entry = write_array(tmp_path, "numbers", ROWS, "|i1")
    return open_array(tmp_path, "numbers", entry, digest=True)


@pytest.mark.parametrize("wanted", [[0], [499], [3, 4, 5, 9, 10, 499], [7, 6, 7, 7, 8], [], list(range(500))])
def test_rows_are_those_of_the_file(mapped, wanted):
    assert array_files._open_files
    rows = np.array(wanted, np.int64)
    np.testing.assert_array_equal(read_rows(mapped, rows), ROWS[rows])
    np.testing.assert_array_equal(read_rows(mapped[100:], rows[rows < 400]), ROWS[100:][rows[rows < 400]])
    np.testing.assert_array_equal(read_rows(mapped[:, 3:9], rows), ROWS[rows, 3:9])
    np.testing.assert_array_equal(read_rows(ROWS, rows), ROWS[rows])


@pytest.mark.parametrize("row", [-501, 500])
def test_a_row_that_is_none_is_an_error(mapped, row):
    with pytest.raises(IndexError):
        read_rows(mapped, np.array([row]))


def test_a_file_that_was_cut_off_is_named(mapped, tmp_path):
    os.truncate(tmp_path / "arrays" / "numbers.npy", 2000)
    np.testing.assert_array_equal(read_rows(mapped, np.array([5])), ROWS[[5]])
    with pytest.raises(MapFormatError, match=r"numbers\.npy: has become shorter"):
        read_rows(mapped, np.array([5, 400]))


def test_the_file_is_open_as_long_as_the_array(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "ALWAYS_VERIFIED_BYTES", 0)
    (tmp_path / "arrays").mkdir()
    mapped = open_array(tmp_path, "numbers", write_array(tmp_path, "numbers", ROWS, "|i1"), digest=True)
    number, _ = array_files._open_files[array_files._mapping_of(mapped)]
    assert os.fstat(number).st_size > ROWS.nbytes
    again = mapped[3:]
    np.testing.assert_array_equal(read_rows(again, np.array([1])), ROWS[[4]])
    del mapped, again
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_full_disk_is_called_so(tmp_path):
    """numpy's own writing says how much was written, and not why no more was."""
    script = (
        "import sys, pathlib, numpy\n"
        "from hfnet_ros.map.array_files import write_array\n"
        "write_array(pathlib.Path(sys.argv[1]), 'numbers', numpy.zeros(10_000), '<f8')\n"
    )

    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    (tmp_path / "arrays").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, preexec_fn=limit_file_size,
    )  # fmt: skip
    assert result.stderr.splitlines()[-1].startswith(f"OSError: [Errno {errno.EFBIG}]"), result.stderr


def failing_now_and_then(reader, times):
    """numpy's reader, in which Python's parser fails so often, as it does when threads are in it together."""
    sound, failures = getattr(np.lib.format, reader), [SystemError("depth mismatch")] * times

    def read(*arguments, **options):
        if failures:
            raise failures.pop()
        return sound(*arguments, **options)

    return read


@pytest.mark.parametrize(("reader", "digest"), [("open_memmap", False), ("read_array", True)])
def test_a_sound_header_that_python_fails_to_parse_is_read_again(tmp_path, monkeypatch, reader, digest):
    (tmp_path / "arrays").mkdir()
    entry = write_array(tmp_path, "numbers", ROWS, "|i1")
    monkeypatch.setattr(np.lib.format, reader, failing_now_and_then(reader, 4))
    np.testing.assert_array_equal(open_array(tmp_path, "numbers", entry, digest=digest), ROWS)
    monkeypatch.setattr(np.lib.format, reader, failing_now_and_then(reader, 5))
    with pytest.raises(MapFormatError, match=r"not a plain array \(depth mismatch\)"):
        open_array(tmp_path, "numbers", entry, digest=digest)


def test_what_was_read_whole_stays_when_its_file_is_overwritten(tmp_path):
    """As by `cp -r` of a new map over one that a robot uses: the node had died (SIGBUS), or known both maps in part."""
    (tmp_path / "arrays").mkdir()
    kept = open_array(tmp_path, "numbers", write_array(tmp_path, "numbers", ROWS, "|i1"), digest=True)
    with (tmp_path / "arrays" / "numbers.npy").open("r+b") as file:
        file.write(bytes(ROWS.nbytes))
    np.testing.assert_array_equal(kept, ROWS)
    assert not kept.flags.writeable
