"""Verb `params`: every parameter with default, bounds and meaning, from its one source."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

from hfnet_ros.cli.options import new_verb
from hfnet_ros.config import Config

_EXAMPLE = "hfnet-ros params > my.yaml   # edit, then: hfnet-ros evaluate --params my.yaml ..."


def add_verbs(verbs: Any) -> None:
    """Add `params`."""
    params = new_verb(verbs, "params", "print all parameters as YAML to edit", _EXAMPLE, _print)
    params.add_argument("--markdown", action="store_true", help="print the page docs/parameters.md instead")


def _print(options: argparse.Namespace) -> int:
    print(parameters_markdown() if options.markdown else parameters_yaml(), end="")
    return 0


def parameters_yaml() -> str:
    """Return all parameters at their defaults as YAML, each below its explanation."""
    lines = [
        "# Parameters of hfnet_ros; what is left out keeps its default.",
        "# Written by: hfnet-ros params",
    ]
    for section, kind, entries in _sections():
        lines += ["", f"# {kind.__doc__.splitlines()[0]}", f"{section}:"]
        for entry in entries:
            explanation = f"{entry.metadata['sentence']} {_range_text(entry)}".strip()
            lines += [f"  # {line}" for line in textwrap.wrap(explanation, 100)]
            lines.append(f"  {entry.name}: {_yaml_value(entry.default)}")
    return "\n".join(lines) + "\n"


def parameters_markdown() -> str:
    """Return docs/parameters.md."""
    lines = [
        "# Parameters",
        "",
        "Written by `hfnet-ros params --markdown` from `hfnet_ros/config.py`; a test compares the two.",
        "A file for `--params` is made by `hfnet-ros params > my.yaml`. Pixel values are meant at a focal",
        "length of 525 px and scale with that of the camera, unless they say otherwise.",
    ]
    for section, kind, entries in _sections():
        lines += ["", f"## {section}", "", kind.__doc__.splitlines()[0], ""]
        lines += ["| parameter | default | unit | allowed | meaning |", "|---|---|---|---|---|"]
        for entry in entries:
            meta = entry.metadata
            default = f"`{_yaml_value(entry.default)}`"
            allowed = _allowed(entry)
            lines.append(f"| `{entry.name}` | {default} | {meta['unit']} | {allowed} | {meta['sentence']} |")
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, Any, tuple[dataclasses.Field[Any], ...]]]:
    config = Config()
    for section in dataclasses.fields(config):
        kind = type(getattr(config, section.name))
        yield section.name, kind, dataclasses.fields(kind)


def _allowed(entry: dataclasses.Field[Any]) -> str:
    meta = entry.metadata
    if meta["choices"]:
        return ", ".join(meta["choices"])
    if meta["low"] is not None:
        return f"{meta['low']:g} to {meta['high']:g}"
    return "true, false" if isinstance(entry.default, bool) else ""


def _range_text(entry: dataclasses.Field[Any]) -> str:
    allowed, unit = _allowed(entry), entry.metadata["unit"]
    return f"({allowed}{' ' + unit if unit else ''})" if allowed else ""


def _yaml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return '""' if value == "" else str(value)
