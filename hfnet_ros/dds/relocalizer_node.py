"""The relocalizer for machines without ROS 2; what it does is in `hfnet_ros.node.core`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.dds.lifecycle import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, Lifecycle
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.dds.timers import Timers
from hfnet_ros.dds.transport import QOS, DdsTransport
from hfnet_ros.node.core import RelocalizerNode


class DdsRelocalizerNode:
    """Binds `RelocalizerNode` to Cyclone DDS: topics, services, timers, states.

    Attributes:
        ended: set when somebody has asked for the end; whoever runs the node then closes it.
    """

    def __init__(
        self,
        config: Config,
        node_name: str = "relocalizer",
        namespace: str = "",
        *,
        domain_id: int | None = None,
        remappings: Mapping[str, str] | None = None,
        loopback: bool = False,
        use_sim_time: bool = False,
        ended: threading.Event | None = None,
    ) -> None:
        """Join the domain; nothing is loaded before `configure`.

        Args:
            config: the parameters.
            node_name: without a namespace.
            namespace: empty or `/` for none.
            domain_id: 0 to 232; None takes ROS_DOMAIN_ID, else 0.
            remappings: names to use in place of others, as ROS arguments have them.
            loopback: keep to this machine, unless CYCLONEDDS_URI says otherwise.
            use_sim_time: take the time from /clock.
            ended: what else may ask for the end; None makes a new one.

        Raises:
            DdsError: the domain cannot be joined, or a name is not allowed.
            ConfigError: the camera's mounting cannot be read.
        """
        self.ended = ended or threading.Event()
        self._node = DdsNode(node_name, namespace, domain_id, remappings=remappings, loopback=loopback)
        try:
            self._transport = DdsTransport(self._node, config.odometry.history_s, use_sim_time=use_sim_time)
            self._core = RelocalizerNode(config, self._transport, give_up=self._give_up)
            self._listening: list[Any] = []
            self._timers: Timers | None = None
            self._rosout = self._node.create_rosout_handler()
            for service, answer in self._core.services():
                self._node.create_service(service.name, service.type_name, answer)
            actions: dict[int, Callable[[], None]] = {
                CONFIGURE: self._configure,
                ACTIVATE: self._activate,
                DEACTIVATE: self._deactivate,
                CLEANUP: self._cleanup,
            }
            self._lifecycle = Lifecycle(self._node, actions, self.ended.set)
            logging.getLogger("hfnet_ros").addHandler(self._rosout)
        except BaseException:
            self._node.close()
            raise

    def start(self) -> None:
        """Configure and activate, unless told to end meanwhile.

        Raises:
            HfnetRosError: the map or the engine cannot be loaded. An engine that takes long and fails then
                leaves the node inactive.
        """
        for transition in (CONFIGURE, ACTIVATE):
            if not self.ended.is_set():
                self._lifecycle.change(transition)

    def close(self) -> None:
        """End from whatever state, and leave the domain."""
        self._lifecycle.end()
        logging.getLogger("hfnet_ros").removeHandler(self._rosout)
        self._node.close()
        self.ended.set()

    def _give_up(self) -> None:
        """Deactivate, since the engine cannot be made ready; called by the thread that has tried."""

        def deactivate() -> None:
            self._lifecycle.change_if(DEACTIVATE, lambda: self._core.has_failed)

        # Not in this thread, whose end is waited for.
        threading.Thread(target=deactivate, name="hfnet-give-up", daemon=True).start()

    def _configure(self) -> None:
        self._core.configure()
        self._timers = Timers(self._core.timers())

    def _activate(self) -> None:
        self._transport.is_active = True
        try:
            self._core.activate()
            self._listen()
        except BaseException:
            self._deactivate()
            raise

    def _listen(self) -> None:
        for topic, take in self._core.subscriptions():
            name, profile = self._transport.resolved(topic), QOS[topic.qos]
            subscription = self._node.create_subscription(
                name, topic.type_name, profile, _without_time(take), may_mismatch=topic.is_second
            )
            self._listening.append(subscription)

    def _deactivate(self) -> None:
        while self._listening:
            self._listening.pop().close()
        self._core.deactivate()
        self._transport.is_active = False

    def _cleanup(self) -> None:
        if self._timers is not None:
            self._timers.close()
        self._core.cleanup()


def _without_time(take: Callable[[Any], None]) -> Callable[[Any, int], None]:
    def take_message(message: Any, _received_ns: int) -> None:
        take(message)

    return take_message
