"""A recorded robot that drives along x at 1 m/s and looks ahead; images are blank, poses are prescribed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.bags import BagReader, BagWriter
from hfnet_ros.bags.make import LOOKING_AHEAD
from hfnet_ros.config import Config, GateConfig, NodeConfig
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.messages.poses import pose_to_message, transform_to_message
from hfnet_ros.replay import BagChoices, open_sources

START_NS, MS = 1_700_000_000_000_000_000, 1_000_000
CAMERA = Camera(DistortionModel.NONE, (64, 48), np.array([50.0, 50.0]), np.array([31.5, 23.5]), np.zeros(0))
MESSAGES = RosbagsMessages()
TF, ODOMETRY = "tf2_msgs/msg/TFMessage", "nav_msgs/msg/Odometry"
CONFIG = dataclasses.replace(
    Config(), node=NodeConfig(max_rate_hz=0.0), gate=GateConfig(agreement_fixes=1, smoothing_s=0.0)
)


def at(milliseconds: float) -> int:
    return START_NS + round(milliseconds * MS)


def map_from_base(stamp_ns: int) -> Rigid3:
    return Rigid3.from_rotvec([0.0, 0.0, 0.0], [1e-9 * (stamp_ns - START_NS), 2.0, 0.0])


def odom_from_base(stamp_ns: int) -> Rigid3:
    return Rigid3.from_rotvec([0.0, 0.0, 0.0], [1e-9 * (stamp_ns - START_NS), 0.0, 0.0])


def image_entry(stamp_ns: int, receipt_ns: int, frame_id: str = "camera_optical") -> tuple:
    message = image_to_message(MESSAGES, np.zeros((48, 64), np.uint8), stamp_ns, frame_id)
    return "/camera/image_raw", "sensor_msgs/msg/Image", receipt_ns, message


def odometry_entry(stamp_ns: int, receipt_ns: int, topic: str) -> tuple:
    pose = odom_from_base(stamp_ns)
    if topic == "/tf":
        transform = transform_to_message(MESSAGES, pose, stamp_ns, "odom", "base_link")
        return topic, TF, receipt_ns, MESSAGES.make(TF, transforms=[transform])
    with_covariance = MESSAGES.make(
        "geometry_msgs/msg/PoseWithCovariance", pose=pose_to_message(MESSAGES, pose)
    )
    header = header_to_message(MESSAGES, stamp_ns, "odom")
    message = MESSAGES.make(ODOMETRY, header=header, child_frame_id="base_link", pose=with_covariance)
    return topic, ODOMETRY, receipt_ns, message


def write_robot(
    path: Path,
    images_ms: list[float],
    odometry_ms: list[float] = (),
    *,
    image_delay_ms: float = 0.0,
    odometry_delay_ms: float = 0.0,
    odometry_topics: tuple[str, ...] = ("/odom",),
    mounted: bool = True,
    cameras: tuple[tuple[str, Rigid3 | None], ...] = (("camera_optical", LOOKING_AHEAD),),
) -> Path:
    """Write a bag; odometry may reach below the start, where the robot moves, too.

    `cameras` take turns on one topic: name of the optical frame and base_from_camera, None for one that
    nobody mounted.
    """
    entries = []
    for frame_id, base_from_camera in cameras:
        info = camera_to_message(MESSAGES, CAMERA, header_to_message(MESSAGES, at(0), frame_id))
        entries.append(("/camera/camera_info", "sensor_msgs/msg/CameraInfo", at(-1000), info))
        if mounted and base_from_camera is not None:
            mounting = transform_to_message(MESSAGES, base_from_camera, at(0), "base_link", frame_id)
            entries.append(("/tf_static", TF, at(-1000), MESSAGES.make(TF, transforms=[mounting])))
    names = [cameras[index % len(cameras)][0] for index in range(len(images_ms))]
    entries += [
        image_entry(at(ms), at(ms + image_delay_ms), name) for ms, name in zip(images_ms, names, strict=True)
    ]
    for topic in odometry_topics:
        entries += [odometry_entry(at(ms), at(ms + odometry_delay_ms), topic) for ms in odometry_ms]
    with BagWriter(path) as bag:
        for topic, type_name, receipt_ns, message in sorted(entries, key=lambda entry: entry[2]):
            bag.write(topic, type_name, receipt_ns, message)
    return path


class TrueLocalizer:
    """Knows every pose; tests look at what it was given."""

    def __init__(self, make_localizer: Callable) -> None:
        self.priors: dict = {}
        self._make = make_localizer

    def localize(self, frame, prior=None):
        self.priors[frame.stamp_ns] = prior
        truth = map_from_base(frame.stamp_ns) @ LOOKING_AHEAD
        return self._make({frame.stamp_ns: truth}).localize(frame, prior)


class Robot:
    """What the tests need of all this."""

    CONFIG, START_NS = CONFIG, START_NS
    at = staticmethod(at)
    map_from_base = staticmethod(map_from_base)
    odom_from_base = staticmethod(odom_from_base)
    write = staticmethod(write_robot)

    @staticmethod
    @contextmanager
    def sources(path: Path, config: Config = CONFIG, **choices: object):
        with BagReader(path) as bag:
            yield open_sources(bag, BagChoices(**choices), config)


@pytest.fixture(scope="session")
def robot() -> Robot:
    return Robot()


@pytest.fixture
def localizer(scripted_localizer) -> TrueLocalizer:
    return TrueLocalizer(scripted_localizer)
