"""Publishers and subscriptions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from cyclonedds.core import DDSException, DDSStatus
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader

from hfnet_ros.dds import cyclone
from hfnet_ros.dds.entities import NodeEntities
from hfnet_ros.dds.names import dds_topic
from hfnet_ros.dds.qos import QosProfile
from hfnet_ros.errors import DdsError
from hfnet_ros.messages.factory import RosbagsMessages

logger = logging.getLogger(__name__)

_POLICIES = {2: "durability", 4: "deadline", 8: "liveliness", 11: "reliability", 23: "data representation"}


class TopicEndpoint:
    """One end of a topic in a node.

    Attributes:
        topic: absolute name.
        type_name: e.g. `sensor_msgs/msg/Image`.
        qos: what is offered or asked for.
    """

    _mismatch = ""  # what to say of a peer whose quality of service does not fit

    def __init__(
        self, entities: NodeEntities, messages: RosbagsMessages, topic: str, type_name: str, qos: QosProfile
    ) -> None:
        self.topic = topic
        self.type_name = type_name
        self.qos = qos
        self._entities = entities
        self._messages = messages
        self._closed = False
        self._entity: DataReader[Any] | DataWriter[Any]
        self._key: int

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Leave the topic; a call that runs at this moment is not waited for. A second time does nothing."""
        if not self._closed:
            self._closed = True
            self._entities.receiver.detach(self._entity, self._key)
            self._entities.delete(self._entity)

    def _warn(self) -> None:
        policy = cyclone.take_refused_policy(self._entity)
        if policy is not None:
            name, qos = _POLICIES.get(policy, f"policy {policy}"), self.qos
            logger.warning(self._mismatch, self.topic, name, qos.reliability.value, qos.durability.value)


class Publisher(TopicEndpoint):
    """Publishes messages of one type on one topic; any thread may do so.

    Attributes:
        num_dropped: messages given up because reliable subscribers were too slow.
    """

    _mismatch = "%s: a subscription asks for more than is published here: %s (%s, %s); it gets nothing"

    def __init__(
        self, entities: NodeEntities, messages: RosbagsMessages, topic: str, type_name: str, qos: QosProfile
    ) -> None:
        """Announce a topic, an absolute name."""
        super().__init__(entities, messages, topic, type_name, qos)
        self.num_dropped = 0
        self._entity = self._writer = entities.create_writer(dds_topic(topic), type_name, qos)
        self._key = entities.receiver.attach(self._writer, DDSStatus.OfferedIncompatibleQos, self._warn)

    @property
    def num_subscribers(self) -> int:
        """Subscriptions that match now."""
        return 0 if self._closed else cyclone.count_subscriptions(self._writer)

    def publish(self, message: Any) -> bool:
        """Publish a message.

        Returns:
            False if it was dropped: slow reliable subscribers kept the queue full for
            `QosProfile.max_blocking_s`, or the publisher is closed.

        Raises:
            DdsError: the message does not fit the type.
        """
        try:
            cdr = self._messages.serialize(message, self.type_name)
        except Exception as error:  # rosbags raises whatever a wrong field leads to
            raise DdsError(f"{self.topic}: this is no {self.type_name}: {error!r}") from error
        return self.publish_cdr(cdr)

    def publish_cdr(self, cdr: bytes) -> bool:
        """Publish serialized bytes with their four bytes of header; returns and raises as `publish`."""
        code = cyclone.write_cdr(self._writer, cdr)
        if code == 0:
            return True
        if self._closed:
            return False
        if code == cyclone.TIMED_OUT:
            self.num_dropped += 1
            if _is_worth_a_line(self.num_dropped):
                logger.warning("%s: %d messages dropped, subscribers are slow", self.topic, self.num_dropped)
            return False
        if code == cyclone.BAD_PARAMETER:
            raise DdsError(f"{self.topic}: these {len(cdr)} bytes are no {self.type_name}")
        raise DdsError(f"{self.topic}: {DDSException(code, 'while publishing')}")


class Subscription(TopicEndpoint):
    """Calls a function with what is published on one topic, in the thread of the node's receiver.

    Attributes:
        num_received: messages taken.
        num_corrupt: of these, not readable as the type, and dropped.
        num_failed: of these, the function raised.
    """

    _mismatch = (
        "%s: a publisher offers less than is asked for here: %s (asked: %s, %s); nothing comes from it"
    )

    def __init__(
        self,
        entities: NodeEntities,
        messages: RosbagsMessages,
        topic: str,
        type_name: str,
        qos: QosProfile,
        callback: Callable[[Any, int], None],
        *,
        raw: bool,
        may_mismatch: bool,
    ) -> None:
        """Subscribe to a topic, an absolute name.

        Args:
            entities: of the node.
            messages: reads messages.
            topic: absolute name.
            type_name: of its messages.
            qos: what is asked for.
            callback: gets the message, and when it was taken, ns since 1970.
            raw: give the callback little-endian CDR bytes with their header instead of a message.
            may_mismatch: say nothing of publishers that offer less than is asked for.
        """
        super().__init__(entities, messages, topic, type_name, qos)
        self.num_received = 0
        self.num_corrupt = 0
        self.num_failed = 0
        self._callback = callback
        self._raw = raw
        self._entity = self._reader = entities.create_reader(dds_topic(topic), type_name, qos)
        statuses = DDSStatus.DataAvailable
        if not may_mismatch:
            statuses |= DDSStatus.RequestedIncompatibleQos
        self._may_mismatch = may_mismatch
        self._key = entities.receiver.attach(self._reader, statuses, self._receive)

    @property
    def num_publishers(self) -> int:
        """Publishers that match now."""
        return 0 if self._closed else cyclone.count_publications(self._reader)

    def _receive(self) -> None:
        if self._closed:
            return
        if not self._may_mismatch:
            self._warn()
        for cdr, _ in cyclone.take_cdr(self._reader):
            if self._closed:
                return
            self.num_received += 1
            self._deliver(cdr, time.time_ns())

    def _deliver(self, cdr: bytes, received_ns: int) -> None:
        message: Any = cdr
        if not self._raw:
            try:
                message = self._messages.deserialize(cdr, self.type_name)
            except Exception as error:  # whatever foreign bytes lead to
                self.num_corrupt += 1
                if _is_worth_a_line(self.num_corrupt):
                    logger.warning(
                        "%s: %d bytes are no %s (%r); %d such messages dropped",
                        self.topic, len(cdr), self.type_name, error, self.num_corrupt,
                    )  # fmt: skip
                return
        try:
            self._callback(message, received_ns)
        except Exception:
            self.num_failed += 1
            if _is_worth_a_line(self.num_failed):
                logger.exception("%s: the callback failed, %d times until now", self.topic, self.num_failed)


def _is_worth_a_line(count: int) -> bool:
    """Return whether to log something that may happen with every message: at 1, 2, 4, 8 ..."""
    return count & (count - 1) == 0
