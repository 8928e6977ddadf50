import numpy as np
import pytest

from hfnet_ros.dds import cyclone
from hfnet_ros.dds.qos import IMAGE, LATCHED, RELIABLE, SENSOR_DATA, QosProfile
from hfnet_ros.errors import DdsError

IMAGE_TYPE, STRING = "sensor_msgs/msg/Image", "std_msgs/msg/String"


@pytest.fixture
def string(node):
    return lambda text: node.messages.make(STRING, data=text)


@pytest.fixture
def heard(wait_until):
    """Return a list that a subscription fills, and a function that waits until it has so many."""

    class Heard(list):
        def add(self, message, received_ns):
            self.append(message)

        def wait_for(self, number):
            wait_until(lambda: len(self) >= number)

    return Heard()


def test_a_message_arrives_as_it_was_sent(node, other, image, heard, wait_until):
    subscription = other.create_subscription("image", IMAGE_TYPE, IMAGE, heard.add)
    publisher = node.create_publisher("image", IMAGE_TYPE, IMAGE)
    wait_until(lambda: publisher.num_subscribers == 1 and subscription.num_publishers == 1)
    assert publisher.publish(image(stamp_ns=5_000_000_007, value=9))
    heard.wait_for(1)
    assert (heard[0].header.stamp.sec, heard[0].header.stamp.nanosec) == (5, 7)
    assert heard[0].header.frame_id == "camera"
    np.testing.assert_array_equal(heard[0].data, np.full(15, 9, np.uint8))
    assert (subscription.num_received, subscription.num_corrupt) == (1, 0)


def test_raw_bytes_arrive_as_they_were_sent(node, other, image, heard, wait_until):
    other.create_subscription("image", IMAGE_TYPE, IMAGE, heard.add, raw=True)
    publisher = node.create_publisher("image", IMAGE_TYPE, IMAGE)
    wait_until(lambda: publisher.num_subscribers)
    cdr = node.messages.serialize(image(), IMAGE_TYPE)
    assert len(cdr) % 4  # DDS pads it; the padding is no part of the message
    publisher.publish_cdr(cdr)
    heard.wait_for(1)
    assert heard[0][: len(cdr)] == cdr
    assert len(heard[0]) - len(cdr) < 4


def test_the_callback_is_told_when_a_message_was_taken(node, other, string, wait_until):
    import time

    times = []
    other.create_subscription("text", STRING, RELIABLE, lambda _, received_ns: times.append(received_ns))
    publisher = node.create_publisher("text", STRING, RELIABLE)
    wait_until(lambda: publisher.num_subscribers)
    before = time.time_ns()
    publisher.publish(string("now"))
    wait_until(lambda: times)
    assert before <= times[0] <= time.time_ns()


def test_big_endian_messages_are_read(node, other, heard, wait_until):
    other.create_subscription("number", "std_msgs/msg/UInt32", RELIABLE, heard.add)
    publisher = node.create_publisher("number", "std_msgs/msg/UInt32", RELIABLE)
    wait_until(lambda: publisher.num_subscribers)
    publisher.publish_cdr(bytes([0, 0, 0, 0, 1, 2, 3, 4]))
    heard.wait_for(1)
    assert heard[0].data == 0x01020304


def test_messages_cross_to_another_process_and_back(node, image, heard, peer, wait_until):
    node.create_subscription("back", IMAGE_TYPE, RELIABLE, heard.add)
    publisher = node.create_publisher("there", IMAGE_TYPE, RELIABLE)
    peer("""if True:
        import sys
        from hfnet_ros.dds.participant import DdsNode
        from hfnet_ros.dds.qos import RELIABLE
        with DdsNode("echo") as node:
            publisher = node.create_publisher("back", "sensor_msgs/msg/Image", RELIABLE)
            reply = lambda cdr, _: publisher.publish_cdr(cdr)
            node.create_subscription("there", "sensor_msgs/msg/Image", RELIABLE, reply, raw=True)
            sys.stdin.read()
    """)
    wait_until(lambda: publisher.num_subscribers)

    def try_again():
        publisher.publish(image())
        return bool(heard)

    wait_until(try_again)  # the way back may be matched later than the way there
    np.testing.assert_array_equal(heard[-1].data, image().data)


def test_a_late_subscriber_gets_the_last_latched_message(node, other, string, heard):
    publisher = node.create_publisher("latched", STRING, LATCHED)
    for text in ("first", "second", "last"):
        publisher.publish(string(text))
    other.create_subscription("latched", STRING, LATCHED, heard.add)
    heard.wait_for(1)
    assert [message.data for message in heard] == ["last"]


def test_a_slow_callback_misses_old_messages_and_gets_the_newest(node, other, string, wait_until):
    import threading

    going_on, seen = threading.Event(), []

    def slow(message, _):
        seen.append(message.data)
        going_on.wait(60)

    other.create_subscription("text", STRING, IMAGE, slow)
    publisher = node.create_publisher("text", STRING, IMAGE)
    wait_until(lambda: publisher.num_subscribers)
    publisher.publish(string("0"))
    wait_until(lambda: seen)
    for number in range(1, 50):
        publisher.publish(string(str(number)))
    going_on.set()
    wait_until(lambda: seen[-1] == "49")
    assert seen == ["0", "49"]


