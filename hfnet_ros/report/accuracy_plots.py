"""Draw how far the estimates are off, and whether their covariances said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hfnet_ros.evaluation.honesty import NEES_RANGE, POSE_DOF, nees_histogram
from hfnet_ros.evaluation.metric_table import ScoredRun
from hfnet_ros.evaluation.metrics import NEES_BAND, PoseThreshold, QueryScore
from hfnet_ros.report.drawn_queries import DrawnQueries
from hfnet_ros.report.svg import Axis, Chart, log_range

_WIDE, _HALF = (1120.0, 236.0), (550.0, 300.0)
_RECALL_ROTATIONS_DEG = (2.0, 5.0, 10.0)
_INLIER_BINS = 24
_INLIER_KINDS = {
    "right": "right pose",
    "false": "false fix",
    "blind": "pose without ground truth",
    "none": "no pose given",
}


def draw_error_over_time(drawn: DrawnQueries, *, is_rotation: bool) -> str:
    """Return the SVG of error (dots) and reported sigma (line) against time, log scale.

    Queries without a pose are strokes on the time axis.
    """
    sigmas = [_sigma(query.score, is_rotation) for query in drawn.queries]
    errors = [_error(query.score, is_rotation) for query in drawn.queries]
    limits = (1e-3, 360.0) if is_rotation else (1e-4, 1e3)
    low, high = log_range([*sigmas, *errors], *limits)
    quantity = "rotation, deg" if is_rotation else "translation, m"
    chart = Chart(
        _time_axis(drawn), Axis(low, high, quantity, is_log=True), _WIDE, f"Error of {quantity} over time"
    )
    chart.add_line([query.time for query in drawn.queries], sigmas, "sigma")
    for query, error in zip(drawn.queries, errors, strict=True):
        if not query.score.is_localized:
            chart.add_tick_mark(query.time, "cross lost", query=query.index)
        elif not np.isnan(error):
            chart.add_dot(query.time, error, f"dot {query.css}", query=query.index)
    return chart.render()


def time_px(drawn: DrawnQueries) -> list[float]:
    """Return where each query lies on the time axis of `draw_error_over_time`, px."""
    chart = Chart(_time_axis(drawn), Axis(0.0, 1.0), _WIDE, "")
    times = [query.time for query in drawn.queries]
    pixels: list[float] = chart.to_px(times, np.zeros(len(times)))[:, 0].tolist()
    return pixels


def _time_axis(drawn: DrawnQueries) -> Axis:
    start, end = drawn.time_range
    margin = 0.01 * (end - start)
    return Axis(start - margin, end + margin, drawn.time_label)


def _sigma(score: QueryScore, is_rotation: bool) -> float:
    sigma = score.sigma_r_deg if is_rotation else score.sigma_t_m
    return np.nan if sigma is None else sigma


def _error(score: QueryScore, is_rotation: bool) -> float:
    if score.error is None:
        return np.nan
    return score.error.rotation_deg if is_rotation else score.error.translation_m


def draw_recall_curve(scores: Sequence[QueryScore]) -> str | None:
    """Return the SVG of recall against the translation threshold; None without ground truth."""
    run = ScoredRun(scores)
    if run.num_with_truth == 0:
        return None
    chart = recall_chart("Recall curve")
    for number, rotation in enumerate(_RECALL_ROTATIONS_DEG):
        for limit, share in add_recall(chart, run, rotation, f"recall{number}")[::5]:
            tip = f"{100 * share:.1f} % within\n{limit.translation_m:.3g} m and {rotation:g}°"
            chart.add_dot(limit.translation_m, share, f"handle recall{number}", tip=tip)
    return chart.render()


def recall_chart(description: str) -> Chart:
    """Return an empty chart of recall against the translation threshold."""
    x = Axis(0.01, 5.0, "translation threshold, m", is_log=True)
    return Chart(x, Axis(0.0, 1.0, "share of all queries", is_percent=True), _HALF, description)


def add_recall(
    chart: Chart, run: ScoredRun, rotation_deg: float, css: str
) -> list[tuple[PoseThreshold, float]]:
    """Draw the recall of a run within an angle, and return its points; none without ground truth."""
    if run.num_with_truth == 0:
        return []
    thresholds = np.geomspace(chart.x.low, chart.x.high, 121)
    limits = [PoseThreshold(threshold, rotation_deg) for threshold in thresholds.tolist()]
    points = [(limit, run.recall(limit) or 0.0) for limit in limits]
    chart.add_line(thresholds, [share for _, share in points], css)
    return points


def recall_legend() -> list[tuple[str, str]]:
    """Return the legend entries of the recall curve."""
    return [
        (f"recall{number}", f"and {limit:g}° or less") for number, limit in enumerate(_RECALL_ROTATIONS_DEG)
    ]


def draw_nees_histogram(scores: Sequence[QueryScore]) -> str | None:
    """Return the SVG of NEES beside what honest covariances give; None without any NEES.

    The axis is logarithmic, so the chi-square density appears times its argument, and both
    overconfidence (right) and modesty (left) fit in. Values beyond the ends fall in the last bin.
    """
    nees = ScoredRun(scores).nees
    histogram = nees_histogram(nees)
    if histogram is None:
        return None
    edges, counts = np.array(histogram.edges), np.array(histogram.counts)
    smooth = np.geomspace(*NEES_RANGE, 200)
    log_step = float(np.log(edges[1] / edges[0]))
    from scipy.stats import chi2

    expected = len(nees) * chi2.pdf(smooth, POSE_DOF) * smooth * log_step
    top = 1.08 * max(float(counts.max()), float(expected.max()))
    x = Axis(*NEES_RANGE, "NEES (squared error over reported covariance)", is_log=True)
    chart = Chart(x, Axis(0.0, top, "queries"), _HALF, "Histogram of NEES with the chi-square density")
    chart.add_bar((NEES_BAND[0], 0.0), (NEES_BAND[1], top), "band")
    _add_bars(chart, edges, counts, "bar", _nees_text)
    chart.add_line(smooth, expected, "expected")
    return chart.render()


def _nees_text(low: float, high: float) -> str:
    if high > 0.999 * NEES_RANGE[1]:
        return f"NEES of {low:.3g} or more"
    return f"NEES up to {high:.3g}" if low < 1.001 * NEES_RANGE[0] else f"NEES {low:.3g} to {high:.3g}"


def draw_inlier_histogram(scores: Sequence[QueryScore]) -> str | None:
    """Return the SVG of inlier counts, stacked: right poses, false fixes, no pose; None if empty."""
    if not scores:
        return None
    groups: dict[str, list[int]] = {css: [] for css, _ in inlier_legend(scores)}
    for score in scores:
        groups[_inlier_kind(score)].append(score.query.localization.evidence.num_inliers)
    most = max(max(values, default=0) for values in groups.values())
    step = max(1, -(-(most + 1) // _INLIER_BINS))
    edges = np.arange(0, most + 1 + step, step, dtype=np.float64)
    counts = {css: np.histogram(values, edges)[0] for css, values in groups.items()}
    top = 1.08 * max(float(np.sum(list(counts.values()), axis=0).max()), 1.0)
    x = Axis(0.0, float(edges[-1]), "inliers")
    chart = Chart(x, Axis(0.0, top, "queries"), _HALF, "Inliers of right, false and missing poses")
    floor = np.zeros(len(edges) - 1)
    for css in groups:
        _add_bars(chart, edges, counts[css], css, _inlier_text(_INLIER_KINDS[css]), floor)
        floor = floor + counts[css]
    return chart.render()


def inlier_legend(scores: Sequence[QueryScore]) -> list[tuple[str, str]]:
    """Return the legend entries of the inlier histogram for the kinds of queries there are."""
    kinds = {_inlier_kind(score) for score in scores}
    return [(css, name) for css, name in _INLIER_KINDS.items() if css in kinds]


def _inlier_kind(score: QueryScore) -> str:
    if not score.is_localized:
        return "none"
    if score.error is None:
        return "blind"
    return "false" if score.is_false_fix() else "right"


def _inlier_text(name: str) -> Callable[[float, float], str]:
    return lambda low, high: f"{name}, {low:g} to {high - 1:g} inliers"


def _add_bars(
    chart: Chart,
    edges: np.ndarray,
    counts: np.ndarray,
    css: str,
    describe: Callable[[float, float], str],
    floor: np.ndarray | None = None,
) -> None:
    bottoms = np.zeros(len(counts)) if floor is None else floor
    for low, high, count, bottom in zip(edges[:-1], edges[1:], counts, bottoms, strict=True):
        if count:
            tip = f"{describe(float(low), float(high))}\n{count} queries"
            chart.add_bar((low, bottom), (high, bottom + count), css, tip)
