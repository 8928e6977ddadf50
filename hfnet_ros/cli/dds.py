"""Verbs `echo` and `topics`: what is said in a DDS domain."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from hfnet_ros.cli.options import new_verb
from hfnet_ros.cli.streams import is_stdout_lost
from hfnet_ros.errors import DdsError

if TYPE_CHECKING:
    from hfnet_ros.dds.graph import TopicInfo
    from hfnet_ros.dds.participant import DdsNode

_ECHO = "hfnet-ros echo /relocalizer/pose --once"
_TOPICS = "hfnet-ros topics"


def add_verbs(verbs: Any) -> None:
    """Add `echo` and `topics`."""
    echo = new_verb(verbs, "echo", "print the messages of a topic as text", _ECHO, _echo)
    echo.add_argument("topic", metavar="TOPIC", help="name, e.g. /relocalizer/pose")
    echo.add_argument(
        "--type", metavar="T", help="type, e.g. sensor_msgs/msg/Image (default: its publisher's)"
    )
    number = echo.add_mutually_exclusive_group()
    number.add_argument("--once", action="store_const", dest="count", const=1, help="stop after one message")
    number.add_argument("--count", type=_positive, metavar="N", help="stop after so many messages")
    echo.add_argument("--raw-arrays", action="store_true", help="print all values of arrays (default: 128)")
    topics = new_verb(
        verbs, "topics", "list topics, their types, publishers and subscriptions", _TOPICS, _topics
    )
    for parser, wait_s in ((echo, 5.0), (topics, 1.5)):
        parser.add_argument(
            "--wait",
            type=float,
            default=wait_s,
            metavar="S",
            help=f"seconds to wait for others to be discovered (default: {wait_s:g})",
        )
        add_domain_options(parser)


def add_domain_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a DDS domain."""
    parser.add_argument(
        "--domain", type=int, metavar="ID", help="DDS domain id (default: ROS_DOMAIN_ID or 0)"
    )
    parser.add_argument(
        "--loopback", action="store_true", help="keep to this machine (CYCLONEDDS_URI overrides)"
    )


def _echo(options: argparse.Namespace) -> int:
    from hfnet_ros.dds.echo import format_message, receive_messages
    from hfnet_ros.dds.participant import DdsNode
    from hfnet_ros.dds.qos import SENSOR_DATA

    with DdsNode(_node_name("echo"), domain_id=options.domain, loopback=options.loopback) as node:
        try:
            type_name, qos = options.type, SENSOR_DATA
            if type_name is None:
                topic = _find_topic(node, options.topic, options.wait)
                type_name, qos = topic.type_names[0], topic.matching_qos(SENSOR_DATA.depth)
            messages = receive_messages(node, options.topic, type_name, qos)
            for message in itertools.islice(messages, options.count):
                print(format_message(message, full_arrays=options.raw_arrays) + "---", flush=True)
                if is_stdout_lost():
                    break
        except KeyboardInterrupt:
            pass  # the usual end of listening
    return 0


def _find_topic(node: DdsNode, name: str, wait_s: float) -> TopicInfo:
    from hfnet_ros.dds.echo import describe_topics
    from hfnet_ros.dds.graph import list_topics, wait_for_topic

    topic = wait_for_topic(node, node.resolve(name), wait_s)
    if topic is None:
        print(describe_topics(list_topics(node)), file=sys.stderr)
        raise DdsError(
            f"nobody publishes {node.resolve(name)} in domain {node.domain_id}: waited {wait_s:g} s; the "
            "topics there are stand above"
        )
    if len(topic.type_names) > 1:
        raise DdsError(f"{topic.name} has several types: {', '.join(topic.type_names)}; name one with --type")
    return topic


def _topics(options: argparse.Namespace) -> int:
    from hfnet_ros.dds.echo import describe_topics
    from hfnet_ros.dds.graph import list_topics
    from hfnet_ros.dds.participant import DdsNode

    with DdsNode(_node_name("topics"), domain_id=options.domain, loopback=options.loopback) as node:
        time.sleep(options.wait)
        print(describe_topics(list_topics(node)))
    return 0


def _node_name(verb: str) -> str:
    # A leading underscore hides a node from `ros2 node list`.
    return f"_hfnet_ros_{verb}_{os.getpid()}"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return value
