"""The localizing thread: newest wins, faults are answers, starting and stopping leaves nothing behind."""

import dataclasses
import gc
import logging
import queue
import threading
import time
import tracemalloc

import numpy as np
import pytest

from hfnet_ros.config import Config, GateConfig, NodeConfig
from hfnet_ros.errors import EngineError, HfnetRosError, ImageError, InputError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.live import LiveRelocalizer
from hfnet_ros.tracking.mailbox import CameraImage, ImageJob
from hfnet_ros.tracking.odometry import NoOdometry
from hfnet_ros.types import ImageCounters, TrackingState, Verdict

S = 1_000_000_000
WAIT_S = 30.0
CONFIG = dataclasses.replace(Config(), node=NodeConfig(max_rate_hz=0.0), gate=GateConfig(agreement_fixes=1))
ON_DEMAND = dataclasses.replace(CONFIG, node=NodeConfig(mode="on_demand"))
HERE = Rigid3.identity()


class AlwaysHere(dict):
    def get(self, stamp_ns, default=None):
        return HERE


class Rig:
    """A live relocalizer with everything around it visible."""

    def __init__(self, make_localizer, frame, config=CONFIG):
        self.make_localizer, self.frame = make_localizer, frame
        self.answers, self.threads, self.closed = queue.Queue(), [], []
        self.live = LiveRelocalizer(self.open, config, NoOdometry(), self.answers.put)

    def open(self, report):
        self.threads.append(threading.current_thread())
        localizer = self.make_localizer(AlwaysHere())
        return localizer, lambda: self.closed.append(threading.current_thread())

    def job(self, stamp_ns, read=None, mounted=lambda: HERE):
        return ImageJob(
            stamp_ns, time.monotonic(), (CameraImage(read or (lambda: self.frame(stamp_ns)), mounted),)
        )

    def answer(self):
        return self.answers.get(timeout=WAIT_S)

    def blocked(self, stamp_ns):
        """Offer an image that stays in work until `release` is set; returns when work has begun."""
        begun, release = threading.Event(), threading.Event()

        def read():
            begun.set()
            assert release.wait(WAIT_S)
            return self.frame(stamp_ns)

        self.live.offer(self.job(stamp_ns, read))
        assert begun.wait(WAIT_S)
        return release


@pytest.fixture
def new_rig(scripted_localizer, blank_frame):
    rigs = []

    def make(config=CONFIG):
        rigs.append(Rig(scripted_localizer, blank_frame, config))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.live.stop()


@pytest.fixture
def rig(new_rig):
    made = new_rig()
    made.live.start()
    return made


def test_an_image_becomes_an_answer(rig):
    rig.live.offer(rig.job(5 * S))
    answer = rig.answer()
    assert (answer.stamp_ns, answer.error, answer.camera_frame_id) == (5 * S, "", "camera")
    assert answer.relocalization.decision.verdict is Verdict.ACCEPTED
    assert answer.counters == ImageCounters(1, 0, 1)
    assert answer.frame.stamp_ns == 5 * S
    parts = (answer.wait_s, answer.decode_s, answer.gate_s)
    assert all(part >= 0.0 for part in parts)
    assert sum(parts) <= answer.total_s
    assert rig.live.belief_at(5 * S).map_from_base.translation_to(HERE) < 1e-9
    assert rig.live.tracking_at(5 * S).state is TrackingState.TRACKING


def test_the_engine_lives_in_one_thread(rig):
    rig.live.offer(rig.job(S))
    rig.answer()
    assert rig.live.stop()
    assert rig.closed == rig.threads
    assert rig.threads[0] is not threading.current_thread()
    assert not rig.threads[0].is_alive()


def test_while_one_image_is_in_work_only_the_newest_waits(rig):
    release = rig.blocked(S)
    for stamp_s in (2, 3, 4):
        rig.live.offer(rig.job(stamp_s * S))
    release.set()
    assert [rig.answer().stamp_ns, rig.answer().stamp_ns] == [S, 4 * S]
    assert rig.live.counters == ImageCounters(num_received=4, num_superseded=2, num_processed=2)


