"""The middleware of the node, on Cyclone DDS."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from hfnet_ros.dds import qos
from hfnet_ros.dds.graph import TopicInfo, list_topics
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.messages.topics import DIAGNOSTICS, PUBLISHED, Qos, Topic, resolve_topic
from hfnet_ros.messages.transform_tree import TransformTree

QOS = {
    Qos.SENSOR_DATA: qos.QosProfile(qos.Reliability.BEST_EFFORT, depth=50),
    Qos.NEWEST: qos.IMAGE,
    Qos.RELIABLE: qos.RELIABLE,
    Qos.LATCHED: qos.LATCHED,
}


class DdsTransport:
    """Publishers, transforms and the clock of a node; see `hfnet_ros.node.transport.Transport`."""

    def __init__(self, node: DdsNode, history_s: float, *, use_sim_time: bool) -> None:
        """Create the publishers and listen to TF, remembering it for `history_s`, and to /clock if asked."""
        self._node = node
        self._tree = TransformTree(history_s)
        self._sim_time_ns: int | None = 0 if use_sim_time else None
        self.is_active = False
        self._publishers = {
            topic: node.create_publisher(topic.name, topic.type_name, QOS[topic.qos]) for topic in PUBLISHED
        }
        self._tf = node.create_publisher("/tf", "tf2_msgs/msg/TFMessage", qos.TF)
        self._made: list[Any] = [*self._publishers.values(), self._tf]
        for name, profile, take in (
            ("/tf", qos.TF, self._take_moving),
            ("/tf_static", qos.TF_STATIC, self._take_static),
        ):
            self._made.append(node.create_subscription(name, "tf2_msgs/msg/TFMessage", profile, take))
        if use_sim_time:
            clock = node.create_subscription("/clock", "rosgraph_msgs/msg/Clock", qos.CLOCK, self._take_clock)
            self._made.append(clock)

    @property
    def factory(self) -> RosbagsMessages:
        """Return what makes messages."""
        return self._node.messages

    @property
    def node_name(self) -> str:
        """Return the node's name, behind its namespace if it has one, without the leading slash."""
        return self._node.full_name.lstrip("/")

    def resolved(self, topic: Topic) -> str:
        """Return a topic's full name after remapping."""
        return resolve_topic(topic, self._node.resolve, partial(self._node.resolve, only_expand=True))

    def now_ns(self) -> int:
        """Return ROS time, ns: that of /clock under simulated time, 0 before its first message."""
        return time.time_ns() if self._sim_time_ns is None else self._sim_time_ns

    def publish(self, topic: Topic, message: Any) -> None:
        """Publish; nothing happens while the node is not active (but for diagnostics)."""
        if self.is_active or topic is DIAGNOSTICS:
            self._publishers[topic].publish(message)

    def published_topics(self) -> list[TopicInfo]:
        """Return what others publish on, as far as they have been discovered."""
        return [topic for topic in list_topics(self._node) if topic.num_publishers]

    def has_subscribers(self, topic: Topic) -> bool:
        """Tell whether somebody listens."""
        return self._publishers[topic].num_subscribers > 0

    def broadcast_transform(self, message: Any) -> None:
        """Send one transform on /tf."""
        self._tf.publish(self.factory.make("tf2_msgs/msg/TFMessage", transforms=[message]))

    def look_up_transform(self, target: str, source: str, stamp_ns: int | None) -> tuple[int, Rigid3]:
        """Return the transform `target_from_source` and its stamp; the newest one for None."""
        if stamp_ns is None:
            return self._tree.look_up_latest(target, source)
        return stamp_ns, self._tree.look_up(target, source, stamp_ns)

    def transform_stamps(self, child: str) -> tuple[str, tuple[int, ...]]:
        """Return the parent of a moving frame, and the stamps of its transforms, ns."""
        return self._tree.stamps_of(child)

    def close(self) -> None:
        """Take everything back."""
        self.is_active = False
        for made in self._made:
            made.close()

    def _take_moving(self, message: Any, _: int) -> None:
        self._tree.hear(message, static=False)

    def _take_static(self, message: Any, _: int) -> None:
        self._tree.hear(message, static=True)

    def _take_clock(self, message: Any, _: int) -> None:
        self._sim_time_ns = stamp_from_message(message.clock)
