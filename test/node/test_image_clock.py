import logging

import pytest

from hfnet_ros.node.image_clock import ImageClock

NOW_NS = 1_800_000_000_000_000_000


@pytest.fixture
def problem_of(transport, monkeypatch):
    """Return what is said after two seconds of images with a stamp."""

    def problem(stamp_ns, now_ns=NOW_NS):
        monkeypatch.setattr(transport, "now_ns", lambda: now_ns)
        seconds = iter(range(10))
        clock = ImageClock(transport, lambda: next(seconds))
        for _ in range(3):
            clock.check(stamp_ns)
        return clock.problem

    return problem


def test_stamps_of_now_agree(problem_of):
    assert problem_of(NOW_NS - 400_000_000) == ""


def test_a_recording_without_its_clock_is_another_clock(problem_of):
    problem = problem_of(NOW_NS - 86_400_000_000_000)
    assert "another clock" in problem
    assert "86400.0 s behind" in problem
    assert "use_sim_time" in problem


def test_a_camera_of_another_machine_may_be_ahead(problem_of):
    assert "7.5 s ahead of" in problem_of(NOW_NS + 7_500_000_000)


def test_simulated_time_that_never_comes_is_named(problem_of):
    assert "nothing comes on /clock" in problem_of(NOW_NS, now_ns=0)


def test_it_is_said_once_when_it_lasts_and_forgotten_when_it_is_over(transport, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(transport, "now_ns", lambda: NOW_NS)
    seconds = [0.0]
    clock = ImageClock(transport, lambda: seconds[0])
    clock.check(NOW_NS - 60_000_000_000)
    assert clock.problem == ""  # the first message of /clock may be on its way
    for seconds[0] in (1.0, 2.0):
        clock.check(NOW_NS - 60_000_000_000)
    clock.check(0)  # no stamp says nothing
    assert clock.problem
    clock.check(NOW_NS)
    assert clock.problem == ""
    assert len(caplog.records) == 1