def test_an_image_that_cannot_be_used_is_answered(rig):
    def broken():
        raise ImageError("a JPEG that ends in the middle")

    rig.live.offer(rig.job(S, broken))
    answer = rig.answer()
    assert answer.error == "a JPEG that ends in the middle"
    assert (answer.relocalization, answer.frame, answer.camera_frame_id) == (None, None, "")
    assert answer.counters.num_processed == 1
    rig.live.offer(rig.job(2 * S))
    assert rig.answer().error == ""


@pytest.mark.parametrize("where", ["read", "mounting", "delivery"])
def test_the_unexpected_does_not_end_the_thread(new_rig, caplog, where):
    rig = new_rig()

    def fail(*_):
        raise ZeroDivisionError("nobody thought of this")

    rig.live = LiveRelocalizer(
        rig.open, CONFIG, NoOdometry(), fail if where == "delivery" else rig.answers.put
    )
    rig.live.start()
    with caplog.at_level(logging.ERROR):
        job = rig.job(S, fail if where == "read" else None, fail if where == "mounting" else lambda: HERE)
        rig.live.offer(job)
        if where == "delivery":
            answer = rig.live.request(0.0)
            assert answer is None
            while rig.live.counters.num_processed < 1:
                time.sleep(0.001)
        else:
            answer = rig.answer()
            assert answer.error == "ZeroDivisionError: nobody thought of this"
            assert (answer.frame is None) == (where == "read")
        release = rig.blocked(2 * S)
        release.set()
        assert rig.live.stop()
    assert "nobody thought of this" in caplog.text
    assert rig.closed == rig.threads


def test_what_cannot_be_opened_is_reported_by_start(new_rig):
    rig = new_rig()

    def fail(report):
        raise EngineError("no such file: engine.plan")

    broken = LiveRelocalizer(fail, CONFIG, NoOdometry(), rig.answers.put)
    before = threading.active_count()
    with pytest.raises(EngineError, match=r"engine\.plan"):
        broken.start()
    assert not broken.is_running
    assert threading.active_count() == before
    assert broken.stop()


def ask_in_background(rig, results, **options):
    asked = threading.Thread(target=lambda: results.append(rig.live.request(WAIT_S, **options)))
    asked.start()
    return asked


def keep_offering(rig, until, first_stamp_ns=10 * S):
    stamp_ns = first_stamp_ns
    while any(thread.is_alive() for thread in until):
        rig.live.offer(rig.job(stamp_ns))
        stamp_ns += S // 10
        time.sleep(0.002)


def test_requests_are_answered_on_demand(new_rig):
    rig = new_rig(ON_DEMAND)
    rig.live.start()
    rig.live.offer(rig.job(S))
    results = []
    askers = [ask_in_background(rig, results) for _ in range(3)]
    keep_offering(rig, askers)
    assert len(results) == 3
    assert all(answer.stamp_ns >= 10 * S and answer.relocalization is not None for answer in results)
    assert all(rig.answer().stamp_ns >= 10 * S for _ in range(rig.live.counters.num_processed))


def test_several_requests_share_an_image(new_rig):
    rig = new_rig(ON_DEMAND)
    rig.live.start()
    results, askers = [], []
    for count in (1, 2, 3):
        askers.append(ask_in_background(rig, results, ignore_prior=count == 2))
        while len(rig.live._mailbox._requests) < count:
            time.sleep(0.001)
    rig.live.offer(rig.job(20 * S))
    for asker in askers:
        asker.join(WAIT_S)
    assert [answer.stamp_ns for answer in results] == [20 * S] * 3
    assert rig.live.counters == ImageCounters(1, 0, 1)


def test_a_request_without_an_image_ends(rig):
    assert rig.live.request(0.01) is None
    rig.live.offer(rig.job(S))
    assert rig.answer().error == ""


def test_stopping_ends_requests(rig):
    results = []
    asker = ask_in_background(rig, results)
    while not rig.live._mailbox._requests:
        time.sleep(0.001)
    assert rig.live.stop()
    asker.join(WAIT_S)
    assert results == [None]


