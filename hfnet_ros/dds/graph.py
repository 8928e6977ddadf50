"""What is in a domain: topics, their types, who publishes and who listens."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
    DcpsEndpoint,
)
from cyclonedds.core import InstanceState
from cyclonedds.qos import Policy, Qos

from hfnet_ros.dds import cyclone
from hfnet_ros.dds.names import ros_topic, ros_type
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.dds.qos import Durability, QosProfile, Reliability

_MOST_ENDPOINTS = 100_000
_LOOK_AGAIN_S = 0.05
_reading_policies = threading.Lock()  # cyclonedds reads them for all threads into the same variables


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """One ROS topic.

    Attributes:
        name: absolute.
        type_names: of all its publishers and subscriptions; more than one is somebody's mistake.
        num_publishers: in the whole domain.
        num_subscribers: likewise.
        reliable: whether every publisher is.
        transient_local: whether every publisher keeps its last messages for those who come later.
    """

    name: str
    type_names: tuple[str, ...]
    num_publishers: int
    num_subscribers: int
    reliable: bool
    transient_local: bool

    def matching_qos(self, depth: int) -> QosProfile:
        """Return the most that can be asked for so that every publisher matches."""
        return QosProfile(
            Reliability.RELIABLE if self.reliable else Reliability.BEST_EFFORT,
            Durability.TRANSIENT_LOCAL if self.transient_local else Durability.VOLATILE,
            depth,
        )


def list_topics(node: DdsNode) -> list[TopicInfo]:
    """Return the topics known by now, by name, without the node's own endpoints."""
    publications = _endpoints(node, BuiltinTopicDcpsPublication)
    subscriptions = _endpoints(node, BuiltinTopicDcpsSubscription)
    return [
        _topic_info(name, publications.get(name, []), subscriptions.get(name, []))
        for name in sorted({*publications, *subscriptions})
    ]


def wait_for_topic(node: DdsNode, name: str, timeout_s: float) -> TopicInfo | None:
    """Return a topic as soon as somebody publishes it; None if nobody does in time.

    Args:
        node: which does not publish it itself.
        name: absolute.
        timeout_s: how long to wait, s.
    """
    until = time.monotonic() + timeout_s
    while True:
        for topic in list_topics(node):
            if topic.name == name and topic.num_publishers:
                return topic
        if time.monotonic() >= until:
            return None
        time.sleep(_LOOK_AGAIN_S)


def _endpoints(node: DdsNode, builtin_topic: Any) -> dict[str, list[DcpsEndpoint]]:
    participant = node.entities.participant
    # A new reader holds what is there now; there is nothing to keep up to date.
    reader = BuiltinDataReader(participant, builtin_topic)
    found: dict[str, list[DcpsEndpoint]] = {}
    with _reading_policies:
        endpoints = reader.read(_MOST_ENDPOINTS)
    for endpoint in endpoints:
        if endpoint.sample_info.instance_state != InstanceState.Alive or not endpoint.sample_info.valid_data:
            continue
        name = ros_topic(endpoint.topic_name)
        if name is not None and endpoint.participant_key != participant.guid:
            found.setdefault(name, []).append(endpoint)
    cyclone.delete(reader)
    return found


def _topic_info(name: str, publications: list[DcpsEndpoint], subscriptions: list[DcpsEndpoint]) -> TopicInfo:
    types = {ros_type(endpoint.type_name) for endpoint in (*publications, *subscriptions)}
    offered: list[Qos] = [endpoint.qos for endpoint in publications]
    return TopicInfo(
        name,
        tuple(sorted(types)),
        len(publications),
        len(subscriptions),
        all(qos[Policy.Reliability] != Policy.Reliability.BestEffort for qos in offered),
        all(qos[Policy.Durability] != Policy.Durability.Volatile for qos in offered),
    )
