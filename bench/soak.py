"""Run the live node for very many images, with a fault every few of them; does it stay small, name each, and recover?

    python bench/soak.py                       # 100,000 images as fast as they are answered, some hours
    python bench/soak.py --images 2000 --odometry topic

A generated room, SIFT, the node's core without a middleware: messages go in as a transport hands them over. Between
stretches of sound images a fault of each kind lasts for one to five images: pixels, headers and calibrations that
cannot be, odometry and transforms that stop, lie or come too late, clocks that jump (bench/soak_faults.py). Counted is,
by kind, how often the fault was named by the status of an image, by /diagnostics or in the log, how many sound images
passed until one was accepted again, and poses that were published and are off by more than half a metre. Exit 1 if one
was not named, took more than two images (a few more where a clock begins again), or gave a
wrong pose, or if memory grew by more than 2 % from the second tenth to the last. Takes the dev extra.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "test" / "support"))

from generated_maps import CAMERA, make_place, picture
from relocalizer_rigs import BASE_FROM_CAMERA, MemoryRig, Walk
from soak_faults import FAULTS, Fault, Robot

from hfnet_ros.map.map_io import save_map
from hfnet_ros.messages import topics
from hfnet_ros.scene import QUERY_GAIT, build_apartment, mapping_walk, query_walk
from hfnet_ros.types import Frame, Outcome

FAR_M = 0.5
MOST_IMAGES = {fault.name: fault.recovers_in for fault in FAULTS}
MOST_GROWTH = 0.02
MOST_TRIED = 20
STRETCH = 8  # sound images between two faults


@dataclasses.dataclass
class Tally:
    """What became of the faults of one kind."""

    count: int = 0
    unnamed: int = 0
    recovery: list[int] = dataclasses.field(default_factory=list)
    said: str = ""


class Lines(logging.Handler):
    """Remembers what was logged since the last look."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(
            record.getMessage() if record.exc_info is None else f"Traceback {record.exc_info[1]!r}"
        )


