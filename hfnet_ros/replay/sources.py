"""What a replay takes from a bag: images, odometry, and how the camera is mounted."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hfnet_ros.bags import (
    BagFrame,
    BagReader,
    CameraFrames,
    PoseSamples,
    read_odometry,
    read_transform,
)
from hfnet_ros.config import Config
from hfnet_ros.errors import BagError, ConfigError
from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.messages.headers import plain_frame_id
from hfnet_ros.replay.mounting import BagMounting, find_mounting


@dataclass(frozen=True, slots=True)
class BagChoices:
    """What a person says about a bag; what is left out is found, or is as the parameters say.

    Attributes:
        image_topic: raw or compressed.
        camera_info_topic: of the calibration.
        camera: calibration to use instead of the bag's; a `Calibration` says that of rectified images, too.
        odometry_topic: nav_msgs/Odometry.
        odometry_frames: transforms to take odometry from, e.g. `odom:base_link`.
        base_frame: frame of the robot; None leaves it to the parameters.
        base_from_camera: mounting to use whatever the bag says, 'x y z qx qy qz qw'.
    """

    image_topic: str = ""
    camera_info_topic: str = ""
    camera: Camera | Calibration | None = None
    odometry_topic: str = ""
    odometry_frames: str = ""
    base_frame: str | None = None
    base_from_camera: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class BagSources:
    """What was found.

    Attributes:
        frames: images with their calibration.
        first: the first of them.
        config: parameters, with the frames that were named.
        mounting: base_from_camera; None where nobody asked for it.
        odometry: odom_from_base; None for a robot without.
    """

    frames: CameraFrames
    first: BagFrame
    config: Config
    mounting: BagMounting | None
    odometry: PoseSamples | None


def open_camera(bag: BagReader, choices: BagChoices, config: Config) -> BagSources:
    """Find what is needed to localize images one by one: no odometry, no mounting.

    Raises:
        BagError: a topic is not there, or there is no image; with the table of topics.
        ConfigError: two choices contradict each other.
    """
    frames = CameraFrames(bag, choices.image_topic, choices.camera_info_topic, choices.camera)
    first = next(iter(frames), None)
    if first is None:
        raise BagError(f"{bag.path}: {frames.topic.name} holds no image that can be used")
    return BagSources(frames, first, with_frames(config, choices), None, None)


def open_sources(bag: BagReader, choices: BagChoices, config: Config) -> BagSources:
    """Find what a relocalizer needs.

    Raises:
        BagError: a topic or frame is not there or cannot be chosen.
        ConfigError: two choices contradict each other.
    """
    found = open_camera(bag, choices, config)
    camera_frame = found.first.camera_frame_id
    mounting = find_mounting(
        bag, found.config.frames.base_frame, camera_frame, found.config, choices.base_from_camera
    )
    odometry = _find_odometry(bag, choices, found.config)
    return dataclasses.replace(found, mounting=mounting, odometry=odometry)


def with_frames(config: Config, choices: BagChoices) -> Config:
    """Return the parameters with the frames that a person named.

    Raises:
        ConfigError: two choices contradict each other.
    """
    names: dict[str, Any] = {}
    if choices.base_frame is not None:
        names["base_frame"] = plain_frame_id(choices.base_frame)
    if choices.odometry_frames:
        if choices.odometry_topic:
            raise ConfigError("odometry is asked for from a topic and from transforms; give one of the two")
        odom_frame, separator, base_frame = choices.odometry_frames.partition(":")
        odom_frame, base_frame = plain_frame_id(odom_frame), plain_frame_id(base_frame)
        if not (odom_frame and separator and base_frame):
            raise ConfigError(f"'{choices.odometry_frames}' names no transform, expected e.g. odom:base_link")
        if names.get("base_frame", base_frame) != base_frame:
            raise ConfigError(
                f"odometry is asked for of '{base_frame}', but the base frame is '{choices.base_frame}'"
            )
        names.update(odom_frame=odom_frame, base_frame=base_frame)
    return dataclasses.replace(config, frames=dataclasses.replace(config.frames, **names))


def _find_odometry(bag: BagReader, choices: BagChoices, config: Config) -> PoseSamples | None:
    """Return odometry by choice, else by `odometry.source`: auto prefers transforms, as the node does."""
    frames, source = config.frames, config.odometry.source
    if choices.odometry_topic:
        return _read_topic(bag, choices.odometry_topic, config)
    if choices.odometry_frames or (source == "tf" and frames.base_frame):
        return _read_transforms(bag, config)
    if source == "none" or not frames.base_frame:
        return None
    if source == "auto":
        with suppress(BagError):
            return _read_transforms(bag, config)
    found = _read_topic(bag, "", config)
    if found is None and source == "topic":
        raise BagError(f"no topic with odometry; the bag holds:\n{bag.table()}")
    return found


def _read_transforms(bag: BagReader, config: Config) -> PoseSamples:
    odom_frame, base_frame = config.frames.odom_frame, config.frames.base_frame
    samples = read_transform(bag, odom_frame, base_frame)
    if len(samples) == 1 and not samples.stamps_ns[0]:
        raise BagError(f"'{base_frame}' is fixed in '{odom_frame}', so that transforms say nothing of motion")
    return samples


def _read_topic(bag: BagReader, topic: str, config: Config) -> PoseSamples | None:
    samples, frames = read_odometry(bag, topic), config.frames
    if samples is None:
        return None
    if (samples.parent_frame, samples.child_frame) != (frames.odom_frame, frames.base_frame):
        raise BagError(
            f"odometry is of '{samples.child_frame}' in '{samples.parent_frame}', expected '{frames.base_frame}' in "
            f"'{frames.odom_frame}'; set frames.base_frame (or --base-frame) and frames.odom_frame"
        )
    return samples
