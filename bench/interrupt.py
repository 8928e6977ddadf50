"""Kill and starve the commands that write a map, at every step; is anything lost or half written?

    python bench/interrupt.py --work /tmp/interrupt [--every 3]

Builds a small room, then runs `map build`, `map convert`, `map update` and `calibrate --write-map` over a map that is
there already. Each run dies by SIGKILL at another of its steps that change the disk (files opened for writing, folders
made, removed, renamed, files synchronised), in the middle of the work before that, or meets a full disk: a limit of
the size of files, and as root a tmpfs of another size. After each the map must be whole: the old one to the byte, or
the new one; after a full disk the command must have said so in one line, and left nothing. In the end the command
runs through, and nothing but its map is left. Prints a line per command; exit 1 where something was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hfnet_ros.cli.main import main as program
from hfnet_ros.map import schema
from hfnet_ros.map.array_files import write_array
from hfnet_ros.map.manifest import read_manifest
from hfnet_ros.map.map_io import load_map, verify_map
from hfnet_ros.scene import (
    QUERY_GAIT,
    Gait,
    build_apartment,
    demo_camera,
    mapping_walk,
    query_walk,
    write_dataset,
)

FAST = ("--extractor", "sift", "--no-self-test", "--refine-intrinsics", "off")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.copymode")
FILE_LIMITS = (0, 1000, 20_000, 100_000)
DISKS_KB = (16, 64, 256, 1024)


@dataclasses.dataclass
class Command:
    """A command that writes `target`, a map that is there already."""

    name: str
    words: tuple[object, ...]


def content_of(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def child(act: Callable[[], int]) -> tuple[int, str]:
    """Run in a process of its own, which begins with everything imported; return its status and what it printed.

    The status is negative for a signal. What is printed goes through a pipe, which no limit of files touches.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            status = act()
        except SystemExit as leave:
            status = int(leave.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, errors="replace") as stream:
        text = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text


def run(words: tuple[object, ...]) -> int:
    return program([str(word) for word in words])


def run_until_change(words: tuple[object, ...], folder: Path, last: int, counted: int = -1) -> int:
    """Run a command that dies when it changes the disk below a folder for the `last`-th time.

    `counted` is a file descriptor that is told the number of changes, if the command ends before.
    """
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if (writes or event in CHANGES) and str(arguments[0]).startswith(str(folder)):
            step()

    synchronise = os.fsync

    def fsync(descriptor: int) -> None:
        step()
        synchronise(descriptor)

    sys.addaudithook(audit)
    os.fsync = fsync
    status = run(words)
    if counted >= 0:
        os.write(counted, str(count).encode())
    return status


