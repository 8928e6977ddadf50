"""What is said when memory or a disk is at its end, and by the next process where the last one was killed."""

import errno
import json
import os
import subprocess

import pytest
from small_sets import small_map

from hfnet_ros.building import artefacts, stages
from hfnet_ros.building.artefacts import Artefact
from hfnet_ros.building.execution import InProcess, execute
from hfnet_ros.errors import EngineError, MapFormatError


def job_that(numbers, monkeypatch, run):
    monkeypatch.setitem(stages.RUN, "number", run)
    return numbers.graph().job_of(numbers.number(1, of="one"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        EngineError("ONNX Runtime cannot load network: std::bad_alloc"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
    ids=["numpy", "thread", "engine", "mmap"],
)
def test_memory_at_its_end_is_told_from_mistakes(numbers, monkeypatch, error):
    def run(job):
        raise error

    outcome = execute(job_that(numbers, monkeypatch, run))
    assert outcome.for_memory
    assert outcome.killed.startswith("out of memory on ")


def test_a_mistake_is_not_hidden(numbers, monkeypatch):
    def run(job):
        raise RuntimeError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        execute(job_that(numbers, monkeypatch, run))


def test_an_artefact_that_could_not_be_mapped_is_not_taken_for_damaged(tmp_path, monkeypatch):
    made = Artefact(tmp_path / "map").write(small_map(), seconds=0.0, cpu_seconds=0.0, of="")

    def refuse(folder, verify):
        raise MapFormatError("cannot be mapped") from OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(artefacts, "load_map", refuse)
    with pytest.raises(MemoryError, match="cannot be mapped"):
        made.read_map()


def test_a_process_that_was_killed_is_explained_by_the_next(numbers, monkeypatch, tmp_path, caplog):
    """As the kernel kills for memory: the process says nothing any more."""
    note = tmp_path / "running.json"
    noted = []

    def run(job):
        noted.append(json.loads(note.read_text()))
        return numbers.read_number(job)

    workers = InProcess(tmp_path)
    workers.submit(job_that(numbers, monkeypatch, run))
    workers.wait()
    assert noted == [{"task": "number of one", "pid": os.getpid()}]
    assert not note.exists()
    # One that is alive is another build in the same folder.
    note.write_text(json.dumps(noted[0]))
    InProcess(tmp_path)
    assert not caplog.records
    dead = subprocess.Popen(["true"])
    dead.wait()
    note.write_text(json.dumps(noted[0] | {"pid": dead.pid}))
    InProcess(tmp_path)
    (record,) = caplog.records
    assert record.getMessage().startswith("number of one: the last run was ended there without a word")
    assert "take more --sub-maps" in record.getMessage()
    assert not note.exists()
