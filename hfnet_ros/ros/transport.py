"""The middleware of the node, on rclpy and tf2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import tf2_ros
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time

from hfnet_ros.errors import TransformError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.messages.poses import rigid_from_transform
from hfnet_ros.messages.topics import DIAGNOSTICS, PUBLISHED, Qos, Topic, resolve_topic
from hfnet_ros.ros.messages import RclpyMessages, message_class

QOS = {
    Qos.SENSOR_DATA: QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=50
    ),
    Qos.NEWEST: QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=1
    ),
    Qos.RELIABLE: QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10
    ),
    Qos.LATCHED: QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
    ),
}


@dataclass(frozen=True)
class RosTopic:
    """A topic that others publish on; see `hfnet_ros.node.transport.PublishedTopic`."""

    name: str
    type_names: tuple[str, ...]
    num_publishers: int
    reliable: bool
    transient_local: bool


class RclpyTransport:
    """Publishers and transforms of a lifecycle node; see `hfnet_ros.node.transport.Transport`."""

    def __init__(self, node: LifecycleNode, history_s: float) -> None:
        """Create the publishers and listen to TF, remembering it for `history_s`."""
        self._node = node
        self.factory = RclpyMessages()
        self._publishers = {topic: self._create_publisher(topic) for topic in PUBLISHED}
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=history_s))
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)
        # The buffer does not hear of simulated time that begins again, and would refuse what is older.
        backwards = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=False)
        self._restart = node.get_clock().create_jump_callback(
            backwards, post_callback=self._forget_transforms
        )
        self._broadcaster = tf2_ros.TransformBroadcaster(node)

    @property
    def node_name(self) -> str:
        """Return the node's name without namespace."""
        return self._node.get_name()

    def resolved(self, topic: Topic) -> str:
        """Return a topic's full name after remapping."""
        resolve = self._node.resolve_topic_name
        return resolve_topic(topic, resolve, partial(resolve, only_expand=True))

    def now_ns(self) -> int:
        """Return ROS time, ns."""
        return self._node.get_clock().now().nanoseconds

    def publish(self, topic: Topic, message: Any) -> None:
        """Publish; nothing happens while the node is not active (but for diagnostics)."""
        self._publishers[topic].publish(message)

    def published_topics(self) -> list[RosTopic]:
        """Return what others publish on, as far as they have been discovered."""
        own = self._node.get_name(), self._node.get_namespace()
        topics = []
        for name, types in self._node.get_topic_names_and_types():
            others = [
                publisher
                for publisher in self._node.get_publishers_info_by_topic(name)
                if (publisher.node_name, publisher.node_namespace) != own
            ]
            if others:
                profiles = [publisher.qos_profile for publisher in others]
                reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in profiles)
                latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in profiles)
                topics.append(RosTopic(name, tuple(types), len(others), reliable, latched))
        return topics

    def has_subscribers(self, topic: Topic) -> bool:
        """Tell whether somebody listens."""
        return self._publishers[topic].get_subscription_count() > 0

    def broadcast_transform(self, message: Any) -> None:
        """Send one transform on /tf."""
        self._broadcaster.sendTransform(message)

    def look_up_transform(self, target: str, source: str, stamp_ns: int | None) -> tuple[int, Rigid3]:
        """Return the transform `target_from_source` and its stamp; the newest one for None."""
        stamp = Time() if stamp_ns is None else Time(nanoseconds=stamp_ns)
        try:
            found = self._buffer.lookup_transform(target, source, stamp)
        except tf2_ros.TransformException as error:
            is_early = isinstance(error, tf2_ros.ExtrapolationException)
            ahead_s = self._ahead_s(target, source, stamp) if is_early else None
            raise TransformError(f"no transform from {source} to {target}: {error}", ahead_s) from error
        return stamp_from_message(found.header.stamp), rigid_from_transform(found.transform)

    def close(self) -> None:
        """Destroy what was created."""
        self._restart.unregister()
        self._listener.unregister()
        for publisher in self._publishers.values():
            # Else the node would activate it once more, together with its successor.
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _forget_transforms(self, _jump: TimeJump) -> None:
        self._buffer.clear()

    def _ahead_s(self, target: str, source: str, stamp: Time) -> float | None:
        """Return how far a time lies after the newest transforms, s; None where newer ones would not help."""
        newest = self._buffer.get_latest_common_time(target, source)
        ahead_s = 1e-9 * (stamp.nanoseconds - newest.nanoseconds)
        return ahead_s if ahead_s > 0.0 else None

    def _create_publisher(self, topic: Topic) -> Any:
        kind, qos = message_class(topic.type_name), QOS[topic.qos]
        if topic is DIAGNOSTICS:  # an inactive node has something to say too
            return self._node.create_publisher(kind, topic.name, qos)
        return self._node.create_lifecycle_publisher(kind, topic.name, qos)
