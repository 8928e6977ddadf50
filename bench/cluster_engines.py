"""Compare Ray and Dask as what runs the tasks of a distributed build: `python bench/cluster_engines.py ray|dask`.

Each on one machine, over loopback: start, cost of a task, idle memory, what listens where, and what becomes of a task
whose worker, scheduler or driver is killed. The table of docs/notes/building.md is made of its lines.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

NUM_WORKERS = 2
_EMPTY = 1000
_WORK_S = 4.0


def report(name: str, value: object) -> None:
    """Print one line of the table."""
    print(f"{name:<46} {value}", flush=True)


def work(note: str, seconds: float) -> int:
    """Write down that the task began, as which process, and take so long."""
    with Path(note).open("a") as stream:
        stream.write(f"{os.getpid()} {time.time()}\n")
    time.sleep(seconds)
    return os.getpid()


def nothing(value: int) -> int:
    """Do nothing."""
    return value


class RayEngine:
    """Ray with usage statistics and dashboard off."""

    def __init__(self) -> None:
        """Start a cluster on this machine."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self.ray = ray
        ray.init(
            num_cpus=NUM_WORKERS,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            object_store_memory=100 << 20,
            log_to_driver=False,
            configure_logging=False,
        )
        self._remote: dict[Callable[..., Any], Any] = {}

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Hand in a task."""
        if function not in self._remote:
            self._remote[function] = self.ray.remote(max_retries=3)(function)
        return self._remote[function].remote(*arguments)

    def results(self, handles: list[Any]) -> list[Any]:
        """Wait for all."""
        return list(self.ray.get(handles))

    def close(self) -> None:
        """End the cluster."""
        self.ray.shutdown()


class DaskEngine:
    """Dask's distributed, a scheduler and worker processes, dashboard off."""

    def __init__(self) -> None:
        """Start a cluster on this machine."""
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=NUM_WORKERS, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        )
        self.client = Client(self.cluster)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Hand in a task."""
        return self.client.submit(function, *arguments, pure=False)

    def results(self, handles: list[Any]) -> list[Any]:
        """Wait for all."""
        return list(self.client.gather(handles))

    def close(self) -> None:
        """End the cluster."""
        self.client.close()
        self.cluster.close()


ENGINES = {"ray": RayEngine, "dask": DaskEngine}


def family() -> list[psutil.Process]:
    """Return the processes that the engine started."""
    return psutil.Process().children(recursive=True)


def measure_running(name: str) -> None:
    """Print what an engine costs and what a kill of a worker does."""
    started = time.perf_counter()
    engine = ENGINES[name]()
    engine.results([engine.submit(nothing, 0)])
    report("start until the first task is done, s", f"{time.perf_counter() - started:.1f}")
    started = time.perf_counter()
    engine.results([engine.submit(nothing, value) for value in range(_EMPTY)])
    report("per empty task, ms", f"{1e3 * (time.perf_counter() - started) / _EMPTY:.2f}")
    time.sleep(3.0)
    processes = family()
    report("processes beside the driver", len(processes))
    report("their unique memory when idle, MB", f"{sum(_unique(p) for p in processes) / 1e6:.0f}")
    report("driver's unique memory, MB", f"{_unique(psutil.Process()) / 1e6:.0f}")
    for address in sorted(_listening([psutil.Process(), *processes])):
        report("listens on", address)
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note"
        handle = engine.submit(work, str(note), _WORK_S)
        while not note.is_file() or not note.read_text():
            time.sleep(0.05)
        killed = time.time()
        os.kill(int(note.read_text().split()[0]), signal.SIGKILL)
        engine.results([handle])
        runs = [line.split() for line in note.read_text().splitlines()]
        report(
            "worker killed: runs, s until the task began again",
            f"{len(runs)}, {float(runs[-1][1]) - killed:.1f}",
        )
    started = time.perf_counter()
    engine.close()
    report("closing, s", f"{time.perf_counter() - started:.1f}")
    time.sleep(1.0)
    report("processes left", len(family()))


def measure_driver_killed(name: str) -> None:
    """Print what is left of tasks when their driver is killed."""
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note"
        driver = subprocess.Popen([sys.executable, __file__, name, "--as-driver", str(note)])
        while not note.is_file() or not note.read_text():
            time.sleep(0.05)
        below = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        killed = time.time()
        psutil.wait_procs(below, timeout=60.0)
        left = [process.name() for process in below if process.is_running()]
        report("driver killed: s until its processes are gone", f"{time.time() - killed:.1f}, left: {left}")
        for process in below:
            if process.is_running():
                process.kill()


def run_as_driver(name: str, note: str) -> None:
    """Hand in one long task and wait to be killed."""
    engine = ENGINES[name]()
    engine.results([engine.submit(work, note, 300.0)])


def _unique(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _listening(processes: list[psutil.Process]) -> set[str]:
    found = set()
    for process in processes:
        try:
            connections = process.net_connections("inet")
        except psutil.Error:
            continue
        found |= {
            f"{entry.laddr.ip} ({process.name()})"
            for entry in connections
            if entry.status == psutil.CONN_LISTEN
        }
    return found


def main() -> None:
    """Run all measurements of one engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--as-driver", metavar="NOTE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_driver:
        run_as_driver(options.engine, options.as_driver)
        return
    measure_running(options.engine)
    measure_driver_killed(options.engine)


if __name__ == "__main__":
    main()
