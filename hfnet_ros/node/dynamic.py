"""Which parameters an active node takes at once."""

from __future__ import annotations

from hfnet_ros.config import Config

_AT_ONCE = {
    "node.mode",
    "node.max_rate_hz",
    "node.diagonal_covariance",
    "node.image_timeout_s",
    "node.request_timeout_s",
    "frames.map_frame",
    "frames.base_from_camera",
    "frames.transform_tolerance_s",
}
_SECTIONS_AT_ONCE = {"gate", "staleness", "odometry"}
_LATER = {"odometry.source"}


def changes_that_need_a_restart(before: Config, after: Config) -> list[str]:
    """Return the parameters that differ and are only read when the node is activated."""
    old, new = before.to_dict(), after.to_dict()
    changed = [
        f"{section}.{name}"
        for section, entries in new.items()
        for name, value in entries.items()
        if old[section][name] != value
    ]
    return [
        name
        for name in changed
        if name in _LATER or (name not in _AT_ONCE and name.partition(".")[0] not in _SECTIONS_AT_ONCE)
    ]
