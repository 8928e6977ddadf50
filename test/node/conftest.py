import dataclasses

import pytest
from relocalizer_rigs import MemoryRig, MemoryTransport

from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.poses import pose_to_message, transform_to_message

SECOND_NS = 1_000_000_000


class Robot:
    """Makes what a robot sends; times are seconds."""

    def __init__(self, transport):
        self.transport = transport
        self.factory = transport.factory

    def odometry(self, seconds, x=0.0, odom_frame="odom", base_frame="base_link"):
        pose = pose_to_message(self.factory, Rigid3.from_rotvec([0.0, 0.0, 0.0], [x, 0.0, 0.0]))
        return self.factory.make(
            "nav_msgs/msg/Odometry",
            header=header_to_message(self.factory, round(seconds * SECOND_NS), odom_frame),
            child_frame_id=base_frame,
            pose=self.factory.make("geometry_msgs/msg/PoseWithCovariance", pose=pose),
        )

    def send_transform(self, parent, child, seconds=0.0, x=0.0, *, static=False):
        parent_from_child = Rigid3.from_rotvec([0.0, 0.0, 0.0], [x, 0.0, 0.0])
        message = transform_to_message(
            self.factory, parent_from_child, round(seconds * SECOND_NS), parent, child
        )
        self.transport.tree.add(message, static=static)


@pytest.fixture
def transport():
    return MemoryTransport()


@pytest.fixture
def robot(transport):
    return Robot(transport)


@pytest.fixture
def configured():
    """Return a function that makes a configuration, given section__name=value."""

    def make(**changes):
        config = Config()
        for name, value in changes.items():
            section, _, key = name.partition("__")
            part = dataclasses.replace(getattr(config, section), **{key: value})
            config = dataclasses.replace(config, **{section: part})
        return config

    return make


@pytest.fixture
def start_rig(room_walk, room_map, node_parameters):
    """Return a function that starts the node's core in memory."""
    rigs = []

    def start(map_path=room_map, **changes):
        rigs.append(MemoryRig(room_walk, room_map, node_parameters(map_path, **changes)))
        return rigs[-1]

    yield start
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(start_rig):
    return start_rig()
