"""A walk through the generated room, its map in a file, and a node's parameters for it."""

import dataclasses

import pytest
from relocalizer_rigs import BASE_FROM_CAMERA, Walk
from shared_work import made_object

from hfnet_ros.map.map_io import save_map
from hfnet_ros.scene import QUERY_GAIT, query_walk


@pytest.fixture(scope="session")
def room_walk(apartment, take_picture, camera, tmp_path_factory):
    poses = [pose for _, pose in query_walk(apartment.scene, dataclasses.replace(QUERY_GAIT, rate_hz=2.0))]
    poses = poses[: len(poses) // 2]

    def draw():
        return [take_picture(apartment.scene, pose, seed) for seed, pose in enumerate(poses)]

    images = made_object(tmp_path_factory, "room_walk", draw)
    return Walk(camera, images, [pose @ BASE_FROM_CAMERA.inverse() for pose in poses])


@pytest.fixture(scope="session")
def room_map(apartment, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "room.map"
    save_map(apartment.visual_map, path)
    return path


@pytest.fixture(scope="session")
def node_parameters():
    """Return a function that makes parameters by section, with changes given as section__name=value."""

    def make(map_path, **changes):
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
        return parameters

    return make
