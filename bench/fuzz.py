"""Give damaged and hostile inputs to every reader of the package: files, messages, bags.

    python bench/fuzz.py                                     # 100,000 inputs, some 20 minutes on two cores
    python bench/fuzz.py --inputs 2000 --only bag --first 41000

Every input is made from its number and the seed, so that what is reported can be had again: --first NUMBER
--inputs 1. Looked for are errors other than the package's own, errors that do not say which file, code that runs, files
that are written, more than 10 s, more than 512 MB. Exit 1 where one was found. Takes the dev extra.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from fuzzing import watching
from fuzzing.targets import Target, targets


class Complaint(logging.Handler):
    """Takes note of tracebacks that are logged instead of raised."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.text = (
                self.text or f"{record.getMessage()}: {traceback.format_exception(record.exc_info[1])}"
            )

    def take(self) -> str:
        text, self.text = self.text, ""
        return text


def fuzz(
    wanted: list[Target], first: int, count: int, seed: int, tell: bool = False
) -> tuple[Counter[str], list[str]]:
    """Give inputs first to first + count - 1; return how many were taken and refused by whom, and what is wrong."""
    shares = np.array([target.share for target in wanted])
    complaint = Complaint(logging.ERROR)
    logging.getLogger("hfnet_ros").addHandler(complaint)
    logging.getLogger("hfnet_ros").propagate = False
    counts, flaws = Counter[str](), []
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        target = wanted[int(rng.choice(len(wanted), p=shares / shares.sum()))]
        if tell:
            print(number, target.name, flush=True)
        try:
            answered = target.give(rng)
            counts[f"{target.name}: {'taken' if answered is None else 'refused'}"] += 1
            if logged := complaint.take():
                flaws.append(f"input {number} ({target.name}): {logged}")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            flaws.append(
                f"input {number} ({target.name}): {error!r} in {place.filename}:{place.lineno}"[:2000]
            )
    return counts, flaws


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    parser.add_argument(
        "--only", metavar="NAME", help="one reader: camera YAML, parameters, TUM, map, set, messages, bag"
    )
    parser.add_argument("--batch", type=int, default=5000, help="inputs that a process takes (default: 5000)")
    parser.add_argument(
        "--in-process", action="store_true", help="take all in this process, and print each number"
    )
    options = parser.parse_args()
    if options.in_process:
        return work(options)
    start_s, failed = time.monotonic(), 0
    for first in range(options.first, options.first + options.inputs, options.batch):
        count = min(options.batch, options.first + options.inputs - first)
        command = [sys.executable, __file__, "--in-process", "--first", str(first), "--inputs", str(count)]
        command += ["--seed", str(options.seed), *(["--only", options.only] if options.only else [])]
        one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **one_thread})
        lines = ended.stdout.splitlines()
        reported = [line for line in lines if not line[:1].isdigit()]
        print(
            f"{first} to {first + count - 1}, {time.monotonic() - start_s:.0f} s",
            *reported,
            sep="\n  ",
            flush=True,
        )
        if ended.returncode:
            failed = 1
            if not reported:
                last = lines[-1] if lines else "?"
                print(f"  hung or crashed ({ended.returncode}) at input {last}\n{ended.stderr[-3000:]}")
    return failed


def work(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz_") as name:
        folder = Path(name).resolve()
        os.chdir(folder)
        wanted = [target for target in targets(folder) if options.only in (None, target.name)]
        watching.install(folder)
        counts, flaws = fuzz(wanted, options.first, options.inputs, options.seed, tell=True)
    print(", ".join(f"{name} {counts[name]}" for name in sorted(counts)), f"peak {watching.most_mb():.0f} MB")
    print(*flaws, sep="\n")
    sys.stdout.flush()
    os._exit(1 if flaws else 0)  # the node's thread need not be waited for


if __name__ == "__main__":
    sys.exit(main())
