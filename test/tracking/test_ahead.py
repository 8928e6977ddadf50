"""The next image is described while the localizing thread is at work, and nothing else changes."""

import dataclasses
import queue
import threading
import time

import numpy as np
import pytest

from hfnet_ros.config import Config, GateConfig, NodeConfig
from hfnet_ros.errors import EngineError, ImageError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.tracking.live import LiveRelocalizer, OpenedLive
from hfnet_ros.tracking.mailbox import CameraImage, ImageJob
from hfnet_ros.tracking.odometry import NoOdometry
from hfnet_ros.types import ImageCounters, ImageFeatures, LocalFeatures

CONFIG = dataclasses.replace(Config(), node=NodeConfig(max_rate_hz=0.0), gate=GateConfig(agreement_fixes=1))
HERE, S, WAIT_S = Rigid3.identity(), 1_000_000_000, 10.0
FEATURES = ImageFeatures(
    LocalFeatures(np.zeros((1, 2), np.float32), np.ones(1, np.float32), np.ones((1, 1), np.float32)),
    None,
    "scripted",
)


class Describer:
    def __init__(self, rig):
        self.rig, self.thread = rig, threading.current_thread()

    def describe(self, frame):
        assert threading.current_thread() is self.thread
        self.rig.described.put(frame.stamp_ns)
        if self.rig.fault is not None:
            raise self.rig.fault
        return dataclasses.replace(frame, features=FEATURES)

    def close(self):
        self.rig.closed.append(("describer", threading.current_thread() is self.thread))


class Rig:
    """A live relocalizer whose searches last until they are let go on, with a describer beside it."""

    def __init__(self, localizer, frame):
        self.frame, self.localizer, self.fault = frame, localizer, None
        self.answers, self.described, self.searched = queue.Queue(), queue.Queue(), queue.Queue()
        self.go_on, self.opened, self.closed = queue.Queue(), [], []
        self.live = LiveRelocalizer(self.open, CONFIG, NoOdometry(), self.answers.put)

    def open(self, report):
        return OpenedLive(self, lambda: self.closed.append("localizer"), self.open_describer)

    def open_describer(self):
        self.opened.append(threading.current_thread())
        return Describer(self)

    def localize(self, frame, prior=None):
        self.searched.put((frame.stamp_ns, frame.features))
        self.go_on.get(timeout=WAIT_S)
        return self.localizer.localize(frame, prior)

    def offer(self, *stamps_s, read=None):
        for stamp_s in stamps_s:
            images = (CameraImage(read or (lambda s=stamp_s: self.frame(s * S)), lambda: HERE),)
            self.live.offer(ImageJob(stamp_s * S, time.monotonic(), images))

    def search(self):
        """Return the stamp, s, and the features that a search has begun with."""
        stamp_ns, features = self.searched.get(timeout=WAIT_S)
        return stamp_ns // S, features

    def answer(self):
        return self.answers.get(timeout=WAIT_S)


@pytest.fixture
def rig(scripted_localizer, blank_frame):
    made = Rig(scripted_localizer({stamp_s * S: HERE for stamp_s in range(20)}), blank_frame)
    made.live.start()
    yield made
    for _ in range(10):
        made.go_on.put(None)
    made.live.stop()


def test_an_image_that_waits_is_described_meanwhile_and_only_searched_for_then(rig):
    rig.offer(1)
    assert rig.search() == (1, None)
    rig.offer(2)
    assert rig.described.get(timeout=WAIT_S) == 2 * S
    rig.go_on.put(None)
    assert rig.answer().stamp_ns == 1 * S
    assert rig.search() == (2, FEATURES)
    rig.go_on.put(None)
    answer = rig.answer()
    assert answer.stamp_ns == 2 * S
    timings_s = answer.relocalization.localization.timings_s
    assert timings_s["extract"] > 0.0
    assert timings_s["total"] >= timings_s["extract"]
    assert answer.wait_s > 0.0
    assert answer.wait_s + answer.decode_s + answer.gate_s + timings_s["total"] <= answer.total_s + 1e-6


