from __future__ import annotations

import json

import numpy as np
import pytest

from hfnet_ros.evaluation import MapPoints, RunContext, summarize
from hfnet_ros.geometry import Rigid3
from hfnet_ros.types import TrackingState, Verdict

NEW_KEYS = {
    "accepted_false_fixes",
    "anees_band_95",
    "availability",
    "extrinsic_offset",
    "false_fix_curves",
    "nearest_keyframe",
    "nees_histogram",
    "sigma_coverage",
    "time_offset",
    "trajectory",
    "verdicts",
    "warnings",
}


def test_a_full_run_has_every_figure(run_results):
    keyframes = np.array([[*result.groundtruth.translation, 0, 0, 0, 1] for result in run_results[::10]])
    summary = summarize(run_results, None, RunContext(MapPoints(keyframe_poses=keyframes)))
    assert summary.keys() >= NEW_KEYS
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert all(summary[key] is not None for key in NEW_KEYS - {"verdicts"})
    assert sum(summary["nees_histogram"]["counts"]) == summary["sigma_coverage"]["queries"] == 112
    assert set(summary["false_fix_curves"]) == {"inliers"}
    assert summary["false_fix_curves"]["inliers"]["false_fixes"][0] == summary["false_fixes"] == 2
    for ranges in (summary["nearest_keyframe"]["distance_m"], summary["nearest_keyframe"]["angle_deg"]):
        assert sum(entry["queries"] for entry in ranges) == 120
    fix = summary["availability"]["fix"]
    assert (fix["time_to_first_s"], fix["longest_lost_s"]) == (0.05, 0.1)
    assert fix["share_of_time"] == pytest.approx(111 / 119)
    assert summary["trajectory"]["ate"]["aligned"] is False
    assert summary["trajectory"]["ate"]["poses"] == 112
    assert summary["warnings"] == []


def test_false_fixes_to_be_expected_are_the_sum_of_the_poses_probabilities(make_result):
    given = [
        make_result(number=number, scores={"false_probability": p}) for number, p in enumerate((0.01, 0.03))
    ]
    refused = make_result(None, number=2, scores={"false_probability": 0.9})
    assert summarize([*given, refused])["expected_false_fixes"] == pytest.approx(0.04)
    assert summarize([make_result()])["expected_false_fixes"] is None


def test_without_a_gate_accepted_is_localized_and_with_one_it_is_its_verdict(make_result, relocalize):
    results = [make_result((2.0 * (number == 1), 0, 0), number=number) for number in range(4)]
    plain = summarize(results)
    assert (plain["accepted"], plain["accepted_false_fixes"], plain["verdicts"]) == (4, 1, None)
    gated = [
        relocalize(results[0], Verdict.AWAITING_AGREEMENT, TrackingState.LOST),
        relocalize(results[1], Verdict.REJECTED_INNOVATION, TrackingState.LOST),
        relocalize(results[2], Verdict.ACCEPTED, TrackingState.TRACKING),
        relocalize(make_result(None, number=3), None, TrackingState.TRACKING),
    ]
    summary = summarize(gated)
    assert (summary["localized"], summary["accepted"]) == (3, 1)
    assert (summary["false_fixes"], summary["accepted_false_fixes"]) == (1, 0)
    assert summary["verdicts"]["ACCEPTED"] == summary["verdicts"]["REJECTED_INNOVATION"] == 1
    assert summary["availability"]["fix"]["time_to_first_s"] == pytest.approx(0.2)
    assert summary["availability"]["tracking"]["longest_lost_s"] == pytest.approx(0.2)


def test_fused_poses_are_what_the_trajectory_is_judged_by(run_results):
    truth = [(result.stamp_ns, result.groundtruth) for result in run_results]
    aside = np.array([0.1, 0.0, 0.0])
    fused = [(stamp, Rigid3(pose.rotation, pose.translation + aside)) for stamp, pose in truth]
    summary = summarize(run_results, None, RunContext(fused=fused, groundtruth_base=truth))
    figures = summary["trajectory"]
    assert figures["pose"] == "map_from_base, fused"
    assert figures["ate"]["translation_m"]["rmse"] == pytest.approx(0.1)
    assert figures["ate_aligned"]["translation_m"]["rmse"] < 1e-9
    assert figures["rpe"]["translation_m"]["rmse"] < 1e-9


def test_a_late_clock_and_a_wrong_mounting_are_warned_about(run_results):
    truth = [(result.stamp_ns, result.groundtruth) for result in run_results]
    wrong = Rigid3.from_rotvec([0.0, 0.1, 0.0], [0.2, 0.0, 0.0])
    late = [(stamp + 500_000_000, pose @ wrong) for stamp, pose in truth]
    summary = summarize(run_results, None, RunContext(groundtruth=late))
    clock, mounting = summary["warnings"]
    assert "clocks" in clock
    assert "hand-eye" in mounting
    assert summary["time_offset"]["offset_s"] == pytest.approx(0.5, abs=0.05)


def test_photographs_without_times_still_have_figures(make_result):
    summary = summarize([make_result() for _ in range(30)])
    assert summary["trajectory"]["ate"] is None
    assert summary["time_offset"] is None
    assert summary["availability"]["fix"]["share_of_time"] is None
    assert summary["recall"]["0.05m_5deg"] == 1.0
