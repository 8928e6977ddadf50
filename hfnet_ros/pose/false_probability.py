"""One number for a pose: the probability that it is wrong, given what verification measured.

Wrong means off by more than 0.5 m or 10 degrees. The model is a logistic regression whose weights may only have
the sign that the score's meaning gives them, on scores clamped to the range that was seen, so that nothing is
extrapolated. What it was fitted to, and the command for it, stands in `false_probability_model`.

Reference: Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
    methods", 1999, for the logistic form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Term:
    """How one score speaks for or against a pose.

    Attributes:
        score: name among the scores of verification.
        weight: log odds of a wrong pose per unit, at least 0.
        low: the score is taken for this where it is less.
        high: and for this where it is more.
        speaks_against: whether a larger score makes a wrong pose likelier; else a smaller one does.
        is_logarithmic: whether a unit is a factor of e instead of a step of one.
    """

    score: str
    weight: float
    low: float
    high: float
    speaks_against: bool
    is_logarithmic: bool

    def log_odds(self, value: float | None) -> float:
        """Return what this score adds, from 0 at its best to its largest at its worst; a missing one adds 0."""
        return self.weight * self.badness(value)

    def badness(self, value: float | None) -> float:
        """Return how far a score is from the best of its range, in units."""
        if value is None:
            return 0.0
        # A score that is not a number speaks against whatever it was measured of.
        worst, best = (self.high, self.low) if self.speaks_against else (self.low, self.high)
        value = worst if np.isnan(value) else float(np.clip(value, self.low, self.high))
        if self.is_logarithmic:
            return abs(float(np.log(value) - np.log(best)))
        return abs(value - best)


@dataclass(frozen=True)
class FalseProbabilityModel:
    """Log odds of a wrong pose as a sum over scores.

    Attributes:
        intercept: log odds of a pose whose scores are all at their best.
        terms: what each score adds.
        least: smallest probability that the data can vouch for; less is never said.
    """

    intercept: float
    terms: tuple[Term, ...]
    least: float

    def probability(self, scores: Mapping[str, float]) -> float:
        """Return the probability that the pose is wrong, in [`least`, 1).

        Args:
            scores: of verification, by name; one that is not measured yet counts as its best, so that the result
                can only grow by measuring it.
        """
        log_odds = self.intercept + sum(term.log_odds(scores.get(term.score)) for term in self.terms)
        return max(self.least, float(1.0 / (1.0 + np.exp(-log_odds))))

    def weightiest(self, scores: Mapping[str, float]) -> str:
        """Return the name of the score that speaks loudest against the pose."""
        return max(self.terms, key=lambda term: term.log_odds(scores.get(term.score))).score