def test_a_request_may_ignore_what_is_known(rig):
    rig.live.offer(rig.job(S))
    rig.answer()
    localizer = rig.live._relocalizer._localizer
    rig.live.offer(rig.job(S + 1))
    rig.answer()
    results = []
    asker = ask_in_background(rig, results, ignore_prior=True)
    keep_offering(rig, [asker], first_stamp_ns=S + 2)
    assert localizer.priors[S + 1] is not None
    assert localizer.priors[results[0].stamp_ns] is None


def test_stopping_waits_for_no_more_than_the_image_in_work(rig):
    release = rig.blocked(S)
    rig.live.offer(rig.job(2 * S))
    assert not rig.live.stop(timeout_s=0.01)
    assert not rig.live.is_running
    release.set()
    rig.threads[0].join(WAIT_S)
    assert rig.answer().stamp_ns == S
    assert rig.answers.empty()
    assert rig.closed == rig.threads


def test_an_answer_may_stop_the_thread_it_comes_from(new_rig):
    rig, stopped = new_rig(), threading.Event()

    def stop(answer):
        rig.live.stop()
        stopped.set()

    rig.live = LiveRelocalizer(rig.open, CONFIG, NoOdometry(), stop)
    rig.live.start()
    rig.live.offer(rig.job(S))
    assert stopped.wait(WAIT_S)
    rig.threads[0].join(WAIT_S)
    assert rig.closed == rig.threads


def test_nothing_happens_while_stopped(new_rig):
    rig = new_rig()
    rig.live.offer(rig.job(S))
    rig.live.reinitialize()
    rig.live.set_initial_pose(HERE, np.eye(6), S)
    assert rig.live.request(WAIT_S) is None
    assert rig.live.belief_at(S) is None
    assert rig.live.counters == ImageCounters()
    with pytest.raises(EngineError, match="not been started"):
        rig.live.replace_localizer(rig.open)


def test_the_map_is_replaced_between_two_images(rig, scripted_localizer):
    rig.live.offer(rig.job(S))
    rig.answer()
    there = Rigid3(np.eye(3), np.array([50.0, 0.0, 0.0]))
    opened_in = []

    def open_other(report):
        opened_in.append(threading.current_thread())
        return scripted_localizer({2 * S: there}), lambda: rig.closed.append("other")

    rig.live.replace_localizer(open_other)
    assert opened_in == rig.threads == rig.closed
    assert rig.live.belief_at(S) is None
    rig.live.offer(rig.job(2 * S))
    assert rig.answer().relocalization.map_from_base.translation_to(there) < 1e-9
    rig.live.stop()
    assert rig.closed[1:] == ["other"]


