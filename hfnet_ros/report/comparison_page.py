"""Write the page that shows runs side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from scipy.special import chdtr

from hfnet_ros.evaluation.comparison import Comparison, QueryChange, RunColumn, count_splits
from hfnet_ros.evaluation.honesty import NEES_RANGE, POSE_DOF
from hfnet_ros.evaluation.metrics import FALSE_FIX
from hfnet_ros.evaluation.run_folder import QueryRow
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.report.accuracy_plots import add_recall, recall_chart
from hfnet_ros.report.page import figure, render_page, section, theme_button, warning_list
from hfnet_ros.report.svg import Axis, Chart, legend, log_range
from hfnet_ros.report.words import offset_text

_WIDE, _HALF = (1120.0, 260.0), (550.0, 300.0)
_RECALL_ROTATION_DEG = 5.0
_MAX_CHANGES = 60
_NUM_COLORS = 6


def write_comparison(path: str | os.PathLike[str], comparison: Comparison) -> None:
    """Write compare.html, self-contained; replaced as a whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    labels = [column.label for column in comparison.columns]
    key = legend([(_css(number), label) for number, label in enumerate(labels)])
    honest = legend(
        [*((_css(number), label) for number, label in enumerate(labels)), ("honest", "honest (χ², 6)")]
    )
    curves = (
        figure(f"Recall, within {_RECALL_ROTATION_DEG:g}°", _draw_recall(comparison.columns), key),
        figure("Latency", _draw_latency(comparison.columns), key),
        figure("Honesty of the covariance", _draw_nees(comparison.columns), honest),
        figure("Who localized what", _splits(comparison)),
    )
    body = "\n".join(
        (
            f"<header>{theme_button()}<h1>{escape(_title(comparison))}</h1>"
            f"<p>{escape(' · '.join(labels))}</p></header>{warning_list(list(comparison.notes))}",
            section("Figures", f'<div class="scroll">{_figure_table(comparison)}</div>', "The best in bold."),
            section("Curves", f'<div class="pair">{"".join(curves)}</div>'),
            section(
                "Error over time",
                figure("Translation", _draw_errors(comparison), key),
                "Strokes on the time axis are queries without a pose.",
            ),
            _changes_section(comparison),
            _settings_section(comparison),
        )
    )
    document = render_page(f"Comparison of {len(labels)} runs", body, [])
    with atomic_file(path) as temporary:
        temporary.write_text(document, encoding="utf-8")


def _title(comparison: Comparison) -> str:
    return f"{len(comparison.columns)} runs on {len(comparison.stamps_ns)} common queries"


def _css(number: int) -> str:
    return f"run{number % _NUM_COLORS}"


def _figure_table(comparison: Comparison) -> str:
    head = "".join(
        f'<th><span class="{_css(number)}">■</span> {escape(column.label)}</th>'
        for number, column in enumerate(comparison.columns)
    )
    rows = []
    for entry in comparison.figures:
        cells = "".join(
            f"<td{' class=best' if number in entry.winners else ''}>{escape(entry.metric.text(value))}</td>"
            for number, value in enumerate(entry.values)
        )
        rows.append(f"<tr><th>{escape(entry.name)}</th>{cells}</tr>")
    return f'<table class="figures"><thead><tr><th></th>{head}</tr></thead>{"".join(rows)}</table>'


def _draw_recall(columns: Sequence[RunColumn]) -> str | None:
    if not any(column.scored.errors for column in columns):
        return None
    chart = recall_chart("Recall of every run")
    for number, column in enumerate(columns):
        add_recall(chart, column.scored, _RECALL_ROTATION_DEG, _css(number))
    return chart.render()


def _draw_latency(columns: Sequence[RunColumn]) -> str | None:
    totals = [[row.latency_ms["total"] for row in c.rows if "total" in row.latency_ms] for c in columns]
    if not any(totals):
        return None
    high = 1.05 * max(float(np.percentile(values, 99.0)) for values in totals if values)
    return _draw_shares(Axis(0.0, max(high, 1e-3), "total latency, ms"), totals, "Latency of every run")


def _draw_nees(columns: Sequence[RunColumn]) -> str | None:
    nees = [column.scored.nees for column in columns]
    if not any(nees):
        return None
    x = Axis(*NEES_RANGE, "NEES (squared error over reported covariance)", is_log=True)

    def add_honest(chart: Chart) -> None:
        values = np.geomspace(x.low, x.high, 121)
        chart.add_line(values, chdtr(POSE_DOF, values), "honest")

    return _draw_shares(x, nees, "NEES of every run", add_honest)


