"""Where does a query's time go? Localizes a folder of images one by one and prints each stage's share.

    python bench/localize.py --map kitchen.map --images query --camera camera.yaml [--every 5] [--repeat 3]
    python bench/localize.py --map ... --variants default float32 usac    # turn by turn, with their ratios

Prints medians over the repeats, percentiles over the images, the share of the network, start-up
and peak memory. Nothing is asserted. bench/peers.md says how to run another pipeline beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np  # noqa: E402

from hfnet_ros.config import Config  # noqa: E402
from hfnet_ros.features.extractor import NetworkExtractor, with_extractor_of  # noqa: E402
from hfnet_ros.files.camera_yaml import read_camera_yaml  # noqa: E402
from hfnet_ros.files.images import list_images, read_image  # noqa: E402
from hfnet_ros.geometry.camera import Camera  # noqa: E402
from hfnet_ros.localization.landmark_model import searching  # noqa: E402
from hfnet_ros.localization.localizer import Localizer  # noqa: E402
from hfnet_ros.localization.query_extractor import create_query_extractor  # noqa: E402
from hfnet_ros.map.map_io import load_map  # noqa: E402
from hfnet_ros.map.visual_map import VisualMap  # noqa: E402
from hfnet_ros.types import Frame, Outcome  # noqa: E402

VARIANTS: dict[str, dict[str, dict[str, str]]] = {
    "default": {},
    "float32": {"inference": {"cpu_precision": "float32"}},
    "int8": {"inference": {"cpu_precision": "int8"}},
    "lo-ransac": {"pose": {"method": "lo-ransac"}},
    "usac": {"pose": {"method": "usac"}},
}
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
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["default"])
    options = parser.parse_args()
    camera = read_camera_yaml(options.camera)
    visual_map = load_map(options.map)
    with contextlib.ExitStack() as opened:
        variants = [
            opened.enter_context(_variant(name, visual_map, camera, options)) for name in options.variants
        ]
        frames = [
            Frame(0, read_image(path), camera) for path in list_images(options.images)[:: options.every]
        ]
        variants[0].localizer.localize(frames[0])
        print(
            f"first answer {time.perf_counter() - STARTED:.2f} s after start (with reading {len(frames)} images)"
        )
        for variant in variants:
            variant.localizer.localize(frames[0])
            variant.watch()
        for _ in range(options.repeat):
            for variant in variants:
                variant.start()
            for frame in frames:
                for variant in variants:
                    variant.localize(frame)
    for variant in variants:
        print(f"\n{variant.name}: {variant.backend}, {options.threads} threads")
        variant.print_tables()
    for variant in variants[1:]:
        ratio = variant.times()[:, STAGES.index("total")] / variants[0].times()[:, STAGES.index("total")]
        print(
            f"{variant.name} takes {np.median(ratio):.2f} times as long as {variants[0].name} (median of pairs)"
        )
    print(f"peak memory of all {_peak_memory_mb():.0f} MB")


class _Variant:
    """One way to localize, and how long it took."""

    def __init__(self, name: str, localizer: Localizer, extractor: NetworkExtractor) -> None:
        self.name, self.localizer, self.backend = name, localizer, extractor.backend
        self._extractor = extractor
        self._asked: list[Callable[[], object]] = []
        self._runs: list[list[list[float]]] = []
        self._found: list[bool] = []

    def watch(self) -> None:
        self._asked = _watch_network(self._extractor)

    def start(self) -> None:
        self._runs.append([])
        self._found = []

    def localize(self, frame: Frame) -> None:
        self._asked.clear()
        answer = self.localizer.localize(frame)
        network_s = _seconds_of([*self._asked]) if self._asked else np.nan
        self._runs[-1].append([*(answer.timings_s[stage] * 1e3 for stage in STAGES), network_s * 1e3])
        self._found.append(answer.outcome is Outcome.LOCALIZED)

    def times(self) -> np.ndarray:
        """Return [images, stages and network], ms, medians over the repeats."""
        return np.median(np.array(self._runs), axis=0)

    def print_tables(self) -> None:
        found = np.array(self._found)
        groups = {"all": np.ones(len(found), bool), "localized": found, "not localized": ~found}
        for name, chosen in groups.items():
            if chosen.any() and (name == "all" or not chosen.all()):
                _print_table(name, self.times()[chosen])


@contextlib.contextmanager
def _variant(
    name: str, visual_map: VisualMap, camera: Camera, options: argparse.Namespace
) -> Iterator[_Variant]:
    sections = {key: dict(values) for key, values in VARIANTS[name].items()}
    sections.setdefault("inference", {})["num_threads"] = options.threads
    config = with_extractor_of(Config.from_dict(sections), visual_map.extractor_id)
    with (
        contextlib.closing(create_query_extractor(visual_map, config)) as extractor,
        searching(visual_map, extractor, config, camera.size_wh) as localizer,
    ):
        yield _Variant(name, localizer, extractor)


def _watch_network(extractor) -> list[Callable[[], object]]:
    """Note what would run the network again, for every run of it from now on."""
    asked: list[Callable[[], object]] = []
    for engine in _engines_of(extractor):
        engine.run = _noted(engine.run, asked)
    return asked


def _engines_of(part) -> list:
    inner = [getattr(part, name) for name in ("_network", "_local", "_head") if hasattr(part, name)]
    loaded = getattr(part, "_engines", None)
    return [
        *(loaded._engines.values() if loaded else ()),
        *(engine for each in inner for engine in _engines_of(each)),
    ]


def _noted(run, asked: list[Callable[[], object]]):
    def noted(inputs):
        asked.append(lambda: dict(run(inputs)))
        return run(inputs)

    return noted


def _seconds_of(runs: list[Callable[[], object]]) -> float:
    """Return how long the network takes by itself: in a query a part of it runs beside the choice of keypoints."""
    start = time.perf_counter()
    for run in runs:
        run()
    return time.perf_counter() - start


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