def starve(words: tuple[object, ...], limit_bytes: int) -> int:
    """Run a command for which every file ends at a number of bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    return run(words)


class Trial:
    """One command on its folder."""

    def __init__(self, command: Command, folder: Path, before: Path) -> None:
        self.command, self.folder, self.before = command, folder, before
        self.target = folder / "target.map"
        self.old = content_of(before)
        self.losses: list[str] = []

    def prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        shutil.copytree(self.before, self.target)

    def check(self, what: str) -> None:
        """Take note unless the target is the old map to the byte, or another one that is whole."""
        if content_of(self.target) != self.old and (problems := verify_map(self.target)):
            self.losses.append(f"{what}: {problems[0]}")

    def check_refusal(self, what: str, status: int, text: str) -> None:
        errors = [line for line in text.splitlines() if "error: " in line]
        if status == 0:
            self.check(what)
            return
        if status != 1 or len(errors) != 1 or "Traceback" in text:
            self.losses.append(f"{what}: ended with {status}: {text[-300:]}")
        if content_of(self.target) != self.old:
            self.losses.append(f"{what}: the old map was changed")
        left = [entry.name for entry in self.folder.iterdir() if entry != self.target]
        if left:
            self.losses.append(f"{what}: left {left}")

    def count_changes(self) -> tuple[int, float]:
        """Return how often the whole command changes the disk, and how long it takes, s."""
        self.prepare()
        reader, writer = os.pipe()
        start_s = time.monotonic()
        status, text = child(lambda: run_until_change(self.command.words, self.folder, -1, writer))
        seconds = time.monotonic() - start_s
        os.close(writer)
        told = os.read(reader, 20)
        os.close(reader)
        if status != 0:
            sys.exit(f"{self.command.name} does not work at all: {text}")
        return int(told), seconds

    def kill_at_changes(self, number: int, every: int) -> int:
        tried = 0
        for last in range(1, number + 1, every):
            self.prepare()
            status, _ = child(lambda last=last: run_until_change(self.command.words, self.folder, last))
            if status != -signal.SIGKILL:
                self.losses.append(f"was not killed at change {last}: {status}")
            self.check(f"killed at change {last} of {number}")
            tried += 1
        return tried

    def kill_at_times(self, seconds: float, count: int) -> int:
        for number in range(count):
            self.prepare()
            delay_s = seconds * (number + 0.5) / count

            def act(delay_s: float = delay_s) -> int:
                signal.setitimer(signal.ITIMER_REAL, delay_s)
                signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                return run(self.command.words)

            child(act)
            self.check(f"killed after {delay_s:.1f} s")
        return count

    def starve(self) -> int:
        for limit in FILE_LIMITS:
            self.prepare()
            status, text = child(lambda limit=limit: starve(self.command.words, limit))
            self.check_refusal(f"files of {limit} bytes at most", status, text)
        return len(FILE_LIMITS)

    def fill_disks(self) -> int:
        """Write onto disks that are smaller than what is written; as root only."""
        tried = 0
        for size_kb in DISKS_KB:
            with small_disk(self.folder, size_kb, self.before) as is_mounted:
                if not is_mounted:
                    return 0
                status, text = child(lambda: run(self.command.words))
                self.check_refusal(f"a disk with {size_kb} KiB left", status, text)
                tried += 1
        return tried

    def finish(self) -> None:
        """Run the command through, over what the last run has left."""
        status, text = child(lambda: run(self.command.words))
        if status != 0:
            self.losses.append(f"the command does not run through: {text[-300:]}")
        left = [entry.name for entry in self.folder.iterdir() if entry != self.target]
        if left or verify_map(self.target):
            self.losses.append(f"in the end there is {left}, and {verify_map(self.target)}")


@contextlib.contextmanager
def small_disk(folder: Path, room_kb: int, before: Path) -> Iterator[bool]:
    """Put a disk at a folder that holds a map and has so much room left; False where that is not allowed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    used_kb = sum(file.stat().st_size // 1024 + 8 for file in before.rglob("*")) + room_kb
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={used_kb}k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        yield False
        return
    try:
        shutil.copytree(before, folder / "target.map")
        yield True
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def make_room(work: Path) -> int:
    """Write images of a walk and of another one, and build a map of the first."""
    scene = build_apartment(0, 1)
    query = query_walk(scene, dataclasses.replace(QUERY_GAIT, rate_hz=5.0))
    write_dataset(
        work / "room", scene, demo_camera((320, 240)), mapping_walk(scene, Gait(rate_hz=3.0)), query
    )
    walk = work / "room" / "mapping"
    words = (
        "map",
        "build",
        "--images",
        walk / "images",
        "--poses",
        walk / "poses.tum",
        "--camera",
        walk / "camera.yaml",
    )
    status = run((*words, "--out", work / "before.map", *FAST))
    return status or write_old_format(work / "before.map", work / "old_format.map")


def write_old_format(path: Path, target: Path) -> int:
    """Write a map as format 1, which no command does any more."""
    visual_map = load_map(path)
    (target / "arrays").mkdir(parents=True)
    sources = {name: getattr(visual_map, name) for name in schema.REQUIRED[1]}
    sources |= {f"{schema.AGGREGATION_PREFIX}{name}": array for name, array in visual_map.aggregation.items()}
    entries = {}
    for name, array in sources.items():
        rule = schema.rule_of(name, 1)
        assert rule is not None
        entries[name] = write_array(target, name, np.asarray(array), rule[0])
    manifest, _ = read_manifest(path)
    manifest |= {"format_version": 1, "arrays": entries, "keyframe_names": list(visual_map.keyframe_names)}
    content = json.dumps(manifest | {"manifest_sha256": "0" * 64}).encode("ascii")
    digest = hashlib.sha256(content).hexdigest().encode()
    (target / "map.json").write_bytes(content.replace(b"0" * 64, digest, 1))
    return 0


def commands(work: Path, target: Path) -> list[Command]:
    walk, query = work / "room" / "mapping", work / "room" / "query"

    def images(folder: Path) -> tuple[object, ...]:
        return (
            "--images",
            folder / "images",
            "--poses",
            folder / "poses.tum",
            "--camera",
            folder / "camera.yaml",
        )

    return [
        Command("map build", ("map", "build", *images(walk), "--every", 4, "--out", target, *FAST)),
        Command("map convert", ("map", "convert", work / "old_format.map", "--out", target)),
        Command("map update", ("map", "update", work / "before.map", *images(query), "--out", target)),
        Command("calibrate", ("calibrate", "--map", target, *images(query), "--write-map")),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="folder to work in (default: a temporary one)"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="die at every N-th change (default: 1)"
    )
    parser.add_argument("--times", type=int, default=5, help="die at so many times besides (default: 5)")
    parser.add_argument("--only", help="one command, e.g. 'map build'")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work = work.resolve()
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "before.map").exists():
            status, text = child(lambda: make_room(work))
            if status:
                sys.exit(text)
        folder, failed = work / "trial", 0
        print("command       changes  killed at changes, at times  starved by file size, by disk  lost")
        for command in commands(work, folder / "target.map"):
            if options.only in (None, command.name):
                failed |= attempt(Trial(command, folder, work / "before.map"), options)
    return failed


def attempt(trial: Trial, options: argparse.Namespace) -> int:
    number, seconds = trial.count_changes()
    killed = trial.kill_at_changes(number, options.every)
    timed = trial.kill_at_times(seconds, options.times)
    trial.finish()
    starved, filled = trial.starve(), trial.fill_disks()
    print(
        f"{trial.command.name:<12}  {number:>7}  {killed:>17}, {timed:>8}  {starved:>20}, {filled:>7}  "
        f"{len(trial.losses):>4}",
        *trial.losses,
        sep="\n  ",
        flush=True,
    )
    return int(bool(trial.losses))


if __name__ == "__main__":
    sys.exit(main())
