"""Draw how long queries took and what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from hfnet_ros.evaluation.metrics import STAGES, latency_percentiles
from hfnet_ros.report.svg import Axis, Chart
from hfnet_ros.types import Localization

_HALF = (550.0, 250.0)
_LATENCY_BINS = 40


def draw_latency_histogram(localizations: Sequence[Localization]) -> str | None:
    """Return the SVG of total latency with its percentiles; None if nothing was timed."""
    totals = np.array([item.timings_s["total"] * 1e3 for item in localizations if "total" in item.timings_s])
    if not len(totals):
        return None
    marks = np.percentile(totals, [50, 95, 99])
    # The first image pays for loading and caches; it falls into the last bin, not off the chart.
    high = max(float(1.25 * marks[2]), 1e-3)
    edges = np.linspace(0.0, high, _LATENCY_BINS + 1)
    counts, _ = np.histogram(np.minimum(totals, high), edges)
    top = 1.3 * float(counts.max())
    chart = Chart(
        Axis(0.0, high, "total latency, ms"), Axis(0.0, top, "queries"), _HALF, "Histogram of latency"
    )
    for low, upper, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            chart.add_bar((low, 0.0), (upper, count), "bar", f"{low:.1f} to {upper:.1f} ms\n{count} queries")
    for row, (name, value) in enumerate(zip(("p50", "p95", "p99"), marks.tolist(), strict=True)):
        chart.add_upright(value, f"{name} {value:.1f} ms", "mark", row)
    return chart.render()


def draw_stage_shares(localizations: Sequence[Localization]) -> str | None:
    """Return the HTML bar and table of the time of each stage; None if nothing was timed."""
    timed = [item.timings_s for item in localizations if "total" in item.timings_s]
    seconds = _stage_seconds(timed)
    whole = sum(seconds.values())
    if whole <= 0.0:
        return None
    percentiles = latency_percentiles(localizations)
    parts, rows = [], []
    for number, (stage, value) in enumerate(seconds.items()):
        mean, share = 1e3 * value / len(timed), value / whole
        css, tip = f"stage{number % 7}", escape(f"{stage}\n{mean:.1f} ms, {100 * share:.0f} %")
        parts.append(f'<i class="{css}" style="flex-grow:{share:.4f}" data-tip="{tip}"></i>')
        rows.append(_stage_row(f'<i class="{css}"></i>{escape(stage)}', mean, percentiles.get(stage, {})))
    total = 1e3 * sum(timings["total"] for timings in timed) / len(timed)
    rows.append(_stage_row("total", total, percentiles["total"], ' class="sum"'))
    return (
        f'<div class="stack">{"".join(parts)}</div><table class="stages"><thead><tr><th>ms</th>'
        f"<th>mean</th><th>p50</th><th>p95</th><th>p99</th></tr></thead>{''.join(rows)}</table>"
    )


def _stage_seconds(timed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    extra = sorted({stage for timings in timed for stage in timings}.difference(STAGES))
    seconds = {stage: sum(timings.get(stage, 0.0) for timings in timed) for stage in [*STAGES[1:], *extra]}
    total = sum(timings["total"] for timings in timed)
    rest = total - sum(seconds.values())
    # Stages may overlap or contain one another; only a remainder that exists is shown.
    if rest > 0.005 * total:
        seconds["other"] = rest
    return {stage: value for stage, value in seconds.items() if value > 0.0}


def _stage_row(name: str, mean: float, percentiles: Mapping[str, float | None], attributes: str = "") -> str:
    values = (mean, *(percentiles.get(key) for key in ("p50", "p95", "p99")))
    cells = "".join(f"<td>{'' if value is None else f'{value:.1f}'}</td>" for value in values)
    return f"<tr{attributes}><th>{name}</th>{cells}</tr>"


def draw_outcomes(counts: Mapping[str, int]) -> str | None:
    """Return HTML bars of how often each outcome came, most often first; None of no query."""
    total = sum(counts.values())
    if total == 0:
        return None
    rows = []
    for outcome, count in sorted(counts.items(), key=lambda item: -item[1]):
        css = "right" if outcome == "LOCALIZED" else "lost"
        bar = f'<i class="{css}" style="width:{100 * count / total:.2f}%"></i>'
        name = escape(outcome.replace("_", " ").lower())
        empty = "" if count else ' class="faint"'
        rows.append(
            f"<tr{empty}><th>{name}</th><td>{bar}</td><td>{count}</td>"
            f"<td>{100 * count / total:.1f} %</td></tr>"
        )
    return f'<table class="bars">{"".join(rows)}</table>'
