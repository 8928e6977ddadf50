"""Each figure is one row, and each view is fed from the rows."""

from __future__ import annotations

import re

import pytest

from hfnet_ros.evaluation import RunContext, summarize
from hfnet_ros.evaluation.comparison import compare_runs
from hfnet_ros.evaluation.metric_table import METRICS, Metric, ScoredRun, look_up, tabulate
from hfnet_ros.evaluation.metrics import score_queries
from hfnet_ros.evaluation.run_folder import read_run
from hfnet_ros.evaluation.writers import write_run
from hfnet_ros.report.headline import draw_cards
from hfnet_ros.types import TrackingState, Verdict


@pytest.fixture
def robot_results(run_results, relocalize):
    """A run with a gate that refuses every third pose."""
    verdicts = (Verdict.REJECTED_INNOVATION, Verdict.ACCEPTED, Verdict.ACCEPTED)
    return [
        relocalize(
            result,
            None if result.localization.estimate is None else verdicts[number % 3],
            TrackingState.TRACKING,
        )
        for number, result in enumerate(run_results)
    ]


def test_results_have_every_metric_and_the_report_a_card_of_each_that_has_one(robot_results):
    truth = [(result.stamp_ns, result.groundtruth) for result in robot_results]
    summary = summarize(robot_results, None, RunContext(fused=truth, groundtruth_base=truth))
    assert [metric.key for metric in METRICS if not metric.is_in(summary)] == []
    assert all(look_up(summary, metric.key) is not None for metric in METRICS)
    cards = draw_cards(summary)
    names = re.findall(r'class="name">([^<]*)<', cards)
    assert sorted(names) == sorted(metric.name for metric in METRICS if metric.card is not None)
    assert "{" not in cards


def test_rows_read_back_give_the_figures_of_the_run_in_memory(robot_results, tmp_path):
    summary = summarize(robot_results)
    write_run(tmp_path, robot_results, summary)
    figures = compare_runs([read_run(tmp_path)] * 2).figures
    compared = [metric for metric in METRICS if metric.value is not None]
    assert [figure.metric for figure in figures[:-1]] == compared
    for figure in figures[:-1]:
        assert figure.values[0] == pytest.approx(look_up(summary, figure.metric.key), rel=1e-4), figure.name


def test_labels_and_keys_tell_metrics_apart():
    assert (
        len({metric.label for metric in METRICS}) == len({metric.key for metric in METRICS}) == len(METRICS)
    )


def test_a_new_metric_is_one_row(make_result):
    worst = Metric(
        "worst/translation_m",
        "worst error",
        "m",
        ".2f",
        "low",
        lambda run: max(error.translation_m for error in run.errors),
    )
    scores = score_queries([make_result((0.3, 0.0, 0.4)), make_result((0.0, 2.0, 0.0), number=1)])
    values = tabulate(ScoredRun(scores), [worst])
    assert (worst.label, worst.text(look_up(values, worst.key))) == ("worst error, m", "2.00")
    assert worst.text(None) == "–"
