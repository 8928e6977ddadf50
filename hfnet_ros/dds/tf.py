"""Transforms published on /tf and /tf_static."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from hfnet_ros.dds.endpoints import Publisher
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.dds.qos import LATCHED, TF

_TYPE = "tf2_msgs/msg/TFMessage"


class TransformPublisher:
    """Publishes geometry_msgs/msg/TransformStamped; any thread may do so.

    Convention: `header.frame_id` is the parent; the transform is parent_from_child.
    """

    def __init__(self, node: DdsNode) -> None:
        """Announce both topics of a node."""
        self._messages = node.messages
        self._changing: Publisher = node.create_publisher("/tf", _TYPE, TF)
        self._static: Publisher = node.create_publisher("/tf_static", _TYPE, LATCHED)
        self._fixed: dict[str, Any] = {}
        self._lock = threading.Lock()

    def publish(self, transforms: Iterable[Any]) -> None:
        """Publish transforms that hold at the time in their headers."""
        self._changing.publish(self._messages.make(_TYPE, transforms=list(transforms)))

    def publish_static(self, transforms: Iterable[Any]) -> None:
        """Publish transforms that hold for ever, one per child frame, together with all earlier ones.

        A late listener gets the last message only, which is why each has all of them.
        """
        with self._lock:
            self._fixed.update({transform.child_frame_id: transform for transform in transforms})
            self._static.publish(self._messages.make(_TYPE, transforms=list(self._fixed.values())))

    def close(self) -> None:
        """Take both topics back."""
        self._changing.close()
        self._static.close()
