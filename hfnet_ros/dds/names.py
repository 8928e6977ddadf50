"""ROS names: how they resolve, and what they are called in DDS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hfnet_ros.errors import DdsError

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPE = re.compile(r"([a-z][a-z0-9_]*)/(msg|srv)/([A-Za-z][A-Za-z0-9_]*)")
_DDS_TYPE = re.compile(r"(\w+)::(msg|srv)::dds_::(\w+)_")


@dataclass(frozen=True, slots=True)
class NodeNames:
    """How one node resolves names.

    Attributes:
        name: node, e.g. `relocalizer`.
        namespace: absolute, e.g. `/` or `/robot`.
        remappings: from and to, as given to ROS: absolute, relative or private names.
    """

    name: str
    namespace: str
    remappings: Mapping[str, str]

    @property
    def full_name(self) -> str:
        """Namespace and name, e.g. `/robot/relocalizer`."""
        return f"{self.namespace.rstrip('/')}/{self.name}"

    def resolve(self, name: str) -> str:
        """Return the absolute name of a topic or service, remapped if asked for.

        Raises:
            DdsError: ROS does not allow the name.
        """
        resolved = self.expand(name)
        for source, target in self.remappings.items():
            if self.expand(source) == resolved:
                return self.expand(target)
        return resolved

    def expand(self, name: str) -> str:
        """Return the absolute name without remapping.

        Raises:
            DdsError: ROS does not allow the name.
        """
        if name.startswith("/"):
            expanded = name
        elif name == "~" or name.startswith("~/"):
            expanded = self.full_name + name[1:]
        else:
            expanded = f"{self.namespace.rstrip('/')}/{name}"
        _check_tokens(expanded, name, "name")
        return expanded


def node_names(name: str, namespace: str, remappings: Mapping[str, str] | None = None) -> NodeNames:
    """Return the names of a node.

    Args:
        name: node name without a namespace.
        namespace: absolute or not, with or without an end slash; empty is `/`.
        remappings: from and to.

    Raises:
        DdsError: ROS does not allow one of them.
    """
    if not _TOKEN.fullmatch(name):
        raise DdsError(
            f"'{name}' is no node name: expected letters, digits and '_', not beginning with a digit"
        )
    absolute = "/" + namespace.strip("/")
    if absolute != "/":
        _check_tokens(absolute, namespace, "namespace")
    names = NodeNames(name, absolute, dict(remappings or {}))
    for old_name, new_name in names.remappings.items():
        names.resolve(old_name)
        names.resolve(new_name)
    return names


def split_type(type_name: str) -> tuple[str, str, str]:
    """Return package, `msg` or `srv`, and name of a type such as `sensor_msgs/msg/Image`.

    Raises:
        DdsError: it is written otherwise.
    """
    match = _TYPE.fullmatch(type_name)
    if match is None:
        raise DdsError(f"'{type_name}' is no type: expected package/msg/Name or package/srv/Name")
    return match[1], match[2], match[3]


def dds_topic(name: str) -> str:
    """Return what DDS calls a topic of an absolute name."""
    return f"rt{name}"


def dds_service(name: str) -> tuple[str, str]:
    """Return what DDS calls the topics of requests and replies of a service of an absolute name."""
    return f"rq{name}Request", f"rr{name}Reply"


def dds_type(type_name: str) -> str:
    """Return what DDS calls a type; halves of services are `package/srv/Name_Request`, `.._Response`."""
    package, kind, name = split_type(type_name)
    return f"{package}::{kind}::dds_::{name}_"


def ros_topic(dds_name: str) -> str | None:
    """Return the absolute ROS name of a DDS topic; None if it is none of ROS, or part of a service."""
    return dds_name[2:] if dds_name.startswith("rt/") else None


def ros_type(dds_name: str) -> str:
    """Return the ROS name of a DDS type, or the name itself if it is none of ROS."""
    match = _DDS_TYPE.fullmatch(dds_name)
    return f"{match[1]}/{match[2]}/{match[3]}" if match else dds_name


def _check_tokens(absolute: str, given: str, what: str) -> None:
    if not all(_TOKEN.fullmatch(token) for token in absolute[1:].split("/")):
        raise DdsError(
            f"'{given}' is no {what} ROS allows: expected letters, digits and '_' between single slashes, "
            "no part beginning with a digit"
        )
