import dataclasses
import logging
import threading
import time

import numpy as np
import pytest
from relocalizer_rigs import BASE_FROM_CAMERA, CAMERA_FRAME

from hfnet_ros.errors import ConfigError, EngineError, MapFormatError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.messages import topics
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.headers import header_to_message, stamp_from_message
from hfnet_ros.messages.poses import transform_to_message
from hfnet_ros.node.core import RelocalizerNode
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.tracking.live import LiveRelocalizer

LOAD_MAP = "hfnet_ros/srv/LoadMap"


@pytest.fixture
def upstairs(apartment, tmp_path):
    """The same map under another name, so that answers tell which one they are in."""
    path = tmp_path / "upstairs.map"
    save_map(dataclasses.replace(apartment.visual_map, frame_id="upstairs"), path)
    return path


@pytest.fixture
def load(monkeypatch):
    """Let reading a map take until `go` is set."""
    read, go, reading = ServedMap.load, threading.Event(), threading.Event()

    def slow(path):
        reading.set()
        assert go.wait(60.0)
        return read(path)

    monkeypatch.setattr(ServedMap, "load", slow)
    return go, reading


class Call(threading.Thread):
    """A call of a service in a thread of its own, as transports make it."""

    def __init__(self, rig, service, request):
        super().__init__()
        self.work = lambda: rig.call(service, request)
        self.response = None
        self.start()

    def run(self):
        self.response = self.work()

    def result(self):
        self.join(60.0)
        assert not self.is_alive()
        return self.response


def test_an_image_answered_during_a_swap_is_in_the_new_map(rig, upstairs, monkeypatch):
    """The service is still on its way back when the next image is localized in the new map."""
    rig.localize()
    replace = LiveRelocalizer.replace_localizer
    frames = []

    def replace_and_localize(live, opener):
        replace(live, opener)
        frames.append(rig.step().header.frame_id)

    monkeypatch.setattr(LiveRelocalizer, "replace_localizer", replace_and_localize)
    assert rig.call(topics.LOAD_MAP, rig.request(LOAD_MAP, path=str(upstairs))).success
    assert frames == ["upstairs"]


def test_a_swap_that_fails_leaves_answers_in_the_old_map(rig, upstairs, monkeypatch):
    rig.localize()

    def fail(*_):
        raise EngineError("no memory left")

    monkeypatch.setattr("hfnet_ros.localization.query_extractor.create_extractor", fail)
    response = rig.call(topics.LOAD_MAP, rig.request(LOAD_MAP, path=str(upstairs)))
    assert (response.success, response.message) == (False, "no memory left")
    assert response.map.frame_id == "map"
    status = rig.step()
    assert (status.header.frame_id, status.verdict) == ("map", "ACCEPTED")


def test_nothing_waits_while_a_map_is_read(rig, load):
    go, reading = load
    call = Call(rig, topics.LOAD_MAP, rig.request(LOAD_MAP, path=str(rig.map_path)))
    assert reading.wait(60.0)
    config = rig.node.config
    rig.node.set_config(dataclasses.replace(config, gate=dataclasses.replace(config.gate, probability=0.9)))
    rig.deactivate()
    go.set()
    assert call.result().success
    rig.activate()
    rig.localize()


def test_a_map_read_when_the_node_was_cleaned_up_meanwhile_is_not_kept(rig, load):
    go, reading = load
    call = Call(rig, topics.LOAD_MAP, rig.request(LOAD_MAP, path=str(rig.map_path)))
    assert reading.wait(60.0)
    rig.node.cleanup()
    go.set()
    response = call.result()
    assert not response.success
    assert "not configured" in response.message
    assert response.map.path == ""


def test_a_map_that_is_missing_leaves_the_node_unconfigured(transport, configured, tmp_path):
    node = RelocalizerNode(configured(node__map=str(tmp_path / "none.map")), transport)
    with pytest.raises(MapFormatError, match=r"none\.map"):
        node.configure()
    said = []
    transport.watchers[topics.DIAGNOSTICS] = said.append
    node.on_diagnostics_timer()
    assert said[0].status[0].message == "the node is unconfigured: it localizes when activated"


