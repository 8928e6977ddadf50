"""Times and headers: integer nanoseconds inside, builtin_interfaces/Time on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hfnet_ros.errors import MessageError

if TYPE_CHECKING:
    from hfnet_ros.messages.factory import MessageFactory

_NS_PER_S = 1_000_000_000
_MAX_SEC = 2**31 - 1  # builtin_interfaces/Time holds an int32


def stamp_from_message(time: Any) -> int:
    """Return the nanoseconds of a time message, of ROS 2 or (as rosbags reads it) ROS 1.

    A zero stamp is zero; whether that may be is for the caller to say.

    Raises:
        MessageError: it is negative, or its nanoseconds are a second or more.
    """
    sec, nanosec = int(time.sec), int(time.nanosec)
    if sec < 0 or not 0 <= nanosec < _NS_PER_S:
        raise MessageError(
            f"stamp is {sec} s {nanosec} ns, expected seconds from 0 and nanoseconds below {_NS_PER_S}"
        )
    return sec * _NS_PER_S + nanosec


def time_to_message(factory: MessageFactory, stamp_ns: int) -> Any:
    """Return a builtin_interfaces/Time.

    Raises:
        ValueError: the time is negative or past January 2038.
    """
    sec, nanosec = divmod(int(stamp_ns), _NS_PER_S)
    if not 0 <= sec <= _MAX_SEC:
        raise ValueError(f"stamp is {stamp_ns} ns, expected 0 to {_MAX_SEC} s")
    return factory.make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)


def header_to_message(factory: MessageFactory, stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs/Header.

    Raises:
        ValueError: the stamp does not fit.
    """
    stamp = time_to_message(factory, stamp_ns)
    return factory.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def plain_frame_id(frame_id: str) -> str:
    """Return the name of a frame without the leading slash that tf 1 allowed."""
    return frame_id.lstrip("/")
