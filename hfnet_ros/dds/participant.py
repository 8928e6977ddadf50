"""A ROS 2 node without ROS 2: publishers, subscriptions, services and clients over DDS."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

from hfnet_ros.dds.domain import choose_domain_id
from hfnet_ros.dds.endpoints import Publisher, Subscription
from hfnet_ros.dds.entities import NodeEntities
from hfnet_ros.dds.names import node_names
from hfnet_ros.dds.qos import ROSOUT, QosProfile
from hfnet_ros.dds.rosout import RosoutHandler
from hfnet_ros.dds.services import ServiceClient, ServiceServer
from hfnet_ros.messages.factory import RosbagsMessages


class _Closable(Protocol):
    @property
    def is_closed(self) -> bool: ...

    def close(self) -> None: ...


Made = TypeVar("Made", bound=_Closable)


class DdsNode:
    """A node that ROS 2 programs on the same domain see and talk to.

    Names may be absolute (`/camera/image`), relative (`image`) or private (`~/pose`); remappings apply.
    What it creates has `close()` and lives until then or until the node is closed. Callbacks of
    subscriptions run in one thread, those of each service in a thread of their own.

    Example:
        with DdsNode("listener") as node:
            node.create_subscription("chatter", "std_msgs/msg/String", RELIABLE, print_message)
    """

    def __init__(
        self,
        node_name: str,
        namespace: str = "",
        domain_id: int | None = None,
        *,
        remappings: Mapping[str, str] | None = None,
        loopback: bool = False,
    ) -> None:
        """Join a domain.

        Args:
            node_name: without a namespace.
            namespace: empty or `/` for none.
            domain_id: 0 to 232; None takes ROS_DOMAIN_ID, else 0.
            remappings: names to use in place of others, as ROS arguments have them.
            loopback: keep to this machine, unless CYCLONEDDS_URI says otherwise.

        Raises:
            DdsError: a name is not allowed, or the domain cannot be joined.
        """
        self._names = node_names(node_name, namespace, remappings)
        self.messages = RosbagsMessages()
        self._entities = NodeEntities(self._names, choose_domain_id(domain_id), loopback=loopback)
        self._made: list[_Closable] = []
        self._lock = threading.Lock()

    @property
    def full_name(self) -> str:
        """Namespace and name, e.g. `/robot/relocalizer`."""
        return self._names.full_name

    @property
    def domain_id(self) -> int:
        """The domain it is in."""
        return self._entities.domain_id

    @property
    def entities(self) -> NodeEntities:
        """What it has in DDS, for looking at the domain (`graph.py`)."""
        return self._entities

    def resolve(self, name: str, *, only_expand: bool = False) -> str:
        """Return the absolute name of a topic or service, remapped if asked for.

        Args:
            name: as its user wrote it.
            only_expand: leave out remapping.

        Raises:
            DdsError: ROS does not allow the name.
        """
        return self._names.expand(name) if only_expand else self._names.resolve(name)

    def create_publisher(self, topic: str, type_name: str, qos: QosProfile) -> Publisher:
        """Return a publisher of, e.g., `sensor_msgs/msg/Image`.

        Raises:
            DdsError: name or type cannot be used, or the node has another type on the topic.
        """
        return self._keep(Publisher(self._entities, self.messages, self.resolve(topic), type_name, qos))

    def create_subscription(
        self,
        topic: str,
        type_name: str,
        qos: QosProfile,
        callback: Callable[[Any, int], None],
        *,
        raw: bool = False,
        may_mismatch: bool = False,
    ) -> Subscription:
        """Call `callback(message, received_ns)` with what is published; raw: with CDR bytes.

        Args:
            topic: its name.
            type_name: of its messages.
            qos: what is asked for.
            callback: gets the message, and when it was taken, ns since 1970.
            raw: give it CDR bytes.
            may_mismatch: say nothing of publishers that offer less than is asked for.

        Raises:
            DdsError: as for `create_publisher`.
        """
        name = self.resolve(topic)
        return self._keep(
            Subscription(
                self._entities,
                self.messages,
                name,
                type_name,
                qos,
                callback,
                raw=raw,
                may_mismatch=may_mismatch,
            )
        )

    def create_service(self, name: str, type_name: str, callback: Callable[[Any], Any]) -> ServiceServer:
        """Answer requests with `callback(request)`, e.g. of type `std_srvs/srv/Trigger`.

        Raises:
            DdsError: as for `create_publisher`.
        """
        return self._keep(
            ServiceServer(self._entities, self.messages, self.resolve(name), type_name, callback)
        )

    def create_client(self, name: str, type_name: str) -> ServiceClient:
        """Return a client of a service.

        Raises:
            DdsError: as for `create_publisher`.
        """
        return self._keep(ServiceClient(self._entities, self.messages, self.resolve(name), type_name))

    def create_rosout_handler(self, level: int = logging.INFO) -> RosoutHandler:
        """Return a handler that publishes log records on `/rosout`; add it to a logger."""
        publisher = self.create_publisher("/rosout", "rcl_interfaces/msg/Log", ROSOUT)
        return RosoutHandler(publisher, self.messages, self.full_name, level)

    def close(self) -> None:
        """End every callback and leave the domain; a second time does nothing."""
        with self._lock:
            made, self._made = self._made, []
        for endpoint in reversed(made):
            endpoint.close()
        self._entities.close()

    def __enter__(self) -> DdsNode:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _keep(self, endpoint: Made) -> Made:
        with self._lock:
            self._made = [kept for kept in self._made if not kept.is_closed]
            self._made.append(endpoint)
        return endpoint
