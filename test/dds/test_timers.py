import threading
import time

import pytest

from hfnet_ros.dds.timers import Timers


@pytest.fixture
def timers_of():
    made = []

    def make(*timers):
        made.append(Timers(timers))
        return made[-1]

    yield make
    for timers in made:
        timers.close()


def test_each_is_called_again_and_again(timers_of, wait_until):
    often, seldom = [], []
    timers_of((0.01, lambda: often.append(1)), (0.1, lambda: seldom.append(1)))
    wait_until(lambda: len(seldom) >= 2)
    assert len(often) > len(seldom)


def test_one_that_fails_does_not_stop_the_others_or_itself(timers_of, wait_until, caplog):
    calls = []

    def fail():
        calls.append(1)
        raise ValueError("no good")

    timers_of((0.01, fail))
    wait_until(lambda: len(calls) >= 3)
    assert "a regular task failed" in caplog.text


def test_missed_periods_are_not_made_up_for(timers_of, wait_until):
    """After a call that took thirty periods, the next ones are a period apart again."""
    starts = []

    def act():
        starts.append(time.monotonic())
        if len(starts) == 1:
            time.sleep(0.6)

    timers_of((0.02, act))
    wait_until(lambda: len(starts) >= 6)
    # Made up for, all of them would follow at once.
    assert starts[5] - starts[1] >= 3 * 0.02


def test_after_close_nothing_is_called(timers_of, wait_until):
    calls = []
    timers = timers_of((0.01, lambda: calls.append(1)))
    wait_until(lambda: calls)
    timers.close()
    count = len(calls)
    time.sleep(0.05)
    assert len(calls) == count


def test_a_timer_may_close_them_all(timers_of, wait_until):
    ended = threading.Event()

    def end():
        timers.close()
        ended.set()

    timers = timers_of((0.01, end))
    assert ended.wait(60.0)


def test_no_timers_are_fine(timers_of):
    before = threading.active_count()
    timers_of().close()
    assert threading.active_count() == before
