"""The same node on three transports: in memory, over DDS in another process, and on rclpy where that imports."""

import importlib.util

import pytest
from relocalizer_rigs import DdsRig, MemoryRig

from hfnet_ros.messages.headers import stamp_from_message


@pytest.fixture(params=["core", "dds", pytest.param("ros", marks=pytest.mark.ros)])
def rig_kind(request):
    if request.param == "dds" and importlib.util.find_spec("cyclonedds") is None:
        pytest.skip("cyclonedds is not installed (there are wheels for x86_64 only)")
    if request.param == "ros" and importlib.util.find_spec("rclpy") is None:
        pytest.skip("rclpy cannot be imported: no ROS 2 here")
    return request.param


@pytest.fixture
def node_program():
    """What Python runs as the node's process; None is a copy of one that has done its imports."""
    return


@pytest.fixture
def start_rig(rig_kind, room_walk, room_map, node_parameters, node_program, tmp_path):
    """Return a function that starts a node with parameters (section, name): value."""
    rigs = []

    def start(map_path=room_map, **changes):
        parameters = node_parameters(map_path, **changes)
        if rig_kind == "core":
            rig = MemoryRig(room_walk, room_map, parameters)
        elif rig_kind == "dds":
            rig = DdsRig(room_walk, room_map, parameters, folder=tmp_path, program=node_program)
        else:
            from ros_rig import RosRig  # imports rclpy

            rig = RosRig(room_walk, room_map, parameters)
        rigs.append(rig)
        return rig

    yield start
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(start_rig):
    return start_rig()


@pytest.fixture
def stamp_of():
    return lambda message: stamp_from_message(message.header.stamp)