class Soak:
    """A robot, what it meets, and what its node says to that."""

    def __init__(self, robot: Robot, rng: np.random.Generator) -> None:
        self.robot, self.rng = robot, rng
        self.lines = Lines()
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.images = 0
        self.memory_mb: list[float] = []
        self.tracebacks: list[str] = []
        self.wrong_poses = 0
        log = logging.getLogger("hfnet_ros")
        log.addHandler(self.lines)
        log.propagate = False

    def run(self, num_images: int) -> None:
        robot, faults = (
            self.robot,
            [f for f in FAULTS if f.odometry in ("", "tf" if self.robot.by_tf else "topic")],
        )
        if self.until_accepted(MOST_TRIED) == MOST_TRIED:
            sys.exit(f"the robot is not localized: {robot.rig.received[topics.STATUS][-1].reason}")
        order: list[Fault] = []
        while self.images < num_images:
            order = order or [faults[row] for row in self.rng.permutation(len(faults))]
            for _ in range(STRETCH):
                self.note(robot.sound_step())
            self.meet(order.pop())
            self.forget()

    def meet(self, fault: Fault) -> None:
        tally = self.tallies[fault.name]
        tally.count += 1
        self.lines.lines.clear()
        texts = []
        for _ in range(int(self.rng.integers(1, fault.images + 1))):
            status = fault.act(self.robot, self.rng)
            self.note(status)
            self.robot.rig.node.on_diagnostics_timer()
            texts += [
                f"{status.outcome} {status.verdict} {status.state} {status.reason}",
                self.diagnostics(),
                *self.lines.lines,
            ]
        fault.end(self.robot)
        named = [text for text in texts if any(word in text for word in fault.words)]
        tally.unnamed += not named
        tally.said = tally.said or (named or texts)[0]
        tally.recovery.append(self.until_accepted(MOST_TRIED))
        self.tracebacks += [line for line in self.lines.lines if line.startswith("Traceback")]

    def until_accepted(self, most: int) -> int:
        """Return how many sound images it took until one was accepted, `most` if that many did not do."""
        for number in range(1, most + 1):
            status = self.robot.sound_step()
            self.note(status)
            if status.verdict == "ACCEPTED":
                return number
        return most

    def note(self, status: Any) -> None:
        self.images += 1
        if self.images % 200 == 0:
            self.memory_mb.append(resident_mb())
        poses = self.robot.rig.poses
        if status.verdict == "ACCEPTED" and self.robot.rig.error_of(poses[-1], self.robot.index) > FAR_M:
            self.wrong_poses += 1

    def diagnostics(self) -> str:
        statuses = self.robot.rig.received[topics.DIAGNOSTICS][-1].status
        return " ".join(f"{status.message} {[value.value for value in status.values]}" for status in statuses)

    def forget(self) -> None:
        """Let go of messages, which the test's rig keeps for tests to look at."""
        for received in self.robot.rig.received.values():
            del received[:-2]
        self.robot.rig.transforms_heard.clear()
        self.robot.rig.transport.published.clear()

    def report(self, seconds: float) -> int:
        """Print what was found; 1 if anything of it should not be."""
        bad = bool(self.tracebacks or self.wrong_poses)
        print(f"{self.images} images in {seconds:.0f} s, {self.images / seconds:.1f} a second")
        print("fault                             times  not named  images to recover med/max   e.g.")
        for name, tally in sorted(self.tallies.items()):
            worst = max(tally.recovery)
            is_bad = tally.unnamed > 0 or worst > MOST_IMAGES[name]
            bad |= is_bad
            mark = "!!" if is_bad else "  "
            recovery = f"{np.median(tally.recovery):>20.0f}/{worst:<4}"
            said = " ".join(tally.said.split())[:110]
            print(f"{mark} {name:<30} {tally.count:>5}  {tally.unnamed:>9}  {recovery}   {said}")
        tenth = max(1, len(self.memory_mb) // 10)
        before, after = np.median(self.memory_mb[tenth : 2 * tenth]), np.median(self.memory_mb[-tenth:])
        grown = after / before - 1.0
        bad |= len(self.memory_mb) >= 20 and grown > MOST_GROWTH
        print(
            f"memory: {before:.1f} MB, then {after:.1f} MB: {100 * grown:+.2f} %; wrong poses: {self.wrong_poses}"
        )
        print(*self.tracebacks[:5], sep="\n")
        return int(bad)


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024.0


def start(folder: Path, odometry: str) -> MemoryRig:
    """Map a generated room and start a node in it."""
    scene = build_apartment(3, num_rooms=1)
    place = make_place(scene, [pose for _, pose in mapping_walk(scene)][::2])
    save_map(place.visual_map, folder / "room.map")
    poses = [pose for _, pose in query_walk(scene, dataclasses.replace(QUERY_GAIT, rate_hz=4.0))]
    images = [picture(scene, pose, seed) for seed, pose in enumerate(poses)]
    kept = [row for row, image in enumerate(images) if is_found(place, image)]
    walk = Walk(
        CAMERA, [images[row] for row in kept], [poses[row] @ BASE_FROM_CAMERA.inverse() for row in kept]
    )
    parameters = {
        "extractor": {"name": "sift", "max_keypoints": 400},
        "matching": {"min_similarity": 0.8},
        "node": {"map": str(folder / "room.map"), "max_rate_hz": 0.0, "diagnostics_rate_hz": 0.1},
        "odometry": {"source": odometry, "wait_s": 0.01},
    }
    return MemoryRig(walk, folder / "room.map", parameters)


def is_found(place: Any, image: Any) -> bool:
    """Tell whether an image is localized by itself, so that recovery is not a question of the view."""
    found = place.localizer.localize(Frame(1, image, CAMERA))
    return found.outcome is Outcome.LOCALIZED


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--odometry", choices=("tf", "topic"), default="tf", help="where from (default: tf)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults (default: 0)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(start(Path(folder), options.odometry)) as rig,
    ):
        soak = Soak(Robot(rig, rig.walk), np.random.default_rng(options.seed))
        start_s = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):  # what there is until then is told
            soak.run(options.images)
        return soak.report(time.monotonic() - start_s)


if __name__ == "__main__":
    sys.exit(main())
