"""Verbs `bag make` and `bag info`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hfnet_ros.cli.options import ProgressBars, new_verb
from hfnet_ros.errors import ConfigError

_NS_PER_S = 1e9
_MAKE = """hfnet-ros bag make --images query --poses query.tum --camera camera.yaml --out query.bag
  hfnet-ros bag make --images photos --camera camera.yaml --rate 5 --compressed --out photos.bag
  hfnet-ros bag make --images query --poses query.tum --camera camera.yaml --odometry-from-poses --out robot.bag"""


def add_verbs(verbs: Any) -> None:
    """Add the verbs of `bag`."""
    bags = verbs.add_parser("bag", help="make bags and look into them").add_subparsers(
        dest="bag_verb", required=True, metavar="VERB"
    )
    _add_make(new_verb(bags, "make", "turn a folder of images into a ROS 2 bag", _MAKE, _make))
    info = new_verb(bags, "info", "print what is in a bag", "hfnet-ros bag info robot.bag", _info)
    info.add_argument("bag", type=Path, metavar="BAG", help="folder, .mcap, .db3 or ROS 1 .bag")
    info.add_argument("--json", action="store_true", help="print JSON")


def _add_make(make: argparse.ArgumentParser) -> None:
    make.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="images, in the order of names"
    )
    make.add_argument(
        "--camera", type=Path, required=True, metavar="FILE", help="ROS camera calibration YAML"
    )
    make.add_argument("--poses", type=Path, metavar="FILE", help="their poses T_map_camera, TUM format")
    make.add_argument("--out", type=Path, required=True, metavar="BAG", help="folder to write the bag as")
    make.add_argument(
        "--rate",
        type=float,
        metavar="HZ",
        help="images per second instead of the poses' stamps (default: 10)",
    )
    make.add_argument(
        "--storage", choices=("mcap", "sqlite3"), default="mcap", help="kind of file (default: mcap)"
    )
    make.add_argument(
        "--compressed",
        action="store_true",
        help="store JPEG and PNG files as they are instead of their pixels",
    )
    make.add_argument(
        "--base-from-camera",
        default="",
        metavar="'X Y Z QX QY QZ QW'",
        help="mounting of the optical frame on base_link, m (default: at its origin, looking ahead)",
    )
    make.add_argument(
        "--odometry-from-poses",
        action="store_true",
        help="simulate /odom and /tf odom->base_link from the poses",
    )
    make.add_argument(
        "--odometry-noise",
        nargs=2,
        type=float,
        default=(0.05, 1.0),
        metavar=("M", "DEG"),
        help="drift gathered over one metre, as odometry.translation_sigma_m and odometry.rotation_sigma_deg "
        "mean it (default: 0.05 1.0)",
    )
    make.add_argument("--seed", type=int, default=0, help="of the odometry's noise (default: 0)")
    make.add_argument(
        "--image-topic", default="/camera/image_raw", metavar="TOPIC", help="default: /camera/image_raw"
    )
    make.add_argument(
        "--ground-truth-topic",
        default="/ground_truth/pose",
        metavar="TOPIC",
        help="default: /ground_truth/pose",
    )
    make.add_argument(
        "--ground-truth-frame",
        choices=("base_link", "camera_optical"),
        default="base_link",
        help="frame whose pose that topic gives (default: base_link)",
    )


def _make(options: argparse.Namespace) -> int:
    from hfnet_ros.bags.make import LOOKING_AHEAD, BagRecipe, make_bag
    from hfnet_ros.bags.reader import BagReader
    from hfnet_ros.bags.simulated_odometry import OdometryNoise
    from hfnet_ros.files.camera_yaml import read_camera_yaml
    from hfnet_ros.replay.mounting import parse_mounting_option

    odometry = None
    if options.odometry_from_poses:
        translation_m, rotation_deg = options.odometry_noise
        if not (0.0 <= translation_m <= 10.0 and 0.0 <= rotation_deg <= 90.0):
            raise ConfigError(
                f"--odometry-noise is {translation_m} {rotation_deg}, expected 0 to 10 m and 0 to 90 deg"
            )
        odometry = OdometryNoise(translation_m, rotation_deg, seed=options.seed)
    recipe = BagRecipe(
        storage=options.storage,
        compressed=options.compressed,
        rate_hz=options.rate,
        base_from_camera=parse_mounting_option(options.base_from_camera) or LOOKING_AHEAD,
        odometry=odometry,
        image_topic=options.image_topic,
        ground_truth_topic=options.ground_truth_topic,
        ground_truth_frame=options.ground_truth_frame,
    )
    bars = ProgressBars()
    try:
        camera = read_camera_yaml(options.camera)
        make_bag(options.out, options.images, camera, options.poses, recipe, bars)
    finally:
        bars.close()
    with BagReader(options.out) as bag:
        print(
            f"{options.out}: {bag.message_count} messages in {(bag.end_ns - bag.start_ns) / _NS_PER_S:.3f} s"
        )
        print(bag.table())
    return 0


def _info(options: argparse.Namespace) -> int:
    from hfnet_ros.bags.reader import BagReader

    with BagReader(options.bag) as bag:
        facts = {
            "bag": str(options.bag),
            "storage": bag.storage,
            "start_s": bag.start_ns / _NS_PER_S,
            "duration_s": (bag.end_ns - bag.start_ns) / _NS_PER_S,
            "messages": bag.message_count,
        }
        if options.json:
            topics = [
                {
                    "name": entry.name,
                    "type": entry.type_name,
                    "messages": entry.count,
                    "rate_hz": entry.rate_hz,
                }
                for entry in bag.topics
            ]
            print(json.dumps({**facts, "topics": topics, "notes": bag.report()}, indent=1))
            return 0
        for name, value in facts.items():
            print(f"{name:12s} {value:.3f}" if isinstance(value, float) else f"{name:12s} {value}")
        print(bag.table())
        for note in bag.report():
            print(f"note: {note}")
    return 0