def test_a_node_without_a_map_is_inactive_when_configured(transport, configured):
    node = RelocalizerNode(configured(), transport)
    node.configure()
    said = []
    transport.watchers[topics.DIAGNOSTICS] = said.append
    node.on_diagnostics_timer()
    assert said[0].status[0].message == "the node is inactive: it localizes when activated"


def test_the_points_of_the_map_wait_for_activation(transport, node_parameters, room_map, configured):
    node = RelocalizerNode(configured(node__map=str(room_map), extractor__name="sift"), transport)
    points = []
    transport.watchers[topics.MAP_POINTS] = points.append
    transport.is_active = False
    node.configure()
    node.on_diagnostics_timer()
    assert points == []
    transport.is_active = True
    node.activate()
    for _ in range(3):
        node.on_diagnostics_timer()
    assert len(points) == 1
    node.cleanup()


def test_large_coordinates_are_drawn_in_a_frame_that_tf_knows(
    transport, node_parameters, room_map, configured, monkeypatch
):
    origin = np.array([458_000.0, 5_429_000.0, 0.0])
    monkeypatch.setattr(ServedMap, "drawing_origin", origin)
    node = RelocalizerNode(configured(node__map=str(room_map), extractor__name="sift"), transport)
    points, transforms = [], []
    transport.watchers[topics.MAP_POINTS] = points.append
    transport.watchers[topics.TF_STATIC] = transforms.append
    node.configure()
    node.activate()
    node.on_diagnostics_timer()
    node.cleanup()
    assert points[0].header.frame_id == "map_origin"
    first = np.asarray(points[0].data)[:12].copy().view("<f4")
    np.testing.assert_allclose(first + origin, load_map(room_map).given_landmark_xyz()[0], atol=1.0)
    (sent,) = transforms[0].transforms
    assert (sent.header.frame_id, sent.child_frame_id) == ("map", "map_origin")
    moved = sent.transform.translation
    assert (moved.x, moved.y, moved.z) == tuple(origin)


def test_pictures_are_not_drawn_for_nobody(rig):
    rig.localize()
    assert topics.POSE in rig.transport.published
    assert not {topics.DEBUG_IMAGE, topics.MATCHES} & set(rig.transport.published)


def test_a_stamp_out_of_range_is_refused(rig):
    rig.localize()
    message = rig.image(0, rig.stamp(9))
    message.header.stamp.sec = -5
    status = rig.step(0, rig.stamp(9), message=message)
    assert status.outcome == "BAD_INPUT"
    assert "stamp" in status.reason
    assert stamp_from_message(status.header.stamp) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda message: setattr(message.header.stamp, "sec", -1), "stamp is -1"),
        (lambda message: message.pose.covariance.__setitem__(0, -1.0), "negative"),
        (lambda message: message.pose.covariance.__setitem__(0, float("nan")), "not finite"),
        (lambda message: setattr(message.pose.pose.orientation, "w", 9.0), "quaternion"),
        (lambda message: setattr(message.header, "frame_id", "odom"), "in frame 'odom', the map is 'map'"),
    ],
)
def test_a_hint_that_cannot_be_used_is_ignored_with_a_line(rig, change, words, caplog):
    sent = []
    rig.send = lambda topic, message: sent.append(message)
    rig.send_initial_pose(0, rig.stamp(0))
    change(sent[0])
    with caplog.at_level(logging.WARNING, "hfnet_ros"):
        rig.node.on_initial_pose(sent[0])
    assert "initialpose ignored" in caplog.text
    assert words in caplog.text


def test_a_hint_to_an_inactive_node_is_ignored_with_a_line(rig, caplog):
    rig.deactivate()
    with caplog.at_level(logging.WARNING, "hfnet_ros"):
        rig.send_initial_pose(0, rig.stamp(0))
    assert "initialpose ignored" in caplog.text


def test_parameters_are_taken_while_active(rig):
    rig.localize()
    config = rig.node.config
    narrow = dataclasses.replace(config.node, diagonal_covariance=True)
    rig.node.set_config(dataclasses.replace(config, node=narrow))
    assert rig.step().verdict == "ACCEPTED"  # the position was kept
    assert sum(value != 0.0 for value in rig.poses[-1].pose.covariance) == 6
    rig.received[topics.DIAGNOSTICS].clear()
    rig.wait_for_diagnostics("images", lambda level, message, values: values["camera mounting"] == "known")


