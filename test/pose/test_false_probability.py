"""The probability that a pose is wrong: its meaning for the user, and what it may never do."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.pose.false_probability import FalseProbabilityModel, Term
from hfnet_ros.pose.false_probability_model import FITTED
from hfnet_ros.pose.verification import with_false_probability
from hfnet_ros.types import Outcome

MODEL = FalseProbabilityModel(
    -4.0,
    (
        Term("evidence", 2.0, 1.0, 100.0, speaks_against=False, is_logarithmic=True),
        Term("rematch_ratio", 5.0, 0.1, 0.9, speaks_against=True, is_logarithmic=False),
    ),
    least=0.02,
)


def logistic(log_odds):
    return 1.0 / (1.0 + np.exp(-log_odds))


def scores_between(model, rng):
    """Scores drawn from somewhat more than the model's ranges."""
    return {term.score: float(rng.uniform(0.5 * term.low, 1.3 * term.high)) for term in model.terms}


def test_a_probability_by_hand():
    found = MODEL.probability({"evidence": 10.0, "rematch_ratio": 0.3})
    assert found == pytest.approx(logistic(-4.0 + 2.0 * np.log(10.0) + 5.0 * 0.2))
    assert MODEL.weightiest({"evidence": 10.0, "rematch_ratio": 0.3}) == "evidence"
    assert MODEL.weightiest({"evidence": 90.0, "rematch_ratio": 0.3}) == "rematch_ratio"


def test_less_than_the_data_can_vouch_for_is_never_said():
    assert MODEL.probability({"evidence": 100.0, "rematch_ratio": 0.0}) == 0.02


@pytest.mark.parametrize("model", [MODEL, FITTED], ids=["made up", "fitted"])
def test_no_score_that_gets_worse_makes_a_pose_surer(model):
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = scores_between(model, rng)
        before = model.probability(scores)
        for term in model.terms:
            worse = scores[term.score] * (1.4 if term.speaks_against else 0.6)
            after = model.probability({**scores, term.score: worse})
            assert before <= after, term.score


@pytest.mark.parametrize("model", [MODEL, FITTED], ids=["made up", "fitted"])
def test_nothing_is_extrapolated(model):
    for term in model.terms:
        for edge, beyond in ((term.low, -1e6), (term.high, 1e6)):
            assert term.log_odds(beyond) == pytest.approx(term.log_odds(edge)), term.score
        assert term.log_odds(float("inf")) == pytest.approx(term.log_odds(term.high))
    best = {term.score: term.low if term.speaks_against else term.high for term in model.terms}
    worst = {term.score: term.high if term.speaks_against else term.low for term in model.terms}
    assert model.least <= model.probability(best) < model.probability(worst) < 1.0


def test_a_score_that_is_no_number_counts_as_its_worst():
    worst = MODEL.probability({"evidence": 1.0, "rematch_ratio": 0.9})
    assert MODEL.probability({"evidence": float("nan"), "rematch_ratio": 0.9}) == worst


def test_what_is_measured_later_can_only_raise_it():
    scores = {"evidence": 20.0}
    before = MODEL.probability(scores)
    assert all(MODEL.probability({**scores, "rematch_ratio": ratio}) >= before for ratio in (0.0, 0.2, 2.0))


def test_weights_have_the_sign_of_what_a_score_means():
    assert all(term.weight >= 0.0 and term.low < term.high for term in FITTED.terms)
    assert not any(term.is_logarithmic and term.low <= 0.0 for term in FITTED.terms)
    assert 0.0 < FITTED.least < 0.1


def test_the_limit_of_the_user_decides_and_the_answer_names_the_probability(make_matches, judge):
    problem = make_matches(2).mixed_problem(30, 60)
    found = judge(problem, max_false_probability=1.0)[3]
    probability = found.scores["false_probability"]
    assert found.outcome is Outcome.LOCALIZED
    assert FITTED.least <= probability < 1.0
    assert judge(problem, max_false_probability=probability)[3].outcome is Outcome.LOCALIZED
    refused = judge(problem, max_false_probability=0.9 * probability)[3]
    assert refused.outcome is Outcome.ILL_CONDITIONED
    assert refused.reason.startswith(f"the pose is wrong with probability {probability:.3g}, ")
    assert refused.scores == found.scores


def test_a_map_that_was_not_tested_is_held_to_more(make_matches, judge):
    scores = judge(make_matches(2).mixed_problem(30, 60))[3].scores
    assert scores["self_tested"] == 0.0
    free = dataclasses.replace(FITTED, least=0.0)
    assert free.probability({**scores, "self_tested": 1.0}) < free.probability(scores)


def test_learned_matches_are_believed_with_more_evidence_only():
    """At 20 decades a pose of learned matches is as likely wrong as 2.8 ln(120 / 20) - 4.3 = 0.75 log odds more say."""
    sure = {term.score: term.low if term.speaks_against else term.high for term in FITTED.terms}
    usual = FITTED.probability({**sure, "evidence": 20.0})
    expected = 1.0 / (1.0 + (1.0 / usual - 1.0) * np.exp(4.3218) * (20.0 / 120.0) ** 2.8333)
    scores = with_false_probability({**sure, "evidence": 20.0, "learned": 1.0})
    assert scores["false_probability"] == pytest.approx(expected, rel=1e-6)
    assert scores["false_probability"] > usual
    with_much = {**sure, "evidence": 200.0}
    assert with_false_probability({**with_much, "learned": 1.0})["false_probability"] == FITTED.probability(
        with_much
    )
