"""An engine that must be built first: the node says so all the while, refuses work, and can be stopped."""

import functools
import shutil
import threading

import pytest
import slow_engine
from relocalizer_rigs import DdsRig, MemoryRig
from slow_engine import SlowEngine

from hfnet_ros.messages import topics

RELOCALIZE, LOAD_MAP, TRIGGER = "hfnet_ros/srv/Relocalize", "hfnet_ros/srv/LoadMap", "std_srvs/srv/Trigger"
WARN, ERROR = 1, 2


@pytest.fixture
def engine(tmp_path):
    folder = tmp_path / "engine"
    folder.mkdir()
    return SlowEngine(folder)


@pytest.fixture
def start_slow(rig_kind, engine, room_walk, room_map, node_parameters, tmp_path, monkeypatch):
    """Return a function that starts a node whose engine takes as long as `engine` says."""
    rigs = []

    def start(map_path=room_map, **changes):
        given = room_walk, room_map, node_parameters(map_path, **changes)
        if rig_kind == "dds":
            prepare = functools.partial(slow_engine.install_in, engine.folder)
            rig = DdsRig(*given, folder=tmp_path, prepare=prepare, waits_until_ready=False)
        else:
            engine.install(monkeypatch.setattr)
            if rig_kind == "core":
                rig = MemoryRig(*given, waits_until_ready=False)
            else:
                from ros_rig import RosRig  # imports rclpy

                rig = RosRig(*given, waits_until_ready=False)
        rigs.append(rig)
        return rig

    yield start
    engine.finish()
    for rig in rigs:
        rig.close()


@pytest.fixture
def slow(start_slow, engine):
    """A node that is active while its engine is built."""
    engine.say("building lenet: tactics, 40 %")
    return start_slow()


def localizes_when_ready(rig):
    rig.wait_for_diagnostics("map", lambda level, message, values: values["engine"] == "ready")
    rig.localize()


def becomes_inactive(rig):
    rig.wait_for_diagnostics("localization", lambda level, message, values: values["lifecycle"] == "inactive")


def said(rig, name, *words, level):
    """Wait until diagnostics say something at a level."""
    rig.wait_for_diagnostics(
        name, lambda found, message, _: found == level and all(word in message for word in words)
    )


def refused_status(rig, number=0):
    rig.send_mounting()
    rig.send_camera_info()
    return rig.step(0, rig.stamp(number))


def test_images_are_refused_with_the_reason_until_it_is_ready(slow, engine):
    said(slow, "map", "engine is not ready: building lenet: tactics, 40 %; ", " s so far", level=WARN)
    said(slow, "localization", "not localized yet", "building lenet", level=WARN)
    slow.wait_for_diagnostics("localization", lambda level, message, values: values["lifecycle"] == "active")
    status = refused_status(slow)
    assert (status.outcome, status.verdict, status.state) == ("NOT_READY", "", "LOST")
    assert "the engine is not ready yet: building lenet: tactics, 40 %" in status.reason
    assert status.header.frame_id == "map"
    assert status.num_processed == 1
    # What else is missing is not hidden by it, and what is there is not said to be missing.
    slow.wait_for_diagnostics("images", lambda level, message, values: values["camera mounting"] == "known")
    slow.wait_for_diagnostics(
        "localization", lambda level, message, values: values["last outcome"] == "NOT_READY"
    )
    assert slow.poses == []
    engine.say("building lenet: tactics, 90 %")
    said(slow, "map", "90 %", level=WARN)
    announced = len(slow.received[topics.MAP_INFO])
    engine.finish()
    slow.wait_for(lambda: len(slow.received[topics.MAP_INFO]) > announced, "map_info")
    slow.localize()
    slow.wait_for(lambda: slow.poses, "a pose")
    slow.wait_for_diagnostics("map", lambda level, message, values: values["engine"] == "ready")


def test_services_answer_at_once_why_they_do_nothing(slow, tmp_path):
    response = slow.call(topics.RELOCALIZE, slow.request(RELOCALIZE, timeout=100.0))
    assert not response.success
    assert response.message.startswith("NOT_READY: the engine is not ready yet: building lenet")
    assert (response.status.outcome, response.status.header.frame_id) == ("NOT_READY", "map")
    assert response.pose.header.stamp.sec == 0
    response = slow.call(topics.TRIGGER, slow.request(TRIGGER))
    assert not response.success
    assert response.message.startswith("NOT_READY: ")
    slow.call(topics.NO_MOTION_UPDATE, slow.request("std_srvs/srv/Empty"))
    slow.call(topics.REINITIALIZE, slow.request("std_srvs/srv/Empty"))
    other = tmp_path / "other.map"
    shutil.copytree(slow.map_path, other)
    response = slow.call(topics.LOAD_MAP, slow.request(LOAD_MAP, path=str(other)))
    assert not response.success
    assert "the engine is not ready yet" in response.message
    assert response.map.path == str(slow.map_path)


