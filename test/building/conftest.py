"""Stages that count numbers instead of making maps, and a graph of them."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.building import stages
from hfnet_ros.building.execution import InProcess
from hfnet_ros.building.graph import Graph, Stage, Task
from hfnet_ros.config import Config

NUMBER, SUM = Stage("number", 1), Stage("sum", 1, ("pose",))


@dataclasses.dataclass
class Numbers:
    """Tasks that read numbers and add them up; counts what was run."""

    folder: Path
    runs: Counter = dataclasses.field(default_factory=Counter)
    fails: set = dataclasses.field(default_factory=set)

    def number(self, value, of=""):
        return Task(NUMBER, of or str(value), {"value": value})

    def sum(self, *tasks, of="sum"):
        return Task(SUM, of, {}, tasks)

    def graph(self, workers=None, config=None, progress=lambda *_: None):
        return Graph(self.folder, workers or InProcess(), config or Config(), progress)

    def read_number(self, job):
        self._count(job)
        return {"value": np.array(abs(job.parameters["value"]))}

    def add_up(self, job):
        self._count(job)
        return {"value": np.array(sum(int(entry.read_arrays()["value"]) for entry in job.inputs))}

    def _count(self, job):
        self.runs[job.of] += 1
        if job.of in self.fails:
            raise OSError(5, "Input/output error", job.of)


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    found = Numbers(tmp_path / "work")
    monkeypatch.setitem(stages.RUN, "number", found.read_number)
    monkeypatch.setitem(stages.RUN, "sum", found.add_up)
    return found


@pytest.fixture
def value_of():
    return lambda artefact: int(artefact.read_arrays()["value"])
