from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import chi2

from hfnet_ros.evaluation import PoseThreshold, RunIdentity, describe_machine, score_queries, summarize
from hfnet_ros.evaluation.metrics import (
    NEES_BAND,
    latency_percentiles,
    pose_error_vector,
    summarize_nees,
)
from hfnet_ros.geometry import Rigid3
from hfnet_ros.types import Outcome

CONTRACT_KEYS = {
    "queries",
    "localized",
    "accepted",
    "recall",
    "median_translation_m",
    "median_rotation_deg",
    "false_fixes",
    "anees",
    "latency_ms",
    "outcomes",
    "map",
    "extractor_id",
    "backend",
    "config",
    "version",
    "commit",
}
CONTRACT_RECALL = {"0.05m_5deg", "0.1m_2deg", "0.25m_2deg", "0.5m_5deg", "5m_10deg"}


def test_error_of_a_known_offset(make_result):
    (score,) = score_queries([make_result((0.3, 0.0, 0.4), (0.0, 2.0, 0.0))])
    assert score.error.translation_m == pytest.approx(0.5)
    assert score.error.rotation_deg == pytest.approx(2.0)
    expected = 0.3**2 / 0.01 + 0.4**2 / 0.04 + np.radians(2.0) ** 2 / 1e-4
    assert score.error.nees == pytest.approx(expected)
    assert score.sigma_t_m == pytest.approx(np.sqrt(0.06))
    assert score.sigma_r_deg == pytest.approx(np.degrees(np.sqrt(3e-4)))


def test_error_vector_is_in_map_axes():
    truth = Rigid3.from_rotvec([0.0, np.pi / 2, 0.0], [1.0, 2.0, 3.0])
    turn = Rigid3.from_rotvec([0.1, 0.0, 0.0], np.zeros(3)).rotation
    estimated = Rigid3(turn @ truth.rotation, truth.translation + np.array([0.0, 0.5, 0.0]))
    np.testing.assert_allclose(
        pose_error_vector(estimated, truth), [0.0, 0.5, 0.0, 0.1, 0.0, 0.0], atol=1e-12
    )


def test_recall_counts_all_queries_with_ground_truth(make_result):
    results = [
        make_result((0.04, 0.0, 0.0), number=0),
        make_result((0.2, 0.0, 0.0), (3.0, 0.0, 0.0), number=1),
        make_result((3.0, 0.0, 0.0), number=2),
        make_result(None, number=3),
        make_result((0.0, 0.0, 0.0), number=4, truth=None),
    ]
    summary = summarize(results)
    assert summary["recall"] == {
        "0.05m_5deg": 0.25,
        "0.1m_2deg": 0.25,
        "0.25m_2deg": 0.25,
        "0.25m_5deg": 0.5,
        "0.5m_5deg": 0.5,
        "5m_10deg": 0.75,
    }
    assert summary["queries"] == 5
    assert summary["queries_with_groundtruth"] == 4
    assert summary["localized"] == summary["accepted"] == 4
    assert summary["false_fixes"] == 1
    assert summary["median_translation_m"] == pytest.approx(0.2)
    assert summary["outcomes"]["NO_CONSENSUS"] == 1


def test_a_pose_on_the_threshold_counts(make_result):
    summary = summarize([make_result((0.5, 0.0, 0.0))], thresholds=[PoseThreshold(0.5, 1.0)])
    assert summary["recall"] == {"0.5m_1deg": 1.0}
    assert summary["false_fixes"] == 0


def test_a_wrong_orientation_is_a_false_fix(make_result):
    results = [make_result((0.0, 0.0, 0.0), (0.0, 0.0, 11.0))]
    assert summarize(results)["false_fixes"] == 1
    assert summarize(results, false_fix=PoseThreshold(0.5, 12.0))["false_fixes"] == 0


