"""What a replay takes from a bag: images, odometry, and how the camera is mounted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
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
from hfnet_ros.config import CameraConfig, CamerasConfig, Config
from hfnet_ros.errors import BagError, ConfigError
from hfnet_ros.files.camera_mask import CameraMask, masks_of
from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
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
class BagCamera:
    """One of the robot's cameras in a bag.

    Attributes:
        name: empty where there is one.
        frames: its images with their calibration.
        frame_id: its optical frame where the images do not name it; else empty.
        mounting: base_from_camera; None where nobody asked for it.
    """

    name: str
    frames: CameraFrames
    frame_id: str = ""
    mounting: BagMounting | None = None

    def base_from_camera(self, frame: BagFrame) -> Rigid3 | None:
        """Return the mounting at the stamp of an image; None where it is not known."""
        if self.mounting is None:
            return None
        return self.mounting.at(frame.stamp_ns, self.frame_id or frame.camera_frame_id)


@dataclass(frozen=True, slots=True, eq=False)
class BagSources:
    """What was found.

    Attributes:
        cameras: all of them, in order.
        first: the first image of the first one.
        config: parameters, with the frames that were named.
        odometry: odom_from_base; None for a robot without, or where nobody asked for it.
    """

    cameras: tuple[BagCamera, ...]
    first: BagFrame
    config: Config
    odometry: PoseSamples | None = None

    @property
    def frames(self) -> CameraFrames:
        """Images of the first camera, with their calibration."""
        return self.cameras[0].frames

    @property
    def mounting(self) -> BagMounting | None:
        """base_from_camera of the first camera; None where nobody asked for it."""
        return self.cameras[0].mounting

    def each_alone(self, bag: BagReader) -> Iterator[BagSources]:
        """Yield the same of each camera by itself.

        Raises:
            BagError: there is no image of one of them.
        """
        for number, camera in enumerate(self.cameras):
            first = first_frame(bag, camera) if number else self.first
            yield dataclasses.replace(self, cameras=(camera,), first=first)


def open_camera(bag: BagReader, choices: BagChoices, config: Config) -> BagSources:
    """Find what is needed to localize images one by one: no odometry, no mounting.

    Raises:
        BagError: a topic is not there, or there is no image; with the table of topics.
        CalibrationError: there is no usable calibration.
        ConfigError: two choices contradict each other, or a mask cannot be read.
    """
    config = with_frames(config, choices)
    if choices.image_topic or not config.cameras.names:
        config = dataclasses.replace(config, cameras=_one_camera(config.cameras, choices.image_topic))
        mask = masks_of(config.cameras).get("")
        frames = CameraFrames(bag, choices.image_topic, choices.camera_info_topic, choices.camera, mask)
        cameras: tuple[BagCamera, ...] = (BagCamera("", frames),)
    else:
        _refuse_for_one(choices)
        each = config.cameras.each
        masks = masks_of(config.cameras, [camera.name for camera in each])
        cameras = tuple(_open_one_of_several(bag, camera, masks.get(camera.name)) for camera in each)
    return BagSources(cameras, first_frame(bag, cameras[0]), config)


def open_sources(bag: BagReader, choices: BagChoices, config: Config) -> BagSources:
    """Find what a relocalizer needs.

    Raises:
        BagError: a topic or frame is not there or cannot be chosen.
        CalibrationError: there is no usable calibration.
        ConfigError: two choices contradict each other.
    """
    found = mounted(bag, open_camera(bag, choices, config), choices)
    odometry = _find_odometry(bag, choices, found.config)
    return dataclasses.replace(found, odometry=odometry)


def mounted(bag: BagReader, found: BagSources, choices: BagChoices) -> BagSources:
    """Return the same cameras with their mountings on the robot's base.

    Raises:
        BagError: none of them has one; of several, those that lack it are noted.
    """
    cameras, problems = list[BagCamera](), list[BagError]()
    for camera, said in zip(found.cameras, found.config.cameras.each, strict=True):
        frame_id = camera.frame_id or first_frame(bag, camera).camera_frame_id
        base_frame = found.config.frames.base_frame
        try:
            mounting = find_mounting(bag, base_frame, frame_id, found.config, choices.base_from_camera, said)
        except BagError as error:  # of several cameras the others do, as for the live node
            problems.append(error)
            mounting = BagMounting()
        cameras.append(dataclasses.replace(camera, mounting=mounting))
    if len(problems) == len(cameras):
        raise problems[0]
    for problem in problems:
        bag.note(str(problem).partition("\n")[0])
    return dataclasses.replace(found, cameras=tuple(cameras))


def first_frame(bag: BagReader, camera: BagCamera) -> BagFrame:
    """Return the first image of a camera.

    Raises:
        BagError: there is none.
    """
    first = next(iter(camera.frames), None)
    if first is None:
        raise BagError(f"{bag.path}: {camera.frames.topic.name} holds no image that can be used")
    return first


def topics_in_bag(camera: CameraConfig) -> tuple[str, str]:
    """Return the topics of images and calibrations of one of several cameras; the latter empty for beside them."""
    image, info = camera.image_topic.strip("/"), camera.camera_info_topic.strip("/")
    image = f"{image}/compressed" if camera.transport == "compressed" else image
    return f"/{image}", f"/{info}" if info else ""


def _one_camera(cameras: CamerasConfig, image_topic: str) -> CamerasConfig:
    """Return what is said of the only camera, or of the one of several with these images: its mask."""
    names = {topics_in_bag(camera)[0]: camera.name for camera in cameras.each if camera.name}
    files = cameras.mask_files
    file = files.get(names[image_topic]) if image_topic in names else files.get("")
    if names:
        return CamerasConfig(masks=file or "")
    return CamerasConfig(masks=cameras.masks)


def _open_one_of_several(bag: BagReader, camera: CameraConfig, mask: CameraMask | None) -> BagCamera:
    frames = CameraFrames(bag, *topics_in_bag(camera), mask=mask)
    return BagCamera(camera.name, frames, camera.frame)


def _refuse_for_one(choices: BagChoices) -> None:
    """Refuse what is said of one camera where there are several."""
    for option, given, parameter in (
        ("--camera", choices.camera is not None, "the bag's calibrations"),
        ("--camera-info-topic", choices.camera_info_topic, "cameras.camera_info_topics"),
        ("--base-from-camera", choices.base_from_camera, "cameras.base_from_camera"),
    ):
        if given:
            raise ConfigError(f"{option} is of one camera, but there are several; use {parameter}")


def refuse_several(sources: BagSources) -> None:
    """Refuse several cameras where one is looked at.

    Raises:
        ConfigError: says how to choose one.
    """
    if len(sources.cameras) > 1:
        names = ", ".join(camera.name for camera in sources.cameras)
        raise ConfigError(f"this is for one camera, not {names} (cameras.names); choose one by --image-topic")


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
