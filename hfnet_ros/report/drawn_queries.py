"""Decide how a query looks in every chart: its class of error, its place in time, its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.evaluation.metrics import QueryScore
from hfnet_ros.report.words import offset_text

# Classes end at the usual recall thresholds; what is beyond the last is a false fix anyway.
ERROR_CLASSES_M = (0.05, 0.1, 0.25, 0.5)
_ERROR_LEGEND = (
    ("e0", "≤ 5 cm"),
    ("e1", "≤ 10 cm"),
    ("e2", "≤ 25 cm"),
    ("e3", "≤ 50 cm"),
    ("e4", "beyond, or false fix"),
)

_MAX_DRAWN = 3000
_MAX_GAP_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class DrawnQuery:
    """A query as the charts need it; `index` is its number in the page's table of facts."""

    index: int
    score: QueryScore
    css: str
    time: float


@dataclass(frozen=True, slots=True, eq=False)
class DrawnQueries:
    """The queries that are drawn, in order of time, and what the time axis says."""

    queries: Sequence[DrawnQuery]
    time_label: str
    num_left_out: int

    @property
    def time_range(self) -> tuple[float, float]:
        """Return a range of time that is never empty."""
        times = [query.time for query in self.queries] or [0.0]
        return min(times), max(times) if max(times) > min(times) else min(times) + 1.0

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Return (CSS class, text) of the kinds of queries there are."""
        kinds = {query.css for query in self.queries}
        entries = [] if kinds <= {"blind", "lost"} else list(_ERROR_LEGEND)
        if "blind" in kinds:
            entries.append(("blind", "estimate without ground truth"))
        if "lost" in kinds:
            entries.append(("cross lost", "no pose given"))
        return entries


def arrange_queries(scores: Sequence[QueryScore]) -> DrawnQueries:
    """Order queries by time; of very many, draw every k-th and every false fix."""
    ordered = sorted(scores, key=lambda score: score.query.stamp_ns)
    times, label = _time_axis(np.array([score.query.stamp_ns for score in ordered], dtype=np.int64))
    every = -(-len(ordered) // _MAX_DRAWN) if ordered else 1
    drawn = [
        (score, time)
        for number, (score, time) in enumerate(zip(ordered, times.tolist(), strict=True))
        if number % every == 0 or score.is_false_fix()
    ]
    queries = [
        DrawnQuery(index, score, error_class(score), time) for index, (score, time) in enumerate(drawn)
    ]
    return DrawnQueries(queries, label, len(ordered) - len(queries))


def error_class(score: QueryScore) -> str:
    """Return the CSS class: e0 best to e4 false, `blind` without truth, `lost` without a pose."""
    if not score.is_localized:
        return "lost"
    if score.error is None:
        return "blind"
    if score.is_false_fix():
        return "e4"
    return f"e{np.searchsorted(ERROR_CLASSES_M, score.error.translation_m)}"


def facts(score: QueryScore) -> str:
    """Return what the tooltip says, a fact a line."""
    localization = score.query.localization
    evidence = localization.evidence
    lines = [score.query.name]
    if score.error is not None:
        lines.append(f"off by {offset_text(score.error.translation_m, score.error.rotation_deg)}")
    if score.sigma_t_m is not None and score.sigma_r_deg is not None:
        lines.append(f"reported σ {offset_text(score.sigma_t_m, score.sigma_r_deg)}")
    if not score.is_localized:
        lines.append(localization.outcome.value)
    lines.append(f"{evidence.num_inliers} inliers of {evidence.num_matches} matches")
    if "total" in localization.timings_s:
        lines.append(f"{localization.timings_s['total'] * 1e3:.1f} ms")
    if evidence.reason:
        lines.append(evidence.reason)
    return "\n".join(lines)


def _time_axis(stamps_ns: NDArray[np.int64]) -> tuple[NDArray[np.float64], str]:
    numbers = np.arange(len(stamps_ns), dtype=np.float64)
    by_number = "query, in order of time"
    if len(stamps_ns) < 2:
        return numbers, by_number
    span = int(stamps_ns[-1] - stamps_ns[0])
    # Two recordings a day apart would each be squeezed into a dot.
    if span == 0 or int(np.diff(stamps_ns).max()) > _MAX_GAP_SHARE * span:
        return numbers, by_number
    return (stamps_ns - stamps_ns[0]) / 1e9, "time since the first query, s"
