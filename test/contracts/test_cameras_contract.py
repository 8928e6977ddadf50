"""What the relocalizer promises to a robot with several cameras, whatever it runs on."""

import numpy as np
import pytest
from camera_robots import MOUNTINGS, NAMES, CameraRobot, turned

from hfnet_ros.messages import topics

OK, WARN, ERROR = 0, 1, 2


@pytest.fixture
def start_robot(start_rig, rig_walk, rig_kind):
    """Return a function that starts a node for the robot's cameras."""

    def start(mounted=NAMES, calibrated=NAMES, **changes):
        # Images that are sent at once come at once, but on a machine that is busy, and from an executor that shares
        # Python with the robot and the localizing thread.
        wait_s = 1.0 if rig_kind == "ros" else 0.3
        rig = start_rig(cameras__names=" ".join(NAMES), cameras__sync_wait_s=wait_s, **changes)
        return CameraRobot(rig, rig_walk, mounted, calibrated)

    return start


@pytest.fixture
def robot(start_robot):
    return start_robot()


def shares(status):
    return {view.camera: view for view in status.views}


def test_images_of_one_time_are_one_answer_with_a_share_of_each(robot, stamp_of):
    robot.localize()
    statuses = []
    for _ in range(3):
        status = robot.step()
        statuses.append(status)
        assert status.verdict == "ACCEPTED"
        assert robot.error_of(status) < 0.1
        assert [view.camera for view in status.views] == list(NAMES)
        assert sum(view.num_inliers for view in status.views) == status.num_inliers
        assert min(view.num_keypoints for view in status.views) > 0
        assert {view.offset for view in status.views} == {0.0}
    assert [stamp_of(status) for status in statuses] == sorted({stamp_of(status) for status in statuses})
    counts = [(status.num_received, status.num_processed) for status in statuses]
    assert len(set(counts)) == len(counts), "images of one time are counted once"
    robot.rig.wait_for(lambda: robot.rig.poses[-1].header.stamp == statuses[-1].header.stamp, "its pose")
    for name in NAMES:
        robot.check_goes_on(name, lambda level, message, values: level == OK)


def test_an_unplugged_camera_is_silent_and_the_others_go_on(start_robot):
    robot = start_robot(node__image_timeout_s=0.2)
    robot.localize()
    status = robot.check_goes_on(
        "left", lambda level, message, values: level == ERROR and "no image" in message, left=None
    )
    assert "no image of this time" in shares(status)["left"].problem
    assert shares(status)["front"].num_inliers > 0


def test_a_camera_that_never_came_is_not_needed(robot):
    robot.localize(right=None)
    status = robot.check_goes_on(
        "right",
        lambda level, message, values: level == ERROR and "no image has come on /right/image" in message,
        right=None,
    )
    assert "no image of this time" in shares(status)["right"].problem


def test_a_covered_camera_is_named(robot):
    black = np.random.default_rng(0).integers(0, 4, (8, 192, 256), dtype=np.uint8)
    robot.localize()
    status = robot.check_goes_on(
        "left",
        lambda level, message, values: level >= WARN and "no contrast" in values["picture"],
        left=lambda number: black[number % 8],
    )
    assert shares(status)["left"].num_inliers == 0


def test_a_frozen_camera_is_named_and_not_asked(robot):
    robot.localize()
    frozen = robot.walk.image(3, "left")
    status = robot.check_goes_on(
        "left", lambda level, message, values: level >= WARN and "frozen" in values["picture"], left=frozen
    )
    assert "frozen" in shares(status)["left"].problem
    assert shares(status)["left"].num_matches == 0


def test_a_camera_whose_images_come_late_is_named(robot, rig_kind):
    robot.localize()
    before, steps = [], 6 if rig_kind == "ros" else 3  # longer than is waited

    def late(number):
        """Send the image of some steps ago, with its stamp."""
        before.append((robot.walk.image(robot.index(number), "left"), robot.rig.stamp(number)))
        if len(before) > steps:
            robot.send_image("left", *before[-1 - steps])

    status = robot.check_goes_on(
        "left",
        lambda level, message, values: level >= WARN and "behind the other cameras'" in message,
        left=late,
    )
    assert "no image of this time" in shares(status)["left"].problem


def test_a_camera_that_was_turned_contradicts_the_others(robot):
    knocked = turned(10.0) @ MOUNTINGS["left"]
    robot.localize()
    status = robot.check_goes_on(
        "left",
        lambda level, message, values: level >= WARN and "contradicts" in message,
        left=lambda number: robot.walk.image(robot.index(number), "left", knocked),
    )
    assert "contradicts" in shares(status)["left"].problem


def test_a_camera_without_calibration_is_named(start_robot):
    robot = start_robot(calibrated=("front", "right"))
    robot.localize()
    status = robot.check_goes_on(
        "left", lambda level, message, values: level == ERROR and "no camera_info has come" in message
    )
    assert "no camera_info" in shares(status)["left"].problem


def test_a_camera_without_mounting_is_named(start_robot):
    robot = start_robot(mounted=("front", "right"))
    robot.localize()
    status = robot.check_goes_on(
        "left", lambda level, message, values: level == ERROR and "cameras.base_from_camera" in message
    )
    assert "mounting" in shares(status)["left"].problem


def test_mountings_may_be_parameters(start_robot):
    numbers = " ".join(
        " ".join(map(str, [*MOUNTINGS[name].translation, *MOUNTINGS[name].quat_xyzw])) for name in NAMES
    )
    robot = start_robot(mounted=(), cameras__base_from_camera=numbers)
    status = robot.localize()
    assert {view.problem for view in status.views} == {""}


def test_a_camera_on_a_joint_is_where_tf_has_it_at_its_stamp(start_robot):
    robot = start_robot(mounted=("left", "right"))

    def looks_aside(number):
        mounting = turned(10.0 * (number % 3 - 1)) @ MOUNTINGS["front"]
        robot.send_moving_mounting("front", mounting, robot.rig.stamp(number))
        return robot.walk.image(robot.index(number), "front", mounting)

    robot.localize(front=looks_aside)
    for _ in range(4):
        status = robot.step(front=looks_aside)
        assert status.verdict == "ACCEPTED"
        assert robot.error_of(status) < 0.1
        assert {view.problem for view in status.views} == {""}


def test_pictures_of_all_cameras_stand_side_by_side(robot):
    robot.localize()
    robot.rig.watch(topics.DEBUG_IMAGE)
    pictures = robot.rig.received.setdefault(topics.DEBUG_IMAGE, [])
    for _ in range(50):  # until the node has heard of the subscription
        robot.step(right=None)
        robot.rig.settle()
        if pictures:
            break
    assert (pictures[-1].width, pictures[-1].height, pictures[-1].encoding) == (512, 192, "bgr8")


def test_a_request_is_answered_by_images_of_one_time(start_robot):
    import threading

    robot = start_robot(node__mode="on_demand")
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(
            robot.rig.call(topics.RELOCALIZE, robot.rig.request("hfnet_ros/srv/Relocalize", timeout=60.0))
        )
    )
    asking.start()
    while asking.is_alive():
        number, robot.number = robot.number, robot.number + 1
        robot.rig.send_odometry(
            robot.rig.walk.odom_from_map @ robot.walk.map_from_base[0], robot.rig.stamp(number)
        )
        for name in NAMES:
            robot.send_image(name, robot.walk.image(0, name), robot.rig.stamp(number))
        robot.rig.flush()
        asking.join(0.1)
    (response,) = answers
    assert response.success, response.message
    assert [view.camera for view in response.status.views] == list(NAMES)