def test_keys_of_the_contract(run_results):
    identity = RunIdentity(map={"path": "m"}, extractor_id="xfeat-1", backend="cpu", commit="abc")
    summary = summarize(run_results, identity)
    assert summary.keys() >= CONTRACT_KEYS
    assert summary["recall"].keys() >= CONTRACT_RECALL
    assert summary["latency_ms"].keys() >= {"total", "extract", "retrieve", "match", "pose"}
    assert set(summary["outcomes"]) == {outcome.value for outcome in Outcome}
    assert sum(summary["outcomes"].values()) == len(run_results)
    assert summary["map"] == {"path": "m"}


@pytest.mark.slow
def test_nees_of_sampled_errors_is_chi_square(make_result):
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(6, 6)) * 0.01
    covariance = factor @ factor.T + 1e-5 * np.eye(6)
    errors = rng.multivariate_normal(np.zeros(6), covariance, size=600)
    results = [
        make_result(tuple(error[:3]), tuple(np.degrees(error[3:])), covariance=covariance) for error in errors
    ]
    summary = summarize(results)
    # The mean of n chi-square(6) variables times n is chi-square(6 n).
    low, high = chi2.ppf([0.001, 0.999], 6 * 600) / (6 * 600)
    assert low < summary["anees"] < high
    assert summary["nees_median_over_chi2_median"] == pytest.approx(1.0, abs=0.15)
    assert summary["nees_share_in_95"] == pytest.approx(0.95, abs=0.03)


def test_one_false_fix_moves_the_mean_of_nees_but_not_its_median():
    honest = chi2.ppf(np.linspace(0.01, 0.99, 99), 6).tolist()
    summary = summarize_nees([*honest, 1e6])
    assert summary["anees"] > 1000
    assert summary["nees_median_over_chi2_median"] == pytest.approx(1.0, abs=0.05)


def test_nees_band_is_the_table_value():
    np.testing.assert_allclose(NEES_BAND, (1.2373, 14.4494), atol=1e-4)


def test_a_covariance_that_is_not_positive_definite_gives_no_nees(make_result):
    summary = summarize([make_result((0.1, 0.0, 0.0), covariance=np.zeros((6, 6)))])
    assert summary["anees"] is None
    assert summary["median_translation_m"] == pytest.approx(0.1)


def test_latency_counts_only_queries_that_reached_the_stage(make_result):
    results = [make_result(timings_s={"total": 0.001 * i, "extract": 0.001 * i}) for i in range(1, 100)]
    results.append(make_result(None, timings_s={"total": 0.1, "warp": 0.002}))
    latency = latency_percentiles([result.localization for result in results])
    assert latency["total"]["p50"] == pytest.approx(50.5)
    assert latency["extract"]["p50"] == pytest.approx(50.0)
    assert latency["pose"] == {"p50": None, "p95": None, "p99": None}
    assert latency["warp"]["p99"] == pytest.approx(2.0)


@pytest.mark.parametrize("case", ["empty", "no ground truth", "none localized"])
def test_what_is_unknown_is_null(case, make_result):
    results = {
        "empty": [],
        "no ground truth": [make_result(truth=None)],
        "none localized": [make_result(None), make_result(None, number=1)],
    }[case]
    summary = summarize(results)
    text = json.dumps(summary, allow_nan=False)
    assert json.loads(text) == summary
    assert summary["anees"] is None
    assert summary["median_translation_m"] is None
    if case == "none localized":
        assert set(summary["recall"].values()) == {0.0}
        assert summary["false_fixes"] == 0
    else:
        assert set(summary["recall"].values()) == {None}
        assert summary["false_fixes"] is None


def test_config_with_unusual_values_becomes_json(tmp_path):
    config = {"a": np.float32(1.5), "path": tmp_path, "outcome": Outcome.LOCALIZED, "nan": float("nan")}
    summary = summarize([], RunIdentity(config=config, machine=describe_machine()))
    assert summary["config"] == {
        "a": 1.5,
        "path": tmp_path.as_posix(),
        "outcome": "LOCALIZED",
        "nan": None,
    }
    assert summary["machine"]["processor"]
