"""One slot: what is taken, what is superseded, and when."""

import itertools
import threading
import time

import pytest

from hfnet_ros.config import NodeConfig
from hfnet_ros.tracking.mailbox import CameraImage, ImageJob, ImageTask, Mailbox, RateLimit, Request
from hfnet_ros.types import ImageCounters

ANY_RATE = NodeConfig(max_rate_hz=0.0)
WAIT_S = 30.0


def job(stamp_ns, arrived_s=None):
    arrived_s = time.monotonic() if arrived_s is None else arrived_s
    return ImageJob(stamp_ns, arrived_s, (CameraImage(lambda: None, lambda: None),))


def test_the_newest_image_wins():
    mailbox = Mailbox(ANY_RATE)
    for stamp_ns in (1, 2, 3):
        mailbox.offer(job(stamp_ns))
    assert mailbox.take().job.stamp_ns == 3
    assert mailbox.counters == ImageCounters(num_received=3, num_superseded=2, num_processed=0)
    mailbox.offer(job(4))
    assert mailbox.take().job.stamp_ns == 4
    assert mailbox.note_processed() == ImageCounters(num_received=4, num_superseded=2, num_processed=1)


def test_taking_sleeps_until_something_comes():
    mailbox, taken = Mailbox(ANY_RATE), []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take()))
    taker.start()
    mailbox.offer(job(7))
    taker.join(WAIT_S)
    assert taken[0].job.stamp_ns == 7


def test_closing_ends_everything():
    mailbox = Mailbox(ANY_RATE)
    waiting, late = Request(False), Request(False)
    mailbox.offer(job(1))
    mailbox.ask(waiting)
    mailbox.close()
    mailbox.ask(late)
    assert mailbox.take() is None
    assert waiting.answer.result(0) is None
    assert late.answer.result(0) is None
    assert not mailbox.run_between_images(lambda: None)


def test_calls_come_before_images_and_before_the_end():
    mailbox, done = Mailbox(ANY_RATE), []
    mailbox.offer(job(1))
    assert mailbox.run_between_images(lambda: done.append("call"))
    mailbox.take()()
    assert done == ["call"]
    assert mailbox.take().job.stamp_ns == 1
    mailbox.run_between_images(lambda: done.append("last"))
    mailbox.close()
    mailbox.take()()
    assert done == ["call", "last"]
    assert mailbox.take() is None


def test_on_demand_only_what_was_asked_for_is_kept():
    mailbox = Mailbox(NodeConfig(mode="on_demand"))
    mailbox.offer(job(1))
    first, second = Request(False), Request(True)
    mailbox.ask(first)
    mailbox.ask(second)
    mailbox.offer(job(2, arrived_s=first.asked_s - 1.0))  # it had arrived before it was asked for
    mailbox.offer(job(3))
    task = mailbox.take()
    assert isinstance(task, ImageTask)
    assert task.job.stamp_ns == 3
    assert task.requests == (first, second)
    assert mailbox.counters == ImageCounters(num_received=3, num_superseded=0, num_processed=0)


def test_a_request_does_not_wait_for_the_rate():
    mailbox = Mailbox(NodeConfig(max_rate_hz=0.001))
    mailbox.offer(job(1))
    assert mailbox.take().job.stamp_ns == 1
    mailbox.offer(job(2))
    request = Request(False)
    mailbox.ask(request)
    mailbox.offer(job(3))
    task = mailbox.take()
    assert (task.job.stamp_ns, task.requests) == (3, (request,))


def test_who_asked_no_more_gets_nothing():
    mailbox, request = Mailbox(ANY_RATE), Request(False)
    mailbox.ask(request)
    mailbox.withdraw(request)
    mailbox.offer(job(1))
    assert mailbox.take().requests == ()


def test_another_mode_is_used_at_once():
    mailbox, taken = Mailbox(NodeConfig(max_rate_hz=0.001)), []
    mailbox.offer(job(1))
    mailbox.take()
    mailbox.offer(job(2))
    taker = threading.Thread(target=lambda: taken.append(mailbox.take()))
    taker.start()
    mailbox.set_config(ANY_RATE)
    taker.join(WAIT_S)
    assert taken[0].job.stamp_ns == 2


def taken_times(arrivals_s, rate_hz):
    """Times at which a thread with nothing else to do takes images."""
    limit, taken, slot = RateLimit(rate_hz), [], None
    for arrived_s in arrivals_s:
        if slot is not None and (due_s := limit.due_s(slot)) < arrived_s:
            taken.append(max(due_s, slot))
            limit.spend(taken[-1])
        slot = arrived_s
    return taken


