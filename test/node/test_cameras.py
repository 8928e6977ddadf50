"""What is said of each camera of several by parameters, and images that are refused."""

import cv2
import numpy as np
import pytest
from camera_robots import NAMES, CameraRobot

from hfnet_ros.errors import ConfigError
from hfnet_ros.files.camera_mask import read_mask
from hfnet_ros.messages import topics
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.node.camera_input import CameraInput
from hfnet_ros.node.core import RelocalizerNode
from hfnet_ros.node.map_in_use import MapInUse


@pytest.fixture
def start_robot(start_rig, rig_walk):
    def start(**changes):
        rig = start_rig(cameras__names=NAMES, cameras__sync_wait_s=1.0, **changes)
        return CameraRobot(rig, rig_walk)

    return start


def test_images_may_leave_their_optical_frame_to_the_parameters(start_robot):
    robot = start_robot(cameras__frames=["left_optical", "-", "-"])
    # What calls itself front is where left is, and shows what left sees.
    status = robot.localize(front=lambda number: robot.walk.image(robot.index(number), "left"))
    assert {view.problem for view in status.views} == {""}
    assert robot.error_of(status) < 0.1


def test_each_camera_has_its_own_transport(start_robot):
    robot = start_robot(cameras__transports="raw compressed raw")
    plain = robot.send_image
    assert robot.topics["left"].image.name == "left/image/compressed"

    def send_image(name, image, stamp_ns):
        if name != "left":
            plain(name, image, stamp_ns)
            return
        header = image_to_message(robot.rig.factory, image, stamp_ns, "left_optical").header
        data = robot.rig.factory.byte_sequence(cv2.imencode(".png", image)[1].reshape(-1))
        kind = topics.COMPRESSED_IMAGE.type_name
        message = robot.rig.factory.make(kind, header=header, format="png", data=data)
        robot.rig.send(robot.topics[name].image, message)

    robot.send_image = send_image
    status = robot.localize()
    assert {view.problem for view in status.views} == {""}
    assert min(view.num_keypoints for view in status.views) > 0


def test_while_the_engine_is_not_ready_images_of_one_time_are_refused_once(start_robot, monkeypatch):
    robot = start_robot()
    monkeypatch.setattr(MapInUse, "refusal", "the engine is being built")
    status = robot.step()
    assert (status.outcome, status.reason) == ("NOT_READY", "the engine is being built")
    assert list(status.views) == []
    assert len(robot.rig.received[topics.STATUS]) == 1
    for name in NAMES:  # what else is missing is known all the same
        robot.rig.wait_for_diagnostics(
            f"images {name}", lambda level, message, values: values["camera mounting"] == "known"
        )


def test_a_mounting_that_is_none_is_refused_with_its_camera(transport, configured):
    config = configured(cameras__names="front left", cameras__base_from_camera="0 0 0 0 0 0 1 0 0 0 0 0 0 2")
    with pytest.raises(ConfigError, match=r"cameras\.base_from_camera of 'left' is '0 0 0 0 0 0 2'"):
        RelocalizerNode(config, transport)


def test_several_cameras_need_a_frame_in_common(configured):
    with pytest.raises(ConfigError, match=r"frames\.base_frame is empty"):
        configured(frames__base_frame="", cameras__names="front left")
    assert len(configured(frames__base_frame="", cameras__names="front").cameras.each) == 1


def test_images_that_are_lost_count_as_those_of_their_camera(start_robot):
    robot = start_robot()
    robot.rig.node.losses()[robot.topics["left"].image](7)
    found = {
        health.camera: health.num_lost for health in robot.rig.node._cameras.health(robot.rig.node.config)
    }
    assert found == {name: 7 * (name == "left") for name in NAMES}


def mask_file(folder, size_wh=(640, 480)):
    """Write a mask of which the lower third is what the camera carries."""
    picture = np.full(size_wh[::-1], 255, np.uint8)
    picture[2 * size_wh[1] // 3 :] = 0
    path = folder / "mask.png"
    assert cv2.imwrite(str(path), picture)
    return path


def test_what_a_camera_carries_is_painted_over_before_anything_looks_at_it(
    start_rig, rig_walk, tmp_path, monkeypatch
):
    path = mask_file(tmp_path, rig_walk.camera.size_wh)
    rig = start_rig(cameras__names=NAMES, cameras__sync_wait_s=1.0, cameras__masks=f"left={path}")
    robot = CameraRobot(rig, rig_walk)
    read, frame = {}, CameraInput.frame

    def frame_of(each, *arguments):
        read[each.camera.name] = frame(each, *arguments).image
        return frame(each, *arguments)

    monkeypatch.setattr(CameraInput, "frame", frame_of)
    status = robot.step()
    assert {view.problem for view in status.views} == {""}
    sent = {name: rig_walk.image(robot.index(0), name) for name in NAMES}
    np.testing.assert_array_equal(read["front"], sent["front"])
    np.testing.assert_array_equal(read["left"], read_mask(path).hide(sent["left"]))
    assert (read["left"] != sent["left"]).any()


def test_a_mask_that_is_none_is_refused_at_the_start(transport, configured, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.png: cannot be read.*cameras\.masks"):
        RelocalizerNode(configured(cameras__masks=str(tmp_path / "nowhere.png")), transport)
    with pytest.raises(ConfigError, match="there are no names, but one camera"):
        RelocalizerNode(configured(cameras__masks=f"left={mask_file(tmp_path)}"), transport)


def test_images_of_another_form_than_the_mask_are_refused_and_the_node_lives(start_rig, rig_walk, tmp_path):
    path = mask_file(tmp_path, (400, 100))
    rig = start_rig(cameras__names=NAMES, cameras__sync_wait_s=1.0, cameras__masks=f"left={path}")
    robot = CameraRobot(rig, rig_walk)
    problems = {view.camera: view.problem for view in robot.step().views}
    assert problems["front"] == ""
    assert "mask.png is 400x100; draw the mask on one of them" in problems["left"]
    assert robot.localize().state == "TRACKING"