def test_what_cannot_be_read_is_counted_and_survived(node, other, heard, wait_until, caplog):
    subscription = other.create_subscription("text", STRING, RELIABLE, heard.add)
    publisher = node.create_publisher("text", STRING, RELIABLE)
    wait_until(lambda: publisher.num_subscribers)
    for _ in range(5):
        publisher.publish_cdr(b"\0\1\0\0\3\0\0\0\xff\xfe\0")  # not UTF-8
    publisher.publish(node.messages.make(STRING, data="good"))
    heard.wait_for(1)
    assert heard[0].data == "good"
    assert (subscription.num_received, subscription.num_corrupt) == (6, 5)
    assert [record.args[-1] for record in caplog.records if "no std_msgs" in record.message] == [1, 2, 4]


@pytest.mark.parametrize("cdr", [b"", b"\0\1\0\0", b"\0\1\0\0\xff\xff\xff\x7fab", b"\0\1\0\0\2\0\0\0ab"])
def test_bytes_that_are_no_message_are_not_published(node, cdr):
    publisher = node.create_publisher("text", STRING, RELIABLE)
    with pytest.raises(DdsError, match=f"/text: these {len(cdr)} bytes are no std_msgs/msg/String"):
        publisher.publish_cdr(cdr)


def test_a_message_of_another_type_is_not_published(node, image):
    publisher = node.create_publisher("text", STRING, RELIABLE)
    with pytest.raises(DdsError, match="/text: this is no std_msgs/msg/String"):
        publisher.publish(image())


def test_a_callback_that_fails_does_not_end_reception(node, other, string, wait_until, caplog):
    seen = []

    def fail_once(message, _):
        seen.append(message.data)
        if message.data == "bad":
            raise RuntimeError("a bug of the user")

    subscription = other.create_subscription("text", STRING, RELIABLE, fail_once)
    publisher = node.create_publisher("text", STRING, RELIABLE)
    wait_until(lambda: publisher.num_subscribers)
    publisher.publish(string("bad"))
    publisher.publish(string("good"))
    wait_until(lambda: seen == ["bad", "good"])
    assert subscription.num_failed == 1
    assert "a bug of the user" in caplog.text


def test_incompatible_quality_of_service_is_reported_on_both_sides(node, other, wait_until, caplog):
    other.create_subscription("text", STRING, RELIABLE, print)
    node.create_publisher("text", STRING, SENSOR_DATA)
    wait_until(lambda: caplog.text.count("reliability") >= 2)
    assert "/text: a publisher offers less than is asked for here: reliability" in caplog.text
    assert "/text: a subscription asks for more than is published here: reliability" in caplog.text


def test_a_volatile_publisher_does_not_serve_a_latched_subscription(node, other, wait_until, caplog):
    other.create_subscription("text", STRING, LATCHED, print)
    publisher = node.create_publisher("text", STRING, RELIABLE)
    wait_until(lambda: "durability" in caplog.text)
    assert publisher.num_subscribers == 0


def test_one_topic_has_one_type_in_a_node(node):
    node.create_publisher("text", STRING, RELIABLE)
    with pytest.raises(DdsError, match=r"rt/text is std_msgs/msg/String .* asked for sensor_msgs/msg/Image"):
        node.create_subscription("text", IMAGE_TYPE, RELIABLE, print)


def test_a_full_queue_drops_messages_after_the_blocking_time(node, string, monkeypatch, caplog):
    monkeypatch.setattr(cyclone, "write_cdr", lambda writer, cdr: cyclone.TIMED_OUT)
    publisher = node.create_publisher("text", STRING, QosProfile(max_blocking_s=0.01))
    assert [publisher.publish(string("x")) for _ in range(3)] == [False] * 3
    assert publisher.num_dropped == 3
    assert "/text: 2 messages dropped" in caplog.text
    assert "/text: 3 messages dropped" not in caplog.text


def test_what_is_closed_stays_closed(node, other, string, heard, wait_until):
    subscription = other.create_subscription("text", STRING, RELIABLE, heard.add)
    publisher = node.create_publisher("text", STRING, RELIABLE)
    wait_until(lambda: publisher.num_subscribers)
    subscription.close()
    subscription.close()
    wait_until(lambda: publisher.num_subscribers == 0)
    publisher.close()
    publisher.close()
    assert publisher.publish(string("late")) is False
    assert (publisher.num_subscribers, subscription.num_publishers) == (0, 0)
    assert heard == []


def test_remapped_names_meet(new_node, string, heard, wait_until):
    listener = new_node("listener", "/robot", remappings={"image": "/camera/text"})
    talker = new_node("talker")
    listener.create_subscription("image", STRING, RELIABLE, heard.add)
    publisher = talker.create_publisher("camera/text", STRING, RELIABLE)
    wait_until(lambda: publisher.num_subscribers)
    publisher.publish(string("met"))
    heard.wait_for(1)
