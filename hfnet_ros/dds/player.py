"""Publish recorded messages at the pace they were received."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hfnet_ros.dds import qos
from hfnet_ros.dds.endpoints import Publisher
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.messages.headers import time_to_message

_logger = logging.getLogger(__name__)

CLOCK = "rosgraph_msgs/msg/Clock"
_CLOCK_PERIOD_S = 0.01


@dataclass(frozen=True, slots=True)
class PlayedTopic:
    """A topic to announce before anything is played.

    Attributes:
        latched: late subscribers get the last message, too.
    """

    name: str
    type_name: str
    latched: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PlayedMessage:
    """A message, serialized, and when it was received."""

    topic: str
    stamp_ns: int
    cdr: bytes


class Player:
    """Announces topics at once, so that subscribers can be waited for, and plays messages on them."""

    def __init__(self, node: DdsNode, topics: list[PlayedTopic], *, with_clock: bool) -> None:
        """Announce the topics, and /clock if asked for."""
        self._node = node
        self._publishers: dict[str, Publisher] = {
            topic.name: node.create_publisher(
                topic.name, topic.type_name, qos.TF_STATIC if topic.latched else qos.RELIABLE
            )
            for topic in topics
        }
        self._clock = node.create_publisher("/clock", CLOCK, qos.CLOCK) if with_clock else None
        self._ended = threading.Event()

    def wait_for_subscriber(self, topics: list[str], timeout_s: float) -> bool:
        """Wait until somebody listens to one of these topics; return whether somebody does."""
        until_s = time.monotonic() + timeout_s
        while not any(self._publishers[topic].num_subscribers for topic in topics):
            if time.monotonic() > until_s or self._ended.wait(0.05):
                return False
        return True

    def play(
        self, messages: Iterator[PlayedMessage], rate: float, progress: Callable[[int], None] | None = None
    ) -> int:
        """Publish messages, `rate` times as fast as they were received; return how many.

        Args:
            messages: in order of receipt.
            rate: 1 is real time.
            progress: called with the stamp of each message.
        """
        start_s, first_ns, clock_s, count = time.monotonic(), None, 0.0, 0
        for message in messages:
            first_ns = message.stamp_ns if first_ns is None else first_ns
            due_s = 1e-9 * (message.stamp_ns - first_ns) / rate
            while (left_s := start_s + due_s - time.monotonic()) > 0.0 and not self._ended.is_set():
                # Not past the message, whatever the scheduler does: time that goes back empties buffers of TF.
                now_ns = first_ns + int(1e9 * rate * (time.monotonic() - start_s))
                self._tell_time(min(now_ns, message.stamp_ns))
                self._ended.wait(min(left_s, _CLOCK_PERIOD_S) if self._clock is not None else left_s)
            if self._ended.is_set():
                break
            if due_s - clock_s > _CLOCK_PERIOD_S or count == 0:
                self._tell_time(message.stamp_ns)
                clock_s = due_s
            self._publishers[message.topic].publish_cdr(message.cdr)
            count += 1
            if progress is not None:
                progress(message.stamp_ns)
        return count

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._ended.is_set()

    def stop(self) -> None:
        """End `play` early; may be called from any other thread."""
        self._ended.set()

    def _tell_time(self, stamp_ns: int) -> None:
        if self._clock is not None:
            stamp = time_to_message(self._node.messages, stamp_ns)
            self._clock.publish(self._node.messages.make(CLOCK, clock=stamp))
