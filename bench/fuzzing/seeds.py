"""Sound inputs that are changed: a map, calibrations, trajectories, messages, bags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from generated_maps import CAMERA, CONFIG, SiftExtractor, build_map, look_at, picture
from relocalizer_rigs import BASE_FROM_CAMERA, CAMERA_FRAME, Walk

from hfnet_ros.bags.writer import BagWriter
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.messages import topics
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.messages.poses import pose_to_message, transform_to_message
from hfnet_ros.scene import build_plane_wall
from hfnet_ros.types import Frame, ImageFeatures

START_NS = 1_700_000_000_000_000_000
TF = "tf2_msgs/msg/TFMessage"
MESSAGES = RosbagsMessages()

YAMLS = (
    b"""image_width: 320
image_height: 240
camera_name: front
camera_matrix:
  rows: 3
  cols: 3
  data: [215.5, 0.0, 159.5, 0.0, 215.5, 119.5, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.1, 0.01, 0.001, -1e-05, 0.0]
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [215.5, 0, 159.5, 0, 0, 215.5, 119.5, 0, 0, 0, 1, 0]}
""",
    b"""%YAML:1.0
---
image_width: 640
image_height: 480
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 525., 0., 319.5, 0., 525., 239.5, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 1
   cols: 14
   dt: d
   data: [ .1, -.2, 0., 0., .01, .1, .1, .1, 0., 0., 0., 0., 0., 0. ]
""",
    b"""cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.29, 0.08, 0.0002, 1.8e-05]
  distortion_model: radtan
  intrinsics: [461.6, 460.3, 363.0, 248.1]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
""",
    b"""header:
  stamp: {sec: 1, nanosec: 0}
  frame_id: camera
height: 240
width: 320
distortion_model: equidistant
d: [0.01, 0.0, 0.0, 0.0]
k: [200.0, 0.0, 160.0, 0.0, 200.0, 120.0, 0.0, 0.0, 1.0]
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: [200.0, 0.0, 160.0, 0.0, 0.0, 200.0, 120.0, 0.0, 0.0, 0.0, 1.0, 0.0]
binning_x: 0
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
""",
)
PARAMETERS = b"""extractor: {name: sift, max_keypoints: 700}
matching:
  min_similarity: 0.8
