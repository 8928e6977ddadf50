"""Draw the figures of `summary` that break a run down: by axis, by limit, by distance to the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hfnet_ros.evaluation.false_fix_curve import FalseFixCurve
from hfnet_ros.evaluation.honesty import AXES, NOMINAL_COVERAGE, SIGMAS
from hfnet_ros.evaluation.view_distance import RecallBin
from hfnet_ros.report.svg import Axis, Chart

_HALF = (550.0, 300.0)


def draw_coverage(coverage: Mapping[str, object] | None) -> str | None:
    """Return the SVG of the share of errors within 1, 2, 3 sigma by axis; None of nothing.

    Args:
        coverage: what `summary.summarize_coverage` returned.
    """
    if coverage is None:
        return None
    x = Axis(-0.6, len(AXES) - 0.4, "axis of the map", names=AXES)
    chart = Chart(x, Axis(0.0, 1.05, "share of errors inside", is_percent=True), _HALF, "Coverage by axis")
    for sigma, nominal in zip(SIGMAS, NOMINAL_COVERAGE, strict=True):
        chart.add_line([x.low, x.high], [nominal, nominal], f"nominal cover{sigma}")
    for place, axis in enumerate(AXES):
        shares = coverage[axis]
        if not isinstance(shares, Mapping):
            continue
        for sigma, nominal in zip(SIGMAS, NOMINAL_COVERAGE, strict=True):
            share = float(shares[str(sigma)])
            at = place + 0.16 * (sigma - 2)
            tip = f"{axis}: {100 * share:.0f} % within {sigma} σ\nhonest: {100 * nominal:.1f} %"
            chart.add_line([at, at], [nominal, share], f"cover{sigma}")
            chart.add_dot(at, share, f"dot cover{sigma}", tip=tip)
    return chart.render()


def coverage_legend() -> list[tuple[str, str]]:
    """Return the legend entries of `draw_coverage`."""
    return [
        (f"cover{sigma}", f"within {sigma} σ (dashed: honest, {100 * share:.1f} %)")
        for sigma, share in zip(SIGMAS, NOMINAL_COVERAGE, strict=True)
    ]


def draw_false_fix_curve(curve: FalseFixCurve | None, name: str) -> str | None:
    """Return the SVG of false-fix rate, its bound and recall against the limit; None of nothing."""
    if curve is None:
        return None
    low, high = curve.thresholds[0], max(curve.thresholds[-1], curve.thresholds[0] + 1.0)
    chart = Chart(
        Axis(low, high, f"lowest {name} to believe a pose"),
        Axis(0.0, 1.0, "share", is_percent=True),
        _HALF,
        f"False fixes and recall against a limit of {name}",
    )
    rates = [np.nan if rate is None else rate for rate in curve.false_fix_rate]
    bounds = [np.nan if bound is None else bound for bound in curve.upper_95]
    chart.add_line(curve.thresholds, curve.recall, "kept")
    chart.add_line(curve.thresholds, bounds, "bound")
    chart.add_line(curve.thresholds, rates, "rate")
    rows = zip(curve.thresholds, curve.kept, curve.false_fixes, curve.recall, strict=True)
    for threshold, kept, false, recall in rows:
        tip = f"{name} {threshold:.4g} or more\n{kept} poses, {false} of them wrong\nrecall {100 * recall:.1f} %"
        chart.add_dot(threshold, recall, "handle kept", tip=tip)
    return chart.render()


FALSE_FIX_LEGEND = (
    ("kept", "right poses kept, of all queries"),
    ("rate", "wrong ones among the kept"),
    ("bound", "95 % bound of that rate"),
)


def draw_recall_by_range(bins: Sequence[RecallBin] | None, label: str) -> str | None:
    """Return the SVG of recall in ranges of a value, the number of queries above each bar."""
    if not bins:
        return None
    x = Axis(-0.6, len(bins) - 0.4, label, names=tuple(_range_text(entry) for entry in bins))
    chart = Chart(x, Axis(0.0, 1.1, "share of queries", is_percent=True), _HALF, f"Recall by {label}")
    for place, entry in enumerate(bins):
        if entry.queries == 0:
            chart.add_text(place, 0.02, "0")
            continue
        localized = entry.localized / entry.queries
        right, false = entry.right / entry.queries, entry.false_fixes / entry.queries
        tip = (
            f"{_range_text(entry)}: {entry.queries} queries\n{entry.right} right, {entry.false_fixes} false, "
            f"{entry.queries - entry.localized} without a pose"
        )
        low, high = place - 0.38, place + 0.38
        chart.add_bar((low, 0.0), (high, localized), "rest", tip)
        chart.add_bar((low, 0.0), (high, right), "right", tip)
        chart.add_bar((low, localized - false), (high, localized), "false", tip)
        chart.add_text(place, max(localized, 0.02), str(entry.queries))
    return chart.render()


RANGE_LEGEND = (
    ("right", "right"),
    ("rest", "localized, less exactly"),
    ("false", "false fix"),
)


def _range_text(entry: RecallBin) -> str:
    return f"{entry.low:g}–{entry.high:g}" if entry.high is not None else f"> {entry.low:g}"
