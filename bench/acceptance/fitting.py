"""Fit the probability that a pose is wrong, and choose the limit, from rows asked without limits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from acceptance.gathering import Row
from hfnet_ros.evaluation.false_fix_curve import rate_upper_bound
from hfnet_ros.pose.false_probability import FalseProbabilityModel, Term

FloatArray = NDArray[np.float64]

# Share of queries whose best pose is wrong that the probability assumes.
BASE_RATE = 0.5
# What the scores mean gives the sign; ranges cut off what says no more, or what was hardly ever seen.
TERMS = (
    Term("evidence", 0.0, 1.0, 40.0, False, True),
    Term("inlier_ratio", 0.0, 0.02, 0.15, False, True),
    Term("coverage", 0.0, 0.05, 0.25, False, True),
    Term("rival_ratio", 0.0, 0.8, 1.0, True, False),
    Term("lead_over_rival", 0.0, 0.5, 6.0, False, True),
    Term("twin_ratio", 0.0, 0.1, 0.8, True, False),
    Term("rematch_ratio", 0.0, 0.1, 0.8, True, False),
    Term("seen_share", 0.0, 0.1, 0.6, False, False),
    Term("uncalibrated_ratio", 0.0, 1.05, 2.0, True, True),
    Term("self_tested", 0.0, 0.0, 1.0, False, False),
)
# What the meaning of a score demands, whether the rows show it or not: a map that was not tested is held to an e-th of
# the odds; where the inliers fit elsewhere nearly as well, the odds are nearly even.
_LEAST_WEIGHTS = {"self_tested": 1.0, "rematch_ratio": 7.0}
_RIDGE = 0.002
_SWEPT = np.geomspace(0.002, 0.5, 60)
# One of them becomes the default of verification.max_false_probability: the smallest with which no held-out place whose
# map could be tested loses more than this share of the poses that are right without any test.
LIMITS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
MAX_LOSS = 0.03


@dataclass(frozen=True)
class Judged:
    """Rows that a model can learn from: poses known to be right or wrong.

    Attributes:
        rows: N of them.
        badness: [N, T] units of each term.
        is_wrong: [N].
        weights: [N] sum to 1; BASE_RATE of it are wrong, each place and kind of query weighs the same among them.
    """

    rows: list[Row]
    badness: FloatArray
    is_wrong: NDArray[np.bool_]
    weights: FloatArray


def judged(rows: Sequence[Row], terms: Sequence[Term] = TERMS) -> Judged:
    """Return the rows with a pose; one that may be right by luck, as of a twin, says nothing."""
    kept = [row for row in rows if row.is_answered and (row.is_wrong or row.is_answerable)]
    wrong = np.array([row.is_wrong for row in kept])
    groups = [(row.place, row.kind, row.is_wrong) for row in kept]
    sizes, num_groups = Counter(groups), Counter(group[2] for group in set(groups))
    share = {True: BASE_RATE, False: 1.0 - BASE_RATE}
    weights = np.array([share[group[2]] / num_groups[group[2]] / sizes[group] for group in groups])
    badness = np.array([[term.badness(row.scores.get(term.score)) for term in terms] for row in kept])
    return Judged(kept, badness, wrong, weights)


def fit(rows: Sequence[Row], terms: Sequence[Term] = TERMS) -> FalseProbabilityModel:
    """Fit weights of the sign that each score's meaning gives; not yet careful, see `calibrated`."""
    data = judged(rows, terms)
    sign = np.where(data.is_wrong, 1.0, -1.0)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (parameters[0] + data.badness @ parameters[1:])
        share = data.weights / (1.0 + np.exp(np.clip(margin, -500.0, 500.0)))
        value = float(np.sum(data.weights * np.logaddexp(0.0, -margin)))
        slope = np.concatenate([[-np.sum(sign * share)], -(sign * share) @ data.badness])
        spread = data.badness.std(axis=0) + 1e-9
        scaled = parameters[1:] * spread
        value += _RIDGE * float(scaled @ scaled)
        slope[1:] += 2.0 * _RIDGE * scaled * spread
        return value, slope

    bounds = [(None, None), *((_LEAST_WEIGHTS.get(term.score, 0.0), None) for term in terms)]
    start = np.concatenate([[-1.0], np.full(len(terms), 1.0)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    fitted = tuple(replace(term, weight=float(weight)) for term, weight in zip(terms, found[1:], strict=True))
    return FalseProbabilityModel(float(found[0]), fitted, 0.0)


def held_out_log_odds(rows: Sequence[Row]) -> tuple[Judged, FloatArray]:
    """Return the rows and what a model says of each that was fitted without its place."""
    data = judged(rows)
    log_odds = np.zeros(len(data.rows))
    for place in sorted({row.place for row in data.rows}):
        model = fit([row for row in rows if row.place != place])
        here = np.array([row.place == place for row in data.rows])
        weights = np.array([term.weight for term in model.terms])
        log_odds[here] = model.intercept + data.badness[here] @ weights
    return data, log_odds


@dataclass(frozen=True)
class Calibration:
    """A model that held-out places vouch for, and the limit that goes with it."""

    model: FalseProbabilityModel
    limit: float


def calibrated(rows: Sequence[Row]) -> Calibration:
    """Fit, then raise the odds until held-out places vouch for every limit, and choose one.

    Of poses with a probability up to any limit, the share of wrong ones must be below it: its upper 95 % bound
    (Clopper-Pearson, over as many independent rows as the weights are worth) at places the model did not see. The
    model says no less than the smallest limit that is vouched for. For the limit see LIMITS.

    Raises:
        ValueError: no limit can be vouched for, as of too few rows.
    """
    data, log_odds = held_out_log_odds(rows)
    for shift in np.arange(0.0, 30.0, 0.1):
        bounds = [wrong_share_bound(data, log_odds + shift, np.log(p / (1.0 - p))) for p in _SWEPT]
        kept = np.flatnonzero(np.array(bounds) <= _SWEPT)
        if len(kept) and kept[-1] - kept[0] + 1 == len(kept) and kept[-1] == len(_SWEPT) - 1:
            break
    else:
        raise ValueError(f"no probability of {len(rows)} rows can be vouched for; ask more")
    least, model = float(_SWEPT[kept[0]]), fit(rows)
    model = replace(model, intercept=model.intercept + float(shift), least=least)
    probability = np.maximum(1.0 / (1.0 + np.exp(-(log_odds + shift))), least)
    return Calibration(model, _limit(data, probability, least))


def _limit(data: Judged, probability: FloatArray, least: float) -> float:
    right_of: dict[str, list[float]] = defaultdict(list)
    for row, value in zip(data.rows, probability, strict=True):
        if row.scores["self_tested"] == 1.0 and not row.is_wrong:
            right_of[row.place].append(value)
    enough = [
        limit
        for limit in LIMITS
        if limit >= least and all(np.mean(np.array(of) > limit) <= MAX_LOSS for of in right_of.values())
    ]
    return min(enough, default=max(LIMITS))


def wrong_share_bound(data: Judged, log_odds: FloatArray, limit: float) -> float:
    """Return the upper 95 % bound of the share of wrong poses among those up to a limit of the log odds."""
    given = log_odds <= limit
    wrong, right = data.weights * data.is_wrong, data.weights * ~data.is_wrong
    worth = float(wrong.sum() ** 2 / np.sum(wrong**2))
    most = rate_upper_bound(float(wrong[given].sum() / wrong.sum()) * worth, worth)
    assert most is not None
    false, true = BASE_RATE * most, float(right[given].sum())
    return false / max(false + true, 1e-12)
