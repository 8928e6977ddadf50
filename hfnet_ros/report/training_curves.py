"""Draw what was measured on held-out keyframes while a scene-coordinate network was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hfnet_ros.report.svg import Axis, Chart, legend

_SHARES = (
    ("part", "run0", "in the right part of the scene"),
    ("leaf", "run1", "in the right leaf"),
    ("near", "run2", "so near that landmarks are looked for around it"),
)
_SIZE = (550.0, 250.0)

Curves = Sequence[Mapping[str, float]]


def draw_shares(curves: Curves) -> tuple[str, str] | None:
    """Return the SVG of shares of points that are right, by step, and its legend; None where there is no line."""
    known = [entry for entry in _SHARES if sum(entry[0] in row for row in curves) > 1]
    if not known:
        return None
    chart = Chart(_steps(curves), Axis(0.0, 1.0, "share of points", is_percent=True), _SIZE, "Shares by step")
    for name, css, _ in known:
        chart.add_line(*_line(curves, name), css)
    return chart.render(), legend([(css, text) for _, css, text in known])


def draw_median(curves: Curves) -> str | None:
    """Return the SVG of the median distance of points from where they are, by step; None where there is no line."""
    steps, values = _line(curves, "median_m")
    if len(values) < 2:
        return None
    high = float(np.nanmax(values))
    chart = Chart(_steps(curves), Axis(0.0, max(1.1 * high, 1e-6), "median error, m"), _SIZE, "Error by step")
    chart.add_line(steps, values, "run3")
    return chart.render()


def _steps(curves: Curves) -> Axis:
    return Axis(0.0, max((float(row.get("step", 0.0)) for row in curves), default=0.0) or 1.0, "step")


def _line(curves: Curves, name: str) -> tuple[list[float], list[float]]:
    rows = [row for row in curves if name in row and "step" in row]
    return [float(row["step"]) for row in rows], [float(row[name]) for row in rows]
