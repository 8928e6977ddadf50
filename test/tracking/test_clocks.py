import pytest

from hfnet_ros.config import OdometryConfig
from hfnet_ros.geometry import Rigid3
from hfnet_ros.tracking.clocks import ClockComparison
from hfnet_ros.tracking.odometry import TransformHistory

S = 1_000_000_000


@pytest.fixture
def history():
    """Odometry from 100 s to 105 s, ten poses a second."""
    history = TransformHistory(OdometryConfig())
    add(history, 100.0, 105.0)
    return history


def add(history, first_s, last_s):
    for tenth in range(round(first_s * 10), round(last_s * 10) + 1):
        history.add(tenth * S // 10, Rigid3.identity())


def test_images_of_an_earlier_clock(history):
    found = ClockComparison().explain(40 * S, history)
    assert found.startswith("another clock: the image is stamped 60.000 s before")


def test_images_of_a_later_clock_are_told_from_odometry_that_has_stopped(history):
    clocks = ClockComparison()
    assert "15.000 s older: it has stopped, or another clock" in clocks.explain(120 * S, history)
    assert "16.000 s older: it has stopped, or another clock" in clocks.explain(121 * S, history)
    add(history, 105.1, 107.0)
    assert clocks.explain(122 * S, history).startswith(
        "another clock: odometry comes, stamped 15.000 s before"
    )


def test_what_is_only_late_is_no_other_clock(history):
    assert ClockComparison().explain(105 * S + S // 4, history) == "the last before is 0.250 s older"
    assert ClockComparison().explain(100 * S - S // 4, history) == "the first is 0.250 s younger"


def test_odometry_that_always_comes_late_is_told_from_one_that_has_ended(history):
    clocks = ClockComparison()
    assert clocks.explain(105 * S + S // 2, history) == "the last before is 0.500 s older"
    add(history, 105.1, 105.2)
    found = clocks.explain(105 * S + 7 * S // 10, history)
    assert found.startswith(
        "the last before is 0.500 s older, and more of it comes: that late; raise odometry.wait_s"
    )
    assert clocks.explain(105 * S + 9 * S // 10, history) == "the last before is 0.700 s older"


def test_a_gap_is_one(history):
    add(history, 108.0, 109.0)
    assert ClockComparison().explain(107 * S, history) == "the last before is 2.000 s older"


def test_odometry_that_comes_too_seldom_is_told_from_one_that_is_late():
    history = TransformHistory(OdometryConfig(max_gap_s=0.25))
    for half in range(200, 211):
        history.add(half * S // 2, Rigid3.identity())
    found = ClockComparison().explain(104 * S + S // 4, history)
    assert found.startswith("the last before is 0.250 s older, and odometry comes 0.500 s apart, more than")


def test_none():
    assert ClockComparison().explain(S, TransformHistory(OdometryConfig())) == "none has come"
