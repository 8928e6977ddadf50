"""Every way in which a bag can be damaged, and what becomes of it: read with a note, or refused."""

import shutil
import struct

import numpy as np
import pytest

from hfnet_ros.bags import BagReader
from hfnet_ros.errors import BagError

IMAGE = "sensor_msgs/msg/Image"


def corners(bag):
    return [int(message.data.data[0]) for message in bag.messages(["/camera/image_raw"])]


@pytest.fixture
def mcap(tmp_path, write_bag, entries):
    """12 images of 300 kB, four to a chunk."""
    return write_bag(tmp_path / "bag", entries) / "bag.mcap"


@pytest.fixture
def sqlite(tmp_path, write_bag, entries):
    return write_bag(tmp_path / "bag", entries, "sqlite3") / "bag.db3"


def cut(file, size):
    with file.open("r+b") as stream:
        stream.truncate(size)


def test_an_mcap_without_its_end_is_read_whole(mcap, add_checksums):
    add_checksums(mcap)
    cut(mcap, mcap.stat().st_size - 20)  # part of the footer and the closing magic
    with BagReader(mcap.parent) as bag:
        assert corners(bag) == list(range(12))


def test_an_mcap_whose_recorder_was_killed_is_read_up_to_there(mcap, add_checksums):
    second_chunk = add_checksums(mcap)[1]
    cut(mcap, second_chunk + 700_000)  # within the third of its images
    with BagReader(mcap.parent) as bag:
        assert {topic.name: topic.count for topic in bag.topics} == {
            "/camera/camera_info": 7,
            "/camera/image_raw": 6,
        }
        assert corners(bag) == list(range(6))
        (note,) = bag.report()
    assert f"of {second_chunk + 700_000}" in note
    assert "breaks off at byte" in note


def test_an_mcap_cut_between_two_records_says_that_its_end_is_missing(mcap, add_checksums):
    second_chunk = add_checksums(mcap)[1]
    cut(mcap, second_chunk - 49)  # where its record begins: 9 bytes of head, 40 of chunk header
    with BagReader(mcap.parent) as bag:
        assert corners(bag) == list(range(4))
        assert "no end mark" in bag.report()[0]


@pytest.mark.parametrize("compression", ["storage", "message"])
def test_a_compressed_mcap_that_is_cut_off_is_read_up_to_there(tmp_path, write_bag, messages, compression):
    rng = np.random.default_rng(0)
    entries = [
        (
            "/noise",
            "std_msgs/msg/UInt8MultiArray",
            index,
            messages.make("std_msgs/msg/UInt8MultiArray", data=rng.integers(0, 256, 300_000, np.uint8)),
        )
        for index in range(12)
    ]
    file = write_bag(tmp_path / "bag", entries, "mcap", compression) / "bag.mcap"
    cut(file, 2_000_000)  # of 3.6 MB that cannot be compressed
    with BagReader(file) as bag:
        count = len(list(bag.messages()))
        assert len(bag.report()) == 1
    assert 4 <= count <= 6


def test_a_chunk_with_a_wrong_checksum_is_left_out(mcap, add_checksums):
    second_chunk = add_checksums(mcap)[1]
    with mcap.open("r+b") as stream:
        stream.seek(second_chunk + 500_000)
        stream.write(b"damage")
    with BagReader(mcap.parent) as bag:
        assert {topic.name: topic.count for topic in bag.topics}["/camera/image_raw"] == 12
        assert corners(bag) == [0, 1, 2, 3, 8, 9, 10, 11]
        report = " ".join(bag.report())
    assert "checksum" in report
    assert "8 messages of damaged chunks are lost" in report  # four images and their calibrations


def test_a_damaged_summary_is_done_without(mcap):
    data = bytearray(mcap.read_bytes())
    data[-28:-20] = struct.pack("<Q", 10**15)  # where the summary begins, in the footer
    mcap.write_bytes(data)
    with BagReader(mcap.parent) as bag:
        assert corners(bag) == list(range(12))


def test_garbage_after_the_first_chunk_ends_the_reading(mcap, add_checksums):
    second_chunk = add_checksums(mcap)[1]
    size = mcap.stat().st_size
    with mcap.open("r+b") as stream:
        stream.seek(second_chunk - 49)
        stream.write(bytes(size - second_chunk + 49))  # a file system gave blocks of zeros
    with BagReader(mcap.parent) as bag:
        assert corners(bag) == list(range(4))
        assert f"breaks off at byte {second_chunk - 49} of {size}" in bag.report()[0]


def test_an_mcap_of_nothing_but_its_head_is_refused(mcap):
    cut(mcap, 60)
    with pytest.raises(BagError, match="no message can be read"), BagReader(mcap.parent):
        pass


def test_a_file_that_is_no_mcap_is_refused(tmp_path):
    (tmp_path / "photo.mcap").write_bytes(b"\xff\xd8" * 100)
    with pytest.raises(BagError, match="is not MCAP"), BagReader(tmp_path / "photo.mcap"):
        pass


