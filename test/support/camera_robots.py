"""A robot with three cameras around a node under test: front, left and right, by generated images."""

import dataclasses
import time

import numpy as np
import pytest
from relocalizer_rigs import BASE_FROM_CAMERA
from shared_work import made_object

from hfnet_ros.bags import BagWriter
from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages import topics
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message, stamp_from_message
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.messages.poses import transform_to_message

NAMES = ("front", "left", "right")


def turned(degrees):
    """Return a turn about the robot's z."""
    return Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(degrees)], np.zeros(3))


MOUNTINGS = {
    "front": BASE_FROM_CAMERA,
    "left": turned(80.0) @ BASE_FROM_CAMERA,
    "right": turned(-80.0) @ BASE_FROM_CAMERA,
    "rear": turned(180.0) @ BASE_FROM_CAMERA,
}


@dataclasses.dataclass
class RigWalk:
    """A walk of the robot with an image of each camera at every pose, rendered when it is asked for."""

    camera: object
    map_from_base: list
    render: object  # of map_from_camera, seed and a name that is the image's own
    drawn: dict = dataclasses.field(default_factory=dict)

    def image(self, index, name, base_from_camera=None):
        """Return the image of a camera, which is elsewhere on the robot than is said if a mounting is given."""
        mounting = base_from_camera or MOUNTINGS[name]
        key = f"{index}_{name}_" + "_".join(f"{number:.6f}" for number in mounting.quat_xyzw)
        if key not in self.drawn:
            seed = 100 * index + list(MOUNTINGS).index(name)
            self.drawn[key] = self.render(self.map_from_base[index] @ mounting, seed, key)
        return self.drawn[key]


def record(path, walk, names, *, mounted=None, calibrated=None, delay_ms=7):
    """Write a bag of the walk, five images a second of each camera, each camera a little later than the one before."""
    messages, entries = RosbagsMessages(), []
    start_ns = 1_700_000_000_000_000_000

    def add(topic, kind, stamp_ns, message):
        entries.append((stamp_ns, topic, kind, message))

    def add_transform(topic, pose, stamp_ns, parent, child):
        transform = transform_to_message(messages, pose, stamp_ns, parent, child)
        kind = "tf2_msgs/msg/TFMessage"
        add(topic, kind, stamp_ns, messages.make(kind, transforms=[transform]))

    for name in names:
        if name in (names if mounted is None else mounted):
            add_transform("/tf_static", MOUNTINGS[name], start_ns, "base_link", f"{name}_optical")
        if name in (names if calibrated is None else calibrated):
            header = header_to_message(messages, start_ns, f"{name}_optical")
            info = camera_to_message(messages, walk.camera, header)
            for step in range(2):
                add(f"/{name}/camera_info", topics.CAMERA_INFO.type_name, start_ns + step, info)
    for index, map_from_base in enumerate(walk.map_from_base):
        stamp_ns = start_ns + index * 200_000_000
        for offset_ms in (0, 100):  # the robot stands at each pose for a moment
            add_transform("/tf", map_from_base, stamp_ns + offset_ms * 1_000_000, "odom", "base_link")
        for number, name in enumerate(names):
            at_ns = stamp_ns + number * delay_ms * 1_000_000 // 2
            image = image_to_message(messages, walk.image(index, name), at_ns, f"{name}_optical")
            add(f"/{name}/image", topics.IMAGE.type_name, at_ns + delay_ms * 1_000_000, image)
    with BagWriter(path) as bag:
        for stamp_ns, topic, kind, message in sorted(entries, key=lambda entry: entry[0]):
            bag.write(topic, kind, stamp_ns, message)
    return path


@pytest.fixture(scope="session")
def rig_walk(room_walk, apartment, take_picture, tmp_path_factory):
    def render(map_from_camera, seed, name):
        return made_object(
            tmp_path_factory, f"rig_{name}", lambda: take_picture(apartment.scene, map_from_camera, seed)
        )

    return RigWalk(room_walk.camera, room_walk.map_from_base[:6], render)


