"""Bags of ROS 2 and ROS 1 without ROS: read as a stream, written whole or not at all.

`BagReader` gives messages, `CameraFrames` images with their calibration, `read_odometry` and
`read_ground_truth` poses over time. `BagWriter` writes, `make_bag` turns image folders into bags.
"""

from hfnet_ros.bags.camera_frames import BagFrame, CameraFrames
from hfnet_ros.bags.motion import (
    read_ground_truth,
    read_odometry,
    read_transform,
)
from hfnet_ros.bags.pose_samples import PoseSamples
from hfnet_ros.bags.reader import BagMessage, BagReader
from hfnet_ros.bags.topics import BagTopic, Definition, topic_table
from hfnet_ros.bags.writer import BagWriter, check_bag_target

__all__ = [
    "BagFrame",
    "BagMessage",
    "BagReader",
    "BagTopic",
    "BagWriter",
    "CameraFrames",
    "Definition",
    "PoseSamples",
    "check_bag_target",
    "read_ground_truth",
    "read_odometry",
    "read_transform",
    "topic_table",
]
