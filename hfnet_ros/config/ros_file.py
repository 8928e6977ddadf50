"""Which parameters of a ROS parameter file are those of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hfnet_ros.errors import ConfigError

_PARAMETERS = "ros__parameters"
# What every node has beside its own; the middleware reads it.
OF_EVERY_NODE = ("use_sim_time", "qos_overrides", "start_type_description_service")


def parameters_of_node(document: Mapping[str, Any], node_name: str) -> dict[str, Any] | None:
    """Return the parameters of a node, by section; None where the file has no sections of nodes.

    As in ROS, a file may be that of several nodes: each section is named by a node, with `*` and `**` for one or any
    number of names on the way, and later sections go before former ones. Names with dots are those of sections.
    What ROS itself reads (`OF_EVERY_NODE`) is among them.

    Args:
        document: of the YAML file.
        node_name: absolute; without a slash, in whatever namespace.

    Raises:
        ConfigError: there are sections of nodes, and none is that of this one.
    """
    sections = list(_sections(document, ()))
    if not sections:
        return None
    names = [tuple(part for part in "/".join(path).split("/") if part) for path, _ in sections]
    wanted = tuple(part for part in node_name.split("/") if part)
    anywhere = "/" not in node_name
    ours = [
        given
        for name, (_, given) in zip(names, sections, strict=True)
        if _matches(name[-1:] if anywhere else name, wanted)
    ]
    if not ours:
        found = ", ".join(f"'{'/'.join(path)}'" for path, _ in sections)
        raise ConfigError(
            f"none of its sections ({found}) is of the node {node_name}; call it '/**' or '{wanted[-1]}'"
        )
    merged: dict[str, Any] = {}
    for given in ours:
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"{_PARAMETERS} is {given!r}, expected sections of names and values")
        for name, value in (given or {}).items():
            _put(merged, str(name), value)
    return merged


def _sections(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(tree, Mapping):
        return
    for key, branch in tree.items():
        if isinstance(branch, Mapping) and _PARAMETERS in branch:
            yield (*path, str(key)), branch[_PARAMETERS]
        else:
            yield from _sections(branch, (*path, str(key)))


def _matches(pattern: tuple[str, ...], name: tuple[str, ...]) -> bool:
    if not pattern or not name:
        return not name and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(pattern[1:], name) or _matches(pattern, name[1:])
    return pattern[0] in ("*", name[0]) and _matches(pattern[1:], name[1:])


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    section, dot, rest = name.partition(".")
    if dot:
        value = {rest: value}
    if isinstance(value, Mapping) and isinstance(tree.get(section), dict):
        for key, entry in value.items():
            _put(tree[section], str(key), entry)
    else:
        tree[section] = dict(value) if isinstance(value, Mapping) else value
