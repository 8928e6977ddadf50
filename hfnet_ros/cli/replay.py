"""Verb `replay`."""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.cli.bag_sources import (
    add_camera_options,
    add_cameras_option,
    add_mounting_options,
    add_odometry_options,
    bag_choices,
    print_notes,
    with_cameras,
)
from hfnet_ros.cli.options import (
    add_answer_frame,
    add_area,
    add_config_options,
    add_mask_option,
    new_verb,
    print_doubts,
    read_config,
    tracked,
)
from hfnet_ros.errors import BagError, ConfigError
from hfnet_ros.evaluation.reasons import Reasons, reason_of
from hfnet_ros.files.tum import format_stamp
from hfnet_ros.types import Answer, TrackingState, Verdict

if TYPE_CHECKING:
    from hfnet_ros.replay import BagSources

_logger = logging.getLogger(__name__)

_EXAMPLE = """hfnet-ros replay robot.bag --map kitchen.map --out answers.bag
  hfnet-ros replay robot.bag --map kitchen.map --out answers.bag --cameras front left=/left/color/image_raw
  hfnet-ros replay robot.bag --map kitchen.map --out answers.bag --real-time --cost-ms 120"""
_MAX_COST_MS = 60_000.0
_NS_PER_S = 1e9


def add_verbs(verbs: Any) -> None:
    """Add `replay`."""
    replay = new_verb(
        verbs, "replay", "localize a recorded robot and write what the live node would say", _EXAMPLE, _replay
    )
    replay.add_argument("bag", type=Path, metavar="BAG", help="recording with images")
    replay.add_argument("--map", type=Path, required=True, metavar="MAP", help="map to localize in")
    replay.add_argument(
        "--out", type=Path, required=True, metavar="OUT_BAG", help="folder to write the bag as"
    )
    replay.add_argument(
        "--camera", type=Path, metavar="FILE", help="ROS camera calibration YAML (default: the bag's)"
    )
    add_mask_option(replay)
    add_camera_options(replay)
    add_cameras_option(replay)
    add_odometry_options(replay)
    add_mounting_options(replay)
    replay.add_argument(
        "--real-time",
        action="store_true",
        help="drop the images that a live node on this machine would have dropped; without it every image is "
        "localized and the same input gives the same bytes",
    )
    replay.add_argument(
        "--cost-ms",
        type=float,
        metavar="MS",
        help="with --real-time: what an image costs, instead of what it takes here; the same every time",
    )
    add_config_options(replay, extractor=False)
    add_answer_frame(replay)
    add_area(replay)


@dataclass
class _Tally:
    """Counts over the answers."""

    outcomes: Counter[str] = field(default_factory=Counter)
    num_accepted: int = 0
    num_tracking: int = 0
    latencies_s: list[float] = field(default_factory=list)
    unused: Reasons = field(default_factory=Reasons)
    doubts: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    last: Answer | None = None

    def add(self, answer: Answer) -> None:
        """Count one."""
        self.last = answer
        self.latencies_s.append(answer.total_s)
        found = answer.relocalization
        reason = answer.error if found is None else reason_of(found.localization, found)
        if reason:
            self.unused.add(format_stamp(answer.stamp_ns), reason)
        if found is None:
            self.outcomes["BAD_INPUT"] += 1
            return
        self.doubts.append((format_stamp(answer.stamp_ns), found.warnings))
        self.outcomes[found.localization.outcome.value] += 1
        self.num_accepted += found.decision is not None and found.decision.verdict is Verdict.ACCEPTED
        self.num_tracking += found.state is TrackingState.TRACKING

    @property
    def commonest_reason(self) -> str:
        """Say why images were not used; empty if all were."""
        return next(iter(self.unused.sentences(len(self.latencies_s))), "")


def _replay(options: argparse.Namespace) -> int:
    from hfnet_ros.bags import BagReader, check_bag_target
    from hfnet_ros.node.served_map import ServedMap
    from hfnet_ros.replay import AnswerRecorder, Replay, open_sources

    _check(options)
    check_bag_target(options.out)
    config, choices = with_cameras(read_config(options), options), bag_choices(options)
    with BagReader(options.bag) as bag:
        sources = open_sources(bag, choices, config)
        served = ServedMap.load(str(options.map))
        localizer, close = served.opener(sources.config)(_log_progress)
        frames = [camera.frames for camera in sources.cameras]
        replay, tally, started_s = Replay(sources, localizer), _Tally(), time.perf_counter()
        if options.real_time:
            answers = replay.in_real_time(None if options.cost_ms is None else 1e-3 * options.cost_ms)
        else:
            answers = replay.in_order()
        try:
            with AnswerRecorder(
                options.out, sources.config, served, replay.clock.now_ns, in_order=not options.real_time
            ) as recorder:
                for answer in tracked(answers, "replay", max(map(len, frames))):
                    recorder.record(answer)
                    tally.add(answer)
        finally:
            close()
        _print(options, sources, tally, time.perf_counter() - started_s, 1e-9 * (bag.end_ns - bag.start_ns))
        print_doubts(tally.doubts)
        print_notes(bag)
    if tally.outcomes["BAD_INPUT"] == len(tally.latencies_s):
        raise BagError(f"{options.bag}: no image could be used: {tally.commonest_reason}")
    return 0


def _log_progress(text: str) -> None:
    if text:
        _logger.info("%s", text)


def _check(options: argparse.Namespace) -> None:
    if options.cost_ms is not None:
        if not options.real_time:
            raise ConfigError("--cost-ms needs --real-time: in order, an image costs nothing")
        if not 0.0 <= options.cost_ms <= _MAX_COST_MS:
            raise ConfigError(f"--cost-ms is {options.cost_ms:g}, expected 0 to {_MAX_COST_MS:g}")
    source, target = options.bag.resolve(), options.out.resolve()
    if target in (source, source.parent) or source in target.parents:
        raise ConfigError(f"{options.out}: is the recording itself or around it; name another folder")


def _print(
    options: argparse.Namespace, sources: BagSources, tally: _Tally, seconds: float, recorded_s: float
) -> None:
    num_answers = len(tally.latencies_s)
    counts = [f"{camera.name} {len(camera.frames)}".strip() for camera in sources.cameras]
    print(f"images               {', '.join(counts)}, answered {num_answers}")
    print(f"odometry             {_odometry_text(sources)}")
    print(
        "outcomes             "
        + ", ".join(f"{name} {count}" for name, count in sorted(tally.outcomes.items()))
    )
    if tally.commonest_reason:
        print(f"not used, mostly     {tally.commonest_reason}")
    print(f"accepted             {tally.num_accepted}")
    print(f"position known       after {tally.num_tracking} of {num_answers} images")
    if options.real_time and tally.last is not None:
        counters = tally.last.counters
        share = counters.num_superseded / max(1, counters.num_received)
        p50, p95, p99 = 1e3 * np.percentile(tally.latencies_s, [50, 95, 99])
        print(f"superseded           {counters.num_superseded} of {counters.num_received} ({share:.2f})")
        print(f"latency p50/p95/p99  {p50:.0f} / {p95:.0f} / {p99:.0f} ms from receipt to answer")
    print(
        f"{options.out}: {recorded_s:.1f} s of recording in {seconds:.1f} s ({recorded_s / seconds:.1f} x real time)"
    )


def _odometry_text(sources: BagSources) -> str:
    samples = sources.odometry
    if samples is None:
        return "none"
    return f"{len(samples)} poses of '{samples.child_frame}' in '{samples.parent_frame}'"
