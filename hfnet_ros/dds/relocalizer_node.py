"""The relocalizer for machines without ROS 2; what it does is in `hfnet_ros.node.core`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.dds.lifecycle import ACTIVATE, ACTIVE, CLEANUP, CONFIGURE, DEACTIVATE, INACTIVE, Lifecycle
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.dds.timers import Timers
from hfnet_ros.dds.transport import QOS, DdsTransport
from hfnet_ros.node import interface
from hfnet_ros.node.core import RelocalizerNode
from hfnet_ros.node.interface import Topic


class DdsRelocalizerNode:
    """Binds `RelocalizerNode` to Cyclone DDS: topics, services, timers, states."""

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
    ) -> None:
        """Join the domain; nothing is loaded before `configure`.

        Raises:
            DdsError: the domain cannot be joined, or a name is not allowed.
            ConfigError: the camera's mounting cannot be read.
        """
        self.ended = threading.Event()
        self._remappings = dict(remappings or {})
        self._node = DdsNode(node_name, namespace, domain_id, remappings=self._remappings, loopback=loopback)
        try:
            self._transport = DdsTransport(self._node, config.odometry.history_s, use_sim_time=use_sim_time)
            self._core = RelocalizerNode(config, self._transport)
            self._listening: list[Any] = []
            self._timers: Timers | None = None
            self._rosout = self._node.create_rosout_handler()
            logging.getLogger("hfnet_ros").addHandler(self._rosout)
            for service, answer in self._core.services():
                self._node.create_service(service.name, service.type_name, answer)
            actions: dict[int, Callable[[], None]] = {
                CONFIGURE: self._configure,
                ACTIVATE: self._activate,
                DEACTIVATE: self._deactivate,
                CLEANUP: self._cleanup,
            }
            self._lifecycle = Lifecycle(self._node, actions, self.ended.set)
        except BaseException:
            self._node.close()
            raise

    def start(self) -> None:
        """Configure and activate.

        Raises:
            HfnetRosError: the map or the engine cannot be loaded.
        """
        self._lifecycle.change(CONFIGURE)
        self._lifecycle.change(ACTIVATE)

    def close(self) -> None:
        """End from whatever state, and leave the domain."""
        if self._lifecycle.state == ACTIVE:
            self._lifecycle.change(DEACTIVATE)
        if self._lifecycle.state == INACTIVE:
            self._lifecycle.change(CLEANUP)
        logging.getLogger("hfnet_ros").removeHandler(self._rosout)
        self._node.close()
        self.ended.set()

    def _configure(self) -> None:
        self._core.configure()
        self._timers = Timers(self._core.timers())

    def _activate(self) -> None:
        self._transport.is_active = True
        try:
            self._core.activate()
        except BaseException:
            self._transport.is_active = False
            raise
        for topic, take in self._core.subscriptions():
            name, profile = self._topic_name(topic), QOS[topic.qos]
            subscription = self._node.create_subscription(name, topic.type_name, profile, _without_time(take))
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

    def _topic_name(self, topic: Topic) -> str:
        """Return the calibration's place beside the image, unless it was remapped itself."""
        image = self._node.resolve(interface.IMAGE.name)
        if topic is interface.COMPRESSED_IMAGE:
            return interface.compressed_topic(image)
        is_remapped = topic.name in self._remappings
        return (
            interface.camera_info_topic(image)
            if topic is interface.CAMERA_INFO and not is_remapped
            else topic.name
        )


def _without_time(take: Callable[[Any], None]) -> Callable[[Any, int], None]:
    def take_message(message: Any, _received_ns: int) -> None:
        take(message)

    return take_message
