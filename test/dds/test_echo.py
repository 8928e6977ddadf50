import threading

import numpy as np
import pytest
import yaml

from hfnet_ros.cli import dds as verbs
from hfnet_ros.dds.echo import format_message, receive_messages
from hfnet_ros.dds.qos import LATCHED, RELIABLE

STRING = "std_msgs/msg/String"


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs a verb of the program and returns status, output and errors."""
    import argparse

    from hfnet_ros.errors import HfnetRosError

    def call(*arguments):
        parser = argparse.ArgumentParser()
        verbs.add_verbs(parser.add_subparsers())
        options = parser.parse_args(arguments)
        try:
            status, error = options.run(options), ""
        except HfnetRosError as raised:
            status, error = 1, str(raised)
        captured = capsys.readouterr()
        return status, captured.out, captured.err + error

    return call


def test_messages_are_yaml(node, image):
    message = image(stamp_ns=3_000_000_004, value=1)
    text = format_message(message)
    assert text.startswith("header:\n  stamp:\n    sec: 3\n    nanosec: 4\n  frame_id: camera\nheight: 3\n")
    assert yaml.safe_load(text)["data"] == [1] * 15


def test_long_arrays_are_shortened_unless_asked_for(node):
    message = node.messages.make("std_msgs/msg/UInt8MultiArray", data=np.arange(200, dtype=np.uint8))
    shown = yaml.safe_load(format_message(message))["data"]
    assert shown == [*range(128), "... 72 more"]
    assert yaml.safe_load(format_message(message, full_arrays=True))["data"] == list(range(200))


def test_nested_lists_and_texts_survive(node):
    make = node.messages.make
    values = [make("diagnostic_msgs/msg/KeyValue", key="état: x", value="'1'\n2")]
    status = make("diagnostic_msgs/msg/DiagnosticStatus", name="yes", message="", values=values)
    message = make("diagnostic_msgs/msg/DiagnosticArray", status=[status])
    loaded = yaml.safe_load(format_message(message))
    assert loaded["status"][0]["values"] == [{"key": "état: x", "value": "'1'\n2"}]
    assert loaded["status"][0]["name"] == "yes"
    assert "__msgtype__" not in format_message(message)


def test_numbers_that_are_none_are_shown(node):
    text = format_message(node.messages.make("geometry_msgs/msg/Point", x=np.nan, y=np.inf, z=-0.5))
    assert text == "x: .nan\ny: .inf\nz: -0.5\n"


def test_messages_are_yielded_as_they_arrive(node, other, wait_until):
    messages = receive_messages(node, "text", STRING, RELIABLE)
    publisher = other.create_publisher("text", STRING, RELIABLE)
    received = []
    listener = threading.Thread(target=lambda: received.append(next(messages).data))
    listener.start()
    wait_until(lambda: publisher.num_subscribers)
    publisher.publish(other.messages.make(STRING, data="heard"))
    listener.join(60)
    assert received == ["heard"]
    messages.close()
    wait_until(lambda: publisher.num_subscribers == 0)


def test_the_verb_finds_the_type_and_prints_a_latched_message(node, run):
    publisher = node.create_publisher("~/pose", STRING, LATCHED)
    publisher.publish(node.messages.make(STRING, data="here"))
    assert run("echo", "/tested/pose", "--once") == (0, "data: here\n---\n", "")


def test_the_verb_takes_a_type_and_a_number(node, run, wait_until):
    publisher = node.create_publisher("text", STRING, RELIABLE)
    talking = threading.Event()

    def talk():
        while not talking.wait(0.01):
            publisher.publish(node.messages.make(STRING, data="again"))

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        assert run("echo", "text", "--type", STRING, "--count", "3") == (0, "data: again\n---\n" * 3, "")
    finally:
        talking.set()
        talker.join()


def test_a_missing_topic_is_an_error_with_the_topics_there_are(node, run, wait_until):
    node.create_publisher("image", "sensor_msgs/msg/Image", LATCHED)
    status, output, errors = run("echo", "/imgae", "--wait", "1")
    assert (status, output) == (1, "")
    assert "nobody publishes /imgae in domain" in errors
    assert "/image" in errors.splitlines()[1]


def test_a_topic_of_several_types_is_an_error(node, run, monkeypatch):
    from hfnet_ros.dds import graph

    both = graph.TopicInfo("/text", ("std_msgs/msg/Bool", STRING), 2, 0, True, False)
    monkeypatch.setattr(graph, "wait_for_topic", lambda *_: both)
    status, _, errors = run("echo", "text")
    assert status == 1
    assert "/text has several types: std_msgs/msg/Bool, std_msgs/msg/String; name one with --type" in errors


def test_an_unknown_type_is_an_error(run):
    status, _, errors = run("echo", "text", "--type", "acme_msgs/msg/Rocket")
    assert status == 1
    assert "acme_msgs/msg/Rocket is not known" in errors


def test_the_topics_verb_prints_a_table(node, run):
    node.create_publisher("image", "sensor_msgs/msg/Image", RELIABLE)
    status, output, _ = run("topics", "--wait", "1")
    assert status == 0
    assert ["/image", "sensor_msgs/msg/Image", "1", "0"] in [line.split() for line in output.splitlines()]


def test_a_number_of_messages_is_positive(run, capsys):
    with pytest.raises(SystemExit):
        run("echo", "x", "--count", "0")
    assert "expected 1 or more" in capsys.readouterr().err
