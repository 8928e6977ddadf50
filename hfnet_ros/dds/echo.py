"""Messages as text, as they arrive."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
from collections.abc import Generator
from typing import Any

import numpy as np
import yaml

from hfnet_ros.dds.graph import TopicInfo
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.dds.qos import QosProfile

_SHOWN_VALUES = 128  # as many as `ros2 topic echo` shows of an array
_QUEUED = 100


class _Dumper(yaml.SafeDumper):
    """Writes arrays of numbers in one line and everything else in blocks."""


def _represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    in_one_line = not any(isinstance(value, (dict, list)) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=in_one_line)


_Dumper.add_representer(list, _represent_list)


def format_message(message: Any, *, full_arrays: bool = False) -> str:
    """Return a message as YAML.

    Args:
        message: one of rosbags' records.
        full_arrays: show every value of an array, and not the first 128 only.
    """
    shown = None if full_arrays else _SHOWN_VALUES
    return yaml.dump(
        _plain(message, shown), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf")
    )


def receive_messages(
    node: DdsNode, topic: str, type_name: str, qos: QosProfile
) -> Generator[Any, None, None]:
    """Yield the messages of a topic, for ever; of those that nobody fetches, the newest are kept.

    Raises:
        DdsError: name or type cannot be used.
    """
    messages: queue.Queue[Any] = queue.Queue(_QUEUED)
    subscription = node.create_subscription(topic, type_name, qos, lambda message, _: _put(messages, message))
    try:
        while True:
            yield messages.get()
    finally:
        subscription.close()


def describe_topics(topics: list[TopicInfo]) -> str:
    """Return a table of topics, or that there are none."""
    if not topics:
        return "no topics: are domain id and CYCLONEDDS_URI the same on both sides?"
    rows = [("topic", "type", "publishers", "subscriptions")]
    rows += [(t.name, ", ".join(t.type_names), str(t.num_publishers), str(t.num_subscribers)) for t in topics]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    return "\n".join(lines)


def _put(messages: queue.Queue[Any], message: Any) -> None:
    if messages.full():
        with contextlib.suppress(queue.Empty):
            messages.get_nowait()
    messages.put_nowait(message)  # there is room: nobody else adds


def _plain(value: Any, shown: int | None) -> Any:
    """Return dictionaries, lists and numbers, lists with at most `shown` values."""
    if dataclasses.is_dataclass(value):
        fields = (field.name for field in dataclasses.fields(value))
        return {name: _plain(getattr(value, name), shown) for name in fields if not name.startswith("__")}
    if isinstance(value, (np.ndarray, list)):
        size = len(value)
        head = value[:shown].tolist() if isinstance(value, np.ndarray) else value[:shown]
        items = [_plain(item, shown) for item in head]
        return [*items, f"... {size - len(items)} more"] if size > len(items) else items
    return value.item() if isinstance(value, np.generic) else value