def test_a_fast_camera_is_thinned_out_and_its_images_do_not_wait():
    arrivals = [index / 30.0 for index in range(300)]
    taken = taken_times(arrivals, 5.0)
    assert len(taken) in (50, 51)
    gaps = [later - earlier for earlier, later in itertools.pairwise(taken[1:])]
    assert all(abs(gap - 0.2) < 1.01 / 30.0 for gap in gaps)
    assert all(min(abs(at - arrived) for arrived in arrivals) < 1e-9 for at in taken)


@pytest.mark.parametrize("jitter_s", [0.0, 0.03, -0.03])
def test_a_camera_at_about_the_rate_loses_nothing(jitter_s):
    arrivals = [0.2 * index + jitter_s * (index % 2) for index in range(50)]
    assert taken_times(arrivals, 5.0) == pytest.approx(arrivals[:-1])


def test_the_rate_is_kept_on_average_by_any_camera():
    for camera_hz in (4.0, 5.5, 6.0, 7.0, 9.9, 11.0, 100.0):
        taken = taken_times([index / camera_hz for index in range(int(20 * camera_hz))], 5.0)
        assert len(taken) <= 20 * 5 + 1
        assert all(later - earlier > 0.099 for earlier, later in itertools.pairwise(taken))


def test_the_last_image_waits_for_its_slot():
    limit = RateLimit(5.0)
    limit.spend(10.0)
    assert limit.due_s(10.05) == pytest.approx(10.2)
    assert limit.due_s(10.11) == pytest.approx(10.11)
    assert RateLimit(0.0).due_s(10.0) == pytest.approx(10.0)


def test_a_clock_of_its_own_tells_when_images_are_due():
    now_s = [100.0]
    mailbox = Mailbox(NodeConfig(max_rate_hz=2.0), lambda: now_s[0])
    assert mailbox.due_s() is None
    mailbox.offer(job(1, arrived_s=100.0))
    assert mailbox.due_s() == pytest.approx(100.0)
    assert mailbox.take().job.stamp_ns == 1
    now_s[0] = 100.1
    mailbox.offer(job(2, arrived_s=100.1))
    assert mailbox.due_s() == pytest.approx(100.5)
    now_s[0] = 100.3
    mailbox.offer(job(3, arrived_s=100.3))
    assert mailbox.due_s() == pytest.approx(100.3), "up to half a period early"
    assert mailbox.take().job.stamp_ns == 3
    assert mailbox.counters == ImageCounters(num_received=3, num_superseded=1, num_processed=0)


def test_images_are_refused_as_often_as_they_are_taken():
    """At 2 Hz: of images a tenth of a second apart every fifth is answered."""
    now_s = [100.0]
    mailbox = Mailbox(NodeConfig(max_rate_hz=2.0), lambda: now_s[0])
    answered = []
    for number in range(11):
        now_s[0] = 100.0 + 0.1 * number
        task = mailbox.refuse(job(number, now_s[0]))
        if task is not None:
            mailbox.note_processed()
            answered.append(number)
    assert len(answered) in (3, 4)  # an image up to half a period early takes the next slot
    counters = mailbox.counters
    assert counters.num_received == 11
    assert counters.num_processed + counters.num_superseded == 11


def test_a_refused_image_answers_those_who_wait_for_it():
    mailbox, request = Mailbox(NodeConfig(mode="on_demand")), Request(False)
    assert mailbox.refuse(job(1)) is None
    mailbox.ask(request)
    assert mailbox.refuse(job(2)).requests == (request,)
    mailbox.close()
    assert mailbox.refuse(job(3)) is None


def test_what_came_together_with_a_newer_image_counts_as_superseded():
    mailbox = Mailbox(ANY_RATE)
    mailbox.offer(job(3), num_older=2)
    assert mailbox.take().job.stamp_ns == 3
    assert mailbox.counters == ImageCounters(num_received=3, num_superseded=2, num_processed=0)


def test_a_call_at_a_time_comes_then_once_and_before_an_image():
    now_s = [10.0]
    mailbox, done = Mailbox(ANY_RATE, lambda: now_s[0]), []
    mailbox.call_at(12.0, lambda: done.append("forgotten"))
    mailbox.call_at(11.0, lambda: done.append("call"))
    mailbox.offer(job(1, 10.0))
    assert isinstance(mailbox.take(), ImageTask)
    now_s[0] = 12.5
    mailbox.offer(job(2, 12.5))
    mailbox.take()()
    assert done == ["call"]
    assert isinstance(mailbox.take(), ImageTask)


def test_taking_sleeps_until_a_call_is_due():
    mailbox, called = Mailbox(ANY_RATE), threading.Event()
    taker = threading.Thread(target=lambda: mailbox.take()())
    taker.start()
    due_s = time.monotonic() + 0.05
    mailbox.call_at(due_s, called.set)
    assert called.wait(WAIT_S)
    assert time.monotonic() >= due_s
    taker.join(WAIT_S)
