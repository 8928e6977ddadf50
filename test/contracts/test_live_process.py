"""The node as a process of its own, which others start, flood, tell to end and leave running."""

import itertools
import time

import pytest

from hfnet_ros.node import interface

NUM_IMAGES = 90


@pytest.fixture
def rig_kind():
    pytest.importorskip("cyclonedds", reason="wheels of cyclonedds are for x86_64 only")
    return "dds"


def test_thirty_images_a_second_all_become_statuses_or_are_superseded(start_rig, stamp_of):
    rig = start_rig(odometry__source="none")
    rig.send_mounting()
    rig.send_camera_info()
    period_s = 1.0 / 30.0
    start_s = time.monotonic()
    for number in range(NUM_IMAGES):
        time.sleep(max(0.0, start_s + number * period_s - time.monotonic()))
        index = number // 10 % len(rig.walk.images)
        rig.send(interface.IMAGE, rig.image(index, rig.start_ns + int(number * period_s * 1e9)))
    rig.wait_for(
        lambda: (
            rig.received[interface.STATUS]
            and stamp_of(rig.received[interface.STATUS][-1])
            == rig.start_ns + int((NUM_IMAGES - 1) * period_s * 1e9)
        ),
        "a status of the newest image",
    )
    statuses = rig.received[interface.STATUS]
    last = statuses[-1]
    assert [status.num_processed for status in statuses] == list(range(1, len(statuses) + 1))
    assert last.num_processed + last.num_superseded == last.num_received
    # Best effort may lose some on a busy machine, never many on the loopback interface.
    assert 0.8 * NUM_IMAGES <= last.num_received <= NUM_IMAGES
    stamps = [stamp_of(status) for status in statuses]
    assert stamps == sorted(stamps)
    # The newest wins: nothing waits longer than one image takes, whatever the load.
    slowest_s = max(status.timings.total - status.timings.wait for status in statuses)
    assert max(status.timings.wait for status in statuses) <= slowest_s + 0.1


def test_a_late_subscriber_gets_the_last_pose(start_rig):
    rig = start_rig()
    rig.localize()
    rig.wait_for(lambda: rig.poses, "a pose")
    late = []
    rig.watch(interface.POSE, late.append)
    until = time.monotonic() + 10.0
    while not late and time.monotonic() < until:
        time.sleep(0.01)
    assert len(late) == 1
    assert late[0].header.stamp == rig.poses[-1].header.stamp


def test_told_to_end_during_work_it_ends_well(start_rig):
    rig = start_rig()
    rig.localize()
    for number in range(20):
        rig.send(interface.IMAGE, rig.image(0, rig.stamp(100 + number)))
    start_s = time.monotonic()
    assert rig.terminate() == 0, rig.log_text()
    assert time.monotonic() - start_s < 10.0  # a hang; how long it takes is a benchmark's business
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
        rig.send(interface.COMPRESSED_IMAGE, message(index, cut))
        rig.wait_for(lambda count=index: len(rig.received[interface.STATUS]) > count, "a status")
        outcomes.append(rig.received[interface.STATUS][-1])
    assert [status.outcome for status in outcomes] == ["LOCALIZED", "BAD_INPUT", "LOCALIZED"]
    assert "JPEG" in outcomes[1].reason or "cut" in outcomes[1].reason


def test_starting_and_stopping_a_thousand_times_does_not_grow(start_rig):
    rig = start_rig()
    seen = []
    for _ in range(20):
        for _ in range(50):
            rig.change_state(4)
            rig.change_state(3)
        seen.append(rig.resources())
    first, last = seen[2:10], seen[12:]  # every arena of the C library fills up before it is flat
    assert max(now.threads for now in last) <= max(now.threads for now in first)
    assert max(now.files for now in last) <= max(now.files for now in first) + 2
    assert max(now.resident_kb for now in last) <= 1.05 * max(now.resident_kb for now in first)
    rig.wait_until_listening()
    rig.localize()


def test_images_for_long_do_not_grow(start_rig):
    rig = start_rig()
    rig.localize()
    steps = itertools.cycle(range(len(rig.walk.images)))
    for _ in range(150):
        rig.step(next(steps))
    before = rig.resources()
    for _ in range(150):
        rig.step(next(steps))
    after = rig.resources()
    assert after.threads == before.threads
    assert after.resident_kb <= 1.05 * before.resident_kb
