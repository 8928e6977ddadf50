"""A graph of tasks, and the loop that hands in those whose inputs are ready.

What a task makes is named by a digest of its stage and version, its parameters and the contents of its inputs. So a
task whose artefact is there is not run again, whoever made it and whenever; and when an input changes, only what
depends on it is made anew.

Reference: Mokhov, Mitchell and Peyton Jones, "Build Systems a la Carte", ICFP 2018, section 4 (constructive traces).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import hfnet_ros
from hfnet_ros.building.artefacts import Arrays, Artefact, DamagedArtefactError, digest_of
from hfnet_ros.config import Config
from hfnet_ros.errors import BuildingError
from hfnet_ros.types import Progress, ignore_progress

_logger = logging.getLogger(__name__)

_MAX_KILLS = 10  # of one task's worker; more are the task's own doing
_MAX_KILLS_FOR_MEMORY = 3
_MAX_DAMAGED = 3  # of one artefact; a disk that damages more is to be replaced


@dataclass(frozen=True)
class Stage:
    """A kind of task.

    Attributes:
        name: of its function in `stages.RUN`, and of the folder of its artefacts.
        version: raised when its code makes something else of the same input.
        sections: of the configuration that it reads.
        threads: whether it runs on as many threads as the configuration says; otherwise on one.
        network: whether it runs a network, on a GPU if the configuration names one.
    """

    name: str
    version: int
    sections: tuple[str, ...] = ()
    threads: bool = False
    network: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """One step of a build.

    Attributes:
        stage: what is done.
        of: with what, for people.
        parameters: JSON values and arrays, all that decides beside inputs and configuration.
        inputs: tasks whose artefacts it reads.
        files: what it reads beside; their content is in the parameters.
    """

    stage: Stage
    of: str
    parameters: Mapping[str, Any]
    inputs: tuple[Task, ...] = ()
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what is done with what."""
        return f"{self.stage.name} of {self.of}"


