"""Declare a parameter once, with all that a person or a ROS descriptor needs to know, and check given values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hfnet_ros.errors import ConfigError


def parameter(
    default: Any,
    sentence: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    level: str = "advanced",
    is_list: bool = False,
) -> Any:
    """Declare one parameter.

    Args:
        default: also says the type, one that a ROS parameter can have.
        sentence: what it means.
        unit: as in the suffix of its name.
        low: smallest value of a number.
        high: largest value of a number.
        choices: words that are allowed; all where there are none.
        level: `basic` is what the user of a robot sets, `advanced` what most never need to.
        is_list: a text of words, which may be given as a list of texts or numbers, too.
    """
    metadata = {
        "sentence": sentence,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "level": level,
        "is_list": is_list,
    }
    return dataclasses.field(default=default, metadata=metadata)


def read_section(name: str, kind: Any, given: object) -> Any:
    """Return a section of its given values; what is not named keeps its default.

    Args:
        name: of the section.
        kind: its dataclass, of `parameter` fields.
        given: values by name; None is a section whose lines are all commented out.

    Raises:
        ConfigError: a name is unknown, a type wrong or a value out of bounds.
    """
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"section '{name}' is {given!r}, expected names and values")
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    refuse_unknown(given, fields, f"parameter of section '{name}'")
    return kind(**{key: _checked(f"{name}.{key}", fields[key], value) for key, value in given.items()})


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse the first name that is none of the known ones.

    Raises:
        ConfigError: names it, and those that are known.
    """
    known = list(known)
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError(f"'{unknown[0]}' is no {what}; known are {', '.join(known)}")


def _checked(name: str, entry: dataclasses.Field[Any], value: Any) -> Any:
    kind, meta = type(entry.default), entry.metadata
    if value is False and "off" in meta["choices"]:
        value = "off"  # which YAML takes for false where it is not quoted
    if meta["is_list"] and isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
        value = " ".join(str(word) for word in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} is {value!r} ({type(value).__name__}), expected {kind.__name__}")
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"{name} is '{value}', expected one of {', '.join(meta['choices'])}")
    if kind in (int, float):
        below = meta["low"] is not None and not value >= meta["low"]
        above = meta["high"] is not None and not value <= meta["high"]
        if below or above:
            raise ConfigError(
                f"{name} is {value}, expected {meta['low']} to {meta['high']} {meta['unit']}".rstrip()
            )
    return value