def test_parameters_that_cannot_be_used_change_nothing(rig):
    config = rig.node.config
    frames = dataclasses.replace(config.frames, base_from_camera="somewhere")
    with pytest.raises(ConfigError):
        rig.node.set_config(dataclasses.replace(config, frames=frames))
    assert rig.node.config is config


def test_the_map_is_let_go_when_cleaned_up(rig, apartment):
    import gc
    import weakref

    rig.wait_for(lambda: rig.received[topics.MAP_POINTS], "the map's points")
    rig.localize()
    served = weakref.ref(rig.node._map.served)
    rig.deactivate()
    rig.node.cleanup()
    gc.collect()
    assert served() is None


def test_what_else_is_missing_is_said_of_images_that_cannot_be_used(rig):
    rig.send_mounting()
    rig.step()
    rig.step()
    rig.wait_for_diagnostics("images", lambda level, message, values: values["camera mounting"] == "known")
    _, message, values = rig.diagnostics("localization")
    assert values["last outcome"] == "BAD_INPUT"
    assert "no camera_info has come on /camera_info: nobody publishes it" in message


def test_images_of_another_clock_than_odometry_are_called_that(rig):
    rig.localize()
    statuses = rig.received[topics.STATUS]
    for number in (50, 60, 70):
        before = len(statuses)
        rig.send_odometry(rig.walk.odom_from_map @ rig.walk.map_from_base[0], rig.stamp(number))
        rig.send(topics.IMAGE, rig.image(0, rig.stamp(number) + 7_200_000_000_000))
        rig.wait_for(lambda count=before: len(statuses) > count, "a status")
    assert statuses[-1].verdict == "NO_ODOMETRY"
    assert "another clock: odometry comes, stamped 7200.000 s before the image" in statuses[-1].reason


def test_a_calibration_that_cannot_be_used_is_told_of_once_though_another_comes_between(rig, caplog):
    camera = rig.walk.camera
    for _ in range(3):
        rig.send_camera_info()
        header = header_to_message(rig.factory, rig.start_ns, "another_camera")
        message = camera_to_message(rig.factory, camera, header)
        message.k = np.zeros(9)
        message.p = np.zeros(12)
        rig.send(topics.CAMERA_INFO, message)
        rig.flush()
    assert caplog.text.count("K is all zeros") == 1


def test_a_calibration_refused_again_is_in_diagnostics_as_long_as_the_one_before_stays(rig):
    rig.localize()
    sound = camera_to_message(rig.factory, rig.walk.camera, header_to_message(rig.factory, 1, CAMERA_FRAME))
    broken = camera_to_message(rig.factory, rig.walk.camera, header_to_message(rig.factory, 1, CAMERA_FRAME))
    broken.k, broken.p = np.zeros(9), np.zeros(12)
    for _ in range(2):
        rig.send(topics.CAMERA_INFO, broken)
        rig.flush()
        rig.wait_for_diagnostics(
            "images", lambda level, message, values: "K is all zeros: the driver" in values["doubts"]
        )
        assert "the calibration before it stays" in rig.diagnostics("images")[2]["doubts"]
        rig.send(topics.CAMERA_INFO, sound)
        rig.flush()
        rig.wait_for_diagnostics("images", lambda level, message, values: values["doubts"] == "")


def test_two_nodes_that_publish_calibrations_are_in_diagnostics_and_once_in_the_log(rig, caplog):
    """Every other image had been localized with each, half of them wrongly, and diagnostics were OK."""
    rig.localize()
    camera = rig.walk.camera
    for number in range(20):
        rig.send_camera_info(camera if number % 2 else dataclasses.replace(camera, focal=1.03 * camera.focal))
    rig.wait_for_diagnostics("images", lambda level, message, values: "take turns" in values["doubts"])
    assert "keep one (`ros2 topic info -v /camera_info` names them)" in rig.diagnostics("images")[1]
    assert caplog.text.count("take turns") == 1
    assert caplog.text.count("camera_info changed") < 8


