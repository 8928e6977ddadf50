from dataclasses import replace

from hfnet_ros.evaluation.reasons import Reasons, reason_of
from hfnet_ros.types import TrackingState, Verdict


def test_reasons_that_differ_in_numbers_are_one_and_the_commonest_comes_first():
    reasons = Reasons()
    reasons.add("7.5", "image 7.5: found 32x24 px, expected 64x48 px")
    for name, found in (("8.0", 3), ("9.0", 4)):
        reasons.add(name, f"TOO_FEW_INLIERS: {found} inliers, expected 12")
    assert reasons.total == 3
    assert reasons.sentences(5) == [
        "2 of 5 images, the first 8.0: TOO_FEW_INLIERS: 3 inliers, expected 12",
        "1 of 5 images, the first 7.5: found 32x24 px, expected 64x48 px",
    ]


def test_each_sub_map_has_its_own_reason():
    reasons = Reasons()
    for name in ("sub-map-0", "sub-map-1"):
        reasons.add("a.png", f"sub-map '{name}' cannot be used: maps/{name}: no such map")
    assert len(reasons.sentences(1)) == 2
    assert all(sentence.startswith("1 of 1 images") for sentence in reasons.sentences(1))


def test_what_a_robot_would_use_needs_no_reason(make_result, relocalize):
    localized, refused = make_result(), make_result(None, reason="3 inliers, expected 12")
    accepted = relocalize(localized, Verdict.ACCEPTED, TrackingState.TRACKING)
    waiting = relocalize(localized, Verdict.AWAITING_AGREEMENT, TrackingState.LOST)
    assert reason_of(localized.localization, None) == ""
    assert reason_of(accepted.localization, accepted.relocalization) == ""
    assert reason_of(waiting.localization, waiting.relocalization) == "AWAITING_AGREEMENT: because"
    assert reason_of(refused.localization, None) == "NO_CONSENSUS: 3 inliers, expected 12"
    silent = replace(refused.localization, evidence=replace(refused.localization.evidence, reason=""))
    assert reason_of(silent, None) == "NO_CONSENSUS: no reason given"
