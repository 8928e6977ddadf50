from __future__ import annotations

import numpy as np
import pytest

from hfnet_ros.evaluation.false_fix_curve import false_fix_curve, rate_upper_bound


def test_a_curve_counted_by_hand():
    # Ten queries, five poses; the wrong ones have 10 and 20 inliers.
    curve = false_fix_curve([10, 20, 20, 30, 40], [True, True, False, False, False], 10)
    assert curve.thresholds == [10, 20, 30, 40]
    assert curve.kept == [5, 4, 2, 1]
    assert curve.false_fixes == [2, 1, 0, 0]
    assert curve.false_fix_rate == [0.4, 0.25, 0.0, 0.0]
    assert curve.recall == [0.3, 0.3, 0.2, 0.1]


def test_keeping_less_never_gains_recall():
    rng = np.random.default_rng(0)
    values, wrong = rng.normal(size=400), rng.random(400) < 0.1
    curve = false_fix_curve(values, wrong, 500)
    assert len(curve.thresholds) == 60
    assert (np.diff(curve.thresholds) > 0).all()
    assert (np.diff(curve.recall) <= 0).all()
    assert (np.diff(curve.kept) < 0).all()
    assert (np.array(curve.upper_95) >= curve.false_fix_rate).all()
    assert curve.kept[0] == 400


def test_bound_of_a_rate():
    # Without events it solves (1 - p)^n = 0.05: the rule of three.
    assert rate_upper_bound(0, 100) == pytest.approx(1 - 0.05**0.01)
    assert rate_upper_bound(0, 1) == pytest.approx(0.95)
    assert rate_upper_bound(3, 3) == 1.0
    assert rate_upper_bound(0, 0) is None


def test_unrecorded_numbers_are_left_out():
    assert false_fix_curve([np.nan, 5.0], [True, False], 2).kept == [1]
    assert false_fix_curve([np.nan], [True], 2) is None
    assert false_fix_curve([], [], 0) is None


@pytest.mark.parametrize(("values", "wrong", "queries"), [([1.0], [], 5), ([1.0, 2.0], [True, False], 1)])
def test_what_does_not_fit_is_refused(values, wrong, queries):
    with pytest.raises(ValueError, match="do not fit"):
        false_fix_curve(values, wrong, queries)
