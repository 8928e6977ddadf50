"""Where does a query's time go? Localizes a folder of images one by one and prints each stage's share.

    python bench/localize.py --map kitchen.map --images query --camera camera.yaml [--every 5] [--repeat 3]

Prints medians over the repeats, percentiles over the images, the share of the network, start-up
and peak memory. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np  # noqa: E402

from hfnet_ros.cli.localize import open_localizer  # noqa: E402
from hfnet_ros.config import Config  # noqa: E402
from hfnet_ros.files.camera_yaml import read_camera_yaml  # noqa: E402
from hfnet_ros.files.images import list_images, read_image  # noqa: E402
from hfnet_ros.types import Frame, Outcome  # noqa: E402

STAGES = ("extract", "retrieve", "match", "pose", "total")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--camera", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    config = Config.from_dict({"inference": {"num_threads": options.threads}})
    camera = read_camera_yaml(options.camera)
    _, extractor, localizer = open_localizer(options.map, config, extractor_given=False)
    frames = [Frame(0, read_image(path), camera) for path in list_images(options.images)[:: options.every]]
    localizer.localize(frames[0])
    print(
        f"first answer {time.perf_counter() - STARTED:.2f} s after start (with reading {len(frames)} images)"
    )
    runs = []
    for _ in range(options.repeat):
        answers = [localizer.localize(frame) for frame in frames]
        runs.append([[answer.timings_s[stage] * 1e3 for stage in STAGES] for answer in answers])
    network_ms = _network_alone(extractor, frames)
    times = np.median(np.array(runs), axis=0)
    found = np.array([answer.outcome is Outcome.LOCALIZED for answer in answers])
    for name, chosen in (
        ("all", np.ones(len(frames), bool)),
        ("localized", found),
        ("not localized", ~found),
    ):
        if chosen.any():
            _print_table(name, times[chosen], network_ms)
    print(f"{extractor.backend}, {options.threads} threads; peak memory {_peak_memory_mb():.0f} MB")


def _network_alone(extractor, frames) -> float:
    """Median time of the engine's run alone, in ms, interleaved with the rest as in a query."""
    engines = getattr(extractor, "_engines", {})
    if not engines:
        return float("nan")
    engine = next(iter(engines.values()))
    original, seconds = engine.run, []

    def timed(inputs):
        start = time.perf_counter()
        outputs = original(inputs)
        seconds.append(time.perf_counter() - start)
        return outputs

    engine.run = timed
    for frame in frames:
        extractor.extract(frame.image)
    engine.run = original
    return statistics.median(seconds) * 1e3


def _print_table(name: str, times: np.ndarray, network_ms: float) -> None:
    rest = times[:, STAGES.index("total")] - network_ms
    print(f"\n{name}: {len(times)} images; network {network_ms:.1f} ms")
    print(f"  {'stage':24s} {'p50':>7s} {'p95':>7s} {'p99':>7s} ms   share of the total")
    total = times[:, -1].mean()
    for index, stage in enumerate(STAGES):
        p50, p95, p99 = np.percentile(times[:, index], [50, 95, 99])
        print(f"  {stage:24s} {p50:7.1f} {p95:7.1f} {p99:7.1f}      {times[:, index].mean() / total:4.0%}")
    p50, p95, p99 = np.percentile(rest, [50, 95, 99])
    print(f"  {'all but the network':24s} {p50:7.1f} {p95:7.1f} {p99:7.1f}      {rest.mean() / total:4.0%}")


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
