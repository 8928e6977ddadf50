"""Write the answers of a replay into a bag, as messages of the live node."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from hfnet_ros.bags import BagWriter
from hfnet_ros.config import Config
from hfnet_ros.errors import TransformError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages import topics
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.topics import Qos, Topic
from hfnet_ros.node.map_odom_broadcast import MapOdomBroadcast
from hfnet_ros.node.reporter import Reporter
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.types import Answer

NODE_NAME = "relocalizer"
_RECORDED = (topics.POSE, topics.STATUS, topics.MAP_INFO)
_TF = "tf2_msgs/msg/TFMessage"


class BagTransport:
    """A node's middleware that is a bag; see `hfnet_ros.node.transport.Transport`."""

    def __init__(self, writer: BagWriter, now_ns: Callable[[], int]) -> None:
        """Announce the topics in a bag that is open for writing; `now_ns` gives the times of receipt."""
        self._writer, self._now_ns = writer, now_ns
        self._messages = RosbagsMessages()
        for topic in _RECORDED:
            writer.add_topic(self.resolved(topic), topic.type_name, latched=topic.qos is Qos.LATCHED)
        writer.add_topic("/tf", _TF)

    @property
    def factory(self) -> RosbagsMessages:
        """Return what makes messages."""
        return self._messages

    @property
    def node_name(self) -> str:
        """Return the name that the live node has by default."""
        return NODE_NAME

    def resolved(self, topic: Topic) -> str:
        """Return a topic's full name."""
        return topic.name.replace("~/", f"/{NODE_NAME}/")

    def now_ns(self) -> int:
        """Return the time of the replay, ns."""
        return self._now_ns()

    def publish(self, topic: Topic, message: Any) -> None:
        """Write a message."""
        self._writer.write(self.resolved(topic), topic.type_name, self._now_ns(), message)

    def published_topics(self) -> tuple[()]:
        """Return that nobody else publishes."""
        return ()

    def has_subscribers(self, topic: Topic) -> bool:
        """Tell that nobody looks at pictures."""
        return topic in _RECORDED

    def broadcast_transform(self, message: Any) -> None:
        """Write one transform on /tf."""
        self._writer.write("/tf", _TF, self._now_ns(), self._messages.make(_TF, transforms=[message]))

    def look_up_transform(self, target: str, source: str, stamp_ns: int | None) -> tuple[int, Rigid3]:
        """Refuse: a replay knows the bag's transforms before it begins."""
        raise TransformError(f"'{source}' in '{target}' at {stamp_ns} is not looked up in a replay")

    def transform_stamps(self, child: str) -> tuple[str, tuple[()]]:  # noqa: ARG002
        """Return that nothing is heard."""
        return "", ()


class AnswerRecorder:
    """A bag of answers being written; a context manager that leaves it whole or not at all."""

    def __init__(
        self, path: Path, config: Config, served: ServedMap, now_ns: Callable[[], int], *, in_order: bool
    ) -> None:
        """Check the target.

        Args:
            path: folder of the bag.
            config: of the replay.
            served: map; only the last part of its path is written, so that a moved map changes nothing.
            now_ns: clock of the replay.
            in_order: map->odom gets the stamp of the image, as nobody waits for it.

        Raises:
            BagError: something that is no bag is there.
        """
        self._writer, self._now_ns = BagWriter(path), now_ns
        if in_order:
            frames = dataclasses.replace(config.frames, transform_tolerance_s=0.0)
            config = dataclasses.replace(config, frames=frames)
        self._config = config
        self._served = dataclasses.replace(served, path=Path(served.path.resolve().name))

    def __enter__(self) -> AnswerRecorder:
        """Begin with what is known of the map.

        Raises:
            BagError: the bag cannot be written.
        """
        self._writer.__enter__()
        try:
            transport = BagTransport(self._writer, self._now_ns)
            self._reporter = Reporter(self._config, transport)
            self._broadcast = MapOdomBroadcast(self._config, transport)
            self._reporter.publish_map_info(self._served)
        except BaseException as error:
            self._writer.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the bag its name, or leave nothing behind."""
        self._writer.__exit__(kind, error, trace)

    def record(self, answer: Answer) -> None:
        """Write the pose if it was accepted, the status always, map->odom while the position is known.

        Raises:
            BagError: the disk is full.
        """
        self._reporter.publish_answer(answer, self._served)
        belief = answer.relocalization.belief if answer.relocalization is not None else None
        if belief is not None and belief.map_from_odom is not None:
            self._broadcast.send(belief.map_from_odom, self._reporter.map_frame(self._served))
