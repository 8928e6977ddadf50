"""Make messages by type name, with rosbags' types here and with rclpy's in `ros`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.messages.interfaces import interface_definitions

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore


class MessageFactory(Protocol):
    """Makes messages of one of the two Python representations."""

    def make(self, type_name: str, **fields: Any) -> Any:
        """Return a message, e.g. of `geometry_msgs/msg/Pose`; fields left out are zero or empty."""
        ...

    def byte_sequence(self, array: NDArray[np.generic]) -> Any:
        """Return what a field of type uint8[] takes, with the bytes of an array."""
        ...

    def byte(self, value: int) -> Any:
        """Return what a field of type `byte` takes: rosbags an int, rclpy bytes of length one."""
        ...


@lru_cache(maxsize=1)
def ros_typestore() -> Typestore:
    """Return the message types of ROS 2 Jazzy with this package's own, by rosbags.

    Both halves of a service are types too; see `RosbagsMessages` for their names.
    """
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name, text in interface_definitions().items():
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store


class RosbagsMessages:
    """Messages as rosbags' frozen records.

    Halves of services are named `pkg/srv/Name_Request` and `pkg/srv/Name_Response`.
    """

    def __init__(self) -> None:
        """Take the types of `ros_typestore`."""
        self.store = ros_typestore()

    def make(self, type_name: str, **fields: Any) -> Any:
        """Return a message; fields left out are zero or empty.

        Raises:
            TypeError: the type has no field of that name.
        """
        values = {
            name: fields.pop(name) if name in fields else self._default(kind)
            for name, kind in self.store.fielddefs[stored_name(type_name)][1]
        }
        return self.store.types[stored_name(type_name)](**values, **fields)

    def byte_sequence(self, array: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the bytes of an array, uncopied where it is contiguous."""
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def byte(self, value: int) -> int:
        """Return the number itself."""
        return value

    def serialize(self, message: Any, type_name: str) -> bytes:
        """Return a message as little-endian CDR with its four bytes of header."""
        return bytes(self.store.serialize_cdr(message, stored_name(type_name)))

    def deserialize(self, cdr: bytes | memoryview, type_name: str) -> Any:
        """Return the message of CDR bytes; array fields may be views into them."""
        # A slice of bytes would copy a whole image.
        return self.store.deserialize_cdr(memoryview(cdr), stored_name(type_name))

    def _default(self, kind: Any) -> Any:
        from rosbags.interfaces import Nodetype

        node, detail = kind
        if node == Nodetype.NAME:
            return self.make(detail)
        if node == Nodetype.BASE:
            return _ZERO.get(detail[0], 0)
        inner, size = detail
        if inner[0] == Nodetype.BASE and not inner[1][0].endswith("string"):
            return np.zeros(size if node == Nodetype.ARRAY else 0, _NUMPY_NAME.get(inner[1][0], inner[1][0]))
        return [self._default(inner) for _ in range(size if node == Nodetype.ARRAY else 0)]


def stored_name(type_name: str) -> str:
    """Return the name under which rosbags keeps a type: it puts every one below `msg`."""
    return type_name.replace("/srv/", "/srv/msg/")


_NUMPY_NAME = {"char": "uint8", "octet": "uint8", "byte": "uint8"}
_ZERO: dict[str, Any] = {"string": "", "wstring": "", "bool": False, "float32": 0.0, "float64": 0.0}