def test_a_map_that_cannot_be_opened_leaves_the_old_one(rig):
    rig.live.offer(rig.job(S))
    rig.answer()

    def fail(report):
        raise EngineError("out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        rig.live.replace_localizer(fail)
    assert rig.closed == []
    assert rig.live.belief_at(S) is not None
    rig.live.offer(rig.job(2 * S))
    assert rig.answer().relocalization.decision.verdict is Verdict.ACCEPTED


def test_what_is_known_can_be_asked_and_changed_while_an_image_is_in_work(rig):
    rig.live.offer(rig.job(S))
    rig.answer()
    release = rig.blocked(S + 1)
    assert rig.live.belief_at(S) is not None
    with pytest.raises(InputError):
        rig.live.set_initial_pose(HERE, np.zeros((6, 6)), S)
    rig.live.set_initial_pose(HERE, np.eye(6), S)
    rig.live.reinitialize()
    assert rig.live.belief_at(S) is None
    release.set()
    assert rig.answer().relocalization.state is TrackingState.TRACKING


def test_other_parameters_are_used_at_once(new_rig):
    rig = new_rig(ON_DEMAND)
    rig.live.start()
    rig.live.offer(rig.job(S))
    rig.live.set_config(CONFIG)
    rig.live.offer(rig.job(2 * S))
    assert rig.answer().stamp_ns == 2 * S
    rig.live.set_config(dataclasses.replace(CONFIG, gate=GateConfig(systematic_translation_m=3.0)))
    assert np.sqrt(rig.live._relocalizer._judge._filter._systematic[0, 0]) == pytest.approx(3.0)


@pytest.mark.slow
def test_a_thousand_starts_and_stops_leave_nothing_behind(new_rig):
    rig = new_rig()
    before = threading.active_count()

    def cycle(count):
        for stamp_s in range(count):
            rig.live.start()
            rig.live.offer(rig.job((stamp_s + 1) * S))
            assert rig.live.stop()
        rig.threads.clear()
        rig.closed.clear()
        while not rig.answers.empty():
            rig.answers.get()
        gc.collect()

    cycle(100)
    tracemalloc.start()
    try:
        cycle(100)
        start = tracemalloc.get_traced_memory()[0]
        cycle(800)
        grown = tracemalloc.get_traced_memory()[0] - start
    finally:
        tracemalloc.stop()
    assert threading.active_count() == before
    assert grown < 100_000  # bytes; a leak of one record per cycle would be more


def test_an_idle_thread_uses_no_processor(rig):
    rig.live.offer(rig.job(S))
    rig.answer()
    mailbox = rig.live._mailbox
    waits = []
    wait = mailbox._changed.wait
    mailbox._changed.wait = lambda timeout=None: waits.append(timeout) or wait(timeout)
    mailbox.run_between_images(lambda: None)
    mailbox.run_between_images(lambda: None)
    while not waits:
        time.sleep(0.001)
    time.sleep(0.05)
    # Nothing to do is waited for without a time-out: woken twice at the most, by the calls.
    assert set(waits) == {None}
    assert len(waits) <= 3


class SlowOpening:
    """Opens a localizer when told to, and hears of nothing before that unless it reports."""

    def __init__(self, rig):
        self.rig, self.go, self.reports = rig, threading.Event(), True

    def __call__(self, report):
        until = time.monotonic() + WAIT_S
        while not self.go.wait(0.005) and time.monotonic() < until:
            if self.reports:
                report("building")
        return self.rig.open(report)


@pytest.fixture
def slow(new_rig):
    rig, opened = new_rig(), queue.Queue()
    rig.opened, rig.opening = opened, SlowOpening(rig)
    rig.live = LiveRelocalizer(
        rig.opening, CONFIG, NoOdometry(), rig.answers.put, lambda _, error: opened.put(error)
    )
    yield rig
    rig.opening.go.set()


def test_what_takes_longer_than_the_patience_goes_on(slow):
    assert not slow.live.start(0.0)
    assert not slow.live.start(0.0)  # it is being done already
    assert slow.live.is_running
    assert slow.live.pending is not None
    slow.opening.go.set()
    assert slow.opened.get(timeout=WAIT_S) is None
    assert slow.live.pending is None
    slow.live.offer(slow.job(S))
    assert slow.answer().error == ""


def test_what_is_ready_in_time_is_not_told_of_again(new_rig):
    rig, opened = new_rig(), queue.Queue()
    rig.live = LiveRelocalizer(
        rig.open, CONFIG, NoOdometry(), rig.answers.put, lambda _, error: opened.put(error)
    )
    assert rig.live.start(WAIT_S)
    rig.live.offer(rig.job(S))
    rig.answer()
    assert opened.empty()


@pytest.mark.parametrize("error", [EngineError("out of memory"), ZeroDivisionError("nobody thought of this")])
def test_what_fails_later_is_told(new_rig, error):
    rig, opened, go = new_rig(), queue.Queue(), threading.Event()

    def fail(report):
        assert go.wait(WAIT_S)
        raise error

    live = LiveRelocalizer(fail, CONFIG, NoOdometry(), rig.answers.put, lambda _, error: opened.put(error))
    assert not live.start(0.0)
    replaced = []

    def replace():
        try:
            live.replace_localizer(rig.open)
        except EngineError as refused:
            replaced.append(str(refused))

    replacing = threading.Thread(target=replace)
    replacing.start()
    while not live._mailbox._calls:
        time.sleep(0.001)
    go.set()
    assert str(opened.get(timeout=WAIT_S)) == live.failure == str(error)
    assert live.request(WAIT_S) is None
    replacing.join(WAIT_S)
    assert replaced == ["the map cannot be replaced: localization is being stopped"]
    assert live.stop()
    assert live.failure == ""


def test_stopping_calls_off_what_is_prepared(slow):
    assert not slow.live.start(0.0)
    assert slow.live.stop(WAIT_S)
    assert not slow.live.is_ending
    assert slow.opened.empty()  # whoever stopped it knows
    assert slow.threads == []


def test_what_cannot_be_called_off_is_closed_when_it_is_ready(slow):
    slow.opening.reports = False
    assert not slow.live.start(0.0)
    assert not slow.live.stop(0.01)
    assert slow.live.is_ending
    slow.opening.go.set()
    until = time.monotonic() + WAIT_S
    while slow.live.is_ending and time.monotonic() < until:
        time.sleep(0.001)
    assert slow.closed == slow.threads
    assert len(slow.threads) == 1
    assert slow.opened.empty()


def test_nobody_waits_for_what_was_stopped(slow):
    """A start without a limit, as `load_map` makes it, ends when the thread is given up."""
    slow.opening.reports = False
    ended = []

    def start():
        try:
            slow.live.start()
        except HfnetRosError as error:
            ended.append(str(error))

    starting = threading.Thread(target=start)
    starting.start()
    while slow.live.pending is None:
        time.sleep(0.001)
    assert not slow.live.stop(0.01)
    starting.join(WAIT_S)
    assert ended == ["localization was stopped before the engine was ready"]


def test_parameters_that_change_during_the_preparation_are_used(slow):
    slow.live = LiveRelocalizer(
        slow.opening, ON_DEMAND, NoOdometry(), slow.answers.put, lambda _, error: slow.opened.put(error)
    )
    assert not slow.live.start(0.0)
    slow.live.set_config(dataclasses.replace(CONFIG, gate=GateConfig(systematic_translation_m=3.0)))
    slow.opening.go.set()
    assert slow.opened.get(timeout=WAIT_S) is None
    assert np.sqrt(slow.live._relocalizer._judge._filter._systematic[0, 0]) == pytest.approx(3.0)
    slow.live.offer(slow.job(S))
    assert slow.answer().error == ""


def test_a_refused_image_is_answered_with_the_reason(slow):
    assert not slow.live.start(0.0)
    slow.live.offer(slow.job(S))  # too old when the engine is ready
    assert slow.live.refuse(slow.job(2 * S), "building")
    answer = slow.answer()
    assert (answer.stamp_ns, answer.error, answer.is_refused) == (2 * S, "building", True)
    assert (answer.relocalization, answer.tracking.state) == (None, TrackingState.LOST)
    assert answer.counters == ImageCounters(num_received=2, num_superseded=1, num_processed=1)
    slow.opening.go.set()
    assert slow.opened.get(timeout=WAIT_S) is None
    slow.live.offer(slow.job(3 * S))
    assert slow.answer().stamp_ns == 3 * S


def test_an_unreadable_image_says_what_is_known_of_the_position(rig):
    def broken():
        raise ImageError("a JPEG that ends in the middle")

    rig.live.offer(rig.job(S))
    rig.answer()
    rig.live.offer(rig.job(S + 1, broken))
    assert rig.answer().tracking.state is TrackingState.TRACKING


def test_a_call_at_a_time_is_made_by_the_thread_whatever_comes_of_it(rig, caplog):
    threads = queue.Queue()

    def call():
        threads.put(threading.current_thread())
        raise HfnetRosError("no use")

    rig.live.call_at(time.monotonic(), call)
    assert threads.get(timeout=WAIT_S) is rig.threads[0]
    rig.live.offer(rig.job(S))
    assert rig.answer().error == ""
    assert "between two images failed" in caplog.text
    rig.live.stop()
    rig.live.call_at(time.monotonic(), call)
    assert threads.empty()
