"""Verb `run`: the live node over DDS, for machines without ROS 2."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfnet_ros.cli.bag_sources import add_cameras_option, with_cameras
from hfnet_ros.cli.dds import add_domain_options
from hfnet_ros.cli.options import add_answer_frame, add_area, add_config_options, new_verb, read_config
from hfnet_ros.cli.signals import end_at_once_on_signals, ended_by_signals
from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError

_LOOK_S = 0.1
_EXAMPLE = "hfnet-ros run --map kitchen.map --remap image:=/camera/image_raw"


def add_verbs(verbs: Any) -> None:
    """Add `run`."""
    run = new_verb(
        verbs, "run", "localize live over DDS, as the ROS 2 node does (no ROS needed)", _EXAMPLE, _run
    )
    run.add_argument("--map", type=Path, metavar="MAP", help="map to localize in (default: node.map)")
    run.add_argument(
        "--remap", action="append", default=[], metavar="FROM:=TO",
        help="rename a topic or service, as ROS does; the calibration is taken from beside the image",
    )  # fmt: skip
    add_cameras_option(run)
    run.add_argument("--name", default="relocalizer", help="name of the node (default: relocalizer)")
    run.add_argument("--namespace", default="", metavar="NS", help="namespace of the node")
    add_domain_options(run)
    run.add_argument("--use-sim-time", action="store_true", help="take the time from /clock")
    run.add_argument(
        "--inactive", action="store_true", help="wait for `ros2 lifecycle set` instead of starting"
    )
    add_config_options(run, extractor=False)
    add_answer_frame(run)
    add_area(run)


def parse_remappings(pairs: Sequence[str]) -> dict[str, str]:
    """Read `from:=to` pairs.

    Raises:
        ConfigError: one is written otherwise.
    """
    remappings = {}
    for pair in pairs:
        source, separator, target = pair.partition(":=")
        if not (source and separator and target):
            raise ConfigError(f"--remap is '{pair}', expected FROM:=TO such as image:=/camera/image_raw")
        remappings[source] = target
    return remappings


def _run(options: argparse.Namespace) -> int:
    end_at_once_on_signals()
    from hfnet_ros.dds.relocalizer_node import DdsRelocalizerNode
    from hfnet_ros.node.process_exit import exit_at_once, tell_of_crashes

    tell_of_crashes()
    logging.getLogger("hfnet_ros").setLevel(logging.DEBUG if options.verbose else logging.INFO)
    ended = threading.Event()
    with ended_by_signals(ended.set):  # being told to end is how a node ends well
        node = DdsRelocalizerNode(
            _with_map(with_cameras(read_config(options, _full_name(options)), options), options.map),
            options.name,
            options.namespace,
            domain_id=options.domain,
            remappings=parse_remappings(options.remap),
            loopback=options.loopback,
            use_sim_time=options.use_sim_time,
            ended=ended,
        )
        try:
            if not options.inactive:
                node.start()
            # A signal that comes as the wait begins, or to another thread, does not wake it: look now and then.
            while not ended.wait(_LOOK_S):
                pass
        finally:
            node.close()
    exit_at_once()


def _full_name(options: argparse.Namespace) -> str:
    parts = (*options.namespace.split("/"), options.name)
    return "/" + "/".join(part for part in parts if part)


def _with_map(config: Config, path: Path | None) -> Config:
    if path is None:
        return config
    return dataclasses.replace(config, node=dataclasses.replace(config.node, map=str(path)))