def test_images_that_come_seldom_are_described_where_they_are_searched_for(rig):
    for stamp_s in (1, 2, 3):
        rig.go_on.put(None)
        rig.offer(stamp_s)
        assert rig.search() == (stamp_s, None)
        rig.answer()
    assert rig.opened == []


def test_one_image_is_described_and_of_those_behind_it_the_newest_stays(rig):
    rig.offer(1)
    rig.search()
    rig.offer(2)
    rig.described.get(timeout=WAIT_S)
    rig.offer(3, 4, 5)
    for stamp_s in (2, 5):
        rig.go_on.put(None)
        rig.answer()
        assert rig.search() == (stamp_s, FEATURES)
    rig.go_on.put(None)
    rig.answer()
    assert rig.live.counters == ImageCounters(num_received=5, num_superseded=2, num_processed=3)
    assert rig.opened[0] is not threading.current_thread()


@pytest.mark.parametrize("fault", [EngineError("out of memory"), ZeroDivisionError()])
def test_what_cannot_be_described_ahead_is_left_to_the_search(rig, fault):
    rig.fault = fault
    rig.offer(1)
    rig.search()
    rig.offer(2)
    rig.described.get(timeout=WAIT_S)
    rig.go_on.put(None)
    rig.answer()
    assert rig.search() == (2, None)
    rig.go_on.put(None)
    assert rig.answer().error == ""


def test_an_image_that_cannot_be_read_ahead_is_answered_so(rig):
    was_read = threading.Event()

    def broken():
        was_read.set()
        raise ImageError("a JPEG that ends in the middle")

    rig.offer(1)
    rig.search()
    rig.offer(2, read=broken)
    assert was_read.wait(WAIT_S)
    rig.go_on.put(None)
    rig.answer()
    assert rig.answer().error == "a JPEG that ends in the middle"


def test_without_a_describer_images_are_answered_all_the_same(rig, caplog):
    was_asked = threading.Event()

    def fail():
        was_asked.set()
        raise EngineError("no memory for a second network")

    rig.open_describer = fail
    rig.live.replace_localizer(rig.open)
    rig.offer(1)
    rig.search()
    rig.offer(2)
    assert was_asked.wait(WAIT_S)
    rig.go_on.put(None)
    rig.answer()
    assert rig.search() == (2, None)
    rig.go_on.put(None)
    assert rig.answer().stamp_ns == 2 * S
    assert "no memory for a second network" in caplog.text


def test_another_map_has_another_describer(rig):
    rig.offer(1)
    rig.search()
    rig.offer(2)
    rig.described.get(timeout=WAIT_S)
    for _ in range(2):
        rig.go_on.put(None)
        rig.answer()
    rig.live.replace_localizer(rig.open)
    assert rig.closed == [("describer", True), "localizer"]
    assert len(rig.opened) == 1


def test_the_end_does_not_wait_for_what_was_described_ahead(rig):
    rig.offer(1)
    rig.search()
    answers = queue.Queue()
    asking = threading.Thread(target=lambda: answers.put(rig.live.request(WAIT_S)))
    asking.start()
    while not rig.live._mailbox._requests:
        time.sleep(0.001)
    rig.offer(2)
    rig.described.get(timeout=WAIT_S)
    ending = threading.Thread(target=rig.live.stop)
    ending.start()
    while rig.live.is_running:
        time.sleep(0.001)
    rig.go_on.put(None)
    ending.join(WAIT_S)
    asking.join(WAIT_S)
    assert not ending.is_alive()
    assert answers.get_nowait() is None
    assert rig.answer().stamp_ns == 1 * S
    assert rig.answers.empty()
    assert rig.closed == [("describer", True), "localizer"]
