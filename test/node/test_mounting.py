import threading

import numpy as np
import pytest

from hfnet_ros.errors import ConfigError
from hfnet_ros.node.mounting import CameraMounting, parse_mounting

GIVEN = "1 2 3 0 0 0.7071068 0.7071068"


@pytest.fixture
def mounting_of(transport, configured):
    return lambda **changes: CameraMounting(configured(**changes), transport)


def test_seven_numbers_are_a_mounting():
    base_from_camera = parse_mounting("1, 2, 3  0 0 0.7071068 0.7071068")
    assert base_from_camera.translation == pytest.approx([1.0, 2.0, 3.0])
    # A quarter turn about z: the camera's x is the robot's y.
    assert base_from_camera.rotation @ [1.0, 0.0, 0.0] == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("text", ["", "   "])
def test_no_text_is_no_mounting(text):
    assert parse_mounting(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3",
        "1 2 3 0 0 0 1 0",
        "a b c d e f g",
        "0 0 0 0 0 0 0",
        "0 0 0 0 0 0 2",
        "0 0 0 nan 0 0 1",
        "0 0 inf 0 0 0 1",
    ],
)
def test_anything_else_is_refused_in_words(text):
    with pytest.raises(ConfigError, match="seven numbers"):
        parse_mounting(text)


def test_a_bad_parameter_is_refused_at_once(mounting_of):
    with pytest.raises(ConfigError):
        mounting_of(frames__base_from_camera="1 2 3")


def test_tf_goes_before_the_parameter(mounting_of, robot):
    mounting = mounting_of(frames__base_from_camera=GIVEN)
    assert mounting.look_up("cam", 10**9).translation == pytest.approx([1.0, 2.0, 3.0])
    assert mounting.problem == ""
    robot.send_transform("base_link", "cam", x=0.5, static=True)
    assert mounting.look_up("cam", 10**9).translation == pytest.approx([0.5, 0.0, 0.0])


def test_a_parameter_that_tf_contradicts_is_told_once_that_it_is_not_used(mounting_of, robot, caplog):
    mounting = mounting_of(frames__base_from_camera=GIVEN)
    mounting.look_up("cam", 10**9)
    assert caplog.text == ""
    robot.send_transform("base_link", "cam", x=1.0, static=True)
    for _ in range(2):
        mounting.look_up("cam", 10**9)
    (record,) = caplog.records
    assert (
        "frames.base_from_camera is not used: TF has 'cam' in 'base_link', 3.606 m and 90.0 deg"
        in record.getMessage()
    )


def test_a_parameter_that_says_what_tf_says_is_no_matter(mounting_of, robot, caplog):
    mounting = mounting_of(frames__base_from_camera="1.001 0 0 0 0 0 1")
    robot.send_transform("base_link", "cam", x=1.0, static=True)
    mounting.look_up("cam", 10**9)
    assert caplog.text == ""


def test_what_nobody_knows_is_no_identity(mounting_of):
    mounting = mounting_of()
    assert mounting.problem
    assert mounting.look_up("cam", 10**9) is None
    assert "frames.base_from_camera" in mounting.problem


def test_frames_of_a_robot_with_a_prefix_are_named_with_the_parameter_that_says_which(mounting_of, robot):
    robot.send_transform("robot1/base_link", "robot1/cam", static=True)
    mounting = mounting_of()
    assert mounting.look_up("robot1/cam", 10**9) is None
    assert "known are robot1/base_link, robot1/cam (frames.base_frame and the frame_id" in mounting.problem


def test_images_without_a_frame_have_no_mounting_but_the_parameter(mounting_of):
    mounting = mounting_of()
    assert mounting.look_up("", 10**9) is None
    assert "frame_id" in mounting.problem
    given = mounting_of(frames__base_from_camera=GIVEN)
    assert given.look_up("", 10**9).translation == pytest.approx([1.0, 2.0, 3.0])


@pytest.mark.parametrize("base_frame", ["", "cam"])
def test_the_camera_is_its_own_base_when_asked(mounting_of, base_frame):
    mounting = mounting_of(frames__base_frame=base_frame)
    assert np.array_equal(mounting.look_up("cam", 10**9).matrix, np.eye(4))
    assert mounting.problem == ""


def test_a_moving_mounting_is_that_of_the_image(mounting_of, robot):
    robot.send_transform("base_link", "cam", 1.0, x=0.0)
    robot.send_transform("base_link", "cam", 2.0, x=1.0)
    assert mounting_of().look_up("cam", 1_250_000_000).translation[0] == pytest.approx(0.25)


def test_a_moving_mounting_is_waited_for(mounting_of, robot):
    robot.send_transform("base_link", "cam", 1.0, x=0.0)
    mounting = mounting_of(odometry__wait_s=5.0)
    timer = threading.Timer(0.05, lambda: robot.send_transform("base_link", "cam", 1.2, x=1.0))
    timer.start()
    assert mounting.look_up("cam", 1_100_000_000).translation[0] == pytest.approx(0.5)
    timer.join()


def test_the_parameter_does_not_stand_in_for_a_moving_mounting(mounting_of, robot):
    robot.send_transform("base_link", "cam", 1.0)
    mounting = mounting_of(frames__base_from_camera=GIVEN, odometry__wait_s=0.01)
    assert mounting.look_up("cam", 1_100_000_000) is None
    assert "before the time asked for" in mounting.problem
    assert mounting.look_up("cam", 60_000_000_000) is None


def test_a_static_mounting_that_changes_is_told_until_the_node_begins_anew(mounting_of, robot):
    mounting = mounting_of()
    for x in (0.5, 0.5, 0.5002):
        robot.send_transform("base_link", "cam", x=x, static=True)
        mounting.look_up("cam", 10**9)
        assert mounting.doubt == ""
    robot.send_transform("base_link", "cam", x=0.8, static=True)
    mounting.look_up("cam", 10**9)
    said = "the static transform of 'cam' in 'base_link' changed"
    assert mounting.doubt.startswith(f"{said} once since activation, last by 0.300 m and 0.0 deg")
    for x in (0.5, 0.8):
        robot.send_transform("base_link", "cam", x=x, static=True)
        mounting.look_up("cam", 10**9)
    assert mounting.doubt.startswith(f"{said} 3 times")
    mounting.begin()
    mounting.look_up("cam", 10**9)
    assert mounting.doubt == ""


def test_a_camera_that_a_joint_moves_is_no_mounting_that_changes(mounting_of, robot):
    mounting = mounting_of()
    for number in range(1, 5):
        robot.send_transform("base_link", "cam", number, x=0.1 * number)
        mounting.look_up("cam", number * 10**9)
    assert mounting.doubt == ""


def test_two_optical_frames_are_two_mountings(mounting_of, robot):
    mounting = mounting_of()
    robot.send_transform("base_link", "left", x=0.1, static=True)
    robot.send_transform("base_link", "right", x=-0.1, static=True)
    for _ in range(3):
        mounting.look_up("left", 10**9)
        mounting.look_up("right", 10**9)
    assert mounting.doubt == ""
