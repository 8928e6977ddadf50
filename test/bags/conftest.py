from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import image_to_message

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 100_000_000
MESSAGES = RosbagsMessages()
CAMERA = Camera(
    DistortionModel.PLUMB_BOB,
    (640, 480),
    np.array([430.0, 431.0]),
    np.array([319.5, 239.5]),
    np.array([-0.1, 0.01, 0.0, 0.0, 0.0]),
)
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}


def stamp(index: int) -> int:
    return START_NS + index * PERIOD_NS


def gray_image(index: int) -> np.ndarray:
    """640x480, so that four fill a chunk of MCAP; the corner tells which one it is."""
    image = np.full((480, 640), 100, np.uint8)
    image[0, 0] = index
    return image


def write_rosbag2(path: Path, entries: list, storage: str = "mcap", compression: str = "none") -> Path:
    """Write (topic, type, receipt, message or CDR) in the given order."""
    writer = Writer(path, version=8, storage_plugin=STORAGES[storage])
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    connections = {}
    with writer:
        for topic, type_name, stamp_ns, message in entries:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, type_name, typestore=MESSAGES.store)
            cdr = message if isinstance(message, bytes) else MESSAGES.serialize(message, type_name)
            writer.write(connections[topic], stamp_ns, cdr)
    return path


def image_entries(count: int = 12) -> list:
    """`count` images and as many calibrations, one pair each tenth of a second."""
    entries = []
    for index in range(count):
        header = header_to_message(MESSAGES, stamp(index), "camera_optical")
        info = camera_to_message(MESSAGES, CAMERA, header)
        image = image_to_message(MESSAGES, gray_image(index), stamp(index), "camera_optical")
        entries.append(("/camera/camera_info", CAMERA_INFO, stamp(index), info))
        entries.append(("/camera/image_raw", IMAGE, stamp(index), image))
    return entries


def write_rosbag1(path: Path, count: int = 3, compression: str = "") -> Path:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    writer = Rosbag1Writer(path)
    if compression:
        writer.set_compression(Rosbag1Writer.CompressionFormat[compression])
    with writer:
        images = writer.add_connection("/camera/image_raw", IMAGE, typestore=store)
        infos = writer.add_connection("/camera/camera_info", CAMERA_INFO, typestore=store)
        for index in range(count):
            time = types["builtin_interfaces/msg/Time"](*divmod(stamp(index), 10**9))
            header = types["std_msgs/msg/Header"](seq=index, stamp=time, frame_id="/camera_optical")
            pixels = gray_image(index)
            image = types[IMAGE](header, 480, 640, "mono8", 0, 640, pixels.reshape(-1))
            roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            k = CAMERA.intrinsics
            info = types[CAMERA_INFO](
                header, 480, 640, "plumb_bob", CAMERA.distortion, k.reshape(-1), np.eye(3).reshape(-1),
                np.hstack([k, np.zeros((3, 1))]).reshape(-1), 0, 0, roi,
            )  # fmt: skip
            writer.write(infos, stamp(index), bytes(store.serialize_ros1(info, CAMERA_INFO)))
            writer.write(images, stamp(index), bytes(store.serialize_ros1(image, IMAGE)))
    return path


def with_chunk_checksums(file: Path) -> list[int]:
    """Fill in the checksums of an uncompressed MCAP's chunks; return where their records begin."""
    data = bytearray(file.read_bytes())
    position, chunks = 8, []
    while position < len(data) - 8:
        kind, length = struct.unpack_from("<BQ", data, position)
        body = position + 9
        if kind == 6:
            (size,) = struct.unpack_from("<Q", data, body + 16)
            records = body + 40
            struct.pack_into("<I", data, body + 24, crc32(data[records : records + size]))
            chunks.append(records)
        position = body + length
    file.write_bytes(data)
    return chunks


@pytest.fixture
def write_bag() -> Callable[..., Path]:
    return write_rosbag2


@pytest.fixture
def write_ros1_bag() -> Callable[..., Path]:
    return write_rosbag1


@pytest.fixture
def add_checksums() -> Callable[[Path], list[int]]:
    return with_chunk_checksums


@pytest.fixture
def entries() -> list:
    return image_entries()


@pytest.fixture
def camera() -> Camera:
    return CAMERA


@pytest.fixture
def stamp_of() -> Callable[[int], int]:
    return stamp


@pytest.fixture
def messages() -> RosbagsMessages:
    return MESSAGES


@pytest.fixture
def trajectory() -> tuple[list[int], list[Rigid3]]:
    """A quarter of a circle of radius 2 m, driven in 2 s; poses map_from_base each 0.2 s."""
    angles = np.linspace(0.0, np.pi / 2, 11)
    poses = [
        Rigid3.from_rotvec([0.0, 0.0, angle], [2.0 * np.sin(angle), 2.0 - 2.0 * np.cos(angle), 0.5])
        for angle in angles
    ]
    return [START_NS + index * 200_000_000 for index in range(11)], poses
