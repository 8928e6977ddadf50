import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from hfnet_ros.bags import BagReader, BagWriter, Definition
from hfnet_ros.errors import BagError

IMAGE, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"


def corners(bag):
    """Which images come, in order: their number is in the corner."""
    return [int(message.data.data[0]) for message in bag.messages(["/camera/image_raw"])]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_messages_come_back_in_order(tmp_path, write_bag, entries, stamp_of, storage):
    with BagReader(write_bag(tmp_path / "bag", entries, storage)) as bag:
        assert bag.storage == storage
        assert corners(bag) == list(range(12))
        assert (bag.start_ns, bag.end_ns) == (stamp_of(0), stamp_of(11))
        assert bag.report() == []
        read = list(bag.messages())
    assert [message.stamp_ns for message in read[::2]] == [stamp_of(index) for index in range(12)]
    assert {(message.topic, message.type_name) for message in read} == {
        ("/camera/image_raw", IMAGE),
        ("/camera/camera_info", CAMERA_INFO),
    }


@pytest.mark.parametrize(
    ("storage", "compression"),
    [("mcap", "storage"), ("mcap", "message"), ("mcap", "file"), ("sqlite3", "message"), ("sqlite3", "file")],
)
def test_compressed_bags_read_the_same(tmp_path, write_bag, entries, storage, compression):
    with BagReader(write_bag(tmp_path / "bag", entries, storage, compression)) as bag:
        assert corners(bag) == list(range(12))
        assert bag.report() == []


@pytest.mark.parametrize(
    ("storage", "compression", "suffix"),
    [
        ("mcap", "none", ".mcap"),
        ("sqlite3", "none", ".db3"),
        ("mcap", "file", ".zstd"),
        ("mcap", "message", ".mcap"),
    ],
)
def test_a_bare_file_is_a_bag(tmp_path, write_bag, entries, storage, compression, suffix):
    folder = write_bag(tmp_path / "bag", entries, storage, compression)
    (file,) = [entry for entry in folder.iterdir() if entry.suffix == suffix]
    with BagReader(file.rename(tmp_path / file.name)) as bag:
        assert corners(bag) == list(range(12))


def test_messages_of_ros1_become_those_of_ros2(tmp_path, write_ros1_bag, messages):
    with BagReader(write_ros1_bag(tmp_path / "old.bag")) as bag:
        assert bag.storage == "ros1"
        assert corners(bag) == [0, 1, 2]
        info = next(iter(bag.messages(["/camera/camera_info"]))).data
        raw = next(iter(bag.messages(["/camera/camera_info"], raw=True)))
    assert type(info) is messages.store.types[CAMERA_INFO]
    assert info.k[0] == 430.0
    assert not hasattr(info.header, "seq")
    assert messages.deserialize(raw.data, CAMERA_INFO).k.tolist() == info.k.tolist()


def test_parts_of_a_recording_are_merged_by_time(tmp_path, write_bag, entries):
    folder = tmp_path / "bag"
    folder.mkdir()
    # The parts overlap, and sorted as text part 10 would come before part 2.
    for number, part in ((2, entries[0::4] + entries[1::4]), (10, entries[2::4] + entries[3::4])):
        source = write_bag(tmp_path / f"part{number}", part)
        (source / f"part{number}.mcap").rename(folder / f"bag_{number}.mcap")
    with BagReader(folder) as bag:
        assert corners(bag) == list(range(12))
        assert {topic.name: topic.count for topic in bag.topics}["/camera/image_raw"] == 12
        assert [note for note in bag.notes if "metadata.yaml is missing" in note]


def test_of_messages_of_one_time_the_earlier_part_comes_first(tmp_path, write_bag, messages):
    folder = tmp_path / "bag"
    folder.mkdir()
    for number in (10, 2):
        message = messages.make("std_msgs/msg/UInt32", data=number)
        source = write_bag(tmp_path / f"part{number}", [("/part", "std_msgs/msg/UInt32", 5, message)])
        (source / f"part{number}.mcap").rename(folder / f"bag_{number}.mcap")
    with BagReader(folder) as bag:
        assert [message.data.data for message in bag.messages()] == [2, 10]


