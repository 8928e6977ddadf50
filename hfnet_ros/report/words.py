"""Figures as a person would say them."""

from __future__ import annotations

from collections.abc import Callable


def length_text(metres: float) -> str:
    """Return a length in the unit a person would say."""
    if metres < 0.01:
        return f"{1e3 * metres:.1f} mm"
    return f"{1e2 * metres:.1f} cm" if metres < 1.0 else f"{metres:.2f} m"


def offset_text(metres: float, degrees: float) -> str:
    """Return a length and an angle."""
    return f"{length_text(metres)}, {degrees:.2f}°"


def _seconds(seconds: float) -> str:
    if seconds >= 600.0:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.2g} s" if seconds < 10.0 else f"{seconds:.0f} s"


def _milliseconds(value: float) -> str:
    if value >= 10_000.0:
        return f"{value / 1e3:.1f} s"
    return f"{value:.0f} ms" if value >= 100.0 else f"{value:.1f} ms"


_BY_UNIT: dict[str, Callable[[float], str]] = {
    "m": length_text,
    "deg": lambda degrees: f"{degrees:.2f}°",
    "s": _seconds,
    "ms": _milliseconds,
    "share": lambda share: f"{100 * share:.1f} %",
}


def in_words(value: object, unit: str, form: str = ".3g") -> str:
    """Return a value with its unit; an unknown one is a dash, a text stays, other units take the format."""
    if value is None:
        return "–"
    if not isinstance(value, (int, float)):
        return str(value)
    return _BY_UNIT[unit](value) if unit in _BY_UNIT else format(value, form)
