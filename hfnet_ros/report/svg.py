"""A small chart in SVG that takes its colours from the style sheet of the page around it.

Colours are CSS classes, so one chart serves light and dark pages. A mark with `data-q` belongs
to that query: the page's script shows the query's facts and lights up its marks everywhere.
A mark with `data-tip` shows that text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 54.0, 14.0, 14.0, 42.0
_NICE_STEPS = (1.0, 2.0, 5.0, 10.0)
_PX_PER_TICK_X, _PX_PER_TICK_Y = 90.0, 45.0


@dataclass(frozen=True, slots=True)
class Axis:
    """The range of one axis and how it is labelled.

    Attributes:
        low: value at the left or bottom end (right or top if flipped); below high.
        high: value at the other end.
        label: quantity and unit; "" for none.
        is_log: equal ratios instead of equal differences; low must be positive.
        is_percent: ticks are shares in per cent.
        is_flipped: values grow to the left or downwards.
        names: label of the values 0, 1, 2... instead of numbers.
    """

    low: float
    high: float
    label: str = ""
    is_log: bool = False
    is_percent: bool = False
    is_flipped: bool = False
    names: tuple[str, ...] = ()

    def fraction(self, values: ArrayLike) -> FloatArray:
        """Return where values lie, 0 at the left or bottom end, unclipped."""
        numbers = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.is_log:
            numbers = np.log(np.maximum(numbers, 1e-300))
            low, high = float(np.log(low)), float(np.log(high))
        fraction: FloatArray = (numbers - low) / (high - low)
        return 1.0 - fraction if self.is_flipped else fraction

    def ticks(self, count: float) -> list[float]:
        """Return about `count` round values inside the range."""
        if self.names:
            return [float(number) for number in range(len(self.names))]
        values = _log_ticks(self.low, self.high) if self.is_log else _ticks(self.low, self.high, count)
        return [value for value in values if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]

    def text(self, value: float) -> str:
        """Return the label of a tick."""
        if self.names:
            return self.names[round(value)]
        return f"{100 * value:g} %" if self.is_percent else f"{value:g}"


class Chart:
    """Collects marks inside a frame; `render` gives the SVG element."""

    def __init__(self, x: Axis, y: Axis, size_px: tuple[float, float], description: str) -> None:
        """Start an empty chart of `size_px` (width, height); the description is for screen readers."""
        self.x, self.y = x, y
        self.width, self.height = size_px
        self._description = description
        self._marks: list[str] = []
        self._notes: list[str] = []

    def to_px(self, xs: ArrayLike, ys: ArrayLike) -> FloatArray:
        """Return pixels [N, 2] of values [N] and [N]; what lies outside is put on the frame."""
        right, bottom = self.width - _MARGIN_RIGHT, self.height - _MARGIN_BOTTOM
        across = np.clip(self.x.fraction(xs), 0.0, 1.0)
        up = np.clip(self.y.fraction(ys), 0.0, 1.0)
        return np.stack(
            np.broadcast_arrays(
                _MARGIN_LEFT + across * (right - _MARGIN_LEFT), bottom - up * (bottom - _MARGIN_TOP)
            ),
            axis=-1,
        )

    def add_dust(self, xs: FloatArray, ys: FloatArray, css: str) -> None:
        """Draw values [N] as tiny dots in one path; what lies outside is left out."""
        inside = (np.abs(self.x.fraction(xs) - 0.5) <= 0.5) & (np.abs(self.y.fraction(ys) - 0.5) <= 0.5)
        # A stroke of no length has round ends only: a dot for twelve bytes.
        dots = "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in self.to_px(xs[inside], ys[inside]))
        self._marks.append(f'<path class="{css}" d="{dots}"/>')

    def add_line(self, xs: ArrayLike, ys: ArrayLike, css: str) -> None:
        """Draw a line through values [N]; NaN interrupts it."""
        broken = np.isnan(np.asarray(xs, dtype=np.float64)) | np.isnan(np.asarray(ys, dtype=np.float64))
        path, pen_is_up = [], True
        for (x, y), is_gap in zip(self.to_px(xs, ys), broken, strict=True):
            if not is_gap:
                path.append(f"{'M' if pen_is_up else 'L'}{x:.1f} {y:.1f}")
            pen_is_up = bool(is_gap)
        self._marks.append(f'<path class="line {css}" d="{"".join(path)}"/>')

    def add_dot(self, x: float, y: float, css: str, *, query: int | None = None, tip: str = "") -> None:
        """Draw a round mark."""
        ((px, py),) = self.to_px([x], [y])
        self._marks.append(f'<circle class="{css}" cx="{px:.1f}" cy="{py:.1f}" r="3.2"{_links(query, tip)}/>')

    def add_text(self, x: float, y: float, text: str) -> None:
        """Write a short text just above a value, centred."""
        ((px, py),) = self.to_px([x], [y])
        self._notes.append(
            f'<text class="note" x="{px:.1f}" y="{py - 5:.1f}" text-anchor="middle">{escape(text)}</text>'
        )

    def add_cross(self, x: float, y: float, css: str, *, query: int | None = None) -> None:
        """Draw an x-shaped mark."""
        ((px, py),) = self.to_px([x], [y])
        shape = f"M{px - 3.5:.1f} {py - 3.5:.1f}l7 7m0-7l-7 7"
        self._marks.append(f'<path class="cross {css}" d="{shape}"{_links(query, "")}/>')

    def add_tick_mark(self, x: float, css: str, *, query: int | None = None) -> None:
        """Draw a short upright stroke that stands on the x axis."""
        ((px, py),) = self.to_px([x], [self.y.high if self.y.is_flipped else self.y.low])
        self._marks.append(f'<path class="{css}" d="M{px:.1f} {py:.1f}v-11"{_links(query, "")}/>')

    def add_bar(self, low: tuple[float, float], high: tuple[float, float], css: str, tip: str = "") -> None:
        """Fill the box between two (x, y) corners."""
        (x0, y0), (x1, y1) = self.to_px([low[0], high[0]], [low[1], high[1]])
        box = f'x="{min(x0, x1):.1f}" y="{min(y0, y1):.1f}"'
        size = f'width="{abs(x1 - x0):.1f}" height="{abs(y1 - y0):.1f}"'
        self._marks.append(f'<rect class="{css}" {box} {size}{_links(None, tip)}/>')

    def add_upright(self, x: float, label: str, css: str, row: int = 0) -> None:
        """Draw an upright line with a label at its top; `row` lowers the top, clear of other labels."""
        ((px, bottom),) = self.to_px([x], [self.y.low])
        flip = px > 0.8 * self.width
        anchor, shift = ("end", -4) if flip else ("start", 4)
        text_y = _MARGIN_TOP + 10 + 14 * row
        self._marks.append(f'<path class="rule {css}" d="M{px:.1f} {text_y - 10:.1f}V{bottom:.1f}"/>')
        # All notes come after all marks, so that no line crosses a text.
        self._notes.append(
            f'<text class="note" x="{px + shift:.1f}" y="{text_y:.1f}" text-anchor="{anchor}">'
            f"{escape(label)}</text>"
        )

    def render(self) -> str:
        """Return the SVG element."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{escape(self._description)}">'
            f"{self._grid()}{''.join(self._marks)}{''.join(self._notes)}</svg>"
        )

    def _grid(self) -> str:
        right, bottom = self.width - _MARGIN_RIGHT, self.height - _MARGIN_BOTTOM
        middle_x, middle_y = (_MARGIN_LEFT + right) / 2, (_MARGIN_TOP + bottom) / 2
        parts = []
        for value in self.x.ticks((right - _MARGIN_LEFT) / _PX_PER_TICK_X):
            ((px, _),) = self.to_px([value], [self.y.low])
            parts.append(f'<path class="grid" d="M{px:.1f} {_MARGIN_TOP}V{bottom:.1f}"/>')
            parts.append(_tick_text(px, bottom + 15, self.x.text(value), "middle"))
        for value in self.y.ticks((bottom - _MARGIN_TOP) / _PX_PER_TICK_Y):
            ((_, py),) = self.to_px([self.x.low], [value])
            parts.append(f'<path class="grid" d="M{_MARGIN_LEFT} {py:.1f}H{right:.1f}"/>')
            parts.append(_tick_text(_MARGIN_LEFT - 7, py + 3.5, self.y.text(value), "end"))
        parts.append(f'<path class="base" d="M{_MARGIN_LEFT} {bottom:.1f}H{right:.1f}"/>')
        parts.append(
            f'<text class="axis" x="{middle_x:.1f}" y="{self.height - 8:.1f}" text-anchor="middle">'
            f"{escape(self.x.label)}</text>"
            f'<text class="axis" transform="translate(13 {middle_y:.1f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y.label)}</text>"
        )
        return "".join(parts)


