"""Several answers become one."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import VerificationConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.answers import better, better_version, conclude, merge_views, with_second_look
from hfnet_ros.pose.false_probability_model import FITTED
from hfnet_ros.types import (
    Correspondences,
    Evidence,
    ImageFeatures,
    LocalFeatures,
    Localization,
    Outcome,
    Place,
    PoseEstimate,
    Search,
    ViewShare,
)

PLACE, OTHER_PLACE = Place((1,), 0.9, 0.9), Place((2,), 0.8, 0.8)


def matches(*similarities):
    rows = np.arange(len(similarities))
    return Correspondences(
        np.column_stack([rows, rows]).astype(np.float64),
        np.zeros((len(rows), 3)),
        rows,
        rows + 10,
        np.array(similarities, np.float32),
    )


def answer(outcome=Outcome.LOCALIZED, score=1.0, num_matches=1):
    estimate = PoseEstimate(Rigid3.identity(), np.eye(6), np.ones(1, np.bool_), 0.5)
    found = Evidence(num_matches=num_matches, score=score, scores={"inliers": 1.0})
    is_valid = outcome is Outcome.LOCALIZED
    return Localization(0, outcome, estimate if is_valid else None, None, found, {}, matches(1.0))


def features(count):
    local = LocalFeatures(
        np.zeros((count, 2), np.float32), np.ones(count, np.float32), np.ones((count, 4), np.float32)
    )
    return ImageFeatures(local, None, "test")


def test_a_verified_answer_ranks_before_a_higher_score():
    refused, verified = answer(Outcome.ILL_CONDITIONED, score=9.0), answer(score=2.0)
    best = better(None, refused, PLACE, Search.GLOBAL)
    best = better(best, verified, OTHER_PLACE, Search.GLOBAL)
    assert (best.outcome, best.place) == (Outcome.LOCALIZED, OTHER_PLACE)
    assert better(best, refused, PLACE, Search.GLOBAL) is best
    assert better(best, answer(score=3.0), PLACE, Search.PRIOR).search is Search.PRIOR


def test_of_refused_ones_that_with_more_matches_came_further():
    few, many = (answer(Outcome.TOO_FEW_MATCHES, 0.0, count) for count in (3, 7))
    best = better(better(None, few, PLACE, Search.GLOBAL), many, OTHER_PLACE, Search.GLOBAL)
    assert best.place == OTHER_PLACE
    assert better(best, many, PLACE, Search.GLOBAL) is best


def test_matches_of_one_view_stay_as_they_are():
    only = matches(0.9, 0.8)
    assert merge_views([only]) is only


def test_matches_of_several_views_are_one_list_that_knows_their_view():
    merged = merge_views([matches(0.9, 0.7), matches(), matches(0.8)])
    assert merged.view_idxs.tolist() == [0, 2, 0]
    np.testing.assert_allclose(merged.similarity, [0.9, 0.8, 0.7])
    assert merged.keypoint_idxs.tolist() == [0, 0, 1]
    assert merged.keypoints_of(0).tolist() == [0, 1]
    assert merged.keypoints_of(1).tolist() == []
    assert merged.keypoints_of(2).tolist() == [0]


def test_matches_of_no_keypoint_have_none():
    loose = dataclasses.replace(matches(0.9, 0.8), keypoint_idxs=np.array([-1, 4]))
    assert loose.keypoints_of(0).tolist() == [4]


def test_an_alias_beyond_the_limit_takes_the_pose_away():
    limits = VerificationConfig(max_rematch_ratio=0.35, max_false_probability=1.0)
    kept, refused = (with_second_look(answer(), {"rematch_ratio": ratio}, limits) for ratio in (0.2, 0.5))
    assert kept.is_valid
    assert (refused.outcome, refused.estimate) == (Outcome.ILL_CONDITIONED, None)
    assert "0.50 times as well, 0.35 allowed" in refused.evidence.reason
    for found, ratio in ((kept, 0.2), (refused, 0.5)):
        measured = {"inliers": 1.0, "rematch_ratio": ratio}
        probability = FITTED.probability(measured)
        assert found.evidence.scores == {**measured, "false_probability": probability}


def test_an_alias_that_makes_the_pose_too_likely_wrong_takes_it_away():
    """What was measured before was good enough; with the alias it is not."""
    sure = {term.score: term.low if term.speaks_against else term.high for term in FITTED.terms}
    del sure["rematch_ratio"]
    best = answer()
    best = dataclasses.replace(best, evidence=dataclasses.replace(best.evidence, scores=sure))
    probability = FITTED.probability({**sure, "rematch_ratio": 0.9})
    limits = VerificationConfig(max_rematch_ratio=1.0, max_false_probability=1.0)
    assert with_second_look(best, {"rematch_ratio": 0.9}, limits).is_valid
    strict = dataclasses.replace(limits, max_false_probability=0.999 * probability)
    refused = with_second_look(best, {"rematch_ratio": 0.9}, strict)
    assert (refused.outcome, refused.estimate) == (Outcome.ILL_CONDITIONED, None)
    assert f"wrong with probability {probability:.3g}" in refused.evidence.reason
    assert refused.evidence.false_probability == probability


def test_a_map_whose_self_test_answered_elsewhere_is_trusted_no_more_than_that():
    sure = {term.score: term.low if term.speaks_against else term.high for term in FITTED.terms}
    del sure["rematch_ratio"]
    best = answer()
    best = dataclasses.replace(
        best, evidence=dataclasses.replace(best.evidence, scores={**sure, "elsewhere_share": 0.4})
    )
    limits = VerificationConfig(max_rematch_ratio=1.0, max_false_probability=0.5)
    kept = with_second_look(best, {"rematch_ratio": 0.0}, limits)
    assert kept.is_valid
    assert kept.evidence.false_probability == 0.4
    strict = dataclasses.replace(limits, max_false_probability=0.3)
    refused = with_second_look(best, {"rematch_ratio": 0.0}, strict)
    assert (refused.outcome, refused.estimate) == (Outcome.ILL_CONDITIONED, None)
    assert "a share of 0.4 of what looked like this place when the map was made" in refused.evidence.reason


@pytest.mark.parametrize(
    ("flat_share", "seen_share", "is_kept"),
    [(0.98, 0.8, False), (0.98, 0.9, True), (0.9, 0.8, True)],
)
def test_what_may_be_a_picture_of_a_flat_place_is_refused(flat_share, seen_share, is_kept):
    limits = VerificationConfig(max_false_probability=1.0, min_seen_of_flat=0.85)
    judged = with_second_look(answer(), {"flat_share": flat_share, "seen_share": seen_share}, limits)
    assert judged.is_valid == is_kept
    if not is_kept:
        assert "a share of 0.98 of what is seen lies in one plane" in judged.evidence.reason
        assert "only a share of 0.80 is, 0.85 needed: it may be a picture" in judged.evidence.reason


def test_without_any_place_the_answer_says_why():
    blind = conclude(None, 7, [features(0), features(0)], {"total": 0.1})
    assert (blind.outcome, blind.stamp_ns) == (Outcome.NO_FEATURES, 7)
    lost = conclude(None, 7, [features(0), features(5)], {"total": 0.1})
    assert (lost.outcome, lost.evidence.num_keypoints) == (Outcome.NO_CANDIDATES, 5)
    assert lost.timings_s == {"total": 0.1}


def test_the_best_answer_gets_stamp_and_time():
    concluded = conclude(answer(), 9, [features(3), features(4)], {"total": 0.2})
    assert (concluded.stamp_ns, concluded.evidence.num_keypoints) == (9, 7)
    assert concluded.is_valid


def test_of_several_versions_the_one_that_came_furthest_says_its_turn():
    upright, turned = answer(Outcome.NO_CONSENSUS, score=2.0), answer(score=1.0)
    first = better_version(None, upright, 0.0)
    assert better_version(first, turned, 1.5).turn_rad == 1.5
    assert better_version(first, answer(Outcome.NO_CONSENSUS, score=1.0), 1.5).turn_rad == 0.0


def test_each_view_says_what_it_brought():
    pair = dataclasses.replace(
        answer(), views=(ViewShare(num_matches=9, num_inliers=7), ViewShare(), ViewShare())
    )
    concluded = conclude(
        dataclasses.replace(pair, place=PLACE), 5, [features(10), features(6), features(0)], {}
    )
    first, second, third = concluded.views
    assert first == ViewShare(10, 9, 7, "")
    assert second == ViewShare(6, 0, 0, "none of 6 keypoints was matched where the other views are")
    assert third == ViewShare(0, 0, 0, "no keypoint found")
    assert [share.problem for share in conclude(None, 5, [features(4)], {}).views] == [
        "none of 4 keypoints was matched in the map"
    ]