def _draw_shares(
    x: Axis,
    groups: Sequence[Sequence[float]],
    description: str,
    add_more: Callable[[Chart], None] | None = None,
) -> str:
    """Draw for every group of values the share that is at most x."""
    chart = Chart(x, Axis(0.0, 1.0, "share of queries at most", is_percent=True), _HALF, description)
    if add_more is not None:
        add_more(chart)
    for number, values in enumerate(groups):
        if values:
            ordered = np.sort(values)
            # A step at every value, from 0 to 1.
            xs = np.concatenate([[x.low], np.repeat(ordered, 2), [x.high]])
            shares = np.arange(len(ordered) + 1) / len(ordered)
            chart.add_line(xs, np.repeat(shares, 2), _css(number))
    return chart.render()


def _draw_errors(comparison: Comparison) -> str | None:
    errors = [error.translation_m for column in comparison.columns for error in column.scored.errors]
    if not errors:
        return None
    low, high = log_range(errors, 1e-4, 1e3)
    times = (np.array(comparison.stamps_ns) - comparison.stamps_ns[0]) / 1e9
    end = max(float(times[-1]), 1e-3)
    x = Axis(-0.01 * end, 1.01 * end, "time since the first common query, s")
    chart = Chart(x, Axis(low, high, "translation error, m", is_log=True), _WIDE, "Errors over time")
    for number, column in enumerate(comparison.columns):
        for time, row in zip(times.tolist(), column.rows, strict=True):
            tip = f"{column.label}\n{row.name}\n{_answer_text(row)}"
            if row.error is not None:
                chart.add_dot(time, row.error.translation_m, f"dot {_css(number)}", tip=tip)
            elif not row.is_localized:
                chart.add_tick_mark(time, f"cross {_css(number)}")
    return chart.render()


def _splits(comparison: Comparison) -> str:
    total = len(comparison.stamps_ns)
    rows = []
    for flags, count in sorted(count_splits(comparison).items(), key=lambda item: -item[1]):
        names = [c.label for c, flag in zip(comparison.columns, flags, strict=True) if flag]
        name = "all runs" if all(flags) else "none" if not names else "only " + ", ".join(names)
        css = "right" if all(flags) else "lost" if not names else _css(flags.index(True))
        rows.append(
            f'<tr><th>{escape(name)}</th><td><i class="{css}" style="width:{100 * count / total:.2f}%"></i></td>'
            f"<td>{count}</td><td>{100 * count / total:.1f} %</td></tr>"
        )
    return f'<table class="bars">{"".join(rows)}</table>'


def _answer_text(row: QueryRow) -> str:
    if not row.is_localized:
        return row.outcome.replace("_", " ").lower()
    if row.error is None:
        return "localized, error unknown"
    text = offset_text(row.error.translation_m, row.error.rotation_deg)
    return text if row.error.is_within(FALSE_FIX) else f"false fix: {text}"


def _changes_section(comparison: Comparison) -> str:
    changes = comparison.changes
    if not changes:
        return section(
            "Where they differ", "", "Nowhere: no query is gained, lost, or clearly better in one."
        )
    head = "".join(f"<th>{escape(column.label)}</th>" for column in comparison.columns)
    rows = "".join(_change_row(change, comparison.stamps_ns[0]) for change in changes[:_MAX_CHANGES])
    lead = (
        f"{len(changes)} queries are localized by some runs only, or their errors differ by a factor of 1.5 and 1 cm. "
        "False fixes first, then poses gained and lost, then the largest ratios."
    )
    if len(changes) > _MAX_CHANGES:
        lead += f" The first {_MAX_CHANGES} are listed."
    table = (
        f'<table class="figures"><thead><tr><th>query</th><th>time, s</th>{head}<th>error ratio</th></tr></thead>'
        f"{rows}</table>"
    )
    return section("Where they differ", f'<div class="scroll">{table}</div>', lead)


def _change_row(change: QueryChange, first_ns: int) -> str:
    cells = "".join(f"<td>{escape(_answer_text(row))}</td>" for row in change.rows)
    ratio = "–" if change.ratio is None else f"{change.ratio:.1f}"
    time = (change.stamp_ns - first_ns) / 1e9
    return f"<tr><th>{escape(change.name)}</th><td>{time:.2f}</td>{cells}<td>{ratio}</td></tr>"


def _settings_section(comparison: Comparison) -> str:
    if not comparison.settings:
        return section("What differs in their making", "", "Nothing that results.json records.")
    head = "".join(f"<th>{escape(column.label)}</th>" for column in comparison.columns)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
        for name, texts in comparison.settings.items()
    )
    table = f'<table class="figures"><thead><tr><th></th>{head}</tr></thead>{rows}</table>'
    return section("What differs in their making", f'<div class="scroll">{table}</div>')
