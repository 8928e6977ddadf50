"""Messages as rclpy makes them."""

from __future__ import annotations

import array
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RclpyMessages:
    """Makes messages by type name; see `hfnet_ros.messages.factory.MessageFactory`."""

    def make(self, type_name: str, **fields: Any) -> Any:
        """Return a message, e.g. of `geometry_msgs/msg/Pose`; fields left out are zero or empty."""
        return message_class(type_name)(**fields)

    def byte_sequence(self, values: NDArray[np.generic]) -> array.array[int]:
        """Return the bytes of an array; rclpy checks any other container element by element."""
        sequence = array.array("B")
        sequence.frombytes(np.ascontiguousarray(values).tobytes())
        return sequence

    def byte(self, value: int) -> bytes:
        """Return a `byte`."""
        return bytes([value])


@lru_cache(maxsize=64)
def message_class(type_name: str) -> Any:
    """Return the class of a message, or of half a service, e.g. `std_srvs/srv/Empty_Response`."""
    package, kind, name = type_name.split("/")
    module = import_module(f"{package}.{kind}")
    if kind == "srv" and name.endswith(("_Request", "_Response")):
        service, _, half = name.rpartition("_")
        return getattr(getattr(module, service), half)
    return getattr(module, name)
