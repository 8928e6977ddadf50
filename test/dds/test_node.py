import logging
import threading
import time
from pathlib import Path

import pytest

from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.dds.qos import IMAGE, LATCHED, RELIABLE
from hfnet_ros.errors import DdsError

STRING = "std_msgs/msg/String"
CYCLES = 200


def num_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_a_closed_node_leaves_nothing_behind():
    threads = threading.active_count()
    node = DdsNode("tested")
    node.create_subscription("text", STRING, RELIABLE, print)
    node.create_service("go", "std_srvs/srv/Trigger", print)
    node.create_client("come", "std_srvs/srv/Trigger")
    node.create_publisher("text", STRING, RELIABLE)
    node.close()
    node.close()
    assert threading.active_count() == threads
    with pytest.raises(DdsError, match="/tested is closed"):
        node.create_publisher("text", STRING, RELIABLE)


def test_a_node_closes_inside_its_own_callback(node, wait_until):
    closing = DdsNode("closing")
    closed = threading.Event()

    def close(_message, _received_ns):
        closing.close()
        closed.set()

    closing.create_subscription("text", STRING, RELIABLE, close)
    publisher = node.create_publisher("text", STRING, RELIABLE)
    wait_until(lambda: publisher.num_subscribers)
    publisher.publish(node.messages.make(STRING, data="stop"))
    assert closed.wait(60)


def test_a_node_closes_while_messages_arrive(node):
    going_on = threading.Event()
    publisher = node.create_publisher("text", STRING, RELIABLE)

    def talk():
        while not going_on.is_set():
            publisher.publish(node.messages.make(STRING, data="x" * 1000))

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        for _ in range(10):
            with DdsNode("listener") as listener:
                listener.create_subscription("text", STRING, RELIABLE, lambda *_: None)
    finally:
        going_on.set()
        talker.join()
    assert "dds /listener" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_endpoints_come_and_go_without_a_trace(node, other, image, wait_until):
    """What activating and deactivating a node does, many times."""
    received = []
    other.create_subscription("pose", STRING, LATCHED, lambda message, _: received.append(message))

    def cycle(number):
        subscription = node.create_subscription("image", "sensor_msgs/msg/Image", IMAGE, lambda *_: None)
        publisher = node.create_publisher("pose", STRING, LATCHED)
        service = node.create_service("go", "std_srvs/srv/Trigger", print)
        publisher.publish(node.messages.make(STRING, data=str(number)))
        for endpoint in (subscription, publisher, service):
            endpoint.close()

    for number in range(20):
        cycle(number)
    threads, files, memory = threading.active_count(), num_files(), resident_kb()
    for number in range(CYCLES):
        cycle(number)
    assert threading.active_count() == threads
    assert num_files() == files
    assert resident_kb() - memory < 20_000
    assert len(node._made) <= 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_nodes_come_and_go_without_a_trace():
    def cycle():
        with DdsNode("tested") as node:
            node.create_publisher("text", STRING, LATCHED)

    for _ in range(3):
        cycle()
    threads, files = threading.active_count(), num_files()
    for _ in range(20):
        cycle()
    assert (threading.active_count(), num_files()) == (threads, files)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_a_node_sleeps_when_nothing_happens(node, wait_until):
    node.create_subscription("text", STRING, RELIABLE, print)
    (receiver,) = (thread for thread in threading.enumerate() if thread.name == "dds /tested")
    status = Path(f"/proc/self/task/{receiver.native_id}/status")

    def num_wakes():
        return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

    # Creating the subscription may wake it once more; then it sleeps for good.
    wait_until(lambda: (num_wakes(), time.sleep(0.3))[0] == num_wakes())


def test_log_records_appear_on_rosout(node, other, wait_until):
    records = []
    other.create_subscription(
        "/rosout", "rcl_interfaces/msg/Log", LATCHED, lambda record, _: records.append(record)
    )
    logger = logging.getLogger("hfnet_ros.tested")
    handler = node.create_rosout_handler(logging.WARNING)
    logger.addHandler(handler)
    try:
        logger.info("not this one")
        logger.error("the camera is %s", "gone")
    finally:
        logger.removeHandler(handler)
    wait_until(lambda: records)
    assert [(record.level, record.name, record.msg) for record in records] == [
        (40, "tested", "the camera is gone")
    ]
    assert records[0].function == "test_log_records_appear_on_rosout"
    assert records[0].stamp.sec > 1_700_000_000


def test_what_publishing_logs_is_not_published_for_ever(node, monkeypatch, caplog):
    logger = logging.getLogger("hfnet_ros")
    handler = node.create_rosout_handler()
    publish = handler._publisher.publish_cdr

    def complain(cdr):
        logger.warning("publishing complains")
        return publish(cdr)

    monkeypatch.setattr(handler._publisher, "publish_cdr", complain)
    logger.addHandler(handler)
    try:
        logger.info("once")
    finally:
        logger.removeHandler(handler)
    assert caplog.messages.count("publishing complains") == 1
