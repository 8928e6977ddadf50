"""What goes wrong around a live node, for some images, and by which words it must be named; see bench/soak.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from relocalizer_rigs import CAMERA_FRAME, MemoryRig, Walk

from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages import topics
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.headers import header_to_message, time_to_message
from hfnet_ros.messages.poses import transform_to_message

PERIOD_NS = 100_000_000

_logger = logging.getLogger("hfnet_ros.soak")


class Robot:
    """Walks back and forth, and sends odometry and an image at every step, unless something goes wrong."""

    def __init__(self, rig: MemoryRig, walk: Walk) -> None:
        self.rig, self.walk, self.make = rig, walk, rig.factory
        self.number, self.stamp_ns = 0, rig.start_ns
        rig.transport.now_ns = lambda: self.stamp_ns
        self.by_tf = rig.parameters["odometry"]["source"] == "tf"
        rig.send_mounting()
        rig.send_camera_info()

    @property
    def index(self) -> int:
        last = len(self.walk.images) - 1
        return last - abs(last - self.number % (2 * last))

    def advance(self) -> None:
        self.number += 1
        self.stamp_ns += PERIOD_NS

    def odom_from_base(self) -> Rigid3:
        return self.walk.odom_from_map @ self.walk.map_from_base[self.index]

    def send_odometry(
        self, odom_from_base: Rigid3 | None = None, frame: str = "odom", stamp_ns: int = 0
    ) -> None:
        pose, stamp_ns = odom_from_base or self.odom_from_base(), stamp_ns or self.stamp_ns
        if self.by_tf:
            self.rig.send_transforms(
                [transform_to_message(self.make, pose, stamp_ns, frame, "base_link")], static=False
            )
        else:
            self.rig.send_odometry(pose, stamp_ns)

    def send_bad_odometry(self) -> None:
        if self.by_tf:
            message = transform_to_message(
                self.make, self.odom_from_base(), self.stamp_ns, "odom", "base_link"
            )
            vector = self.make.make("geometry_msgs/msg/Vector3", x=float("nan"))
            transform = replace(message.transform, translation=vector)
            heard = self.make.make(
                "tf2_msgs/msg/TFMessage", transforms=[replace(message, transform=transform)]
            )
            for refusal in self.rig.transport.tree.add_all(heard, static=False):
                _logger.warning("%s", refusal)  # as transports do
        else:
            self.rig.send_odometry_numbers((float("nan"), 0.0, 0.0), self.stamp_ns)

    def image(self, index: int | None = None, stamp_ns: int = 0) -> Any:
        return self.rig.image(self.index if index is None else index, stamp_ns or self.stamp_ns)

    def send_camera(self, **changes: Any) -> None:
        header = header_to_message(self.make, self.stamp_ns, CAMERA_FRAME)
        message = camera_to_message(self.make, self.walk.camera, header)
        self.rig.send(topics.CAMERA_INFO, replace(message, **changes))

    def answer_to(self, image: Any) -> Any:
        """Send an image and return the status that answers it."""
        statuses = self.rig.received[topics.STATUS]
        before = len(statuses)
        self.rig.send(topics.IMAGE, image)
        self.rig.wait_for(lambda: len(statuses) > before, "a status")
        return statuses[-1]

    def sound_step(self) -> Any:
        self.advance()
        self.send_odometry()
        return self.answer_to(self.image())


@dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        name: of it.
        words: one of which has to be in a status or in diagnostics.
        act: does what a step does while it lasts; returns the status.
        images: how many it may last.
        end: what makes it good again.
        odometry: where odometry has to come from for it; either where empty.
        recovers_in: sound images until one is accepted; more where a clock begins again: fixes must then agree.
    """

    name: str
    words: tuple[str, ...]
    act: Callable[[Robot, np.random.Generator], Any]
    images: int = 5
    end: Callable[[Robot], None] = field(default=lambda _: None)
    odometry: str = ""
    recovers_in: int = 2