@dataclass(frozen=True, eq=False)
class Job:
    """A task that can be run: what a worker is sent.

    Attributes:
        stage: what is done.
        of: with what, for people.
        parameters: as those of the task.
        inputs: artefacts to read, which are there.
        files: as those of the task.
        artefact: where to write.
        config: all parameters, as `Config.to_dict` returns them.
        version: of this program.
    """

    stage: Stage
    of: str
    parameters: Mapping[str, Any]
    inputs: tuple[Artefact, ...]
    files: tuple[str, ...]
    artefact: Artefact
    config: Mapping[str, Any]
    version: str = hfnet_ros.__version__

    @property
    def num_threads(self) -> int:
        """CPU threads that it will use."""
        return int(self.config["inference"]["num_threads"]) if self.stage.threads else 1


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        made: its artefact, if it was made.
        damaged: an input that has to be made anew.
        error: what is wrong with what was asked for.
        killed: how its worker ended, if it did.
        for_memory: it ended because memory ran out.
    """

    made: Artefact | None = None
    damaged: Artefact | None = None
    error: str = ""
    killed: str = ""
    for_memory: bool = False


class Workers(Protocol):
    """Whatever runs jobs."""

    num_at_once: int  # jobs that may be handed in before one is waited for

    def submit(self, job: Job) -> Any:
        """Hand in a job; returns a handle that can be hashed."""
        ...

    def wait(self) -> tuple[Any, Outcome]:
        """Wait for one of the jobs; returns its handle and how it ended.

        Raises:
            BuildingError: the cluster is gone.
        """
        ...

    def close(self) -> None:
        """End all jobs."""
        ...


@dataclass(eq=False)
class Graph:
    """Runs tasks and keeps count.

    Attributes:
        folder: of artefacts.
        workers: what runs jobs.
        config: parameters.
        progress: told the stage, and how many of the tasks that are known are done.
        num_run: tasks that were run.
        num_reused: tasks whose artefact was there.
    """

    folder: Path
    workers: Workers
    config: Config
    progress: Progress = ignore_progress
    num_run: int = 0
    num_reused: int = 0
    _made: dict[Task, Artefact] = field(default_factory=dict)
    _num_known: int = 0
    _failures: Counter[tuple[Any, str]] = field(default_factory=Counter)

    def finish(self, tasks: Sequence[Task]) -> list[Artefact]:
        """Run tasks and all that they depend on; returns their artefacts.

        Raises:
            BuildingError: a task failed; it names the task and what to do.
        """
        run = _Run(self, self._unfinished(tasks))
        self._num_known += len(run.waiting)
        run.to_end()
        return [self._made[task] for task in tasks]

    def read(self, tasks: Sequence[Task]) -> list[Arrays]:
        """Run tasks as `finish` does and return their arrays; what is damaged is made anew.

        Raises:
            BuildingError: as `finish`.
        """
        made = self.finish(tasks)
        try:
            return [artefact.read_arrays() for artefact in made]
        except DamagedArtefactError as error:
            damaged = [task for task in tasks if self._made[task].path == error.artefact.path]
            self._remake(damaged[0], damaged, error.artefact)
            return self.read(tasks)

    def expect(self, count: int) -> None:
        """Count tasks in, that will be known later."""
        self._num_known += count

    def _unfinished(self, tasks: Sequence[Task]) -> dict[Task, int]:
        """Return all tasks to run, inputs first, and of how many others each waits."""
        found: dict[Task, int] = {}
        stack = [(task, False) for task in reversed(tasks)]
        while stack:
            task, is_below_done = stack.pop()
            if task in found or task in self._made:
                continue
            if not is_below_done:
                stack.append((task, True))
                stack += [(below, False) for below in reversed(task.inputs)]
                continue
            found[task] = sum(below not in self._made for below in set(task.inputs))
        return found

    def job_of(self, task: Task) -> Job:
        """Return what a worker is sent; all inputs have been made."""
        inputs = tuple(self._made[below] for below in task.inputs)
        config = self.config.to_dict()
        read = {name: dict(config[name]) for name in task.stage.sections}
        # How fast it is made decides nothing.
        for name in ("num_threads", "allow_spinning", "engine_cache", "build_engines", "workspace_mib"):
            read.get("inference", {}).pop(name, None)
        read.get("extractor", {}).pop("weights", None)
        key = digest_of(
            {
                "program": hfnet_ros.__version__,
                "stage": task.stage.name,
                "version": task.stage.version,
                "config": read,
                "parameters": dict(task.parameters),
                "inputs": [artefact.sha256 for artefact in inputs],
            }
        )
        artefact = Artefact(self.folder / task.stage.name / key[:2] / key)
        return Job(task.stage, task.of, task.parameters, inputs, task.files, artefact, config)

    def note_made(self, task: Task, artefact: Artefact, *, is_new: bool) -> None:
        """Take note of a finished task."""
        self._made[task] = artefact
        self.num_run += is_new
        self.num_reused += not is_new
        self.progress(task.stage.name, len(self._made), max(self._num_known, len(self._made)))

    def missing(self, task: Task) -> list[Task]:
        """Return the inputs of a task that have not been made, or are made anew."""
        return [below for below in dict.fromkeys(task.inputs) if below not in self._made]

    def note_damaged(self, task: Task, artefact: Artefact) -> list[Task]:
        """Remove a damaged input of a task; returns the tasks that must make it anew.

        Raises:
            BuildingError: that happened too often.
        """
        made = [below for below in dict.fromkeys(task.inputs) if below in self._made]
        makers = [below for below in made if self._made[below].path == artefact.path]
        self._remake(task, makers, artefact)
        return makers

    def _remake(self, reader: Task, makers: Sequence[Task], artefact: Artefact) -> None:
        where = str(artefact.path)
        self._count_failure(
            reader, where, _MAX_DAMAGED, f"{where} is damaged again and again: look at the disk"
        )
        if makers:
            _logger.warning("%s: is damaged and made anew", where)
            artefact.forget()
        for maker in makers:
            del self._made[maker]

    def note_killed(self, task: Task, outcome: Outcome) -> None:
        """Count how often the worker of a task ended.

        Raises:
            BuildingError: too often.
        """
        _logger.warning("%s: its worker ended (%s); the task is run again", task, outcome.killed)
        if outcome.for_memory:
            remedy = (
                f"its worker was killed for memory {_MAX_KILLS_FOR_MEMORY} times ({outcome.killed}), the last time "
                "with no other beside it; take more --sub-maps, fewer keyframes, or a machine with more memory"
            )
            self._count_failure(task, "memory", _MAX_KILLS_FOR_MEMORY, remedy)
        else:
            remedy = (
                f"its worker ended {_MAX_KILLS} times, the last time so: {outcome.killed}; if the kernel killed it for "
                "memory (`dmesg` says so), take more --sub-maps, fewer keyframes, or fewer workers on a machine"
            )
            self._count_failure(task, "kill", _MAX_KILLS, remedy)

    def _count_failure(self, task: Task, kind: str, most: int, text: str) -> None:
        self._failures[task, kind] += 1
        if self._failures[task, kind] >= most:
            raise BuildingError(f"{task}: {text}")


class _Run:
    """The loop over ready tasks."""

    def __init__(self, graph: Graph, waiting: dict[Task, int]) -> None:
        self.waiting = waiting
        self._graph = graph
        self._above: dict[Task, list[Task]] = {}
        for task in waiting:
            for below in set(task.inputs):
                self._above.setdefault(below, []).append(task)
        self._ready = deque(task for task, count in waiting.items() if count == 0)
        self._running: dict[Any, Task] = {}

    def to_end(self) -> None:
        while self._ready or self._running:
            while self._ready and len(self._running) < self._graph.workers.num_at_once:
                self._start(self._ready.popleft())
            if self._running:
                handle, outcome = self._graph.workers.wait()
                self._take(self._running.pop(handle), outcome)

    def _start(self, task: Task) -> None:
        missing = self._graph.missing(task)
        if missing:
            self._await(task, missing)
            return
        job = self._graph.job_of(task)
        found = job.artefact.found()
        if found is not None:
            self._made(task, found, is_new=False)
        else:
            self._running[self._graph.workers.submit(job)] = task

    def _await(self, task: Task, missing: Sequence[Task]) -> None:
        self.waiting[task] = len(missing)
        for below in missing:
            self._above.setdefault(below, []).append(task)

    def _take(self, task: Task, outcome: Outcome) -> None:
        if outcome.made is not None:
            self._made(task, outcome.made, is_new=True)
        elif outcome.damaged is not None:
            self._ready.extend(self._graph.note_damaged(task, outcome.damaged))
            # Another task may have found the same damage, so that all inputs are on their way or there again.
            self._ready.append(task)
        elif outcome.killed:
            self._graph.note_killed(task, outcome)
            self._ready.append(task)
        else:
            raise BuildingError(f"{task}: {outcome.error}")

    def _made(self, task: Task, artefact: Artefact, *, is_new: bool) -> None:
        self._graph.note_made(task, artefact, is_new=is_new)
        for above in self._above.pop(task, []):
            self.waiting[above] -= 1
            if self.waiting[above] == 0:
                self._ready.append(above)
