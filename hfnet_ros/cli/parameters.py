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
    form = params.add_mutually_exclusive_group()
    form.add_argument("--basic", action="store_true", help="only those that the user of a robot sets")
    form.add_argument("--markdown", action="store_true", help="print the page docs/parameters.md instead")


def _print(options: argparse.Namespace) -> int:
    print(parameters_markdown() if options.markdown else parameters_yaml(only_basic=options.basic), end="")
    return 0


def parameters_yaml(*, only_basic: bool = False) -> str:
    """Return parameters at their defaults as YAML, each below its explanation; basic ones first in a section."""
    lines = [
        "# Parameters of hfnet_ros; what is left out keeps its default.",
        f"# Written by: hfnet-ros params{' --basic' if only_basic else ''}",
    ]
    for section, kind, entries in _sections():
        for level in ("basic",) if only_basic else ("basic", "advanced"):
            chosen = [entry for entry in entries if entry.metadata["level"] == level]
            if not chosen:
                continue
            if f"{section}:" not in lines:
                lines += ["", f"# {kind.__doc__.splitlines()[0]}", f"{section}:"]
            if level == "advanced":
                lines.append("  # -- advanced --")
            for entry in chosen:
                explanation = f"{entry.metadata['sentence']} {_range_text(entry)}".strip()
                lines += [f"  # {line}" for line in textwrap.wrap(explanation, 100)]
                lines.append(f"  {entry.name}: {_yaml_value(entry.default)}")
    return "\n".join(lines) + "\n"


def parameters_markdown() -> str:
    """Return docs/parameters.md."""
    basic = [
        f"`{section}.{entry.name}`"
        for section, _, entries in _sections()
        for entry in entries
        if entry.metadata["level"] == "basic"
    ]
    lines = [
        "# Parameters",
        "",
        "Written by `hfnet-ros params --markdown` from `hfnet_ros/config/`; a test compares the two.",
        "A file for `--params` is made by `hfnet-ros params > my.yaml`. Pixel values are meant at a focal",
        "length of 525 px and scale with that of the camera, unless they say otherwise.",
        "",
        "Basic ones are what the user of a robot sets (`hfnet-ros params --basic`); they are **bold** below and come "
        "first.",
        "The others are advanced: most of their defaults were measured, and a change needs a reason.",
        "",
        f"Basic: {', '.join(basic)}.",
    ]
    for section, kind, entries in _sections():
        lines += ["", f"## {section}", "", kind.__doc__.splitlines()[0], ""]
        lines += ["| parameter | default | unit | allowed | meaning |", "|---|---|---|---|---|"]
        for entry in entries:
            meta = entry.metadata
            name = f"**`{entry.name}`**" if meta["level"] == "basic" else f"`{entry.name}`"
            default = f"`{_yaml_value(entry.default)}`"
            lines.append(f"| {name} | {default} | {meta['unit']} | {_allowed(entry)} | {meta['sentence']} |")
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, Any, list[dataclasses.Field[Any]]]]:
    """Yield name, class and parameters of each section, basic parameters first."""
    config = Config()
    for section in dataclasses.fields(config):
        kind = type(getattr(config, section.name))
        entries = sorted(dataclasses.fields(kind), key=lambda entry: entry.metadata["level"] != "basic")
        yield section.name, kind, entries


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
    return f'"{value}"' if value in ("", "off") else str(value)  # YAML takes a bare off for false
