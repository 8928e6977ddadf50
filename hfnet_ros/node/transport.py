"""What the node needs of a middleware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.factory import MessageFactory
from hfnet_ros.messages.topics import Topic


class PublishedTopic(Protocol):
    """A topic that others publish on."""

    @property
    def name(self) -> str:
        """Return its absolute name."""
        ...

    @property
    def type_names(self) -> tuple[str, ...]:
        """Return the types it is said to have, e.g. `sensor_msgs/msg/Image`."""
        ...

    @property
    def num_publishers(self) -> int:
        """Return how many publish on it."""
        ...

    @property
    def reliable(self) -> bool:
        """Tell whether all of them are."""
        ...

    @property
    def transient_local(self) -> bool:
        """Tell whether all of them keep their last messages for those who come later."""
        ...


class Transport(Protocol):
    """A middleware as the node sees it; every method may be called from any thread."""

    @property
    def factory(self) -> MessageFactory:
        """Return what makes messages."""
        ...

    @property
    def node_name(self) -> str:
        """Return the node's name, behind its namespace if it has one, without the leading slash."""
        ...

    def resolved(self, topic: Topic) -> str:
        """Return a topic's full name after remapping."""
        ...

    def now_ns(self) -> int:
        """Return ROS time, ns; that of /clock under use_sim_time."""
        ...

    def publish(self, topic: Topic, message: Any) -> None:
        """Publish; nothing happens while the node is not active."""
        ...

    def published_topics(self) -> Sequence[PublishedTopic]:
        """Return what others publish on, as far as they have been discovered."""
        ...

    def has_subscribers(self, topic: Topic) -> bool:
        """Tell whether somebody listens, so that pictures are drawn for someone."""
        ...

    def broadcast_transform(self, message: Any) -> None:
        """Send one geometry_msgs/TransformStamped on /tf."""
        ...

    def look_up_transform(self, target: str, source: str, stamp_ns: int | None) -> tuple[int, Rigid3]:
        """Return the transform `target_from_source` and its stamp; the newest one for None.

        Raises:
            TransformError: says what is missing.
        """
        ...

    def transform_stamps(self, child: str) -> tuple[str, tuple[int, ...]]:
        """Return the parent of a moving frame, and the stamps, ns, of what is remembered of it, whoever sent it.

        Without any they are "" and empty.
        """
        ...
