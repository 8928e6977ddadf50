"""Latency of raw images over loopback DDS between two processes, and what an idle node costs.

    python bench/dds.py [--seconds 10]

Latency is from before serialized bytes are written to when the other process has them in Python: the
publisher's clock stands in the header's stamp, and both processes share it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import numpy as np

from hfnet_ros.dds.domain import LOOPBACK_URI
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.dds.qos import IMAGE, RELIABLE, QosProfile

IMAGE_TYPE = "sensor_msgs/msg/Image"
PROFILES = {"best effort": IMAGE, "reliable": RELIABLE}
SIZE_WH, RATE_HZ = (640, 480), 30.0


def play(encoding: str, profile: QosProfile, count: int) -> None:
    """Publish images, each stamped with the time just before it is serialized."""
    with DdsNode("player") as node:
        publisher = node.create_publisher("image", IMAGE_TYPE, profile)
        while not publisher.num_subscribers:
            time.sleep(0.01)
        width, height = SIZE_WH
        channels = 3 if encoding == "bgr8" else 1
        pixels = np.random.default_rng(0).integers(0, 256, width * height * channels, np.uint8)
        make = node.messages.make
        start = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, start + number / RATE_HZ - time.monotonic()))
            seconds, rest_ns = divmod(time.time_ns(), 10**9)
            stamp = make("builtin_interfaces/msg/Time", sec=seconds, nanosec=rest_ns)
            header = make("std_msgs/msg/Header", stamp=stamp)
            step = width * channels
            fields = {"height": height, "width": width, "encoding": encoding, "step": step, "data": pixels}
            publisher.publish(make(IMAGE_TYPE, header=header, **fields))
        time.sleep(0.2)


def measure(encoding: str, profile_name: str, count: int) -> str:
    """Return one line of the table."""
    latencies_ms: list[float] = []

    def receive(cdr: bytes, received_ns: int) -> None:
        seconds, rest_ns = np.frombuffer(cdr, np.uint32, 2, offset=4)
        latencies_ms.append((received_ns - (int(seconds) * 10**9 + int(rest_ns))) / 1e6)

    with DdsNode("listener") as node:
        node.create_subscription("image", IMAGE_TYPE, PROFILES[profile_name], receive, raw=True)
        arguments = [sys.executable, __file__, "--play", encoding, profile_name, str(count)]
        player = subprocess.Popen(arguments)
        used = sum(os.times()[:2])
        start = time.monotonic()
        player.wait()
        share = (sum(os.times()[:2]) - used) / (time.monotonic() - start)
        time.sleep(0.2)
    settled = latencies_ms[5:]
    median, p99, worst = np.percentile(settled, [50, 99, 100])
    return (
        f"{encoding:6} {profile_name:12} {len(latencies_ms):5}/{count:<5} {median:8.2f} {p99:8.2f} {worst:8.2f} "
        f"{100 * share:8.1f}"
    )


def measure_idle(seconds: float) -> float:
    """Return the share of a core, in percent, of a node that has endpoints and hears nothing."""
    with DdsNode("idle") as node:
        for number in range(5):
            node.create_subscription(f"image{number}", IMAGE_TYPE, IMAGE, lambda *_: None)
            node.create_publisher(f"pose{number}", IMAGE_TYPE, RELIABLE)
            node.create_service(f"service{number}", "std_srvs/srv/Trigger", lambda request: request)
        time.sleep(1.0)
        used = sum(os.times()[:2])
        time.sleep(seconds)
        return 100 * (sum(os.times()[:2]) - used) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="per row (default: 10)")
    parser.add_argument("--play", nargs=3, metavar=("ENCODING", "PROFILE", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("CYCLONEDDS_URI", LOOPBACK_URI)
    os.environ.setdefault("ROS_DOMAIN_ID", "87")
    if options.play:
        encoding, profile_name, count = options.play
        play(encoding, PROFILES[profile_name], int(count))
        return
    print(f"{SIZE_WH[0]}x{SIZE_WH[1]} at {RATE_HZ:g} Hz")
    print("image  quality      received   median/ms   p99/ms   max/ms    CPU/%")
    for encoding in ("mono8", "bgr8"):
        for profile_name in PROFILES:
            print(measure(encoding, profile_name, round(options.seconds * RATE_HZ)), flush=True)
    print(f"an idle node: {measure_idle(options.seconds):.2f} % of a core")


if __name__ == "__main__":
    main()
