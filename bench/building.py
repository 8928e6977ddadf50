"""Bars of distributed building: `python bench/building.py --data FOLDER --out SCRATCH`.

The same set of sub-maps is built in this process and by 1, 2 and 4 Ray workers; then workers, the driver and the head
of the cluster are killed (kill -9) while they work. Every run must end in the same bytes. The folder holds `map`,
`map.tum` and `camera.yaml`, as RedKitchen's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

NUM_KILLS = 20
_BETWEEN_KILLS_S = (4.0, 20.0)
# Ray calls a process by the job that it runs.
_AT_WORK = (
    "check",
    "describe",
    "vocabulary",
    "pairs",
    "matches",
    "pose check",
    "structure",
    "self-test",
    "overlap",
)


class Builds:
    """Runs the same command into folders of its own."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Remember the command."""
        data: Path = options.data
        self.scratch: Path = options.out
        self.command = [
            sys.executable,
            "-m",
            "hfnet_ros",
            "map",
            "build",
            "--sub-maps",
            str(options.sub_maps),
        ]
        self.command += ["--images", str(data / "map"), "--poses", str(data / "map.tum")]
        self.command += ["--camera", str(data / "camera.yaml"), "--every", str(options.every)]
        self.environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

    def start(self, name: str, cluster: str | None) -> subprocess.Popen[str]:
        """Start a build; what a former one of the name left is gone on with."""
        words = [*self.command, "--out", str(self.scratch / f"{name}.set")]
        if cluster is not None:
            words += ["--cluster", cluster]
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        )

    def fresh(self, name: str) -> None:
        """Remove what former builds of the name left."""
        for suffix in ("set", "set.work"):
            shutil.rmtree(self.scratch / f"{name}.{suffix}", ignore_errors=True)

    def digest(self, name: str) -> str:
        """Return the digest of all bytes of a set: its manifest holds those of its arrays and of its maps."""
        manifest = self.scratch / f"{name}.set" / "map.json"
        return hashlib.sha256(manifest.read_bytes()).hexdigest()[:16] if manifest.is_file() else "none"

    def num_artefacts(self, name: str) -> int:
        """Return how many tasks are done."""
        return sum(1 for _ in (self.scratch / f"{name}.set.work").rglob("*/*/*.json"))

    def seconds_by_stage(self, name: str) -> dict[str, float]:
        """Return the seconds of processors that each stage took."""
        found: Counter[str] = Counter()
        work = self.scratch / f"{name}.set.work"
        for record in work.glob("*/??/*.json"):
            found[record.parts[-3]] += json.loads(record.read_text())["cpu_seconds"]
        return {stage: round(seconds, 1) for stage, seconds in found.items()}

    def seconds_in_tasks(self, name: str) -> float:
        """Return the sum of what tasks took by the clock."""
        records = (self.scratch / f"{name}.set.work").glob("*/??/*.json")
        return float(sum(json.loads(record.read_text())["seconds"] for record in records))

    def bytes_by_stage(self, name: str) -> dict[str, int]:
        """Return what each stage left on disk."""
        found: Counter[str] = Counter()
        for record in (self.scratch / f"{name}.set.work").glob("*/??/*.json"):
            found[record.parts[-3]] += json.loads(record.read_text())["bytes"]
        return dict(found)


