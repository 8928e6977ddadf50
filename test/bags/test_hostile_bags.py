"""Bags made to exhaust memory or time, or whose contents are of another kind than they say."""

import sqlite3
import struct

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from hfnet_ros.bags import BagReader, CameraFrames
from hfnet_ros.bags.compression import zstd
from hfnet_ros.errors import BagError

IMAGE = "sensor_msgs/msg/Image"
FIELDS = "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
HEADER = "=" * 80 + "\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
TIME = "=" * 80 + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"


def record(kind, body):
    return struct.pack("<BQ", kind, len(body)) + body


def text(content):
    return struct.pack("<I", len(content)) + content


def mcap_of_one_chunk(path, packed, says):
    chunk = struct.pack("<QQQI", 0, 1, says, 0) + text(b"zstd") + struct.pack("<Q", len(packed)) + packed
    whole = b"\x89MCAP0\r\n" + record(1, text(b"ros2") + text(b"x")) + record(6, chunk) + record(15, bytes(4))
    path.write_bytes(whole + record(2, bytes(20)) + b"\x89MCAP0\r\n")
    return path


@pytest.mark.parametrize("says", [1000, 1 << 40], ids=["a lie", "the truth"])
def test_a_chunk_that_unpacks_to_gigabytes_is_refused(tmp_path, says):
    file = mcap_of_one_chunk(tmp_path / "bomb.mcap", zstd.compress(bytes(300 << 20)), says)
    with pytest.raises(BagError, match=r"when unpacked.*no message can be read"), BagReader(file):
        pass


def test_zeros_are_not_taken_for_millions_of_records(tmp_path):
    file = mcap_of_one_chunk(tmp_path / "zeros.mcap", zstd.compress(bytes(200 << 20)), 200 << 20)
    with pytest.raises(BagError, match="holds no messages"), BagReader(file):
        pass


def bag_defined_by(folder, definition):
    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        image = writer.add_connection("/image", IMAGE, msgdef=definition, rihs01="RIHS01_" + "0" * 64)
        writer.write(image, 1, b"\x00\x01\x00\x00" + bytes(200))
    return folder


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("string[1000000000] x\n", "array of 1000000000 entries"),
        (
            "Part[1000000000] x\n" + "=" * 80 + "\nMSG: sensor_msgs/Part\nuint8 y\n",
            "array of 1000000000 entries",
        ),
        (FIELDS + "uint32 step\n" + HEADER + TIME, "another field 'data'"),
        (FIELDS + "string step\nuint8[] data\n" + HEADER + TIME, "another field 'step'"),
        (
            FIELDS + "uint32 step\nuint8[] data\n" + HEADER.replace("string", "uint8") + TIME,
            "another field 'frame_id'",
        ),
    ],
)
def test_images_that_are_defined_otherwise_are_no_images(tmp_path, definition, words):
    with BagReader(bag_defined_by(tmp_path / "bag", definition)) as bag:
        assert list(bag.messages(["/image"])) == []
        assert words in " ".join(bag.report())


def test_fields_that_ros_does_not_have_are_no_harm(tmp_path):
    more = FIELDS + "uint32 step\nuint8[] data\nuint8 more\n" + HEADER + TIME
    with BagReader(bag_defined_by(tmp_path / "bag", more)) as bag:
        list(bag.messages(["/image"]))
        assert "another field" not in " ".join(bag.report())


@pytest.fixture
def changed(tmp_path, write_bag, entries):
    def change(command):
        file = write_bag(tmp_path / "bag", entries, "sqlite3") / "bag.db3"
        database = sqlite3.connect(file)
        database.executescript(command)
        database.commit()
        database.close()
        return file

    return change


@pytest.mark.parametrize(
    "command",
    [
        "update topics set type = x'00ff'",
        "update messages set timestamp = 1e300",
    ],
)
def test_columns_of_another_type_are_refused(changed, command):
    with pytest.raises(BagError, match=r"of another type.*recover"), BagReader(changed(command)):
        pass


def test_times_that_are_words_are_refused(changed):
    with pytest.raises(BagError, match=r"cannot be read.*recover"):
        BagReader(changed("update messages set timestamp = 'soon'")).__enter__()


def test_rows_without_a_message_are_left_out(changed):
    with BagReader(changed("update messages set data = 'text' where id % 4 = 0")) as bag:
        assert len(list(CameraFrames(bag))) == 6
        assert "rows that hold no message" in " ".join(bag.report())


def test_what_a_parser_says_of_a_type_is_cut_short(tmp_path):
    with BagReader(bag_defined_by(tmp_path / "bag", "uint8 x!\n" * 3000)) as bag:
        assert list(bag.messages(["/image"])) == []
        assert len(bag.report()[0]) < 500