node: {max_rate_hz: 0.0, mode: continuous}
frames: {base_frame: base_link, base_from_camera: '0.2 0 0.5 -0.5 0.5 -0.5 0.5'}
odometry: {source: auto, wait_s: 0.05}
"""
TUM = "\ufeff# stamp tx ty tz qx qy qz qw\n".encode() + b"".join(
    b"%d.%09d %.3f 2.0 -1e-3 0 0 0.0 1\n" % (1_700_000_000 + row // 10, row % 10 * 10**8, 0.1 * row)
    for row in range(12)
)


def wall() -> tuple[VisualMap, Frame, ImageFeatures, Walk]:
    """Return a map of a wall with four keyframes, an image of it, its features, and a walk of two images."""
    scene = build_plane_wall(0)
    eyes = [(3.0, 2.0, 1.4), (4.2, 2.2, 1.4), (5.4, 2.0, 1.4), (6.6, 2.2, 1.4)]
    views = [look_at(np.array(eye), np.array([eye[0] + 0.4, 5.0, 1.5])) for eye in eyes]
    visual_map = build_map(scene, views)
    asked = [look_at(np.array([x, 2.1, 1.4]), np.array([x + 0.2, 5.0, 1.5])) for x in (4.6, 4.9)]
    images = [picture(scene, pose, 50 + row) for row, pose in enumerate(asked)]
    walk = Walk(CAMERA, images, [pose @ BASE_FROM_CAMERA.inverse() for pose in asked])
    return visual_map, Frame(START_NS, images[0], CAMERA), SiftExtractor(CONFIG).extract(images[0]), walk


def messages(walk: Walk, number: int) -> dict[str, Any]:
    """Return one message of each kind that a node hears, by topic; stamps grow with the number."""
    stamp_ns = START_NS + number * 200_000_000
    odom_from_base = walk.odom_from_map @ walk.map_from_base[number % 2]
    mounting = transform_to_message(MESSAGES, BASE_FROM_CAMERA, stamp_ns, "base_link", CAMERA_FRAME)
    odom = transform_to_message(MESSAGES, odom_from_base, stamp_ns, "odom", "base_link")
    covariance = np.zeros(36)
    covariance[[0, 7, 35]] = 0.25, 0.25, 0.07
    given = {
        name: MESSAGES.make(
            "geometry_msgs/msg/PoseWithCovariance", pose=pose_to_message(MESSAGES, pose), covariance=covariance
        )
        for name, pose in (("odom", odom_from_base), ("map", walk.map_from_base[0]))
    }  # fmt: skip
    jpeg = cv2.imencode(".jpg", walk.images[number % 2])[1].reshape(-1)
    return {
        "image": image_to_message(MESSAGES, walk.images[number % 2], stamp_ns, CAMERA_FRAME),
        "image/compressed": MESSAGES.make(
            "sensor_msgs/msg/CompressedImage",
            header=header_to_message(MESSAGES, stamp_ns, CAMERA_FRAME), format="jpeg", data=jpeg,
        ),
        "camera_info": camera_to_message(MESSAGES, walk.camera, header_to_message(MESSAGES, stamp_ns, CAMERA_FRAME)),
        "odom": MESSAGES.make(
            "nav_msgs/msg/Odometry",
            header=header_to_message(MESSAGES, stamp_ns, "odom"), child_frame_id="base_link", pose=given["odom"],
        ),
        "initialpose": MESSAGES.make(
            "geometry_msgs/msg/PoseWithCovarianceStamped",
            header=header_to_message(MESSAGES, stamp_ns, "map"), pose=given["map"],
        ),
        "/tf": MESSAGES.make(TF, transforms=[odom]),
        "/tf_static": MESSAGES.make(TF, transforms=[mounting]),
    }  # fmt: skip


TYPES = {
    "image": topics.IMAGE.type_name,
    "image/compressed": topics.COMPRESSED_IMAGE.type_name,
    "camera_info": topics.CAMERA_INFO.type_name,
    "odom": topics.ODOMETRY.type_name,
    "initialpose": topics.INITIAL_POSE.type_name,
    "/tf": TF,
    "/tf_static": TF,
}


def bags(folder: Path) -> list[Path]:
    """Write a small bag of each kind; return their files."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    folder.mkdir()
    picture_px = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
    tiny = Walk(
        CAMERA, [picture_px, picture_px + 1], [Rigid3.identity(), Rigid3.from_rotvec([0, 0, 0.1], [1, 0, 0])]
    )
    steps = [messages(tiny, number) for number in range(4)]
    files = []
    for storage in ("mcap", "sqlite3"):
        with BagWriter(folder / storage, storage) as bag:
            for number, step in enumerate(steps):
                for name, message in step.items():
                    bag.write(f"/{name.strip('/')}", TYPES[name], START_NS + number * 200_000_000, message)
        files += [file for file in (folder / storage).iterdir() if file.suffix in (".mcap", ".db3")]
    for mode in ("STORAGE", "MESSAGE"):
        writer = Writer(folder / mode, version=8, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
        with writer:
            connections = {
                name: writer.add_connection(f"/{name.strip('/')}", TYPES[name], typestore=MESSAGES.store)
                for name in steps[0]
            }
            for number, step in enumerate(steps):
                for name, message in step.items():
                    cdr = MESSAGES.serialize(message, TYPES[name])
                    writer.write(connections[name], START_NS + number * 200_000_000, cdr)
        files += [file for file in (folder / mode).iterdir() if file.suffix == ".mcap"]
    return files


def defined_bag(folder: Path, type_name: str, definition: str) -> bytes:
    """Return an MCAP bag of one message on /image whose type has such a name and definition."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        image = writer.add_connection("/image", type_name, msgdef=definition, rihs01="RIHS01_" + "0" * 64)
        writer.write(image, START_NS, b"\x00\x01\x00\x00" + bytes(200))
    return (folder / f"{folder.name}.mcap").read_bytes()
