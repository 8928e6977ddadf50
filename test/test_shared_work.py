"""What workers share is made once, also if they ask at the same time or one of them fails."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from shared_work import RUN_FOLDER, made_object, made_once


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with two workers, as factories of temporary folders."""
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    return [SimpleNamespace(getbasetemp=lambda name=name: tmp_path / name) for name in ("gw0", "gw1")]


def test_two_workers_that_ask_at_once_are_given_the_same(run):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "file").write_text("content")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: made_once(run[row % 2], "thing", make), range(8)))
    assert calls == found[:1]
    assert set(found) == {run[0].getbasetemp().parent / "shared-thing"}
    assert (found[0] / "file").read_text() == "content"


def test_what_failed_is_made_anew_in_a_folder_without_its_traces(run):
    def fail(folder):
        (folder / "half").write_text("half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        made_once(run[0], "thing", fail)
    found = made_once(run[1], "thing", lambda folder: (folder / "whole").write_text("whole"))
    assert [path.name for path in found.iterdir()] == ["whole"]
    assert made_once(run[0], "thing", fail) == found


def test_objects_are_copies_of_what_was_made_once(run):
    made = [made_object(worker, "list", lambda: [[1]]) for worker in run]
    made[0][0].append(2)
    assert made[1] == [[1]]


def test_a_run_that_a_test_starts_takes_what_there_is(run, tmp_path, monkeypatch):
    outer = made_object(run[0], "number", lambda: 1)
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    inner = SimpleNamespace(getbasetemp=lambda: tmp_path / "inner")
    assert made_object(inner, "number", lambda: 2) == outer