def test_asked_for_images_only_it_refuses_none_unasked(rig_kind, start_slow, engine):
    if rig_kind != "core":
        pytest.skip("what the core does in both modes goes out in the same way")
    engine.say("building")
    rig = start_slow(node__mode="on_demand")
    rig.send(topics.IMAGE, rig.image(0, rig.stamp(0)))
    response = rig.call(topics.TRIGGER, rig.request(TRIGGER))
    assert response.message.startswith("NOT_READY: ")
    rig.settle()
    assert rig.received[topics.STATUS] == []


def test_what_fails_at_once_fails_the_transition(rig_kind, start_slow, engine, room_map):
    engine.finish()
    rig = start_slow()
    rig.wait_for(lambda: rig.received[topics.MAP_INFO], "map_info")
    rig.deactivate()
    engine.begin_again()
    engine.fail("no memory left")
    with (
        pytest.raises(Exception, match="no memory left")
        if rig_kind == "core"
        else pytest.raises(AssertionError)
    ):
        rig.activate()
    said(rig, "map", "could not be made ready: no memory left", level=ERROR)
    becomes_inactive(rig)
    engine.begin_again()
    engine.finish()
    rig.activate()
    localizes_when_ready(rig)


def test_what_fails_later_deactivates_the_node(slow, engine):
    assert refused_status(slow).outcome == "NOT_READY"
    engine.fail("no memory left")
    said(slow, "map", "the engine could not be made ready: no memory left", level=ERROR)
    becomes_inactive(slow)
    response = slow.call(topics.RELOCALIZE, slow.request(RELOCALIZE, timeout=10.0))
    assert response.message == "the node is not active"
    engine.begin_again()
    engine.finish()
    slow.activate()
    localizes_when_ready(slow)


def test_deactivating_calls_the_building_off(slow, engine):
    slow.deactivate()
    becomes_inactive(slow)
    slow.wait_for(lambda: engine.num_ended == engine.num_begun == 1, "the end of the building")
    assert slow.diagnostics("map")[2]["engine"] == ""
    engine.finish()
    slow.activate()
    localizes_when_ready(slow)


def test_a_builder_that_cannot_be_called_off_is_not_waited_for(slow, engine):
    engine.be_deaf()
    slow.deactivate()
    assert (engine.num_begun, engine.num_ended) == (1, 0)
    slow.activate()  # which begins anew, beside it
    said(slow, "map", "engine is not ready", level=WARN)
    engine.finish()
    slow.wait_for(lambda: engine.num_ended == 2, "the end of both")
    localizes_when_ready(slow)


def test_a_map_whose_engine_takes_long_is_waited_for_but_not_by_the_node(start_slow, engine, tmp_path):
    engine.finish()
    rig = start_slow()
    rig.wait_for(lambda: rig.received[topics.MAP_INFO], "map_info")
    rig.localize()
    known = rig.received[topics.STATUS][-1]
    other = tmp_path / "other.map"
    shutil.copytree(rig.map_path, other)
    engine.begin_again()
    engine.say("building another")
    responses = []
    request = rig.request(LOAD_MAP, path=str(other))
    call = threading.Thread(target=lambda: responses.append(rig.call(topics.LOAD_MAP, request)))
    call.start()
    said(rig, "map", "engine is not ready: building another", level=WARN)
    with rig.while_stepping():
        rig.wait_for(lambda: rig.received[topics.STATUS][-1].outcome == "NOT_READY", "a status that refuses")
    assert rig.received[topics.STATUS][-1].state == known.state  # the position is not forgotten yet
    rig.deactivate()
    call.join(20.0)
    assert [response.success for response in responses] == [False]
    assert responses[0].map.path == str(rig.map_path)


@pytest.fixture
def only_dds(rig_kind):
    if rig_kind != "dds":
        pytest.skip("a process of its own is told to end")


@pytest.mark.parametrize("is_deaf", [False, True])
def test_told_to_end_during_the_building_it_ends_well(only_dds, slow, engine, is_deaf):
    if is_deaf:
        engine.be_deaf()
    assert slow.terminate() == 0, slow.log_text()
    assert "Traceback" not in slow.log_text()
