"""A generated indoor scene with exact poses: the demo's and the tests' source of images.

A scene is built (`build_*`), walked through (`*_walk`), drawn (`render`, `render_depth`),
spoiled as a camera would (`SensorModel`) and, if wanted, written to disk (`write_dataset`).
"""

from hfnet_ros.scene.dataset import demo_camera, write_dataset, write_sequence
from hfnet_ros.scene.model import Box, Rectangle, Scene, look_at
from hfnet_ros.scene.places import build_apartment, build_corridor, build_plane_wall
from hfnet_ros.scene.render import render, render_depth
from hfnet_ros.scene.rig import demo_rig
from hfnet_ros.scene.sensor import SensorModel
from hfnet_ros.scene.trajectory import QUERY_GAIT, Gait, StampedPose, mapping_walk, query_walk, walk

__all__ = [
    "QUERY_GAIT",
    "Box",
    "Gait",
    "Rectangle",
    "Scene",
    "SensorModel",
    "StampedPose",
    "build_apartment",
    "build_corridor",
    "build_plane_wall",
    "demo_camera",
    "demo_rig",
    "look_at",
    "mapping_walk",
    "query_walk",
    "render",
    "render_depth",
    "walk",
    "write_dataset",
    "write_sequence",
]