def mcap_record(kind, body):
    return struct.pack("<BQ", kind, len(body)) + body


def mcap_text(text):
    return struct.pack("<I", len(text)) + text.encode()


def test_an_mcap_without_chunks_is_sorted(tmp_path, messages, stamp_of):
    """Writers may leave out chunks and index; then messages lie in the order of recording."""
    cdr = [
        messages.serialize(messages.make("std_msgs/msg/UInt32", data=n), "std_msgs/msg/UInt32")
        for n in range(6)
    ]
    parts = [b"\x89MCAP0\r\n", mcap_record(1, mcap_text("ros2") + mcap_text("test"))]
    schema = mcap_text("std_msgs/msg/UInt32") + mcap_text("ros2msg") + mcap_text("uint32 data\n")
    parts.append(mcap_record(3, struct.pack("<H", 1) + schema))
    channel = struct.pack("<HH", 1, 1) + mcap_text("/count") + mcap_text("cdr") + struct.pack("<I", 0)
    parts.append(mcap_record(4, channel))
    for number in (0, 1, 3, 2, 5, 4):
        head = struct.pack("<HIQQ", 1, 0, stamp_of(number), stamp_of(number))
        parts.append(mcap_record(5, head + cdr[number]))
    parts += [mcap_record(15, bytes(4)), mcap_record(2, bytes(20)), b"\x89MCAP0\r\n"]
    (tmp_path / "loose.mcap").write_bytes(b"".join(parts))
    with BagReader(tmp_path / "loose.mcap") as bag:
        assert [message.data.data for message in bag.messages()] == [0, 1, 2, 3, 4, 5]
        assert bag.report() == []


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_written_out_of_order_are_sorted(tmp_path, write_bag, entries, storage):
    shuffled = [entries[index] for index in np.random.default_rng(1).permutation(len(entries))]
    with BagReader(write_bag(tmp_path / "bag", shuffled, storage)) as bag:
        assert corners(bag) == list(range(12))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "metadata.yaml is missing"),
        ("", "metadata.yaml cannot be used"),
        ("rosbag2_bagfile_information: {version: [", "metadata.yaml cannot be used"),
        ("rosbag2_bagfile_information:\n  relative_file_paths: []\n", "metadata.yaml cannot be used"),
        (
            "rosbag2_bagfile_information:\n  relative_file_paths: [other.mcap]\n",
            "names other.mcap, found bag.mcap",
        ),
        ("rosbag2_bagfile_information:\n  relative_file_paths: [../../etc/passwd]\n", "cannot be used"),
    ],
)
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_damaged_metadata_is_done_without(tmp_path, write_bag, entries, storage, text, found):
    if storage == "sqlite3" and text:
        text, found = text.replace("other.mcap", "other.db3"), found.replace(".mcap", ".db3")
    folder = write_bag(tmp_path / "bag", entries, storage)
    (folder / "metadata.yaml").unlink()
    if text is not None:
        (folder / "metadata.yaml").write_text(text)
    with BagReader(folder) as bag:
        assert corners(bag) == list(range(12))
        assert found in bag.report()[0]


def test_a_missing_part_is_reported(mcap):
    metadata = mcap.parent / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("  - bag.mcap\n", "  - bag.mcap\n  - bag_1.mcap\n"))
    with BagReader(mcap.parent) as bag:
        assert corners(bag) == list(range(12))
        assert bag.report() == ["metadata.yaml names files that are not there: bag_1.mcap"]


def test_a_damaged_part_leaves_the_others(tmp_path, write_bag, entries):
    folder = write_bag(tmp_path / "bag", entries)
    (folder / "metadata.yaml").unlink()
    (folder / "bag.mcap").rename(folder / "bag_0.mcap")
    (folder / "bag_1.mcap").write_bytes(b"nothing of a bag")
    (folder / "bag_2.mcap").write_bytes(b"")
    with BagReader(folder) as bag:
        assert corners(bag) == list(range(12))
        report = " ".join(bag.report())
    assert "bag_1.mcap: is not MCAP" in report
    assert "bag_2.mcap is empty (0 bytes)" in report


@pytest.mark.parametrize("name", ["bag.mcap", "bag.db3", "bag.bag"])
def test_a_zero_length_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BagError, match=r"is empty \(0 bytes\)"):
        BagReader(tmp_path / name)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_without_messages_is_refused(tmp_path, write_bag, storage):
    with (
        pytest.raises(BagError, match="holds no messages"),
        BagReader(write_bag(tmp_path / "bag", [], storage)),
    ):
        pass


def test_a_path_without_a_bag_is_refused(tmp_path, mcap):
    with pytest.raises(BagError, match="no such bag"):
        BagReader(tmp_path / "nothing")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(BagError, match=r"holds no bag \(found 1.jpg\)"):
        BagReader(tmp_path / "photos")
    with pytest.raises(BagError, match="no bag by its name"):
        BagReader(tmp_path / "photos" / "1.jpg")
    (tmp_path / "photos" / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BagError, match=r"name one of them: old\.bag"):
        BagReader(tmp_path / "photos")
    shutil.copy(mcap, tmp_path / "photos" / "kitchen.mcap")
    shutil.copy(mcap, tmp_path / "photos" / "hall.mcap")
    with pytest.raises(BagError, match="several recordings"):
        BagReader(tmp_path / "photos")


