"""Verb `play`: publish what was recorded over DDS."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from hfnet_ros.cli.dds import add_domain_options
from hfnet_ros.cli.options import new_verb
from hfnet_ros.cli.run import parse_remappings
from hfnet_ros.cli.signals import ended_by_signals
from hfnet_ros.errors import BagError, ConfigError

if TYPE_CHECKING:
    from hfnet_ros.bags.reader import BagReader
    from hfnet_ros.dds.player import PlayedMessage

_EXAMPLE = "hfnet-ros play kitchen.mcap --clock\n  hfnet-ros play images/ --camera camera.yaml --hz 10"


def add_verbs(verbs: Any) -> None:
    """Add `play`."""
    play = new_verb(
        verbs, "play", "publish a bag or a folder of images over DDS (no ROS needed)", _EXAMPLE, _play
    )
    play.add_argument(
        "source", type=Path, metavar="BAG|DIR", help="bag of ROS 2 or ROS 1, or folder of images"
    )
    play.add_argument("--rate", type=float, default=1.0, metavar="R", help="times real time (default: 1)")
    play.add_argument("--loop", action="store_true", help="start again at the end, stamps as recorded")
    play.add_argument("--clock", action="store_true", help="publish /clock for nodes under use_sim_time")
    play.add_argument("--topics", nargs="+", default=[], metavar="T", help="play these only (default: all)")
    play.add_argument(
        "--remap", action="append", default=[], metavar="FROM:=TO", help="publish a topic under another name"
    )
    play.add_argument(
        "--wait", type=float, default=5.0, metavar="S",
        help="wait so long for a subscriber of the images before beginning (default: 5)",
    )  # fmt: skip
    play.add_argument("--camera", type=Path, metavar="FILE", help="calibration of a folder of images")
    play.add_argument("--hz", type=float, default=10.0, help="images per second of a folder (default: 10)")
    add_domain_options(play)


def _play(options: argparse.Namespace) -> int:
    from hfnet_ros.bags import BagReader
    from hfnet_ros.files.images import list_images

    if not 0.0 < options.rate <= 1000.0:
        raise ConfigError(f"--rate is {options.rate}, expected more than 0 and 1000 at the most")
    if options.camera is None:
        if _is_image_folder(options.source):
            count = len(list_images(options.source))
            raise BagError(
                f"{options.source}: is a folder of {count} images; name their calibration with --camera"
            )
        with BagReader(options.source) as bag:
            return _play_bag(bag, options)
    with tempfile.TemporaryDirectory() as folder, BagReader(_bag_of_images(options, Path(folder))) as bag:
        return _play_bag(bag, options)


def _is_image_folder(source: Path) -> bool:
    return source.is_dir() and any(
        file.suffix.lower() in (".jpg", ".jpeg", ".png") for file in source.iterdir()
    )


def _bag_of_images(options: argparse.Namespace, folder: Path) -> Path:
    """Write a folder of images as a bag, files as they are if they can be."""
    from hfnet_ros.bags.make import BagRecipe, make_bag
    from hfnet_ros.files.camera_yaml import read_camera_yaml

    bag = folder / "images"
    make_bag(bag, options.source, read_camera_yaml(options.camera), recipe=BagRecipe(rate_hz=options.hz))
    return bag


def _play_bag(bag: BagReader, options: argparse.Namespace) -> int:
    from hfnet_ros.bags.topics import COMPRESSED_IMAGE, IMAGE
    from hfnet_ros.dds.participant import DdsNode
    from hfnet_ros.dds.player import PlayedTopic, Player
    from hfnet_ros.messages.factory import ros_typestore

    chosen = [topic for topic in bag.topics if not options.topics or topic.name in options.topics]
    missing = sorted(set(options.topics) - {topic.name for topic in chosen})
    if missing:
        raise BagError(f"{options.source}: no topic {', '.join(missing)}; the bag holds:\n{bag.table()}")
    known = [topic for topic in chosen if topic.type_name in ros_typestore().types and topic.name != "/clock"]
    for topic in chosen:
        if topic not in known:
            print(f"left out: {topic.name} ({topic.type_name})", file=sys.stderr)
    remappings = parse_remappings(options.remap)
    topics = [
        PlayedTopic(topic.name, topic.type_name, topic.latched or topic.name == "/tf_static")
        for topic in known
    ]
    images = [topic.name for topic in known if topic.type_name in (IMAGE, COMPRESSED_IMAGE)]
    with DdsNode(
        "player", domain_id=options.domain, loopback=options.loopback, remappings=remappings
    ) as node:
        player = Player(node, topics, with_clock=options.clock)
        with ended_by_signals(player.stop):
            if images and not player.wait_for_subscriber(images, options.wait) and not player.is_stopped:
                print(f"nobody listens to {', '.join(images)}; playing all the same", file=sys.stderr)
            names = [topic.name for topic in topics]
            count = _play_once(player, bag, names, options.rate)
            while options.loop and count and not player.is_stopped:
                count += _play_once(player, bag, names, options.rate)
    print(f"{count} messages played")
    for note in bag.report():
        print(f"note: {note}", file=sys.stderr)
    return 0


def _play_once(player: Any, bag: BagReader, topics: list[str], rate: float) -> int:
    seconds = 1e-9 * (bag.end_ns - bag.start_ns)
    with tqdm(
        total=round(seconds, 1), unit="s", desc="play", leave=False, disable=not sys.stderr.isatty()
    ) as bar:

        def show(stamp_ns: int) -> None:
            bar.update(1e-9 * (stamp_ns - bag.start_ns) - bar.n)

        count: int = player.play(_messages(bag, topics), rate, show)
    return count


def _messages(bag: BagReader, topics: list[str]) -> Iterator[PlayedMessage]:
    from hfnet_ros.dds.player import PlayedMessage

    for message in bag.messages(topics, raw=True):
        yield PlayedMessage(message.topic, message.stamp_ns, message.data)
