"""Options that say where things are in a bag, for all verbs that read one."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError

if TYPE_CHECKING:
    from hfnet_ros.bags import BagReader
    from hfnet_ros.replay import BagChoices, BagSources
    from hfnet_ros.replay.truth import BagTruth

CAMERA_OPTIONS = ("image_topic", "camera_info_topic")
MOUNTING_OPTIONS = ("base_frame", "base_from_camera")
ODOMETRY_OPTIONS = ("odometry_topic", "tf")
TRUTH_OPTIONS = ("ground_truth", "ground_truth_frame")


def add_camera_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose images and calibration."""
    parser.add_argument("--image-topic", default="", metavar="T", help="images (default: the only ones)")
    parser.add_argument(
        "--camera-info-topic", default="", metavar="T", help="calibration (default: beside the images)"
    )


def add_cameras_option(parser: argparse._ActionsContainer) -> None:
    """Add the option that names several cameras."""
    parser.add_argument(
        "--cameras",
        nargs="+",
        default=[],
        metavar="NAME[=TOPIC]",
        help="several cameras, each on /NAME/image or a topic of its own (default: cameras.names of --params)",
    )


def with_cameras(config: Config, options: argparse.Namespace) -> Config:
    """Return the parameters with the cameras that --cameras names; what is known of them is kept.

    Raises:
        ConfigError: a name is none, or another option chooses one camera.
    """
    if not options.cameras:
        return config
    if getattr(options, "image_topic", ""):
        raise ConfigError("--image-topic is of one camera; name several by --cameras NAME=TOPIC")
    return dataclasses.replace(config, cameras=config.cameras.chosen(options.cameras))


def add_mounting_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that say how the camera sits on the robot."""
    parser.add_argument(
        "--base-frame",
        metavar="F",
        help="frame of the robot, '' for the camera's own (default: frames.base_frame, base_link)",
    )
    parser.add_argument(
        "--base-from-camera",
        default="",
        metavar="'X Y Z QX QY QZ QW'",
        help="mounting of the optical frame on the robot, m (default: the bag's transforms)",
    )


def add_odometry_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose odometry."""
    parser.add_argument(
        "--odometry-topic",
        default="",
        metavar="T",
        help="nav_msgs/Odometry (default: transforms odom:base_link, else the only such topic)",
    )
    parser.add_argument("--tf", default="", metavar="odom:base_link", help="odometry from these transforms")


def add_truth_options(parser: argparse._ActionsContainer, source: str) -> None:
    """Add the options that say where known poses are; `source` names that of topic or transforms."""
    parser.add_argument(
        source,
        default="",
        metavar="T|map:base_link",
        help="topic or transforms of a bag with the true poses (or --poses)",
    )
    parser.add_argument(
        "--ground-truth-frame",
        default="",
        metavar="F",
        help="frame they are the poses of, where the messages do not say (default: the robot's; of --poses the "
        "camera's)",
    )


def bag_choices(options: argparse.Namespace) -> BagChoices:
    """Return what the options say about a bag.

    Raises:
        CalibrationError: the file of --camera cannot be used.
    """
    from hfnet_ros.files.camera_yaml import read_calibration
    from hfnet_ros.replay import BagChoices

    camera: Path | None = getattr(options, "camera", None)
    return BagChoices(
        image_topic=options.image_topic,
        camera_info_topic=options.camera_info_topic,
        camera=None if camera is None else read_calibration(camera),
        odometry_topic=getattr(options, "odometry_topic", ""),
        odometry_frames=getattr(options, "tf", "") if hasattr(options, "odometry_topic") else "",
        base_frame=options.base_frame,
        base_from_camera=options.base_from_camera,
    )


def read_bag_truth(options: argparse.Namespace, bag: BagReader, sources: BagSources, source: str) -> BagTruth:
    """Read known poses by the options of `add_truth_options`; `source` is a topic or two frames."""
    from hfnet_ros.replay.truth import read_truth

    return read_truth(
        bag,
        sources.first,
        sources.config,
        source=source,
        tum=options.poses,
        frame=options.ground_truth_frame,
        base_from_camera=options.base_from_camera,
        base_mounting=sources.mounting,
    )


def refuse_without_bag(options: argparse.Namespace, *names: str) -> None:
    """Refuse options that would be ignored for a folder of images.

    Raises:
        ConfigError: one of them is given.
    """
    for name in names:
        if getattr(options, name, None):
            raise ConfigError(f"--{name.replace('_', '-')} needs --bag")


def print_notes(bag: BagReader) -> None:
    """Print how many messages were of no use; what else is wrong with a bag was logged as it was found."""
    for note in bag.report()[len(bag.notes) :]:
        print(f"note: {note}", file=sys.stderr)
