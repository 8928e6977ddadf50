"""ROS parameters from `hfnet_ros.config`: declared with its bounds, read back through its checks."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from hfnet_ros.config import MOVED, OF_EVERY_NODE, Config, parameters_of_node, refuse_moved
from hfnet_ros.errors import ConfigError


def declare_parameters(node: Node) -> None:
    """Declare every parameter as `section.field` with range, unit and meaning.

    Raises:
        ConfigError: the node was given one that there is not, or a file without a section for it.
    """
    config = Config()
    for section in dataclasses.fields(config):
        for entry in dataclasses.fields(getattr(config, section.name)):
            name = f"{section.name}.{entry.name}"
            node.declare_parameter(name, entry.default, _descriptor(name, entry))
    # rclpy says nothing of a misspelled parameter, and has no public name for what it was given.
    for name in getattr(node, "_parameter_overrides", {}):
        section = name.partition(".")[0]
        if not (node.has_parameter(name) or name in MOVED or section in OF_EVERY_NODE):
            raise ConfigError(
                f"there is no parameter {name}; correct the name, or remove it: docs/parameters.md lists all"
            )


def refuse_files_of_others(arguments: Sequence[str], node_name: str) -> None:
    """Refuse parameter files of which none has a section for the node: ROS would start it with the defaults.

    Args:
        arguments: of the process.
        node_name: absolute.

    Raises:
        ConfigError: says which sections there are.
    """
    files = [Path(value) for name, value in itertools.pairwise(arguments) if name == "--params-file"]
    problems = [problem for file in files if (problem := _not_for(file, node_name))]
    if files and len(problems) == len(files):
        raise ConfigError("; ".join(problems))


def _not_for(file: Path, node_name: str) -> str:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        parameters_of_node(document if isinstance(document, Mapping) else {}, node_name)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""  # which ROS has told of
    except ConfigError as error:
        return f"{file}: {error}"
    return ""


def read_config(node: Node, changes: Iterable[Parameter] = ()) -> Config:
    """Return the parameters in force, or as they would be after changes.

    Raises:
        ConfigError: one is of the wrong type, out of bounds, or given under a former name.
    """
    refuse_moved(getattr(node, "_parameter_overrides", {}))
    values: dict[str, dict[str, Any]] = Config().to_dict()
    for section, entries in values.items():
        for name in entries:
            entries[name] = node.get_parameter(f"{section}.{name}").value
    for change in changes:
        section, _, name = change.name.partition(".")
        if name in values.get(section, {}):
            values[section][name] = change.value
    return Config.from_dict(values)


def _descriptor(name: str, entry: dataclasses.Field[Any]) -> ParameterDescriptor:
    meta = entry.metadata
    unit = f" [{meta['unit']}]" if meta["unit"] else ""
    # With dynamic typing a file may say 5 for 5.0; `Config.from_dict` refuses any other change of type.
    descriptor = ParameterDescriptor(
        name=name,
        description=f"{meta['sentence']}{unit} ({meta['level']})",
        additional_constraints=" or ".join(meta["choices"]),
        dynamic_typing=True,
    )
    if meta["low"] is not None:
        low, high = meta["low"], meta["high"]
        if isinstance(entry.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            ]
    return descriptor