def test_a_damaged_database_is_read_up_to_the_damage(sqlite):
    data = bytearray(sqlite.read_bytes())
    half = len(data) // 2
    data[half : half + 500_000] = bytes(500_000)
    sqlite.write_bytes(data)
    with BagReader(sqlite.parent) as bag:
        assert corners(bag) == [0, 1, 2, 3, 4]
        (note,) = bag.report()
    assert "after 5 of 12 messages" in note
    assert ".recover" in note


def test_a_database_that_is_cut_off_is_refused_with_advice(sqlite):
    cut(sqlite, sqlite.stat().st_size // 2)
    with pytest.raises(BagError, match=r"malformed.*\.recover"), BagReader(sqlite.parent):
        pass


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "bag.db3").write_bytes(b"\xff\xd8" * 5000)
    with pytest.raises(BagError, match=r"cannot be read .*\.recover"), BagReader(tmp_path / "bag.db3"):
        pass


def test_what_a_recorder_left_in_its_write_ahead_log_is_reported(sqlite):
    sqlite.with_name("bag.db3-wal").write_bytes(bytes(4096))
    with BagReader(sqlite.parent) as bag:
        assert "bag.db3-wal holds 4096 bytes" in bag.report()[0]


def test_a_ros1_bag_that_was_not_closed_is_refused_with_advice(tmp_path, write_ros1_bag):
    file = write_ros1_bag(tmp_path / "old.bag")
    cut(file, file.stat().st_size // 2)
    with pytest.raises(BagError, match="rosbag reindex"), BagReader(file):
        pass


def test_a_ros1_bag_with_a_damaged_chunk_is_read_up_to_it(tmp_path, write_ros1_bag):
    file = write_ros1_bag(tmp_path / "old.bag", count=12, compression="LZ4")
    data = bytearray(file.read_bytes())
    second_chunk = data.index(b"\x04\x22\x4d\x18", data.index(b"\x04\x22\x4d\x18") + 4)
    data[second_chunk : second_chunk + 4] = b"none"  # instead of the signature of an LZ4 frame
    file.write_bytes(data)
    with BagReader(file) as bag:
        assert corners(bag) == [0, 1, 2, 3]
        (note,) = bag.report()
    assert "after 4 of 12 messages" in note
    assert "rosbag reindex" in note


def test_messages_that_cannot_be_decoded_are_counted(tmp_path, write_bag, entries):
    entries[3] = (*entries[3][:3], b"\x00\x01\x00\x00 not an image")
    entries[7] = (*entries[7][:3], b"")
    with BagReader(write_bag(tmp_path / "bag", entries)) as bag:
        for _ in range(2):  # counted per pass
            assert corners(bag) == [0, 2, 4, 5, 6, 7, 8, 9, 10, 11]
            assert bag.undecodable == {"/camera/image_raw": 2}
        assert "/camera/image_raw: 2 messages could not be decoded" in bag.report()


def test_a_damaged_message_of_a_message_compressed_bag_is_counted(tmp_path, write_bag, entries):
    folder = write_bag(tmp_path / "bag", entries, "mcap", "message")
    file = folder / "bag.mcap"
    data = bytearray(file.read_bytes())
    frames = [index for index in range(len(data) - 4) if data[index : index + 4] == b"\x28\xb5\x2f\xfd"]
    data[frames[5] + 4 : frames[5] + 12] = b"\xff" * 8  # the head of the third image
    file.write_bytes(data)
    with BagReader(folder) as bag:
        assert corners(bag) == [0, 1, *range(3, 12)]
        assert bag.undecodable == {"/camera/image_raw": 1}


def test_a_definition_that_cannot_be_parsed_spoils_its_own_topic_only(tmp_path, mcap):
    data = mcap.read_bytes()
    # In the chunk and in the summary: the same length, another text.
    mcap.write_bytes(data.replace(b"uint32 height", b"uint32 he!!ht"))
    with BagReader(mcap.parent) as bag:
        assert corners(bag) == []
        assert bag.undecodable == {"/camera/image_raw": 12}
        raw = list(bag.messages(["/camera/image_raw"], raw=True))
        assert len(raw) == 12


def test_a_hostile_type_name_runs_nothing(mcap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = mcap.read_bytes()
    hostile = b"a/msg/B;open('x','w')"
    assert len(hostile) == len(b"sensor_msgs/msg/Image")
    mcap.write_bytes(data.replace(b"\x15\x00\x00\x00sensor_msgs/msg/Image", b"\x15\x00\x00\x00" + hostile))
    with BagReader(mcap.parent) as bag:
        assert hostile.decode() in bag.table()
        assert corners(bag) == []
        assert bag.undecodable == {"/camera/image_raw": 12}
    assert not (tmp_path / "x").exists()
