"""Log records on /rosout."""

from __future__ import annotations

import logging
import threading

from hfnet_ros.dds.endpoints import Publisher
from hfnet_ros.messages.factory import RosbagsMessages


class RosoutHandler(logging.Handler):
    """Publishes log records as rcl_interfaces/msg/Log; Python's levels are ROS's.

    Closing the publisher's node ends it; `close` only stops it.
    """

    def __init__(self, publisher: Publisher, messages: RosbagsMessages, node: str, level: int) -> None:
        """Take the publisher, the node's full name and the lowest level that is published."""
        super().__init__(level)
        self._publisher = publisher
        self._messages = messages
        self._logger_name = node.strip("/").replace("/", ".")
        self._emitting = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Publish a record; what publishing itself logs is left out, or it would never end."""
        if getattr(self._emitting, "now", False):
            return
        self._emitting.now = True
        try:
            seconds, rest_ns = divmod(round(record.created * 1e9), 1_000_000_000)
            make = self._messages.make
            self._publisher.publish(
                make(
                    "rcl_interfaces/msg/Log",
                    stamp=make("builtin_interfaces/msg/Time", sec=seconds, nanosec=rest_ns),
                    level=min(record.levelno, logging.CRITICAL),
                    name=self._logger_name,
                    msg=self.format(record),
                    file=record.filename,
                    function=record.funcName or "",
                    line=record.lineno,
                )
            )
        except Exception:
            self.handleError(record)
        finally:
            self._emitting.now = False