def report(name: str, value: object) -> None:
    """Print one line."""
    print(f"{name:<52} {value}", flush=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a build and return its last lines."""
    said, _ = process.communicate()
    return said if process.returncode == 0 else f"exit {process.returncode}: {said[-600:]}"


def measure_times(builds: Builds) -> str:
    """Build in this process and by 1, 2 and 4 workers; returns the digest."""
    digests, seconds = {}, {}
    for name, cluster in (("in-process", None), ("workers-1", "1"), ("workers-2", "2"), ("workers-4", "4")):
        builds.fresh(name)
        started = time.perf_counter()
        said = finish(builds.start(name, cluster))
        seconds[name] = time.perf_counter() - started
        digests[name] = builds.digest(name)
        report(f"{name}: s, digest", f"{seconds[name]:.1f} {digests[name]}")
        if said.startswith("exit"):
            report("failed", said)
    overhead = seconds["workers-1"] / seconds["in-process"] - 1.0
    report("overhead of one worker by the clock, %", f"{100.0 * overhead:.1f}")
    # What runs beside on this machine slows tasks down, whoever runs them.
    outside = {name: seconds[name] - builds.seconds_in_tasks(name) for name in ("in-process", "workers-1")}
    report(
        "outside of tasks: in-process, one worker, s", "{in-process:.1f}, {workers-1:.1f}".format(**outside)
    )
    added = outside["workers-1"] - outside["in-process"]
    report("overhead of one worker outside of tasks, %", f"{100.0 * added / seconds['in-process']:.1f}")
    report("all the same bytes", len(set(digests.values())) == 1 and "none" not in digests.values())
    report("processor seconds by stage", builds.seconds_by_stage("in-process"))
    report("bytes by stage", builds.bytes_by_stage("in-process"))
    started = time.perf_counter()
    said = finish(builds.start("in-process", None))
    report("again, s", f"{time.perf_counter() - started:.1f} {said.strip().splitlines()[-1]}")
    return digests["in-process"]


def kill_workers(builds: Builds, expected: str, seed: int) -> None:
    """Kill a worker at a random time, again and again."""
    rng, num_killed, num_runs = random.Random(seed), 0, 0
    while num_killed < NUM_KILLS:
        builds.fresh("kills")
        started = time.perf_counter()
        process = builds.start("kills", "2")
        killed: Counter[str] = Counter()
        while process.poll() is None and num_killed < NUM_KILLS:
            wait_until = time.perf_counter() + rng.uniform(*_BETWEEN_KILLS_S)
            while process.poll() is None and time.perf_counter() < wait_until:
                time.sleep(0.1)
            busy = [worker for stage in _AT_WORK for worker in below(process.pid, f"ray::{stage}")]
            if busy and process.poll() is None:
                victim = rng.choice(busy)
                killed[" ".join(victim.cmdline()).removeprefix("ray::").partition(" of ")[0]] += 1
                victim.kill()
                num_killed += 1
        said = finish(process)
        num_runs += 1
        same = builds.digest("kills") == expected
        report(
            f"run {num_runs}: s, workers killed, same bytes",
            f"{time.perf_counter() - started:.1f} {dict(killed)} {same}",
        )
        if said.startswith("exit") or not killed:
            report("failed", said)
            return
    report("workers killed in all", num_killed)


def below(pid: int, name: str) -> list[psutil.Process]:
    """Return the processes that another started whose names begin so."""
    try:
        started = psutil.Process(pid).children(recursive=True)
        return [process for process in started if process.name().startswith(name)]
    except psutil.Error:
        return []


def kill_driver(builds: Builds, expected: str, cluster: str | None, seed: int) -> None:
    """Kill the program itself, then start the same command again."""
    rng, name = random.Random(seed), "driver"
    builds.fresh(name)
    for number in range(3):
        process = builds.start(name, cluster)
        started, done = psutil.Process(process.pid).children, builds.num_artefacts(name)
        while process.poll() is None and builds.num_artefacts(name) < done + 3 + 5 * number:
            time.sleep(0.1)
        time.sleep(rng.uniform(0.0, 5.0))
        left = started(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.communicate()
        _, alive = psutil.wait_procs(left, timeout=60.0)
        for process_left in alive:
            process_left.kill()
        report(
            f"driver killed with so many tasks done, left after 60 s: {len(alive)}",
            builds.num_artefacts(name),
        )
    before = builds.num_artefacts(name)
    said = finish(builds.start(name, cluster))
    report(f"same command goes on after {before} tasks, same bytes", builds.digest(name) == expected)
    report("it says", " ".join(line for line in said.splitlines() if line.startswith(("tasks", "exit"))))


def kill_head(builds: Builds, expected: str) -> None:
    """Kill the head of a cluster that was started beforehand, start another one, then the same command again."""
    name = "head"
    builds.fresh(name)
    head, address = start_head(builds)
    process = builds.start(name, address)
    while process.poll() is None and builds.num_artefacts(name) < 12:
        time.sleep(0.1)
    for server in below(head.pid, "gcs_server"):
        server.kill()
    killed = time.perf_counter()
    said, _ = process.communicate()
    report(f"head killed: exit {process.returncode}, s", f"{time.perf_counter() - killed:.1f}")
    report("it says", " ".join(said.strip().splitlines()[-1:])[:400])
    end_head(head)
    before = builds.num_artefacts(name)
    head, address = start_head(builds)
    said = finish(builds.start(name, address))
    report(f"same command goes on after {before} tasks, same bytes", builds.digest(name) == expected)
    report("it says", " ".join(line for line in said.splitlines() if line.startswith(("tasks", "exit"))))
    end_head(head)


def start_head(builds: Builds) -> tuple[subprocess.Popen[bytes], str]:
    """Start the head of a cluster on loopback; returns its process and address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    words = [str(ray), "start", "--head", f"--port={port}", "--num-cpus=4", "--include-dashboard=false"]
    words += ["--disable-usage-stats", "--object-store-memory=100000000", "--block"]
    environment = {**builds.environment, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
    head = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    until = time.perf_counter() + 60.0
    while not below(head.pid, "raylet") and time.perf_counter() < until:
        time.sleep(0.2)
    time.sleep(3.0)
    return head, f"127.0.0.1:{port}"


def end_head(head: subprocess.Popen[bytes]) -> None:
    """End a cluster."""
    left = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
    head.terminate()
    head.wait()
    _, alive = psutil.wait_procs(left, timeout=10.0)
    for process in alive:
        process.kill()


def main() -> None:
    """Run the parts that are asked for."""
    parts = ("times", "kills", "driver", "head")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="scratch folder")
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--sub-maps", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    builds = Builds(options)
    expected = measure_times(builds) if "times" in options.parts else builds.digest("in-process")
    if "kills" in options.parts:
        kill_workers(builds, expected, options.seed)
    if "driver" in options.parts:
        kill_driver(builds, expected, "2", options.seed)
    if "head" in options.parts:
        kill_head(builds, expected)


if __name__ == "__main__":
    main()
