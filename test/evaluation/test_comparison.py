"""Reading runs back and setting them side by side."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation import RunIdentity, summarize
from hfnet_ros.evaluation.comparison import compare_runs, count_splits
from hfnet_ros.evaluation.run_folder import read_run
from hfnet_ros.evaluation.writers import write_run
from hfnet_ros.report.comparison_page import write_comparison


@pytest.fixture
def save(tmp_path):
    """A function that writes results as a run and returns its folder."""

    def save(name, results, config=None):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_run(folder, results, summarize(results, RunIdentity(config=config or {"pose": {"max": 4.0}})))
        return folder

    return save


@pytest.fixture
def before(make_result):
    """Errors of 1, 2 and 30 cm, one false fix, one query without a pose."""
    errors = [0.01, 0.02, 0.3, 2.0]
    results = [
        make_result((error, 0, 0), number=number, timings_s={"total": 0.02 + 0.01 * number})
        for number, error in enumerate(errors)
    ]
    return [*results, make_result(None, number=4, timings_s={"total": 0.1})]


@pytest.fixture
def after(make_result):
    """The third is better, the false fix is refused, the last is localized."""
    errors = [0.01, 0.02, 0.03, None, 0.05]
    return [
        make_result(None if error is None else (error, 0, 0), number=number, timings_s={"total": 0.01})
        for number, error in enumerate(errors)
    ]


def figures_of(comparison):
    return {figure.name: list(figure.values) for figure in comparison.figures}


def test_a_run_comes_back_as_it_was_written(save, run_results):
    run = read_run(save("a", run_results))
    assert list(run.rows) == [result.stamp_ns for result in run_results]
    row, result = run.rows[run_results[1].stamp_ns], run_results[1]
    assert (row.name, row.outcome, row.inliers) == (result.name, "LOCALIZED", 60)
    assert row.latency_ms["total"] == pytest.approx(40.5)
    assert row.error.translation_m == pytest.approx(
        result.groundtruth.translation_to(result.localization.estimate.map_from_camera), rel=1e-5
    )
    assert len(run.estimated) == 112
    assert run.results["queries"] == 120


def test_figures_and_changes_counted_by_hand(save, before, after):
    comparison = compare_runs([read_run(save("before", before)), read_run(save("after", after))])
    figures = figures_of(comparison)
    assert figures["queries"] == [5, 5]
    assert figures["localized"] == [4, 4]
    assert figures["false fixes"] == [1, 0]
    assert figures["recall 0.05 m, 5°"] == [pytest.approx(0.4), pytest.approx(0.8)]
    assert figures["median error, m"] == [pytest.approx(0.16), pytest.approx(0.025)]
    assert figures["median error of the 3 localized by all, m"] == [pytest.approx(0.02)] * 2
    assert figures["latency p50, ms"] == [pytest.approx(40.0), pytest.approx(10.0)]
    # False fix first, then the gained query, then the ten times better one.
    assert [change.name for change in comparison.changes] == ["000003.png", "000004.png", "000002.png"]
    assert comparison.changes[2].ratio == pytest.approx(10.0)
    assert count_splits(comparison) == {(True, True): 3, (True, False): 1, (False, True): 1}
    assert comparison.notes == []
    best = {figure.name: figure.winners for figure in comparison.figures}
    assert (best["false fixes"], best["localized"]) == ({1}, set())


def test_a_run_compared_with_itself_does_not_differ(save, run_results):
    folder = save("a", run_results)
    comparison = compare_runs([read_run(folder)] * 3)
    assert comparison.changes == []
    assert comparison.settings == {}
    assert all(len({*values}) == 1 for values in figures_of(comparison).values())
    assert len({column.label for column in comparison.columns}) == 3


def test_the_figures_are_those_of_the_runs_own_results(save, run_results):
    run = read_run(save("a", run_results))
    figures = figures_of(compare_runs([run, run]))
    assert figures["ANEES (1 is honest)"][0] == pytest.approx(run.results["anees"], rel=1e-5)
    assert figures["recall 0.25 m, 2°"][0] == pytest.approx(run.results["recall"]["0.25m_2deg"])
    assert figures["latency p95, ms"][0] == pytest.approx(run.results["latency_ms"]["total"]["p95"])


def test_other_queries_are_left_out_and_the_reader_is_told(save, before, after):
    comparison = compare_runs([read_run(save("x/run", before[:4])), read_run(save("y/run", after[1:]))])
    assert len(comparison.stamps_ns) == 3
    assert figures_of(comparison)["queries"] == [3, 3]
    (note,) = comparison.notes
    assert "x/run 4, y/run 4" in note
    assert "3 stamps" in note


def test_another_ground_truth_is_told(save, make_result):
    result = make_result()
    moved = type(result.groundtruth)(result.groundtruth.rotation, result.groundtruth.translation + 0.1)
    runs = [read_run(save("a", [result])), read_run(save("b", [make_result(truth=moved)]))]
    (note,) = compare_runs(runs).notes
    assert "0.173 m" in note


def test_settings_that_differ_are_listed(save, before):
    runs = [
        read_run(save(name, before, {"pose": {"max": value, "same": 1}}))
        for name, value in (("a", 4.0), ("b", 5))
    ]
    assert compare_runs(runs).settings == {"config.pose.max": ["4", "5"]}


def test_runs_without_a_common_stamp_cannot_be_compared(save, make_result):
    runs = [read_run(save("a", [make_result()])), read_run(save("b", [make_result(number=9)]))]
    with pytest.raises(DatasetError, match=r"no query stamp in common .*1 queries from"):
        compare_runs(runs)
    with pytest.raises(DatasetError, match="expected 2 or more"):
        compare_runs(runs[:1])


def spoil(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")


def cut_table(folder):
    lines = (folder / "queries.csv").read_text().splitlines(keepends=True)
    spoil(folder, "queries.csv", "".join(lines[:-1]))


def cut_row(folder):
    text = (folder / "queries.csv").read_text()
    spoil(folder, "queries.csv", text[: len(text) - 40])


def replace_in_table(old, new):
    return lambda folder: spoil(
        folder, "queries.csv", (folder / "queries.csv").read_text().replace(old, new, 1)
    )


DAMAGES = {
    "a file is missing": (lambda folder: (folder / "queries.csv").unlink(), "queries.csv missing"),
    "no JSON": (lambda folder: spoil(folder, "results.json", '{"queries": 5,'), "cannot be read as JSON"),
    "other JSON": (lambda folder: spoil(folder, "results.json", "[1, 2]"), "no results of a run"),
    "bytes": (
        lambda folder: (folder / "queries.csv").write_bytes(b"\xff\xfe\x00"),
        "cannot be read as a table",
    ),
    "empty table": (lambda folder: spoil(folder, "queries.csv", ""), "columns name, stamp"),
    "a row less": (cut_table, "4 rows in queries.csv but 5 queries"),
    "half a row": (cut_row, "line 6: the number of cells"),
    "a word for a number": (replace_in_table("0.01,", "much,"), "line 2: could not convert"),
    "not a number": (replace_in_table("0.01,", "nan,"), "expected a finite number"),
    "a wrong stamp": (replace_in_table("1700000000.123456789", "noon"), "stamp is 'noon'"),
    "a pose less": (lambda folder: spoil(folder, "estimated.tum", ""), "4 localized rows .* but 0 poses"),
    "a broken pose": (lambda folder: spoil(folder, "groundtruth.tum", "1 2 3\n"), "line 1: found 3 fields"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(save, before, damage):
    folder = save("a", before)
    do, message = DAMAGES[damage]
    do(folder)
    with pytest.raises(DatasetError, match=message) as caught:
        read_run(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="is no folder"):
        read_run(tmp_path / "nothing")


def test_the_page_shows_every_run_and_escapes_names(save, before, after, make_result, tmp_path, browse):
    evil = make_result((0.5, 0, 0), number=2, name="<script>alert(1)</script>")
    folders = [save("first", before), save("second", [*after[:2], evil, *after[3:]]), save("third", after)]
    page = tmp_path / "compare.html"
    write_comparison(page, compare_runs([read_run(folder) for folder in folders]))
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert not re.search(r"https?:|url\(|@import", text)
    assert text.count("<svg") == 4
    probe = (
        "document.body.dataset.seen = JSON.stringify([...document.querySelectorAll('svg')]"
        ".map(svg => [Math.round(svg.getBoundingClientRect().height), svg.querySelectorAll('[class*=run]').length]));"
    )
    visit = browse(page, probe)
    assert visit.complaints == []
    seen = json.loads(re.search(r'data-seen="([^"]*)"', visit.document)[1])
    assert all(height > 100 for height, _ in seen)
    assert [marks for _, marks in seen] == [3, 3, 3, 15]


def test_a_run_without_ground_truth_is_compared_by_what_is_known(save, make_result, tmp_path):
    results = [make_result(truth=None, number=number, timings_s={"total": 0.1}) for number in range(3)]
    runs = [read_run(save(name, results)) for name in ("a", "b")]
    comparison = compare_runs(runs)
    assert figures_of(comparison)["false fixes"] == [None, None]
    assert figures_of(comparison)["localized"] == [3, 3]
    assert "No ground truth in a, b" in comparison.notes[0]
    write_comparison(tmp_path / "compare.html", comparison)
    text = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert not re.search(r"\bnan\b|\bNone\b", text)
    assert np.isfinite(figures_of(comparison)["latency p50, ms"]).all()
