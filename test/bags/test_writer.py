import resource
import signal
import subprocess
import sys

import pytest

from hfnet_ros.bags import BagReader, BagWriter
from hfnet_ros.errors import BagError

STRING = "std_msgs/msg/String"


def write_numbers(path, messages, storage="mcap", count=3):
    with BagWriter(path, storage) as bag:
        bag.add_topic("/latched", STRING, latched=True)
        for number in range(count):
            bag.write("/said", STRING, number, messages.make(STRING, data=str(number)))


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_the_same_messages_give_the_same_bytes_under_any_name(tmp_path, messages, storage):
    write_numbers(tmp_path / "first", messages, storage)
    write_numbers(tmp_path / "second.bag", messages, storage)
    assert contents(tmp_path / "first") == contents(tmp_path / "second.bag")
    assert len(contents(tmp_path / "first")) == 2


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_what_was_written_is_read(tmp_path, messages, storage):
    write_numbers(tmp_path / "bag", messages, storage)
    with BagReader(tmp_path / "bag") as bag:
        assert [(message.stamp_ns, message.data.data) for message in bag.messages()] == [
            (0, "0"), (1, "1"), (2, "2"),
        ]  # fmt: skip
        assert {topic.name: topic.latched for topic in bag.topics} == {"/latched": True, "/said": False}
        assert bag.report() == []


def test_an_older_bag_is_replaced_as_a_whole(tmp_path, messages):
    write_numbers(tmp_path / "bag", messages, "sqlite3")
    write_numbers(tmp_path / "bag", messages, "mcap", count=5)
    assert sorted(contents(tmp_path / "bag")) == ["messages.mcap", "metadata.yaml"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_interrupted_writer_leaves_the_older_bag(tmp_path, messages, storage):
    write_numbers(tmp_path / "bag", messages)
    before = contents(tmp_path / "bag")
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / "bag", storage) as bag:
        bag.write("/said", STRING, 0, messages.make(STRING, data="half"))
        raise KeyboardInterrupt
    assert contents(tmp_path / "bag") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]


FULL_DISK = """
import sys
from hfnet_ros.errors import BagError
from hfnet_ros.bags import BagWriter
from hfnet_ros.messages.factory import RosbagsMessages
messages = RosbagsMessages()
message = messages.make("std_msgs/msg/String", data="x" * 100_000)
try:
    with BagWriter(sys.argv[1], sys.argv[2]) as bag:
        for number in range(100):
            bag.write("/said", "std_msgs/msg/String", number, message)
except BagError as error:
    print(error)
"""


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, storage):
    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "bag"), storage],
        capture_output=True, text=True, preexec_fn=limit_file_size,
    )  # fmt: skip
    assert "cannot be written" in result.stdout, result.stderr
    assert "nothing was left half written" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"")
    with pytest.raises(BagError, match=r"holds 1.jpg, which is no part of a bag"):
        BagWriter(tmp_path / "photos")
    with pytest.raises(BagError, match="is a file"):
        BagWriter(tmp_path / "photos" / "1.jpg")
    with pytest.raises(BagError, match="does not exist"):
        BagWriter(tmp_path / "nowhere" / "bag")
    with pytest.raises(BagError, match="expected mcap or sqlite3"):
        BagWriter(tmp_path / "bag", "zip")


def test_what_cannot_be_written_is_refused(tmp_path, messages):
    text = messages.make(STRING, data="text")
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/said", STRING, 0, text)
        with pytest.raises(BagError, match="holds std_msgs/msg/String"):
            bag.write("/said", "std_msgs/msg/Header", 0, messages.make("std_msgs/msg/Header"))
        with pytest.raises(BagError, match="stamp is -1"):
            bag.write("/said", STRING, -1, text)
        with pytest.raises(BagError, match=r"type robot_msgs/msg/Battery is unknown"):
            bag.add_topic("/battery", "robot_msgs/msg/Battery")
        with pytest.raises(BagError, match="no sensor_msgs/msg/Image can be made of"):
            bag.write("/image", "sensor_msgs/msg/Image", 0, text)
    with BagReader(tmp_path / "bag") as bag:
        assert bag.message_count == 1
