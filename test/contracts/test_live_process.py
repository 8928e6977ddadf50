"""The node as a process of its own, which others start, flood, tell to end and leave running."""

import itertools
import signal
import statistics
import time

import numpy as np
import pytest

from hfnet_ros.messages import topics

NUM_IMAGES = 90
ACTIVATE = 3


@pytest.fixture
def rig_kind():
    pytest.importorskip("cyclonedds", reason="wheels of cyclonedds are for x86_64 only")
    return "dds"


@pytest.fixture
def from_nothing():
    """Let the program have its own end of the interpreter and its own settings of the C library."""


@pytest.fixture
def node_program(request):
    """The program from nothing where a test asks for it."""
    return ("-m", "hfnet_ros") if "from_nothing" in request.fixturenames else None


@pytest.fixture
def exact_memory(monkeypatch, from_nothing):
    """Let the node's resident memory be what it holds.

    By default the C library keeps what was freed in one of several arenas, and how much that is depends on
    which threads ran when: 40 MB up and down on a busy machine.
    """
    for name, value in (("ARENA_MAX", 1), ("MMAP_THRESHOLD_", 65536), ("TRIM_THRESHOLD_", 65536)):
        monkeypatch.setenv(f"MALLOC_{name}", str(value))


@pytest.fixture
def growth_kb():
    """Return a function that says by how much memory grows from one look at it to the next.

    It is the median of growths over half the looks, so that single steps up or down do not count, or by how much the
    lowest look of a half is above that of the other, so that going up and down does not: the smaller of the two.
    """

    def growth(resources):
        resident_kb = [now.resident_kb for now in resources]
        half = len(resident_kb) // 2
        lowest = min(resident_kb[half:]) - min(resident_kb[:half])
        return min(statistics.median(np.subtract(resident_kb[half:], resident_kb[:-half])), lowest) / half

    return growth


def test_thirty_images_a_second_all_become_statuses_or_are_superseded(start_rig, stamp_of):
    rig = start_rig(odometry__source="none")
    rig.send_mounting()
    rig.send_camera_info()
    period_ns = 1_000_000_000 // 30
    statuses = rig.received[topics.STATUS]

    def send(number):
        index = number // 10 % len(rig.walk.images)
        rig.send(topics.IMAGE, rig.image(index, rig.start_ns + number * period_ns))

    def is_answered(number):
        return bool(statuses) and stamp_of(statuses[-1]) == rig.start_ns + number * period_ns

    for number in range(NUM_IMAGES):
        send(number)
        time.sleep(1e-9 * period_ns)
    with rig.arrived:
        while not rig.arrived.wait_for(lambda number=number: is_answered(number), 10.0):
            # Best effort may lose one on a busy machine, also the last one.
            assert number < NUM_IMAGES + 10, "no status of the newest image"
            number += 1
            send(number)
    last = statuses[-1]
    assert [status.num_processed for status in statuses] == list(range(1, len(statuses) + 1))
    assert last.num_processed + last.num_superseded == last.num_received
    assert 0.2 * NUM_IMAGES <= last.num_received <= number + 1
    stamps = [stamp_of(status) for status in statuses]
    assert stamps == sorted(set(stamps))
    # The newest wins: while one is in work, no more than one waits.
    waiting = [status.num_received - status.num_processed - status.num_superseded for status in statuses]
    assert set(waiting) <= {0, 1}


def test_a_late_subscriber_gets_the_last_pose(start_rig):
    rig = start_rig()
    rig.localize()
    rig.wait_for(lambda: rig.poses, "a pose")
    late = []
    rig.watch(topics.POSE, late.append)
    until = time.monotonic() + 60.0
    while not late and time.monotonic() < until:
        time.sleep(0.01)
    assert len(late) == 1
    assert late[0].header.stamp == rig.poses[-1].header.stamp


def test_told_to_end_during_work_it_ends_well(from_nothing, start_rig):
    rig = start_rig()
    rig.localize()
    for number in range(20):
        rig.send(topics.IMAGE, rig.image(0, rig.stamp(100 + number)))
    assert rig.terminate() == 0, rig.log_text()
    assert "Traceback" not in rig.log_text()


def test_a_broken_jpeg_is_refused_and_the_next_one_localized(start_rig):
    import cv2

    rig = start_rig(node__image_transport="compressed")

    def message(index, cut):
        data = cv2.imencode(".jpg", rig.walk.images[index])[1]
        data = data[: len(data) // 2] if cut else data
        header = rig.image(index, rig.stamp(index)).header
        return rig.factory.make("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=data)

    rig.send_mounting()
    rig.send_camera_info()
    outcomes = []
    for index, cut in enumerate([False, True, False]):
        rig.send_odometry(rig.walk.odom_from_map @ rig.walk.map_from_base[index], rig.stamp(index))
        rig.send(topics.COMPRESSED_IMAGE, message(index, cut))
        rig.wait_for(lambda count=index: len(rig.received[topics.STATUS]) > count, "a status")
        outcomes.append(rig.received[topics.STATUS][-1])
    assert [status.outcome for status in outcomes] == ["LOCALIZED", "BAD_INPUT", "LOCALIZED"]
    assert "JPEG" in outcomes[1].reason or "cut" in outcomes[1].reason


@pytest.mark.slow
def test_starting_and_stopping_many_times_does_not_grow(exact_memory, start_rig, growth_kb):
    rig = start_rig()
    seen = []
    for _ in range(12):
        for _ in range(6):
            rig.deactivate()
            inactive = rig.resources()
            rig.change_state(ACTIVATE)
        seen.append(inactive)
    seen = seen[4:]  # what is made once has been made
    assert max(now.threads for now in seen[4:]) <= max(now.threads for now in seen[:4])
    assert max(now.files for now in seen[4:]) <= max(now.files for now in seen[:4]) + 2
    assert growth_kb(seen) < 6 * 10.0  # that much each time; measured: 3 kB of 119 MB
    rig.wait_until_listening()
    rig.localize()


@pytest.mark.slow
def test_images_for_long_do_not_grow(exact_memory, start_rig, growth_kb):
    rig = start_rig()
    rig.localize()
    steps = itertools.cycle(range(len(rig.walk.images)))
    seen = []
    for _ in range(24):  # memory goes up and down with a period of some five looks
        for _ in range(4):
            rig.step(next(steps))
        seen.append(rig.resources())
    seen = seen[4:]
    assert seen[-1].threads == seen[0].threads
    assert growth_kb(seen) < 4 * 10.0  # an image has 49 kB


def test_a_node_that_crashes_says_where_it_was(rig):
    """As by a map whose file was cut short while its pages are in use."""
    rig.process.send_signal(signal.SIGBUS)
    assert rig.process.wait(30.0) == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in rig.log_text()
    assert "run.py" in rig.log_text()