def test_a_static_mounting_that_changes_is_in_diagnostics(rig):
    """Two nodes that publish it had turned all poses by 5 degrees, and diagnostics were OK, or blamed odometry."""
    rig.localize()
    turned = Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(5.0)], np.zeros(3)) @ BASE_FROM_CAMERA
    rig.send_transforms(
        [transform_to_message(rig.factory, turned, 1, "base_link", CAMERA_FRAME)], static=True
    )
    rig.step()
    rig.wait_for_diagnostics("images", lambda level, message, values: "do two nodes" in values["doubts"])
    assert "'camera_optical' in 'base_link' changed once since activation" in rig.diagnostics("images")[1]
    rig.deactivate()
    rig.activate()
    rig.step()
    rig.wait_for_diagnostics("images", lambda level, message, values: values["doubts"] == "")


@pytest.mark.parametrize(
    "service", [topics.REINITIALIZE, topics.NO_MOTION_UPDATE], ids=lambda each: each.name
)
def test_a_service_whose_response_says_nothing_logs_that_nothing_was_done(rig, service, caplog):
    rig.deactivate()
    rig.call(service, rig.request("std_srvs/srv/Empty"))
    assert f"{service.name}: the node is not active" in caplog.text


def test_a_request_without_images_says_where_they_are_expected(start_rig):
    rig = start_rig(node__request_timeout_s=0.1)
    response = rig.call(topics.TRIGGER, rig.request("std_srvs/srv/Trigger"))
    assert response.message.startswith("no image was answered within 0.1 s; no image comes on /image: nobody")


def test_a_map_whose_frame_is_renamed_is_announced_anew(rig):
    rig.localize()
    frames = dataclasses.replace(rig.node.config.frames, map_frame="world")
    rig.node.set_config(dataclasses.replace(rig.node.config, frames=frames))
    assert rig.received[topics.MAP_INFO][-1].frame_id == "world"
    assert rig.step().header.frame_id == "world"


def test_another_node_that_broadcasts_map_to_odom_is_told(start_rig):
    rig = start_rig(frames__publish_tf=True)
    message = transform_to_message(rig.factory, Rigid3.identity(), time.time_ns(), "map", "odom")
    rig.send_transforms([message], static=False)
    rig.wait_for_diagnostics(
        "localization", lambda level, text, _: level == 2 and "another node broadcasts map->odom" in text
    )


def test_a_calibration_that_is_off_by_little_is_told_after_some_images_and_allowed_for(rig):
    """A zoom of 4 percent fits each image, and moves all poses by centimetres, at a sigma of millimetres."""
    rig.localize()
    camera = rig.walk.camera
    rig.send_camera_info(dataclasses.replace(camera, focal=1.04 * camera.focal))
    for _ in range(2 * len(rig.walk.images)):
        status = rig.step()
        if "another calibration" in status.reason:
            break
    assert "warning: images fit another calibration than theirs: a focal length 0.9" in status.reason
    rig.step(index := 3)
    rig.wait_for(lambda: rig.poses, "a pose")
    pose = rig.poses[-1]
    variance = np.trace(np.array(pose.pose.covariance).reshape(6, 6)[:3, :3])
    assert 0.02 < rig.error_of(pose, index) < 3.0 * np.sqrt(variance) < 0.5
    rig.send_camera_info()
    assert "another calibration" not in rig.step().reason


def test_a_camera_that_sits_turned_by_a_few_degrees_is_told_by_odometry(rig):
    """All poses are turned likewise, and agree with each other and with odometry as well as right ones."""
    rig.send_camera_info()
    turned = Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(6.0)], np.zeros(3)).rotation @ BASE_FROM_CAMERA.rotation
    said = Rigid3(turned, BASE_FROM_CAMERA.translation)
    rig.send_transforms([transform_to_message(rig.factory, said, 1, "base_link", CAMERA_FRAME)], static=True)
    for _ in range(80):
        status = rig.step()
        if "motions of odometry" in status.reason:
            break
    assert "warning: the mounting of 'camera_optical' is doubtful: by 12 motions of odometry" in status.reason
    assert ", z -6." in status.reason or ", z -5." in status.reason
