"""Run a job wherever it was sent, and say how it ended; jobs in this process."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hfnet_ros
from hfnet_ros.building.artefacts import DamagedArtefactError
from hfnet_ros.building.graph import Job, Outcome
from hfnet_ros.building.jobs import config_of
from hfnet_ros.building.networks import release_networks
from hfnet_ros.building.stages import RUN
from hfnet_ros.errors import HfnetRosError
from hfnet_ros.mapping.map_builder import limited_threads

_logger = logging.getLogger(__name__)

_NOTE = "running.json"
# What libraries say that know no MemoryError, once memory is at its end.
_OF_MEMORY = (
    "bad_alloc",
    "allocate memory",
    "insufficient memory",
    "can't start new thread",
    "failed to map segment",
)


def execute(job: Job) -> Outcome:
    """Run a job and write its artefact; what is wrong with its input is an outcome, not an exception.

    Raises:
        Exception: a mistake in this program.
    """
    if job.version != hfnet_ros.__version__:
        return Outcome(
            error=f"this worker has hfnet_ros {hfnet_ros.__version__}, expected {job.version}: install the same on "
            "all machines"
        )
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        with limited_threads(config_of(job)):
            content = RUN[job.stage.name](job)
        made = job.artefact.write(
            content,
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu_started,
            of=job.of,
        )
    except DamagedArtefactError as error:
        return Outcome(damaged=error.artefact)
    except Exception as error:
        if _is_of_memory(error):
            release_networks()
            return Outcome(killed=f"out of memory on {os.uname().nodename}", for_memory=True)
        return Outcome(error=_said_of(error))
    return Outcome(made=made)


def _is_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _OF_MEMORY)


def _said_of(error: Exception) -> str:
    """Return what is wrong with what was asked for.

    Raises:
        Exception: it is a mistake in this program.
    """
    if isinstance(error, HfnetRosError):
        return str(error)
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        advice = "; free some space, then start the same command again" * (error.errno == errno.ENOSPC)
        return f"{named}{error.strerror or error} on {os.uname().nodename}{advice}"
    raise error


class InProcess:
    """Runs one job after the other in this process."""

    num_at_once = 1

    def __init__(self, work: Path | None = None) -> None:
        """Start without a job, and say which one the last process was killed in.

        Args:
            work: folder of artefacts, where what runs is noted; nowhere without.
        """
        self._jobs: deque[Job] = deque()
        self._note = None if work is None else work / _NOTE
        if self._note is not None:
            _warn_of_killed(self._note)

    def submit(self, job: Job) -> Any:
        """Keep a job until it is waited for."""
        self._jobs.append(job)
        return job

    def wait(self) -> tuple[Any, Outcome]:
        """Run the oldest job."""
        job = self._jobs.popleft()
        with _noted(self._note, f"{job.stage.name} of {job.of}"):
            return job, execute(job)

    def close(self) -> None:
        """Release the networks that jobs loaded."""
        self._jobs.clear()
        release_networks()


@contextlib.contextmanager
def _noted(note: Path | None, task: str) -> Iterator[None]:
    """Leave a note of a task as long as it runs: who is killed for memory cannot say what it was doing."""
    if note is None:
        yield
        return
    with contextlib.suppress(OSError):
        note.write_text(json.dumps({"task": task, "pid": os.getpid()}))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)


def _warn_of_killed(note: Path) -> None:
    """Say what the last process was doing when it was killed, if it was."""
    try:
        found = json.loads(note.read_text())
        task, pid = str(found["task"]), int(found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if Path(f"/proc/{pid}").exists():
        return  # another build goes on in this folder
    _logger.warning(
        "%s: the last run was ended there without a word, as the kernel does when memory is at its end; if it is "
        "again, take more --sub-maps or fewer keyframes",
        task,
    )
    note.unlink(missing_ok=True)
