"""The DDS entities of one node, and what it tells ROS 2 about them."""

from __future__ import annotations

import logging
import os
import threading
from functools import lru_cache
from typing import Any

import numpy as np
from cyclonedds.core import DDSException, Entity
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter, Publisher
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader, Subscriber
from cyclonedds.topic import Topic

from hfnet_ros.dds import cyclone
from hfnet_ros.dds.domain import enter_domain, leave_domain
from hfnet_ros.dds.names import NodeNames
from hfnet_ros.dds.qos import LATCHED, QosProfile
from hfnet_ros.dds.receiver import Receiver
from hfnet_ros.dds.type_support import TypeSupports
from hfnet_ros.errors import DdsError
from hfnet_ros.messages.factory import ros_typestore

logger = logging.getLogger(__name__)

_GRAPH_TOPIC, _GRAPH_TYPE = "ros_discovery_info", "rmw_dds_common/msg/ParticipantEntitiesInfo"
_WITH_LONG_GIDS = ("foxy", "galactic", "humble")


class NodeEntities:
    """A participant with its topics, readers and writers, kept known to `ros2 node` and `ros2 topic`."""

    def __init__(self, names: NodeNames, domain_id: int, *, loopback: bool) -> None:
        """Join a domain.

        Raises:
            DdsError: the domain cannot be opened.
        """
        self.names = names
        self.domain_id = domain_id
        self.supports = _type_supports()
        self._lock = threading.RLock()
        self._topics: dict[tuple[str, str], Topic[Any]] = {}
        self._readers: list[DataReader[Any]] = []
        self._writers: list[DataWriter[Any]] = []
        self._num_services = 0
        self._closed = False
        enter_domain(domain_id, loopback=loopback)
        try:
            self.participant = DomainParticipant(domain_id, Qos(Policy.Userdata(b"enclave=/;")))
        except DDSException as error:
            leave_domain(domain_id)
            raise DdsError(f"no participant for {names.full_name} in domain {domain_id}: {error}") from error
        self._publisher = Publisher(self.participant)
        self._subscriber = Subscriber(self.participant)
        self.receiver = Receiver(self.participant, names.full_name)
        self._graph = _graph_messages(os.environ.get("ROS_DISTRO") in _WITH_LONG_GIDS)
        self._graph_writer = self._new_writer(_GRAPH_TOPIC, _GRAPH_TYPE, LATCHED, self._graph.supports, "")
        self._announce()

    def create_writer(
        self, topic: str, type_name: str, qos: QosProfile, user_data: str = ""
    ) -> DataWriter[Any]:
        """Return a new writer, announced.

        Args:
            topic: DDS name.
            type_name: ROS name.
            qos: what it offers.
            user_data: for peers, before the hash of the type.

        Raises:
            DdsError: unknown type, another type on this topic in this node, or the node is closed.
        """
        with self._lock:
            writer = self._new_writer(topic, type_name, qos, self.supports, user_data)
            self._writers.append(writer)
            self._announce()
            return writer

    def create_reader(
        self, topic: str, type_name: str, qos: QosProfile, user_data: str = ""
    ) -> DataReader[Any]:
        """Return a new reader, announced; arguments and errors as for `create_writer`."""
        with self._lock:
            support = self.supports.of(type_name)
            dds_qos = qos.to_dds(f"{user_data}typehash={support.hash};")
            try:
                reader = DataReader(self._subscriber, self._topic(topic, type_name, self.supports), dds_qos)
            except DDSException as error:
                raise DdsError(f"no reader for {topic}: {error}") from error
            self._readers.append(reader)
            self._announce()
            return reader

    def delete(self, entity: Entity) -> None:
        """Delete a reader or writer made here and announce that it is gone."""
        with self._lock:
            self._readers = [reader for reader in self._readers if reader is not entity]
            self._writers = [writer for writer in self._writers if writer is not entity]
            cyclone.delete(entity)
            if not self._closed:
                self._announce()

    def next_service_id(self) -> str:
        """Return what tells the endpoints of one client or service from all others, as rmw_cyclonedds does."""
        with self._lock:
            self._num_services += 1
            value = self.participant.guid.bytes[:12] + self._num_services.to_bytes(4, "big")
        return f"{value[0]:2x}" + "".join(f".{byte:x}" for byte in value[1:])

    def close(self) -> None:
        """Leave the domain; a second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.receiver.close()
        for entity in (*self._readers, *self._writers, self._graph_writer, *self._topics.values()):
            cyclone.delete(entity)
        cyclone.delete(self.participant)
        leave_domain(self.domain_id)

    def _new_writer(
        self, topic: str, type_name: str, qos: QosProfile, supports: TypeSupports, user_data: str
    ) -> DataWriter[Any]:
        support = supports.of(type_name)
        dds_qos = qos.to_dds(f"{user_data}typehash={support.hash};")
        try:
            return DataWriter(self._publisher, self._topic(topic, type_name, supports), dds_qos)
        except DDSException as error:
            raise DdsError(f"no writer for {topic}: {error}") from error

    def _topic(self, topic: str, type_name: str, supports: TypeSupports) -> Topic[Any]:
        if self._closed:
            raise DdsError(f"the node {self.names.full_name} is closed")
        for known_topic, known_type in self._topics:
            if known_topic == topic and known_type != type_name:
                raise DdsError(
                    f"{topic} is {known_type} in the node {self.names.full_name} already; asked for {type_name}"
                )
        if (topic, type_name) not in self._topics:
            self._topics[topic, type_name] = Topic(self.participant, topic, supports.of(type_name).idl)
        return self._topics[topic, type_name]

    def _announce(self) -> None:
        cdr = self._graph.serialize(
            self.participant.guid.bytes,
            self.names,
            [reader.guid.bytes for reader in self._readers],
            [writer.guid.bytes for writer in self._writers],
        )
        code = cyclone.write_cdr(self._graph_writer, cdr)
        if code:
            logger.warning("%s could not be announced: %s", self.names.full_name, DDSException(code))


class _GraphMessages:
    """Writes rmw_dds_common/ParticipantEntitiesInfo, whose identifiers grew shorter after Humble."""

    def __init__(self, long_gids: bool) -> None:
        from rosbags.typesys import Stores, get_typestore

        self._gid_size = 24 if long_gids else 16
        self._store = get_typestore(Stores.ROS2_HUMBLE if long_gids else Stores.ROS2_JAZZY)
        self.supports = TypeSupports(self._store)

    def serialize(
        self, participant: bytes, names: NodeNames, readers: list[bytes], writers: list[bytes]
    ) -> bytes:
        """Return the message with one node; identifiers are DDS's 16 bytes."""
        types = self._store.types
        node = types["rmw_dds_common/msg/NodeEntitiesInfo"](
            names.namespace, names.name, [self._gid(i) for i in readers], [self._gid(i) for i in writers]
        )
        message = types[_GRAPH_TYPE](self._gid(participant), [node])
        return bytes(self._store.serialize_cdr(message, _GRAPH_TYPE))

    def _gid(self, identifier: bytes) -> Any:
        data = np.frombuffer(identifier.ljust(self._gid_size, b"\0"), np.uint8)
        return self._store.types["rmw_dds_common/msg/Gid"](data)


# Made once per process: Cyclone DDS keeps hold of every type it was ever shown.
@lru_cache(maxsize=1)
def _type_supports() -> TypeSupports:
    return TypeSupports(ros_typestore())


@lru_cache(maxsize=2)
def _graph_messages(long_gids: bool) -> _GraphMessages:
    return _GraphMessages(long_gids)
