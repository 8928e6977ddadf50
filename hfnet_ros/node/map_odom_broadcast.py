"""Broadcasts map->odom, and notices others that do so, too."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.poses import transform_to_message
from hfnet_ros.node.transport import Transport

_NS_PER_S = 1_000_000_000
_REMEMBERED_S = 5.0  # of what was sent, and so long a rival is told of after it was heard


class MapOdomBroadcast:
    """Sends map->odom, which one node of a robot may do; of two the robot jumps between their transforms."""

    def __init__(
        self, config: Config, transport: Transport, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the parameters, where to send, and a clock, s."""
        self._config = config
        self._transport = transport
        self._now_s = now_s
        self._lock = threading.Lock()
        self._sent_ns = deque[int](maxlen=max(2, round(_REMEMBERED_S * config.frames.tf_rate_hz)))
        self._rival, self._rival_until_s = "", 0.0

    def set_config(self, config: Config) -> None:
        """Use other parameters from the next transform on."""
        self._config = config

    def send(self, map_from_odom: Rigid3, map_frame: str) -> None:
        """Send map->odom, dated ahead by the tolerance so that listeners need not wait for it."""
        frames = self._config.frames
        stamp_ns = self._transport.now_ns() + round(frames.transform_tolerance_s * _NS_PER_S)
        with self._lock:  # before it is sent, and heard
            self._sent_ns.append(stamp_ns)
        self._transport.broadcast_transform(
            transform_to_message(
                self._transport.factory, map_from_odom, stamp_ns, map_frame, frames.odom_frame
            )
        )

    def rival(self, map_frame: str) -> str:
        """Return which transform another node broadcasts, too, and what to do about it; empty where none does.

        Nothing is said where this node does not broadcast.
        """
        frames = self._config.frames
        parent = self._parent_of_another() if frames.publish_tf else ""
        now_s = self._now_s()
        if parent:
            self._rival_until_s = now_s + _REMEMBERED_S
            self._rival = (
                f"another node broadcasts {parent}->{frames.odom_frame} while this one broadcasts "
                f"{map_frame}->{frames.odom_frame}, and the robot jumps between the two; stop the other (AMCL, "
                "slam_toolbox, an EKF with world_frame map), or set frames.publish_tf to false"
            )
        return self._rival if now_s < self._rival_until_s else ""

    def _parent_of_another(self) -> str:
        """Return the parent that another node gives to the frame of odometry; empty where none does."""
        parent, heard_ns = self._transport.transform_stamps(self._config.frames.odom_frame)
        with self._lock:
            own_ns = set(self._sent_ns)
        # Of what is older nobody knows any more who sent it.
        since_ns = self._transport.now_ns() - round(_REMEMBERED_S * _NS_PER_S)
        since_ns = max(since_ns, min(own_ns, default=since_ns))
        is_rivalled = any(stamp_ns > since_ns and stamp_ns not in own_ns for stamp_ns in heard_ns)
        return parent if is_rivalled else ""
