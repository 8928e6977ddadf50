from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation import RunContext, summarize, writers
from hfnet_ros.evaluation.writers import write_queries_csv, write_results_json, write_run
from hfnet_ros.files import read_tum
from hfnet_ros.files.tum import format_stamp
from hfnet_ros.types import TrackingState, Verdict


def test_a_run_writes_four_files_and_leaves_nothing_else(tmp_path, run_results):
    summary = summarize(run_results)
    write_run(tmp_path, run_results, summary)
    assert {file.name for file in tmp_path.iterdir()} == {
        "results.json",
        "queries.csv",
        "estimated.tum",
        "groundtruth.tum",
    }
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == summary


def test_trajectories_share_exact_stamps(tmp_path, run_results):
    # The order of the queries must not matter: evo wants increasing stamps.
    write_run(tmp_path, run_results[::-1], {})
    estimated, truth = read_tum(tmp_path / "estimated.tum"), read_tum(tmp_path / "groundtruth.tum")
    assert len(truth) == 120
    assert len(estimated) == 112
    assert {pose.stamp_ns for pose in estimated} < {pose.stamp_ns for pose in truth}
    np.testing.assert_allclose(
        truth[3].map_from_camera.translation, run_results[3].groundtruth.translation, atol=1e-12
    )


def test_two_queries_of_one_stamp_are_refused(tmp_path, make_result):
    with pytest.raises(DatasetError, match="twice"):
        write_run(tmp_path, [make_result(), make_result()], {})


def test_table_has_a_row_a_query_and_empty_cells_for_the_unknown(tmp_path, make_result):
    results = [
        make_result((0.3, 0.0, 0.4), name='a,"b".png', timings_s={"total": 0.0125}, scores={"coverage": 0.5}),
        make_result(None, number=1, reason="found 4 inliers, needed 12"),
    ]
    write_queries_csv(tmp_path / "queries.csv", results)
    with (tmp_path / "queries.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["name"] == 'a,"b".png'
    assert first["stamp"] == "1700000000.123456789"
    assert float(first["translation_error_m"]) == pytest.approx(0.5)
    assert first["total_ms"] == "12.500"
    assert first["score_coverage"] == "0.5"
    assert (first["keypoints"], first["matches"], first["inliers"]) == ("500", "80", "30")
    assert second["outcome"] == "NO_CONSENSUS"
    assert second["reason"] == "found 4 inliers, needed 12"
    unknown = ("translation_error_m", "nees", "sigma_t_m", "sigma_r_deg", "total_ms", "score_coverage")
    assert {second[column] for column in unknown} == {""}


@pytest.mark.parametrize(
    ("stamp_ns", "text"), [(0, "0.000000000"), (-1, "-0.000000001"), (1_500_000_000, "1.500000000")]
)
def test_stamps_keep_their_nanoseconds(stamp_ns, text):
    assert format_stamp(stamp_ns) == text


def test_a_summary_with_nan_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results_json(path, {"anees": float("nan")})
    assert path.read_text() == "old"


def test_an_interrupted_table_leaves_the_old_one(tmp_path, run_results, monkeypatch):
    path = tmp_path / "queries.csv"
    path.write_text("old")
    monkeypatch.setattr(writers, "_row", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_queries_csv(path, run_results)
    assert [file.name for file in tmp_path.iterdir()] == ["queries.csv"]
    assert path.read_text() == "old"


def test_fused_poses_and_verdicts_are_written_where_there_are_any(tmp_path, make_result, relocalize):
    accepted = relocalize(make_result(), Verdict.ACCEPTED, TrackingState.TRACKING)
    truth = accepted.groundtruth
    context = RunContext(fused=[(20, truth), (10, truth)], groundtruth_base=[(10, truth)])
    write_run(tmp_path, [accepted, make_result(None, number=1)], {}, context)
    assert [pose.stamp_ns for pose in read_tum(tmp_path / "fused.tum")] == [10, 20]
    assert len(read_tum(tmp_path / "fused_groundtruth.tum")) == 1
    assert "map_from_base" in (tmp_path / "fused.tum").read_text().splitlines()[0]
    assert "map_from_camera" in (tmp_path / "estimated.tum").read_text().splitlines()[0]
    with (tmp_path / "queries.csv").open(encoding="utf-8", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["ACCEPTED", ""]
