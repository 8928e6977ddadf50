"""What another acceptance limit would have let through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

_MAX_THRESHOLDS = 60
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class FalseFixCurve:
    """Poses kept and wrong if a recorded number had to reach a threshold; T thresholds.

    Only poses that passed the limits of the run can be swept: the curve starts where they end.

    Attributes:
        thresholds: [T] increasing; the first keeps every pose.
        kept: [T] poses whose number reaches the threshold.
        false_fixes: [T] wrong ones among them.
        false_fix_rate: [T] share of the kept ones; None where none is kept.
        upper_95: [T] what the true rate stays below with 95 % confidence (Clopper-Pearson).
        recall: [T] share of all queries with a kept pose that is right.
    """

    thresholds: list[float]
    kept: list[int]
    false_fixes: list[int]
    false_fix_rate: list[float | None]
    upper_95: list[float | None]
    recall: list[float]


def false_fix_curve(values: ArrayLike, is_false: ArrayLike, num_queries: int) -> FalseFixCurve | None:
    """Sweep a threshold over the numbers recorded with the poses given; None of nothing.

    Args:
        values: [N] number behind each pose, more is surer; not finite ones are left out.
        is_false: [N] whether that pose is wrong.
        num_queries: queries with ground truth, with or without a pose.

    Raises:
        ValueError: lengths differ, or there are more poses than queries.
    """
    numbers, wrong = np.asarray(values, dtype=np.float64), np.asarray(is_false, dtype=bool)
    if numbers.shape != wrong.shape or len(numbers) > num_queries:
        raise ValueError(f"{len(numbers)} values, {len(wrong)} verdicts, {num_queries} queries do not fit")
    known = np.isfinite(numbers)
    numbers, wrong = numbers[known], wrong[known]
    if len(numbers) == 0:
        return None
    thresholds = np.unique(numbers)
    if len(thresholds) > _MAX_THRESHOLDS:
        thresholds = np.quantile(thresholds, np.linspace(0.0, 1.0, _MAX_THRESHOLDS), method="lower")
    kept = [numbers >= threshold for threshold in thresholds]
    num_kept = [int(mask.sum()) for mask in kept]
    num_false = [int(wrong[mask].sum()) for mask in kept]
    counts = list(zip(num_kept, num_false, strict=True))
    return FalseFixCurve(
        thresholds=thresholds.tolist(),
        kept=num_kept,
        false_fixes=num_false,
        false_fix_rate=[false / count if count else None for count, false in counts],
        upper_95=[rate_upper_bound(false, count) for count, false in counts],
        recall=[(count - false) / num_queries for count, false in counts],
    )


def rate_upper_bound(num_events: int, num_trials: int) -> float | None:
    """Return the one-sided 95 % Clopper-Pearson bound of a rate; None of no trial.

    Without any event in n trials it is about 3 / n.
    """
    if num_trials == 0:
        return None
    if num_events >= num_trials:
        return 1.0
    return float(betaincinv(num_events + 1, num_trials - num_events, _CONFIDENCE))