class CameraRobot:
    """What the robot sends; times are those of the rig's steps."""

    def __init__(self, rig, walk, mounted=NAMES, calibrated=NAMES):
        self.rig, self.walk, self.number = rig, walk, 0
        config = Config.from_dict(rig.parameters)
        self.topics = {camera.name: topics.camera_topics(camera, config) for camera in config.cameras.each}
        for name in self.topics:  # drawn now: it takes seconds, by which stamps would be late
            for index in range(len(walk.map_from_base)):
                walk.image(index, name)
        rig.start_ns = time.time_ns()  # not when the node began to start, which may be long ago
        for name in mounted:
            transform = transform_to_message(rig.factory, MOUNTINGS[name], 1, "base_link", f"{name}_optical")
            rig.send_transforms([transform], static=True)
        for name in calibrated:
            header = header_to_message(rig.factory, rig.start_ns, f"{name}_optical")
            info = camera_to_message(rig.factory, walk.camera, header)
            rig.send(self.topics[name].camera_infos[0], info)
        rig.flush()

    def send_image(self, name, image, stamp_ns):
        message = image_to_message(self.rig.factory, image, stamp_ns, f"{name}_optical")
        self.rig.send(self.topics[name].image, message)

    def send_moving_mounting(self, name, base_from_camera, stamp_ns):
        transform = transform_to_message(
            self.rig.factory, base_from_camera, stamp_ns, "base_link", f"{name}_optical"
        )
        self.rig.send_transforms([transform], static=False)

    def step(self, **changed):
        """Drive on and take an image with each camera; return the status.

        `changed` gives by name an image, or a function that is given the number of the step and returns one, or None
        for none.
        """
        number, self.number = self.number, self.number + 1
        index = self.index(number)
        stamp_ns = self.rig.stamp(number)
        images = {name: self.walk.image(index, name) for name in self.topics} | {
            name: image(number) if callable(image) else image for name, image in changed.items()
        }
        odom_from_base = self.rig.walk.odom_from_map @ self.walk.map_from_base[index]
        self.rig.send_odometry(odom_from_base, stamp_ns)
        self.rig.flush()
        received = self.rig.received[topics.STATUS]
        before = len(received)
        for name, image in images.items():
            if image is not None:
                self.send_image(name, image, stamp_ns)

        def answers():
            """Return those to these images: one to others, sent before, may come first."""
            return [now for now in received[before:] if stamp_from_message(now.header.stamp) == stamp_ns]

        self.rig.wait_for(answers, "a status")
        return answers()[-1]

    def index(self, number):
        """Return the pose of a step: there and back."""
        cycle = 2 * (len(self.walk.map_from_base) - 1)
        return min(number % cycle, cycle - number % cycle)

    def localize(self, **changed):
        """Drive until the position is known."""
        for _ in range(10):
            status = self.step(**changed)
            if status.state == "TRACKING":
                return status
        raise AssertionError(f"not localized: {status}")

    def check_goes_on(self, name, said, **changed):
        """Drive with a fault until diagnostics name it; every answer is accepted and right.

        `said` is given level, message and values of the camera's diagnostics.
        """
        for _ in range(25):  # 5 s of the robot's time
            status = self.step(**changed)
            assert status.verdict == "ACCEPTED", status.reason
            assert self.error_of(status) < 0.1
            if self.rig.received[topics.DIAGNOSTICS] and said(*self.rig.diagnostics(f"images {name}")):
                return status
        raise AssertionError(f"not named: {self.rig.diagnostics(f'images {name}')}")

    def error_of(self, status):
        """Return the distance of a fix from the truth, m."""
        position = status.fix[0].pose.position
        truth = self.walk.map_from_base[self.index(self.number - 1)].translation
        return float(np.linalg.norm(np.subtract([position.x, position.y, position.z], truth)))