def _image_with(
    change: Callable[[Any, Robot, np.random.Generator], Any],
) -> Callable[[Robot, np.random.Generator], Any]:
    def act(robot: Robot, rng: np.random.Generator) -> Any:
        robot.advance()
        robot.send_odometry()
        return robot.answer_to(change(robot.image(), robot, rng))

    return act


def _with_header(image: Any, **changes: Any) -> Any:
    return replace(image, header=replace(image.header, **changes))


def _with_stamp(image: Any, robot: Robot, offset_s: float) -> Any:
    return _with_header(image, stamp=time_to_message(robot.make, robot.stamp_ns + int(offset_s * 1e9)))


def _picture(image: Any, pixels: np.ndarray) -> Any:
    height, width = pixels.shape[:2]
    step = width * (pixels.shape[2] if pixels.ndim == 3 else 1)
    encoding = "bgr8" if pixels.ndim == 3 else "mono8"
    data = np.ascontiguousarray(pixels).reshape(-1)
    return replace(image, height=height, width=width, step=step, encoding=encoding, data=data)


def _camera_with(**changes: Any) -> Callable[[Robot, np.random.Generator], Any]:
    def act(robot: Robot, _: np.random.Generator) -> Any:
        robot.advance()
        robot.send_odometry()
        robot.send_camera(
            **{name: np.array(value) if isinstance(value, list) else value for name, value in changes.items()}
        )
        return robot.answer_to(robot.image())

    return act


def _without_odometry(robot: Robot, _: np.random.Generator) -> Any:
    robot.advance()
    return robot.answer_to(robot.image())


def _bad_odometry(robot: Robot, _: np.random.Generator) -> Any:
    robot.advance()
    robot.send_bad_odometry()
    return robot.answer_to(robot.image())


def _other_odometry(robot: Robot, _: np.random.Generator) -> Any:
    robot.advance()
    message = robot.make.make(
        "nav_msgs/msg/Odometry",
        header=header_to_message(robot.make, robot.stamp_ns, "world"),
        child_frame_id="base_link",
    )
    robot.rig.send(topics.ODOMETRY, replace(message, pose=replace(message.pose, pose=_unit_pose(robot))))
    return robot.answer_to(robot.image())


def _unit_pose(robot: Robot) -> Any:
    orientation = robot.make.make("geometry_msgs/msg/Quaternion", w=1.0)
    return robot.make.make("geometry_msgs/msg/Pose", orientation=orientation)


def _jumping_odometry(robot: Robot, _: np.random.Generator) -> Any:
    robot.advance()
    robot.send_odometry(Rigid3.from_rotvec([0.0, 0.0, 0.0], [8.0, 0.0, 0.0]) @ robot.odom_from_base())
    return robot.answer_to(robot.image())


def _late_odometry(robot: Robot, _: np.random.Generator) -> Any:
    robot.advance()
    robot.send_odometry(stamp_ns=robot.stamp_ns - 30 * PERIOD_NS)
    return robot.answer_to(robot.image())


def _jump_of_all(seconds: float) -> Callable[[Robot, np.random.Generator], Any]:
    def act(robot: Robot, _: np.random.Generator) -> Any:
        robot.stamp_ns += int(seconds * 1e9)
        return robot.sound_step()

    return act


def _bad_hint(robot: Robot, _: np.random.Generator) -> Any:
    robot.rig.send_initial_pose(robot.index, robot.stamp_ns, frame_id="moon")
    return robot.sound_step()


def _bad_map(robot: Robot, _: np.random.Generator) -> Any:
    robot.rig.call(topics.LOAD_MAP, robot.rig.request("hfnet_ros/srv/LoadMap", path="/gone/x.map"))
    return robot.sound_step()


def _sound_camera(robot: Robot) -> None:
    robot.send_camera()


