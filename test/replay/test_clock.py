"""The clock of a replay stands still unless told otherwise, and never goes back."""

import pytest

from hfnet_ros.replay import SimulatedClock

START_NS = 1_700_000_000_123_456_789


def test_it_counts_what_it_is_told():
    clock = SimulatedClock(START_NS)
    assert (clock.now_ns(), clock.now_s()) == (START_NS, 0.0)
    clock.advance(0.25)
    clock.advance_to(START_NS + 100)
    assert clock.now_ns() == START_NS + 250_000_000, "not back"
    assert clock.now_s() == pytest.approx(0.25)
    clock.advance_to(START_NS + 300_000_000)
    assert clock.now_ns() == START_NS + 300_000_000


@pytest.mark.parametrize("second", [0.1 + 0.2, 1.0 / 3.0, 1e5 + 0.7, 86_400.000000001, 2e6 / 7.0])
def test_after_going_to_a_second_it_is_not_before_that(second):
    clock = SimulatedClock(START_NS)
    clock.advance_to_second(second)
    assert clock.now_s() >= second
    assert clock.now_s() - second < 5e-9
