from types import SimpleNamespace

import pytest
from rosbags.typesys import Stores, get_typestore

from hfnet_ros.errors import HfnetRosError, MessageError
from hfnet_ros.messages.headers import (
    header_to_message,
    plain_frame_id,
    stamp_from_message,
    time_to_message,
)


@pytest.mark.parametrize(
    "stamp_ns", [0, 1, 999_999_999, 1_000_000_000, 1_700_000_000_123_456_789, 2**31 * 10**9 - 1]
)
def test_times_come_back(factory, stamp_ns):
    message = time_to_message(factory, stamp_ns)
    cdr = factory.serialize(message, "builtin_interfaces/msg/Time")
    assert stamp_from_message(factory.deserialize(cdr, "builtin_interfaces/msg/Time")) == stamp_ns


def test_seconds_and_nanoseconds(factory):
    header = header_to_message(factory, 12_000_000_034, "map")
    assert (header.stamp.sec, header.stamp.nanosec, header.frame_id) == (12, 34, "map")


def test_times_of_ros_1():
    time = get_typestore(Stores.ROS1_NOETIC).types["builtin_interfaces/msg/Time"]
    assert stamp_from_message(time(sec=3_000_000_000, nanosec=7)) == 3_000_000_000_000_000_007


@pytest.mark.parametrize(("sec", "nanosec"), [(-1, 0), (1, 1_000_000_000), (1, -1), (-5, 999_999_999)])
def test_times_out_of_range_are_refused(sec, nanosec):
    with pytest.raises(MessageError, match=f"stamp is {sec} s {nanosec} ns") as caught:
        stamp_from_message(SimpleNamespace(sec=sec, nanosec=nanosec))
    assert isinstance(caught.value, HfnetRosError)


@pytest.mark.parametrize("stamp_ns", [-1, -(10**9), 2**31 * 10**9])
def test_times_that_do_not_fit_are_not_sent(factory, stamp_ns):
    with pytest.raises(ValueError, match="expected 0 to"):
        time_to_message(factory, stamp_ns)


def test_leading_slashes():
    assert [plain_frame_id(name) for name in ("/map", "map", "robot/map", "/robot/map", "")] == [
        "map",
        "map",
        "robot/map",
        "robot/map",
        "",
    ]