def test_topics_have_counts_and_rates(tmp_path, write_bag, entries):
    with BagReader(write_bag(tmp_path / "bag", entries)) as bag:
        image = next(topic for topic in bag.topics if topic.type_name == IMAGE)
        assert image.count == 12
        assert image.rate_hz == pytest.approx(10.0)  # 12 images, 11 periods of 0.1 s
        assert "/camera/image_raw    sensor_msgs/msg/Image       12 messages  10.0 Hz" in bag.table()
        assert bag.message_count == 24


def test_the_only_topic_of_a_type_is_chosen(tmp_path, write_bag, entries):
    with BagReader(write_bag(tmp_path / "bag", entries)) as bag:
        assert bag.choose([IMAGE], purpose="images", option="--image-topic").name == "/camera/image_raw"
        by_name = bag.choose([IMAGE], "camera/image_raw", purpose="images", option="--image-topic")
        assert by_name.name == "/camera/image_raw"


@pytest.mark.parametrize(
    ("types", "asked", "found"),
    [
        ([IMAGE], "/camera/rgb", "no topic /camera/rgb"),
        ([IMAGE], "/camera/camera_info", "is sensor_msgs/msg/CameraInfo, expected sensor_msgs/msg/Image"),
        (["nav_msgs/msg/Odometry"], "", "no topic with messages of type nav_msgs/msg/Odometry"),
        ([IMAGE, CAMERA_INFO], "", "several topics could be"),
    ],
)
def test_a_wrong_name_or_type_shows_what_is_there(tmp_path, write_bag, entries, types, asked, found):
    with BagReader(write_bag(tmp_path / "bag", entries)) as bag, pytest.raises(BagError) as caught:
        bag.choose(types, asked, purpose="images", option="--image-topic")
    assert found in str(caught.value)
    assert "/camera/camera_info  sensor_msgs/msg/CameraInfo" in str(caught.value)
    with BagReader(tmp_path / "bag") as bag, pytest.raises(BagError, match="no topic /nothing"):
        next(iter(bag.messages(["/nothing"])))


def custom_bag(path):
    """A topic of a type that only this bag knows."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    text = "float64 volts\nstring[] cells\n"
    store.register(get_types_from_msg(text, "robot_msgs/msg/Battery"))
    message = store.types["robot_msgs/msg/Battery"](12.5, ["a", "b"])
    cdr = bytes(store.serialize_cdr(message, "robot_msgs/msg/Battery"))
    definition = Definition(text, False, store.hash_rihs01("robot_msgs/msg/Battery"))
    with BagWriter(path) as bag:
        bag.add_topic("/battery", "robot_msgs/msg/Battery", definition=definition)
        bag.write_cdr("/battery", "robot_msgs/msg/Battery", 7, cdr)
    return cdr


def test_a_type_that_only_the_bag_knows_is_read_and_passed_on(tmp_path):
    cdr = custom_bag(tmp_path / "bag")
    with BagReader(tmp_path / "bag") as bag, BagWriter(tmp_path / "copy") as copy:
        (topic,) = bag.topics
        assert next(iter(bag.messages())).data.cells == ["a", "b"]
        copy.add_topic(topic.name, topic.type_name, definition=bag.definition(topic))
        for message in bag.messages(raw=True):
            copy.write_cdr(message.topic, message.type_name, message.stamp_ns, message.data)
    with BagReader(tmp_path / "copy") as copy:
        assert [(message.stamp_ns, message.data) for message in copy.messages(raw=True)] == [(7, cdr)]
        assert next(iter(copy.messages())).data.volts == 12.5


def test_reading_again_starts_anew(tmp_path, write_bag, entries):
    with BagReader(write_bag(tmp_path / "bag", entries)) as bag:
        first = iter(bag.messages(["/camera/image_raw"]))
        next(first)
        assert corners(bag) == list(range(12))


def test_pixels_are_views_that_cannot_be_written(tmp_path, write_bag, entries):
    with BagReader(write_bag(tmp_path / "bag", entries)) as bag:
        message = next(iter(bag.messages(["/camera/image_raw"])))
    assert isinstance(message.data.data, np.ndarray)
    assert not message.data.data.flags.writeable


def test_a_bag_must_be_open(tmp_path, write_bag, entries):
    bag = BagReader(write_bag(tmp_path / "bag", entries))
    with pytest.raises(BagError, match="not open"):
        list(bag.messages())
