from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from hfnet_ros.evaluation.metrics import score_queries
from hfnet_ros.report.drawn_queries import arrange_queries, error_class
from hfnet_ros.report.map_points import as_points, break_jumps, thin, view_box
from hfnet_ros.report.svg import Axis, Chart, inner_size_px, log_range


def test_ticks_are_round():
    assert Axis(-0.3, 1.1).ticks(5) == [0.0, 0.5, 1.0]
    assert Axis(0.01, 5.0, is_log=True).ticks(5) == [0.01, 0.1, 1.0]
    assert Axis(0.1, 10.0, is_log=True).ticks(5) == [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]


def test_pixels_of_a_log_axis():
    size = (568.0, 356.0)
    chart = Chart(Axis(0.1, 10.0, is_log=True), Axis(0.0, 1.0), size, "")
    width, height = inner_size_px(size)
    low, middle, beyond = chart.to_px([0.1, 1.0, 1e9], [0.0, 0.5, 2.0])
    np.testing.assert_allclose(middle - low, [width / 2, -height / 2])
    np.testing.assert_allclose(beyond - low, [width, -height])


def test_a_flipped_axis_grows_downwards():
    chart = Chart(Axis(0.0, 1.0), Axis(0.0, 1.0, is_flipped=True), (400.0, 300.0), "")
    (top, bottom) = chart.to_px([0.5, 0.5], [0.0, 1.0])
    assert top[1] < bottom[1]


def test_a_gap_interrupts_the_line_and_texts_are_escaped():
    chart = Chart(Axis(0.0, 4.0, "<x> & y"), Axis(0.0, 1.0), (400.0, 300.0), '"a" <b>')
    chart.add_line([0, 1, 2, 3], [0.1, 0.2, np.nan, 0.4], "sigma")
    chart.add_dot(1.0, 0.5, "dot", tip='<script>"&')
    drawing = ElementTree.fromstring(chart.render())
    (line,) = (item for item in drawing.iter() if item.get("class") == "line sigma")
    assert line.get("d").count("M") == 2
    (dot,) = (item for item in drawing.iter() if item.get("class") == "dot")
    assert dot.get("data-tip") == '<script>"&'
    assert drawing.get("aria-label") == '"a" <b>'


def test_log_range_covers_whole_decades():
    assert log_range(np.array([0.02, 0.3, np.nan]), 1e-4, 1e3) == (0.01, 1.0)
    assert log_range([0.2], 1e-4, 1e3) == (0.1, 1.0)
    assert log_range([0.0, 5e-9], 1e-4, 1e3) == (1e-4, 1e-3)
    assert log_range([], 1e-4, 1e3) == (1e-4, 1e3)


def test_far_points_do_not_shrink_the_view():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-2, 2, (1000, 3)), [[500.0, 0.0, 0.0]]])
    low, high = view_box(points, np.array([[3.0, 0.0, 0.0]]), np.zeros((0, 3)))
    assert 3.0 < high[0] < 4.0
    assert low[0] > -3.0


def test_points_are_checked_and_thinned():
    assert as_points([]).shape == (0, 3)
    assert len(as_points([[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])) == 1
    assert len(thin(np.zeros((1001, 3)), 100)) == 100
    with pytest.raises(ValueError, match=r"expected \[N, 3\]"):
        as_points(np.zeros((4, 2)))


def test_a_jump_breaks_the_path():
    path = np.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [50.0, 0, 0]])
    assert np.flatnonzero(np.isnan(break_jumps(path)[:, 0])).tolist() == [3]


def test_colour_class_of_a_query(make_result):
    results = [
        make_result((0.05, 0, 0)),
        make_result((0.3, 0, 0)),
        make_result((0.0, 0, 0), (0, 0, 20.0)),
        make_result(None),
        make_result(truth=None),
    ]
    classes = [error_class(score) for score in score_queries(results)]
    assert classes == ["e0", "e3", "e4", "lost", "blind"]


@pytest.mark.slow
def test_long_runs_are_thinned_but_keep_false_fixes(make_result):
    right, wrong = make_result(), make_result((3.0, 0.0, 0.0))
    scores = score_queries([right] * 2001 + [wrong] + [right] * 2001)
    drawn = arrange_queries(scores)
    assert len(drawn.queries) < 3100
    assert sum(query.css == "e4" for query in drawn.queries) == 1
    assert drawn.num_left_out == len(scores) - len(drawn.queries)


def test_two_recordings_a_day_apart_are_drawn_by_number(make_result):
    numbers = [*range(10), *range(864_000, 864_010)]
    drawn = arrange_queries(score_queries([make_result(number=number) for number in numbers]))
    assert drawn.time_range == (0.0, 19.0)
    assert "order" in drawn.time_label