_OTHER_CAMERA = {"width": 160, "height": 120, "k": [107.0, 0.0, 79.5, 0.0, 107.0, 59.5, 0.0, 0.0, 1.0]}
FAULTS = [
    Fault("unknown encoding", ("encoding",), _image_with(lambda image, *_: replace(image, encoding="rgb565"))),
    Fault("short data", ("bytes",), _image_with(lambda image, *_: replace(image, data=image.data[:-7]))),
    Fault("no size", ("0x192",), _image_with(lambda image, *_: replace(image, width=0))),
    Fault("huge size", ("step",), _image_with(lambda image, *_: replace(image, width=2**31, height=2**31))),
    Fault("huge step", ("step",), _image_with(lambda image, *_: replace(image, step=2**31))),
    Fault("no stamp", ("stamp",), _image_with(
        lambda image, robot, _: _with_header(image, stamp=time_to_message(robot.make, 0)))),
    Fault("impossible stamp", ("stamp",), _image_with(
        lambda image, *_: _with_header(image, stamp=replace(image.header.stamp, nanosec=2**32 - 1)))),
    Fault("no frame", ("frame_id", "camera_info of ''"), _image_with(
        lambda image, *_: _with_header(image, frame_id=""))),
    Fault("another frame", ("rear",), _image_with(lambda image, *_: _with_header(image, frame_id="rear"))),
    Fault("another size", ("128x96",), _image_with(
        lambda image, robot, _: _picture(image, robot.walk.images[robot.index][::2, ::2]))),
    Fault("black image", ("NO_FEATURES", "contrast"), _image_with(
        lambda image, robot, _: _picture(image, np.zeros_like(robot.walk.images[0])))),
    Fault("noise", ("NO_C", "TOO_FEW", "ILL_COND"), _image_with(
        lambda image, robot, rng: _picture(image, rng.integers(0, 256, robot.walk.images[0].shape, np.uint8)))),
    Fault("image of elsewhere", ("REJECTED", "TOO_FEW", "NO_CONS", "ILL"), _image_with(
        lambda _, robot, __: robot.image((robot.index + len(robot.walk.images) // 2) % len(robot.walk.images))), 1),
    Fault("image stamped 100 s back", ("another clock",), _image_with(
        lambda image, robot, _: _with_stamp(image, robot, -100.0)), 1),
    Fault("image stamped 100 s ahead", ("another clock",), _image_with(
        lambda image, robot, _: _with_stamp(image, robot, 100.0)), 1),
    Fault("K all zeros", ("all zeros",), _camera_with(k=[0.0] * 9, p=[0.0] * 12), 5, _sound_camera),
    Fault("K not finite", ("not finite",), _camera_with(k=[float("nan")] * 9), 5, _sound_camera),
    Fault("principal point swapped", ("principal point",), _camera_with(
        k=[215.0, 0.0, 3.0, 0.0, 215.0, 160.0, 0.0, 0.0, 1.0]), 5, _sound_camera),
    Fault("camera_info of no size", ("size",), _camera_with(width=0, height=0), 5, _sound_camera),
    Fault("camera_info of another size", ("160x120",), _camera_with(**_OTHER_CAMERA), 5, _sound_camera),
    Fault("unknown lens", ("fovea",), _camera_with(distortion_model="fovea"), 5, _sound_camera),
    Fault("no odometry", ("odometry", "odom"), _without_odometry),
    Fault("odometry not finite", ("not finite",), _bad_odometry),
    Fault("odometry of other frames", ("world",), _other_odometry, odometry="topic"),
    Fault("odometry jumps", ("pose jumped, by",), _jumping_odometry, 1),
    Fault("odometry 3 s late", ("odometry", "odom"), _late_odometry, recovers_in=4),
    Fault("all clocks jump 50 s ahead", ("ACCEPTED",), _jump_of_all(50.0), 1),
    Fault("all clocks jump 50 s back", ("back", "LOST", "AWAITING"), _jump_of_all(-50.0), 1, recovers_in=4),
    Fault("hint in another frame", ("moon",), _bad_hint),
    Fault("a map that is gone", ("/gone/x.map",), _bad_map, 1),
]  # fmt: skip
assert len({fault.name for fault in FAULTS}) == len(FAULTS)
