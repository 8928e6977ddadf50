"""Where does a query's time go? Localizes a folder of images one by one and prints each stage's share.

    python bench/localize.py --map kitchen.map --images query --camera camera.yaml [--every 5] [--repeat 3]
    python bench/localize.py --map ... --cpu-precision float32   # beside the default, which may be int8

Prints medians over the repeats, percentiles over the images, the share of the network, start-up
and peak memory. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import time
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np  # noqa: E402

from hfnet_ros.config import Config  # noqa: E402
from hfnet_ros.features.extractor import with_extractor_of  # noqa: E402
from hfnet_ros.files.camera_yaml import read_camera_yaml  # noqa: E402
from hfnet_ros.files.images import list_images, read_image  # noqa: E402
from hfnet_ros.localization.landmark_model import create_query_extractor, searching  # noqa: E402
from hfnet_ros.map.map_io import load_map  # noqa: E402
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
    parser.add_argument("--cpu-precision", choices=("auto", "float32", "int8"), default="auto")
    options = parser.parse_args()
    config = Config.from_dict(
        {"inference": {"num_threads": options.threads, "cpu_precision": options.cpu_precision}}
    )
    camera = read_camera_yaml(options.camera)
    visual_map = load_map(options.map)
    config = with_extractor_of(config, visual_map.extractor_id)
    opened = contextlib.ExitStack()
    extractor = create_query_extractor(visual_map, config)
    opened.callback(extractor.close)
    localizer = opened.enter_context(searching(visual_map, extractor, config, camera.size_wh))
    frames = [Frame(0, read_image(path), camera) for path in list_images(options.images)[:: options.every]]
    localizer.localize(frames[0])
    print(
        f"first answer {time.perf_counter() - STARTED:.2f} s after start (with reading {len(frames)} images)"
    )
    network_s = _watch_network(extractor)
    runs = []
    for _ in range(options.repeat):
        network_s.clear()
        answers = [localizer.localize(frame) for frame in frames]
        times_ms = [[answer.timings_s[stage] * 1e3 for stage in STAGES] for answer in answers]
        per_frame = np.array(network_s or [np.nan] * len(frames)).reshape(len(frames), -1)
        network_ms = per_frame.sum(axis=1) * 1e3
        runs.append([[*row, network] for row, network in zip(times_ms, network_ms, strict=True)])
    times = np.median(np.array(runs), axis=0)
    found = np.array([answer.outcome is Outcome.LOCALIZED for answer in answers])
    for name, chosen in (
        ("all", np.ones(len(frames), bool)),
        ("localized", found),
        ("not localized", ~found),
    ):
        if chosen.any():
            _print_table(name, times[chosen])
    print(f"{extractor.backend}, {options.threads} threads; peak memory {_peak_memory_mb():.0f} MB")


def _watch_network(extractor) -> list[float]:
    """Note the seconds of every run of the network from now on."""
    seconds: list[float] = []
    for engine in _engines_of(extractor):
        engine.run = _timed(engine.run, seconds)
    return seconds


def _engines_of(part) -> list:
    inner = [getattr(part, name) for name in ("_network", "_local", "_head") if hasattr(part, name)]
    loaded = getattr(part, "_engines", None)
    return [
        *(loaded._engines.values() if loaded else ()),
        *(engine for each in inner for engine in _engines_of(each)),
    ]


def _timed(run, seconds: list[float]):
    def timed(inputs):
        start = time.perf_counter()
        outputs = run(inputs)
        seconds.append(time.perf_counter() - start)
        return outputs

    return timed


def _print_table(name: str, times: np.ndarray) -> None:
    total, network = times[:, STAGES.index("total")], times[:, -1]
    rows = [*((stage, times[:, index]) for index, stage in enumerate(STAGES)), ("network alone", network)]
    rows.append(("all but the network", total - network))
    print(f"\n{name}: {len(times)} images")
    print(f"  {'stage':24s} {'p50':>7s} {'p95':>7s} {'p99':>7s} ms   share of the total")
    for label, values in rows:
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        print(f"  {label:24s} {p50:7.1f} {p95:7.1f} {p99:7.1f}      {values.mean() / total.mean():4.0%}")


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
