"""One thing diagnostics say, and how bad it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One key of a diagnostic status: its value, how bad that is, and what to say of it if it is."""

    key: str
    value: str
    level: Level = Level.OK
    sentence: str = ""


def complaint(key: str, error: str, level: Level, what: str, good: str = "") -> Finding:
    """Return a finding that is bad exactly if there is an error to tell."""
    return Finding(key, error, level, f"{what}: {error}") if error else Finding(key, good)


def number(value: float | None, digits: int) -> str:
    """Return a number to print; empty where it is unknown."""
    return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
