"""The same node on three transports: in memory, over DDS in another process, and on rclpy where that imports."""

import dataclasses
import importlib.util

import pytest
from relocalizer_rigs import BASE_FROM_CAMERA, DdsRig, MemoryRig, Walk

from hfnet_ros.map.map_io import save_map
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.scene import QUERY_GAIT, query_walk


@pytest.fixture(scope="session")
def room_walk(apartment, take_picture, camera):
    poses = [pose for _, pose in query_walk(apartment.scene, dataclasses.replace(QUERY_GAIT, rate_hz=2.0))]
    poses = poses[: len(poses) // 2]
    images = [take_picture(apartment.scene, pose, seed) for seed, pose in enumerate(poses)]
    return Walk(camera, images, [pose @ BASE_FROM_CAMERA.inverse() for pose in poses])


@pytest.fixture(scope="session")
def room_map(apartment, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "room.map"
    save_map(apartment.visual_map, path)
    return path


@pytest.fixture(params=["core", "dds", pytest.param("ros", marks=pytest.mark.ros)])
def rig_kind(request):
    if request.param == "dds" and importlib.util.find_spec("cyclonedds") is None:
        pytest.skip("cyclonedds is not installed (there are wheels for x86_64 only)")
    if request.param == "ros" and importlib.util.find_spec("rclpy") is None:
        pytest.skip("rclpy cannot be imported: no ROS 2 here")
    return request.param


@pytest.fixture
def start_rig(rig_kind, room_walk, room_map, tmp_path):
    """Return a function that starts a node with parameters (section, name): value."""
    rigs = []

    def start(map_path=room_map, **changes):
        parameters = {
            "extractor": {"name": "sift", "max_keypoints": 700},
            "matching": {"min_similarity": 0.8},
            "node": {
                "map": str(map_path),
                "max_rate_hz": 0.0,
                "diagnostics_rate_hz": 10.0,
                "image_timeout_s": 1.0,
            },
            "odometry": {"source": "topic"},
        }
        for name, value in changes.items():
            section, _, key = name.partition("__")
            parameters.setdefault(section, {})[key] = value
        if rig_kind == "core":
            rig = MemoryRig(room_walk, room_map, parameters)
        elif rig_kind == "dds":
            rig = DdsRig(room_walk, room_map, parameters, folder=tmp_path)
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
