"""The middleware of the node, on rclpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.topics import DIAGNOSTICS, PUBLISHED, TF, TF_STATIC, Qos, Topic, resolve_topic
from hfnet_ros.messages.transform_tree import TransformTree
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
# As tf2 has them: many frames share these topics.
_TF = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=100)
_TF_STATIC = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
)


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
        self._tree = TransformTree(history_s)
        kind = message_class(TF.type_name)
        self._listening = [
            node.create_subscription(kind, topic.name, partial(self._tree.hear, static=static), profile)
            for topic, static, profile in ((TF, False, _TF), (TF_STATIC, True, _TF_STATIC))
        ]
        # Where simulated time begins again, what was known of the time before is nothing to wait for.
        backwards = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=False)
        self._restart = node.get_clock().create_jump_callback(
            backwards, post_callback=self._forget_transforms
        )
        self._tf = node.create_publisher(kind, TF.name, _TF)

    @property
    def node_name(self) -> str:
        """Return the node's name, behind its namespace if it has one, without the leading slash."""
        return self._node.get_fully_qualified_name().lstrip("/")

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
        for name, _ in self._node.get_topic_names_and_types():
            others = [
                publisher
                for publisher in self._node.get_publishers_info_by_topic(name)
                if (publisher.node_name, publisher.node_namespace) != own
            ]
            if others:
                profiles = [publisher.qos_profile for publisher in others]
                reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in profiles)
                latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in profiles)
                # Of those who publish: the types of a topic count those of subscriptions, too, this node's among them.
                types = tuple(sorted({publisher.topic_type for publisher in others}))
                topics.append(RosTopic(name, types, len(others), reliable, latched))
        return topics

    def has_subscribers(self, topic: Topic) -> bool:
        """Tell whether somebody listens."""
        return self._publishers[topic].get_subscription_count() > 0

    def broadcast_transform(self, message: Any) -> None:
        """Send one transform on /tf."""
        self._tf.publish(self.factory.make(TF.type_name, transforms=[message]))

    def look_up_transform(self, target: str, source: str, stamp_ns: int | None) -> tuple[int, Rigid3]:
        """Return the transform `target_from_source` and its stamp; the newest one for None."""
        if stamp_ns is None:
            return self._tree.look_up_latest(target, source)
        return stamp_ns, self._tree.look_up(target, source, stamp_ns)

    def transform_stamps(self, child: str) -> tuple[str, tuple[int, ...]]:
        """Return the parent of a moving frame, and the stamps of its transforms, ns."""
        return self._tree.stamps_of(child)

    def close(self) -> None:
        """Destroy what was created."""
        self._restart.unregister()
        for subscription in self._listening:
            self._node.destroy_subscription(subscription)
        for publisher in self._publishers.values():
            # Else the node would activate it once more, together with its successor.
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._tf)

    def _forget_transforms(self, _jump: TimeJump) -> None:
        self._tree.clear()

    def _create_publisher(self, topic: Topic) -> Any:
        kind, qos = message_class(topic.type_name), QOS[topic.qos]
        if topic is DIAGNOSTICS:  # an inactive node has something to say too
            return self._node.create_publisher(kind, topic.name, qos)
        return self._node.create_lifecycle_publisher(kind, topic.name, qos)
