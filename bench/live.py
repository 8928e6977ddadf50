"""What does the live node add to localization itself, and does it keep up, stay small and end in time?

    hfnet-ros demo --out /tmp/demo --rooms 1
    python bench/live.py --map /tmp/demo/apartment.map --walk /tmp/demo/scene/mapping [--minutes 10]

Runs `hfnet-ros run` in a process of its own and plays a walk to it over loopback DDS, camera and
odometry, back and forth. Nothing is asserted.

* start: from the start of the process until the map is loaded, and from there until images are localized.
* latency: images seldom enough for the engine. Added is the time from just before a serialized image
  is written, as a bag's is, to when its pose is back in this process, minus the stages extract, retrieve,
  match and pose. Most of it is transport, both ways, and the gate: comparison with odometry, filter.
* overload: images faster than the engine. The wait of an answered image and its whole way.
* end: from SIGTERM, in the middle of the overload, to the end of the process.
* idle: CPU time of the active node without images.
* memory: resident memory under overload, first and last tenth of the samples.

Both processes share this machine's cores with everything else; repeat, and see what else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hfnet_ros.dds import qos
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.images import read_image
from hfnet_ros.files.posed_images import pair_images_with_poses
from hfnet_ros.messages import topics
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.headers import header_to_message, stamp_from_message
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.messages.poses import pose_to_message

STAGES = ("extract", "retrieve", "match", "pose")
FRAME, TICK_S = "camera_optical", 1.0 / os.sysconf("SC_CLK_TCK")
PARTS = ("start", "latency", "overload", "end", "idle", "memory")


class Robot:
    """Plays a walk to a node in another process and notes what comes back."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.camera = read_camera_yaml(options.walk / "camera.yaml")
        posed = pair_images_with_poses(options.walk / "images", options.walk / "poses.tum")
        steps = [(read_image(entry.path), entry.map_from_camera) for entry in posed]
        self.steps = itertools.cycle(steps + steps[-2:0:-1])
        self.dds = DdsNode("camera", domain_id=options.domain, loopback=True)
        self.make = self.dds.messages
        inputs = (topics.IMAGE, topics.CAMERA_INFO, topics.ODOMETRY)
        self.publishers = {
            topic: self.dds.create_publisher(topic.name, topic.type_name, qos.RELIABLE) for topic in inputs
        }
        self.sent_ns: dict[int, int] = {}
        self.came_ns: dict[int, int] = {}
        self.statuses: list[tuple[int, Any]] = []
        for topic, take in ((topics.POSE, self.take_pose), (topics.STATUS, self.take_status)):
            name = topic.name.replace("~", "/relocalizer")
            self.dds.create_subscription(name, topic.type_name, qos.RELIABLE, take)

    def take_pose(self, message: Any, received_ns: int) -> None:
        self.came_ns[stamp_from_message(message.header.stamp)] = received_ns

    def take_status(self, message: Any, received_ns: int) -> None:
        self.statuses.append((received_ns, message))

    def play(self, rate_hz: float, seconds: float, stop: threading.Event | None = None) -> None:
        """Send images at a rate, each with odometry at its stamp."""
        for record in (self.sent_ns, self.came_ns, self.statuses):
            record.clear()
        info = camera_to_message(self.make, self.camera, header_to_message(self.make, time.time_ns(), FRAME))
        self.publishers[topics.CAMERA_INFO].publish(info)
        time.sleep(0.1)
        start_s = time.monotonic()
        for number in range(round(rate_hz * seconds)):
            time.sleep(max(0.0, start_s + number / rate_hz - time.monotonic()))
            if stop is not None and stop.is_set():
                return
            picture, map_from_camera = next(self.steps)
            stamp_ns = time.time_ns()
            odometry = self.make.make(
                "nav_msgs/msg/Odometry",
                header=header_to_message(self.make, stamp_ns, "odom"),
                child_frame_id=FRAME,
                pose=self.make.make(
                    "geometry_msgs/msg/PoseWithCovariance", pose=pose_to_message(self.make, map_from_camera)
                ),
            )
            self.publishers[topics.ODOMETRY].publish(odometry)
            image = image_to_message(self.make, picture, stamp_ns, FRAME)
            cdr = self.make.serialize(image, topics.IMAGE.type_name)
            self.sent_ns[stamp_ns] = time.time_ns()
            self.publishers[topics.IMAGE].publish_cdr(cdr)
        time.sleep(1.0)

    @contextlib.contextmanager
    def launched(self, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the node until the end of the block."""
        parameters = log.with_suffix(".yaml")
        parameters.write_text(
            yaml.safe_dump(
                {
                    "node": {"map": str(self.options.map), "max_rate_hz": 0.0},
                    "frames": {"base_frame": ""},
                    "odometry": {"source": "topic"},
                    "inference": {"num_threads": self.options.threads},
                }
            )
        )
        network = ["--domain", str(self.options.domain), "--loopback"]
        command = [
            sys.executable,
            "-m",
            "hfnet_ros",
            "run",
            "--params",
            str(parameters),
            *network,
            *arguments,
        ]
        with log.open("w") as stream, subprocess.Popen(command, stderr=stream) as process:
            try:
                yield process
            finally:
                process.terminate()

    @contextlib.contextmanager
    def node(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run the node until the end of the block; it listens from the start of it."""
        with self.launched(log) as process:
            while not all(publisher.num_subscribers for publisher in self.publishers.values()):
                if process.poll() is not None:
                    sys.exit(log.read_text())
                time.sleep(0.05)
            yield process


def start(robot: Robot, folder: Path) -> None:
    print("start: the process until configured, from there until active; s")
    for _ in range(robot.options.repeat):
        log, started_s = folder / "start.log", time.monotonic()
        with robot.launched(log, "--verbose"):
            said = [when_said(log, state) - started_s for state in ("inactive", "active")]
        print(f"  {said[0]:.2f} s, {said[1] - said[0]:.2f} s", flush=True)
    print()


def when_said(log: Path, state: str) -> float:
    """Return when a node's log first tells of a state, s of the monotonic clock."""
    while f"lifecycle: {state}\n" not in log.read_text():
        time.sleep(0.01)
    return time.monotonic()


def latency(robot: Robot, folder: Path) -> None:
    options = robot.options
    print(f"latency: {options.rate:g} Hz, {options.repeat} times {options.seconds:g} s; ms")
    print("  poses/images   localize      added med/p99/max   transport    wait  decode    gate   other")
    rounds = []
    with robot.node(folder / "latency.log"):
        robot.play(options.rate, 5.0)  # the first images find a position and warm everything up
        for _ in range(options.repeat):
            robot.play(options.rate, options.seconds)
            rows = [row for row in (latency_row(robot, status) for _, status in robot.statuses) if row]
            if not rows:
                sys.exit("no image was localized: is this walk in this map?")
            table = np.array(rows)
            added = table[:, 1]
            rounds.append(np.percentile(added, [50, 99, 100]))
            medians = np.median(table, axis=0)
            print(
                f"  {len(rows):5}/{len(robot.sent_ns):<6}   {medians[0]:8.1f}   "
                f"{rounds[-1][0]:6.2f} {rounds[-1][1]:6.2f} {rounds[-1][2]:6.2f}   "
                + " ".join(f"{value:7.2f}" for value in medians[2:]),
                flush=True,
            )
    median, p99, worst = np.median(rounds, axis=0)
    print(f"  median of the rounds: added {median:.2f} ms, 99 % {p99:.2f} ms, worst {worst:.2f} ms\n")


def latency_row(robot: Robot, status: Any) -> tuple[float, ...] | None:
    """Return localization, added, and of that transport both ways, wait, decode, gate and the rest; ms."""
    stamp_ns = stamp_from_message(status.header.stamp)
    if stamp_ns not in robot.came_ns or stamp_ns not in robot.sent_ns:
        return None
    timings = status.timings
    whole = 1e-6 * (robot.came_ns[stamp_ns] - robot.sent_ns[stamp_ns])
    localize = 1e3 * sum(getattr(timings, stage) for stage in STAGES)
    parts = [1e3 * value for value in (timings.wait, timings.decode, timings.gate, timings.total)]
    transport, other = whole - parts[3], parts[3] - sum(parts[:3]) - localize
    return (localize, whole - localize, transport, *parts[:3], other)


def overload(robot: Robot, folder: Path) -> None:
    options = robot.options
    print(f"overload: {options.overload_rate:g} Hz, {options.repeat} times {options.seconds:g} s; ms")
    print(
        "  statuses/images  superseded   localize med/max   wait med/p99/max   whole way med/p99/max  in order"
    )
    with robot.node(folder / "overload.log"):
        robot.play(options.rate, 3.0)
        for _ in range(options.repeat):
            robot.play(options.overload_rate, options.seconds)
            statuses = [status for _, status in robot.statuses]
            stamps = [stamp_from_message(status.header.stamp) for status in statuses]
            way = [
                1e-6 * (came_ns - robot.sent_ns[stamp_ns])
                for (came_ns, _), stamp_ns in zip(robot.statuses, stamps, strict=True)
            ]
            localize = [1e3 * sum(getattr(s.timings, stage) for stage in STAGES) for s in statuses]
            wait = [1e3 * status.timings.wait for status in statuses]
            first, last = statuses[0], statuses[-1]
            superseded = (last.num_superseded - first.num_superseded) / max(
                1, last.num_received - first.num_received
            )
            newest = stamps[-1] == max(robot.sent_ns)
            print(
                f"  {len(statuses):6}/{len(robot.sent_ns):<6}    {100 * superseded:6.1f} %     "
                f"{np.median(localize):6.1f} {max(localize):6.1f}   "
                f"{spread(wait)}   {spread(way)}  {stamps == sorted(stamps) and newest}",
                flush=True,
            )
    print()


def spread(values: list[float]) -> str:
    return " ".join(f"{value:6.1f}" for value in np.percentile(values, [50, 99, 100]))


def end(robot: Robot, folder: Path) -> None:
    print("end: SIGTERM under overload; s, exit code")
    for _ in range(robot.options.repeat):
        with robot.node(folder / "end.log") as process, flood(robot):
            time.sleep(3.0)
            start_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait()
            print(f"  {time.monotonic() - start_s:.2f} s, exit code {code}", flush=True)
    print()


@contextlib.contextmanager
def flood(robot: Robot) -> Iterator[None]:
    """Send images in the background."""
    stop = threading.Event()
    thread = threading.Thread(target=robot.play, args=(robot.options.overload_rate, 1e6, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def idle(robot: Robot, folder: Path) -> None:
    print("idle: CPU time without images; % of a core")
    with robot.node(folder / "idle.log") as process:
        time.sleep(2.0)
        for _ in range(robot.options.repeat):
            used, start_s = cpu_seconds(process.pid), time.monotonic()
            time.sleep(robot.options.seconds)
            share = (cpu_seconds(process.pid) - used) / (time.monotonic() - start_s)
            print(f"  {100 * share:.2f} %", flush=True)
    print()


def memory(robot: Robot, folder: Path) -> None:
    options = robot.options
    print(f"memory: {options.minutes:g} minutes at {options.overload_rate:g} Hz")
    with robot.node(folder / "memory.log") as process, flood(robot):
        time.sleep(min(30.0, 20.0 * options.minutes))  # arrays of every size have been needed once
        samples, until_s = [], time.monotonic() + 60.0 * options.minutes
        while time.monotonic() < until_s:
            samples.append(resident_mb(process.pid))
            time.sleep(1.0)
        processed = robot.statuses[-1][1].num_processed
    tenth = max(1, len(samples) // 10)
    before, after = np.median(samples[:tenth]), np.median(samples[-tenth:])
    print(
        f"  {before:.1f} MB, then {after:.1f} MB: {100 * (after / before - 1.0):+.2f} %; from {min(samples):.1f} to "
        f"{max(samples):.1f} MB, {processed} images processed\n"
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return TICK_S * (int(fields[11]) + int(fields[12]))


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--map", type=Path, required=True, help="map the node loads")
    parser.add_argument(
        "--walk", type=Path, required=True, metavar="DIR",
        help="folder with images/, poses.tum and camera.yaml, in the map",
    )  # fmt: skip
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)"
    )
    parser.add_argument(
        "--rate", type=float, default=4.0, metavar="HZ", help="images for latency (default: 4)"
    )
    parser.add_argument(
        "--overload-rate", type=float, default=30.0, metavar="HZ", help="images for the rest (default: 30)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="per round (default: 20)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--minutes", type=float, default=1.0, help="of images for memory (default: 1)")
    parser.add_argument("--threads", type=int, default=2, help="of the network (default: 2)")
    parser.add_argument("--domain", type=int, default=86, help="DDS domain (default: 86)")
    options = parser.parse_args()
    robot = Robot(options)
    width, height = robot.camera.size_wh
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{width}x{height} px; {os.cpu_count()} cores, load {load}\n")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for part in options.parts:
                globals()[part](robot, Path(folder))
    finally:
        robot.dds.close()


if __name__ == "__main__":
    main()
