"""Services called at the wrong time or with the wrong words are answered all the same."""

import dataclasses
import shutil
import threading

import pytest

from hfnet_ros.map.map_io import save_map
from hfnet_ros.messages import topics

RELOCALIZE, LOAD_MAP = "hfnet_ros/srv/Relocalize", "hfnet_ros/srv/LoadMap"


def load(rig, path):
    return rig.call(topics.LOAD_MAP, rig.request(LOAD_MAP, path=str(path)))


def test_an_inactive_node_says_that_it_is(rig, tmp_path):
    rig.deactivate()
    response = rig.call(topics.RELOCALIZE, rig.request(RELOCALIZE, timeout=60.0))
    assert (response.success, response.message) == (False, "the node is not active")
    response = rig.call(topics.TRIGGER, rig.request("std_srvs/srv/Trigger"))
    assert (response.success, response.message) == (False, "the node is not active")
    rig.call(topics.REINITIALIZE, rig.request("std_srvs/srv/Empty"))
    rig.call(topics.NO_MOTION_UPDATE, rig.request("std_srvs/srv/Empty"))
    rig.wait_for_diagnostics("localization", lambda level, _, values: values["lifecycle"] == "inactive")


def test_a_map_loaded_while_inactive_is_used_afterwards(rig, tmp_path):
    rig.deactivate()
    other = tmp_path / "other.map"
    shutil.copytree(rig.map_path, other)
    assert load(rig, other).success
    announced = len(rig.received[topics.MAP_INFO])
    rig.activate()
    rig.wait_for(lambda: len(rig.received[topics.MAP_INFO]) > announced, "map_info")
    assert rig.received[topics.MAP_INFO][-1].path == str(other)
    rig.localize()


def test_without_a_map_the_node_waits_for_one(start_rig, room_map):
    rig = start_rig(map_path="")
    response = rig.call(topics.RELOCALIZE, rig.request(RELOCALIZE, timeout=60.0))
    assert (response.success, response.message) == (False, "no map is loaded")
    assert load(rig, room_map).success
    rig.localize()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "empty"),
        ("no/such.map", "/no/such.map: no such map"),
        ("~nobody-of-this-name/room.map", "home"),
        ("~/no/such.map", "no such map"),
        ("/dev/null", "is a file"),
    ],
)
def test_a_path_that_leads_to_no_map_is_named(rig, path, words):
    response = load(rig, path)
    assert not response.success
    assert words in response.message
    assert response.map.path == str(rig.map_path)


def test_deactivating_ends_a_request_that_waits(rig):
    answers = []
    request = rig.request(RELOCALIZE, timeout=55.0)
    for _ in range(20):  # until the request is there before the end is
        thread = threading.Thread(target=lambda: answers.append(rig.call(topics.RELOCALIZE, request)))
        thread.start()
        rig.settle()
        rig.deactivate()
        thread.join(50.0)
        rig.activate()
        if answers[-1].message != "the node is not active":
            break
    assert answers[-1].message == "the node was deactivated during the request"
    rig.localize()


@pytest.mark.parametrize(
    "timeout", [pytest.param(float("inf"), marks=pytest.mark.slow), float("nan"), -1.0, 1e300]
)
def test_no_time_is_too_long_or_too_strange_to_wait(rig, timeout):
    rig.localize()
    with rig.while_stepping():
        response = rig.call(topics.RELOCALIZE, rig.request(RELOCALIZE, timeout=timeout))
    assert response.success, response.message


def test_answers_go_with_the_map_they_are_in(rig, apartment, tmp_path):
    rig.localize()
    other = tmp_path / "other.map"
    save_map(dataclasses.replace(apartment.visual_map, frame_id="upstairs"), other)
    with rig.while_stepping():
        for path, frame_id in ((other, "upstairs"), (rig.map_path, "map")) * 3:
            before = len(rig.received[topics.STATUS])
            assert load(rig, path).success
            rig.wait_for(
                lambda before=before, frame_id=frame_id: any(
                    status.header.frame_id == frame_id for status in rig.received[topics.STATUS][before:]
                ),
                f"a status in {frame_id}",
            )
    frames = {(pose.header.frame_id) for pose in rig.poses}
    assert frames <= {"map", "upstairs"}
