"""Measure the reading of bags: rate against rosbags' own raw reading, and memory on a large bag.

    python bench/bags.py --size-gb 5 --folder /tmp

Writes a bag of 640x480 bgr8 images (mcap, uncompressed), reads it in turns by rosbags (bytes only) and
by CameraFrames (frames with calibration, pixels as arrays), and reads it once more in a process of its
own whose memory is watched. The bag is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hfnet_ros.bags import BagReader, BagWriter, CameraFrames
from hfnet_ros.bags.topics import CAMERA_INFO, IMAGE
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.scene.dataset import demo_camera

_PERIOD_NS = 33_333_333
_START_NS = 1_700_000_000_000_000_000


def write_images(folder: Path, size_bytes: int) -> int:
    """Write images of noise until the bag has the size; return how many there are."""
    messages, camera = RosbagsMessages(), demo_camera()
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    count = max(2, size_bytes // image.nbytes)
    with BagWriter(folder) as bag:
        for index in range(count):
            stamp_ns = _START_NS + index * _PERIOD_NS
            header = header_to_message(messages, stamp_ns, "camera")
            bag.write(
                "/camera/camera_info", CAMERA_INFO, stamp_ns, camera_to_message(messages, camera, header)
            )
            image[0, 0] = index % 256
            message = image_to_message(messages, image, stamp_ns, "camera")
            bag.write("/camera/image_raw", IMAGE, stamp_ns, message)
    return count


def read_by_rosbags(folder: Path) -> int:
    """Read the bytes of every image; return their number."""
    from rosbags.rosbag2 import Reader

    count = num_bytes = 0
    with Reader(folder) as reader:
        images = [connection for connection in reader.connections if connection.msgtype == IMAGE]
        for _, _, data in reader.messages(images):
            count, num_bytes = count + 1, num_bytes + len(data)
    return count


def read_frames(folder: Path) -> int:
    """Read every frame with its pixels; return their number."""
    count = corners = 0
    with BagReader(folder) as bag:
        for frame in CameraFrames(bag):
            count, corners = count + 1, corners + int(frame.image()[0, 0, 0])
    return count


def rate(read: Callable[[Path], int], folder: Path) -> float:
    """Return images per second of processor time, which other programs disturb less than the clock."""
    started = time.process_time()
    count = read(folder)
    return count / (time.process_time() - started)


def peak_memory_mib(folder: Path) -> tuple[float, float]:
    """Return resident memory of a process before it reads all frames, and its peak."""
    command = [sys.executable, __file__, "--watch", str(folder)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    before, peak = json.loads(result.stdout)
    return before, peak


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-gb", type=float, default=1.0)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        before = _resident_mib()
        read_frames(options.watch)
        print(json.dumps([before, _resident_mib()]))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        started = time.perf_counter()
        small = Path(scratch, "small.bag")
        count = write_images(small, min(int(options.size_gb * 1e9), 10**9))
        seconds = time.perf_counter() - started
        print(f"written: {count} images of 640x480 bgr8 in {seconds:.1f} s, {count / seconds:.0f} images/s")
        read_by_rosbags(small)  # into the page cache
        pairs = [(rate(read_by_rosbags, small), rate(read_frames, small)) for _ in range(options.rounds)]
        raw, frames = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(ours / theirs for theirs, ours in pairs)
        print(f"rosbags, bytes only:  {raw:7.0f} images/s of processor time")
        print(f"frames with pixels:   {frames:7.0f} images/s of processor time")
        print(f"ratio, median of {options.rounds}: {ratio:.3f}")
        large = small
        if options.size_gb > 1.0:
            large = Path(scratch, "large.bag")
            write_images(large, int(options.size_gb * 1e9))
        size = sum(file.stat().st_size for file in large.iterdir())
        before, peak = peak_memory_mib(large)
        print(f"memory: {before:.0f} MiB after the imports, {peak:.0f} MiB at most over {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
