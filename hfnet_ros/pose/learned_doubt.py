"""The probability that a pose is wrong whose matches a network found in looking at both images.

What such a network agrees on lies as a scene does even where it is wrong: poses in another place had up to 40 decades
of evidence against chance in generated apartments, of matches of descriptors up to 12 (photographs in RedKitchen). So
evidence is asked for beyond what `false_probability_model` asks for; the larger of both probabilities counts.

Command: python bench/learned_doubt.py --cache DIR --seeds 100 101 ... 111 (83 answers of 12 apartments, 37 wrong).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hfnet_ros.pose import false_probability_model
from hfnet_ros.pose.false_probability import Term

LEARNED_SCORE = "learned"  # among the scores of such a pose, 1
_INTERCEPT = -4.3218
_EVIDENCE = Term("evidence", 2.8333, 1.0, 120.0, False, True)


def learned_false_probability(scores: Mapping[str, float]) -> float:
    """Return the probability that a pose is wrong, by the scores of verification."""
    usual = false_probability_model.FITTED
    stricter = dataclasses.replace(
        usual, intercept=usual.intercept + _INTERCEPT, terms=(*usual.terms, _EVIDENCE)
    )
    return max(usual.probability(scores), stricter.probability(scores))
