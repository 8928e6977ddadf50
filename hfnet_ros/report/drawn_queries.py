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


def facts(score: QueryScore) -> list[tuple[str, str]]:
    """Return what there is to say about a query, labels and texts; a dash for nothing."""
    query, error = score.query, score.error
    evidence, total = query.localization.evidence, score.latency_ms.get("total")
    rows = [("outcome", _outcome_text(score))]
    if query.decision is not None:
        rows.append(("gate", query.decision.verdict.value.replace("_", " ").lower()))
    if query.relocalization is not None:
        rows.append(("state", query.relocalization.state.value.lower()))
    sigma_t, sigma_r = score.sigma_t_m, score.sigma_r_deg
    return [
        *rows,
        ("off by", "–" if error is None else offset_text(error.translation_m, error.rotation_deg)),
        ("reported σ", "–" if sigma_t is None or sigma_r is None else offset_text(sigma_t, sigma_r)),
        ("NEES", "–" if error is None or error.nees is None else f"{error.nees:.1f}"),
        ("inliers", f"{evidence.num_inliers} of {evidence.num_matches} matches"),
        ("took", "–" if total is None else f"{total:.1f} ms"),
    ]


def tooltip(score: QueryScore) -> str:
    """Return the name of a query and what is known about it, a fact a line."""
    known = [f"{label} {text}" for label, text in facts(score) if text != "–"]
    return "\n".join([score.query.name, *known])


def _outcome_text(score: QueryScore) -> str:
    localization = score.query.localization
    if score.is_false_fix():
        return "false fix"
    words = localization.outcome.value.replace("_", " ").lower()
    reason = localization.evidence.reason
    return words if score.is_localized or not reason else f"{words}: {reason}"


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
