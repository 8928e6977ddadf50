"""Texts of the interface definitions that no message library brings along."""

from __future__ import annotations

from hfnet_ros.files.share import share_path

_SERVICES = {
    "std_srvs/srv/Trigger": "---\nbool success\nstring message\n",
    "std_srvs/srv/Empty": "---\n",
    "lifecycle_msgs/srv/GetState": "---\nlifecycle_msgs/State current_state\n",
    "lifecycle_msgs/srv/ChangeState": "lifecycle_msgs/Transition transition\n---\nbool success\n",
    "lifecycle_msgs/srv/GetAvailableTransitions": (
        "---\nlifecycle_msgs/TransitionDescription[] available_transitions\n"
    ),
}
_EMPTY = "uint8 structure_needs_at_least_one_member\n"  # what rosidl puts into a structure without fields
_OWN_MESSAGES = ("StageTimings", "MapInfo", "ViewShare", "RelocalizationStatus")
_OWN_SERVICES = ("Relocalize", "LoadMap")


def interface_definitions() -> dict[str, str]:
    """Return message definitions by type name: this package's, and both halves of every service.

    Raises:
        ConfigError: the installation lacks the files.
    """
    definitions = {
        f"hfnet_ros/msg/{name}": share_path(f"msg/{name}.msg").read_text(encoding="utf-8")
        for name in _OWN_MESSAGES
    }
    services = dict(_SERVICES)
    for name in _OWN_SERVICES:
        services[f"hfnet_ros/srv/{name}"] = share_path(f"srv/{name}.srv").read_text(encoding="utf-8")
    for name, text in services.items():
        request, response = text.split("---\n")
        definitions[f"{name}_Request"] = request or _EMPTY
        definitions[f"{name}_Response"] = response or _EMPTY
    return definitions
