"""diagnostic_msgs/DiagnosticArray from what the node knows of its own condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hfnet_ros.messages.findings import Finding, Level
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.health import (
    ACTIVE,
    LocalizationHealth,
    MapHealth,
    NodeHealth,
    OdometryHealth,
    find,
)
from hfnet_ros.messages.image_health import ImageHealth, ViewHealth

if TYPE_CHECKING:
    from hfnet_ros.messages.factory import MessageFactory

__all__ = [
    "ImageHealth",
    "LocalizationHealth",
    "MapHealth",
    "NodeHealth",
    "OdometryHealth",
    "ViewHealth",
    "diagnostics_message",
]


def diagnostics_message(factory: MessageFactory, health: NodeHealth, *, stamp_ns: int) -> Any:
    """Return a DiagnosticArray: one status each for localization, images of each camera, odometry and map.

    A status is as bad as its worst key, and says what is wrong with every key of that level.
    """
    statuses = []
    for name, findings in find(health).items():
        level = max(finding.level for finding in findings)
        status = factory.make(
            "diagnostic_msgs/msg/DiagnosticStatus",
            level=factory.byte(int(level)),
            name=f"{health.node_name}: {name}",
            message=_summary(name, findings, level, health.lifecycle == ACTIVE),
            hardware_id=health.hardware_id,
            values=[
                factory.make("diagnostic_msgs/msg/KeyValue", key=finding.key, value=finding.value)
                for finding in findings
            ],
        )
        statuses.append(status)
    header = header_to_message(factory, stamp_ns, "")
    return factory.make("diagnostic_msgs/msg/DiagnosticArray", header=header, status=statuses)


def _summary(name: str, findings: Sequence[Finding], level: Level, is_active: bool) -> str:
    if level is not Level.OK:
        return "; ".join(finding.sentence for finding in findings if finding.level is level)
    if name == "map" or is_active:
        return "localized" if name == "localization" else "good"
    return "not active"
