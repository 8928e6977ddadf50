"""Run a job wherever it was sent, and say how it ended; jobs in this process."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from typing import Any

import hfnet_ros
from hfnet_ros.building.artefacts import DamagedArtefactError
from hfnet_ros.building.graph import Job, Outcome
from hfnet_ros.building.stages import RUN, config_of, release_networks
from hfnet_ros.errors import HfnetRosError
from hfnet_ros.mapping.map_builder import limited_threads


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
    except HfnetRosError as error:
        return Outcome(error=str(error))
    except MemoryError:
        return Outcome(killed=f"out of memory on {os.uname().nodename}", for_memory=True)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        advice = "; free some space, then start the same command again" * (error.errno == errno.ENOSPC)
        return Outcome(error=f"{named}{error.strerror or error} on {os.uname().nodename}{advice}")
    return Outcome(made=made)


class InProcess:
    """Runs one job after the other in this process."""

    num_at_once = 1

    def __init__(self) -> None:
        """Start without a job."""
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> Any:
        """Keep a job until it is waited for."""
        self._jobs.append(job)
        return job

    def wait(self) -> tuple[Any, Outcome]:
        """Run the oldest job."""
        job = self._jobs.popleft()
        return job, execute(job)

    def close(self) -> None:
        """Release the networks that jobs loaded."""
        self._jobs.clear()
        release_networks()
