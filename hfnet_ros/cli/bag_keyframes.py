"""Images of a bag to map from, by the options of `map build` and `map update`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from hfnet_ros.cli.bag_sources import (
    CAMERA_OPTIONS,
    MOUNTING_OPTIONS,
    add_camera_options,
    add_cameras_option,
    add_mounting_options,
    bag_choices,
    print_notes,
    read_bag_truth,
    refuse_without_bag,
    with_cameras,
)
from hfnet_ros.cli.options import tracked
from hfnet_ros.errors import ConfigError, MappingError

if TYPE_CHECKING:
    from hfnet_ros.bags import BagReader
    from hfnet_ros.config import Config
    from hfnet_ros.geometry.camera import Camera
    from hfnet_ros.geometry.rigid3 import Rigid3
    from hfnet_ros.localization.localizer import Localizer
    from hfnet_ros.mapping.sources import PosedImages
    from hfnet_ros.mapping.views import MappingImage
    from hfnet_ros.replay import BagSources

    Stream = Iterable[tuple[MappingImage, Rigid3]]


def add_bag_options(parser: argparse.ArgumentParser, poses: str) -> None:
    """Add the options for a bag in place of a folder; `poses` says what happens without poses."""
    of_bag = parser.add_argument_group("with --bag")
    of_bag.add_argument("--pose-topic", default="", metavar="T", help=f"poses in the map's frame {poses}")
    of_bag.add_argument("--tf", default="", metavar="map:base_link", help="or these transforms")
    of_bag.add_argument(
        "--pose-frame",
        dest="ground_truth_frame",
        default="",
        metavar="F",
        help="frame they are the poses of, where the messages do not say (default: the robot's; of --poses the "
        "camera's)",
    )
    add_camera_options(of_bag)
    add_cameras_option(of_bag)
    add_mounting_options(of_bag)


def refuse_bag_options(options: argparse.Namespace) -> None:
    """Refuse options that would be ignored for a folder of images.

    Raises:
        ConfigError: one of them is given.
    """
    if options.ground_truth_frame:
        raise ConfigError("--pose-frame needs --bag")
    refuse_without_bag(options, "pose_topic", "tf", "cameras", *CAMERA_OPTIONS, *MOUNTING_OPTIONS)


@contextmanager
def open_keyframes(options: argparse.Namespace, config: Config) -> Iterator[PosedImages]:
    """Choose keyframes with known poses; their pixels are there until the context ends.

    Of several cameras the first one's are chosen, and the images of the others of the same times.

    Raises:
        BagError: a topic or frame is not there, no image has a pose, or the calibration changes.
        ConfigError: the poses are named in no way or in two.
    """
    from hfnet_ros.bags import BagReader
    from hfnet_ros.mapping.sources import PosedImages
    from hfnet_ros.replay.keyframes import KeyframeStore, of_same_times, posed_images

    if not has_poses(options):
        raise ConfigError("--bag needs poses to map from: --pose-topic, --tf map:base_link or --poses")
    with KeyframeStore() as store:
        with BagReader(options.bag) as bag:
            sources, source = _open(bag, options, config)
            tolerance_s = sources.config.cameras.sync_tolerance_s
            chosen: list[tuple[MappingImage, Rigid3]] = []
            stamps_ns: list[int] | None = None  # of the first camera's keyframes
            cameras: list[Camera] = []
            for camera_idx, alone in enumerate(sources.each_alone(bag)):
                camera, name = alone.first.camera, alone.cameras[0].name
                truth = read_bag_truth(options, bag, alone, source)
                frames = tracked(alone.frames, f"read bag {name}".strip(), len(alone.frames))
                stream: Stream = posed_images(bag, frames, truth, camera, camera_idx, name)
                if stamps_ns is None:
                    stream = _selected(options, stream, camera)
                else:
                    stream = of_same_times(bag, stream, stamps_ns, tolerance_s, name)
                chosen += [(store.keep(image), pose) for image, pose in stream]
                stamps_ns = stamps_ns or [image.stamp_ns for image, _ in chosen]
                cameras.append(camera)
            chosen.sort(key=lambda entry: (entry[0].stamp_ns, entry[0].camera_idx))
            print_notes(bag)
        yield PosedImages([image for image, _ in chosen], [pose for _, pose in chosen], cameras)


@contextmanager
def open_localized(
    options: argparse.Namespace,
    open_localizer: Callable[[tuple[int, int]], AbstractContextManager[Localizer]],
    config: Config,
    pose_options: str,
) -> Iterator[PosedImages]:
    """Take the images that can be localized, with the poses found; otherwise as `open_keyframes`.

    Args:
        options: as for `open_keyframes`.
        open_localizer: gives a localizer for images of a width and height.
        config: parameters.
        pose_options: as of `report_localized`.

    Raises:
        BagError: a topic is not there, or the calibration changes.
        MappingError: fewer than two images are localized.
    """
    from hfnet_ros.bags import BagReader
    from hfnet_ros.mapping.sources import PosedImages
    from hfnet_ros.replay.keyframes import KeyframeStore, localized_images
    from hfnet_ros.replay.sources import refuse_several

    with KeyframeStore() as store:
        with BagReader(options.bag) as bag:
            sources, _ = _open(bag, options, config)
            refuse_several(sources)
            camera, asked = sources.first.camera, -(-len(sources.frames) // options.every)
            frames = tracked(islice(iter(sources.frames), 0, None, options.every), "localize", asked)
            with open_localizer(camera.size_wh) as localizer:
                found = localized_images(bag, frames, localizer, camera)
                chosen = [(store.keep(image), pose) for image, pose in found]
            print_notes(bag)
        report_localized(len(chosen), asked, pose_options)
        yield PosedImages([image for image, _ in chosen], [pose for _, pose in chosen], [camera])


def report_localized(num_found: int, num_asked: int, pose_options: str, what: str = "images") -> None:
    """Print how many new images were localized.

    Args:
        num_found: localized ones.
        num_asked: all.
        pose_options: that give poses instead; empty where poses cannot be given.
        what: is counted.

    Raises:
        MappingError: fewer than two; names what helps.
    """
    print(f"localized: {num_found} of {num_asked} {what}")
    if num_found < 2:
        remedy = f"give their poses with {pose_options}" if pose_options else "begin where the map was made"
        raise MappingError(
            f"{num_found} of {num_asked} new {what} were localized in the map, expected at least 2; {remedy}"
        )


def has_poses(options: argparse.Namespace) -> bool:
    """Tell whether the options name poses.

    Raises:
        ConfigError: they name them twice.
    """
    given = [bool(options.pose_topic), bool(options.tf), bool(options.poses)]
    if sum(given) > 1:
        raise ConfigError("--pose-topic, --tf and --poses give the poses in several ways; give one")
    return any(given)


def _open(bag: BagReader, options: argparse.Namespace, config: Config) -> tuple[BagSources, str]:
    from hfnet_ros.replay import open_camera
    from hfnet_ros.replay.sources import mounted

    if options.tf and ":" not in options.tf:
        raise ConfigError(f"--tf is '{options.tf}', expected two frames such as map:base_link")
    choices = bag_choices(options)
    sources = open_camera(bag, choices, with_cameras(config, options))
    if len(sources.cameras) > 1:
        sources = mounted(bag, sources, choices)
    return sources, options.pose_topic or options.tf


def _selected(options: argparse.Namespace, stream: Stream, camera: Camera) -> Stream:
    """Yield keyframes of a stream by the options that `map build` and `map update` have of these."""
    from hfnet_ros.cli.keyframes import refuse_two_selections, selected_from_stream
    from hfnet_ros.replay.keyframes import keep_by_motion

    every = options.every
    distance_m, angle_deg = getattr(options, "min_distance", None), getattr(options, "min_angle", None)
    if every is not None and every < 1:
        raise ConfigError(f"--every is {every}, expected 1 or more")
    refuse_two_selections(options)
    if getattr(options, "sharpest", False) or getattr(options, "min_overlap", None) is not None:
        yield from selected_from_stream(options, stream, [camera])
    elif distance_m is not None or angle_deg is not None:
        yield from keep_by_motion(stream, distance_m or 0.0, angle_deg or 0.0)
    else:
        yield from islice(stream, 0, None, every or 1)