def inner_size_px(size_px: tuple[float, float]) -> tuple[float, float]:
    """Return width and height of the frame inside a chart of that size."""
    return size_px[0] - _MARGIN_LEFT - _MARGIN_RIGHT, size_px[1] - _MARGIN_TOP - _MARGIN_BOTTOM


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return the HTML legend of (CSS class of the swatch, text) pairs."""
    items = "".join(f'<li><i class="{css}"></i>{escape(text)}</li>' for css, text in entries)
    return f'<ul class="legend">{items}</ul>'


def log_range(values: Sequence[float] | FloatArray, least: float, most: float) -> tuple[float, float]:
    """Return whole decades around the positive values, never wider than [least, most]."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = np.clip(numbers[np.isfinite(numbers) & (numbers > 0.0)], least, most)
    if not len(numbers):
        return least, most
    # Half of a per cent of the values may lie on the frame: one outlier shall not squeeze the rest.
    low, high = np.percentile(numbers, [0.5, 100.0])
    exponent_low = np.floor(np.log10(low))
    return float(10.0**exponent_low), float(10.0 ** max(np.ceil(np.log10(high)), exponent_low + 1.0))


def _ticks(low: float, high: float, count: float) -> list[float]:
    rough = (high - low) / max(count, 1.0)
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * nice for nice in _NICE_STEPS if power * nice >= rough * (1 - 1e-9))
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    return [float(f"{factor}e{power}") for power in range(first, last + 1) for factor in factors]


def _tick_text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _links(query: int | None, tip: str) -> str:
    link = "" if query is None else f' data-q="{query}"'
    return link + (f' data-tip="{escape(tip)}"' if tip else "")
