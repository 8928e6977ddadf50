"""Every figure of a run, once: name, unit, format, which way is better, and how it is computed.

results.json, the cards of the report, the comparison and the console are filled from `METRICS`: a new
figure is one row. The rows at the end without a value are fields of a structure that `summarize` writes
whole, such as the availability; they say how such a field is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np

from hfnet_ros.evaluation.metrics import (
    FALSE_FIX,
    PERCENTILES,
    RECALL_THRESHOLDS,
    PoseError,
    PoseThreshold,
    QueryScore,
    median,
    recall,
    summarize_nees,
)
from hfnet_ros.evaluation.run_folder import QueryRow

# A query of a run in memory, or one read back.
ScoredQuery = QueryScore | QueryRow


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """What metrics are computed from; a pose outside of `false_fix` is a false fix."""

    queries: Sequence[ScoredQuery]
    false_fix: PoseThreshold = FALSE_FIX

    @cached_property
    def errors(self) -> list[PoseError]:
        """Return the errors of the poses with ground truth."""
        return [query.error for query in self.queries if query.error is not None]

    @cached_property
    def nees(self) -> list[float]:
        """Return the NEES of the poses that have one."""
        return [error.nees for error in self.errors if error.nees is not None]

    @cached_property
    def num_with_truth(self) -> int:
        """Return how many queries have ground truth."""
        return sum(query.has_groundtruth for query in self.queries)

    def false_fixes(self, *, accepted_only: bool = False) -> int | None:
        """Count wrong poses, or those a robot would have used; None without ground truth: not zero."""
        if self.num_with_truth == 0:
            return None
        return sum(
            query.error is not None
            and not query.error.is_within(self.false_fix)
            and (query.is_accepted or not accepted_only)
            for query in self.queries
        )

    def recall(self, limit: PoseThreshold) -> float | None:
        """Return the share of all queries with ground truth that are within a limit."""
        return recall(self.errors, self.num_with_truth, limit)

    def latency_ms(self, percent: float) -> float | None:
        """Return a percentile of the total time of a query; None if nothing was timed."""
        totals = [query.latency_ms["total"] for query in self.queries if "total" in query.latency_ms]
        return float(np.percentile(totals, percent)) if totals else None


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure.

    Attributes:
        key: where results.json has it, parts joined by "/".
        name: what a person calls it.
        unit: "m", "deg", "s", "ms", "share" (of 1), or "" for counts and ratios.
        format: of the value in tables.
        better: "high", "low", or "" for neither.
        value: computes it; None for a field of a structure.
        card: what the report says below the figure, `{key}` being another figure; None gives it no card.
    """

    key: str
    name: str
    unit: str
    format: str
    better: Literal["high", "low", ""] = ""
    value: Callable[[ScoredRun], float | None] | None = None
    card: str | None = None

    @property
    def label(self) -> str:
        """Return the name with the unit, for tables."""
        return self.name if self.unit in ("", "share") else f"{self.name}, {self.unit}"

    def text(self, value: object) -> str:
        """Return a value for tables, a dash for an unknown one."""
        return format(value, self.format) if isinstance(value, (int, float)) else "–"

    def is_in(self, summary: Mapping[str, object]) -> bool:
        """Tell whether results.json has this figure, though its value may be unknown."""
        parent, _, last = self.key.rpartition("/")
        holder = look_up(summary, parent) if parent else summary
        return isinstance(holder, Mapping) and last in holder


def look_up(summary: Mapping[str, object], key: str) -> object:
    """Return what results.json has at a key; None where it has nothing."""
    value: object = summary
    for part in key.split("/"):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def metric_table(thresholds: Sequence[PoseThreshold] = RECALL_THRESHOLDS) -> tuple[Metric, ...]:
    """Return every figure, in the order they are shown."""
    return (
        Metric("queries", "queries", "", "d", "", lambda run: len(run.queries)),
        Metric("localized", "localized", "", "d", "high",
               lambda run: sum(query.is_localized for query in run.queries), card="of {queries} images"),
        Metric("false_fixes", "false fixes", "", "d", "low", ScoredRun.false_fixes,
               card="off by more than {false_fix_limit}"),
        Metric("accepted", "accepted", "", "d", "high",
               lambda run: sum(query.is_accepted for query in run.queries)),
        Metric("accepted_false_fixes", "accepted, but false", "", "d", "low",
               partial(ScoredRun.false_fixes, accepted_only=True)),
        *(Metric(f"recall/{limit.name}", f"recall {limit.text}", "share", ".3f", "high",
                 partial(ScoredRun.recall, limit=limit), card="") for limit in thresholds),
        Metric("median_translation_m", "median error", "m", ".4f", "low",
               lambda run: median([error.translation_m for error in run.errors]), card="{median_rotation_deg}"),
        Metric("median_rotation_deg", "median error", "deg", ".3f", "low",
               lambda run: median([error.rotation_deg for error in run.errors])),
        Metric("anees", "ANEES (1 is honest)", "", ".3g", "",
               lambda run: summarize_nees(run.nees)["anees"], card="by medians {nees_median_over_chi2_median}"),
        Metric("nees_median_over_chi2_median", "NEES by medians (1 is honest)", "", ".3g", "",
               lambda run: summarize_nees(run.nees)["nees_median_over_chi2_median"]),
        Metric("nees_share_in_95", "share of NEES in 95 % band (0.95)", "share", ".3f", "",
               lambda run: summarize_nees(run.nees)["nees_share_in_95"]),
        *(Metric(f"latency_ms/total/p{percent}", f"latency p{percent}", "ms", ".1f", "low",
                 partial(ScoredRun.latency_ms, percent=percent),
                 card="p95 {latency_ms/total/p95}" if percent == 50 else None) for percent in PERCENTILES),
        Metric("availability/fix/share_of_time", "time with a fix", "share", ".3f", "high",
               card="of {availability/fix/duration_s}"),
        Metric("availability/fix/time_to_first_s", "first fix", "s", ".1f", "low", card="after the first image"),
        Metric("availability/fix/longest_lost_s", "longest without a fix", "s", ".1f", "low",
               card="from a fix to the next"),
        Metric("availability/tracking/share_of_time", "position known", "share", ".3f", "high",
               card="of the time, by filter and odometry"),
        Metric("availability/tracking/time_to_first_s", "position first known", "s", ".1f", "low"),
        Metric("availability/tracking/longest_lost_s", "longest unknown", "s", ".1f", "low"),
        Metric("trajectory/ate/translation_m/rmse", "ATE", "m", ".4f", "low",
               card="RMSE, not aligned; {trajectory/pose}"),
        Metric("trajectory/rpe/translation_m/rmse", "RPE", "m", ".4f", "low",
               card="RMSE over {trajectory/rpe/delta_s}"),
    )  # fmt: skip


METRICS = metric_table()


def tabulate(run: ScoredRun, metrics: Sequence[Metric] = METRICS) -> dict[str, object]:
    """Compute every metric that has a value, nested as in results.json."""
    values: dict[str, object] = {}
    for metric in metrics:
        if metric.value is None:
            continue
        *parents, last = metric.key.split("/")
        place = values
        for part in parents:
            place = place.setdefault(part, {})  # type: ignore[assignment]
        place[last] = metric.value(run)
    return values
