import logging
import math
import threading
import time

import pytest
from relocalizer_rigs import Published

from hfnet_ros.node.odometry import NodeOdometry


@pytest.fixture
def odometry_of(transport, configured):
    return lambda **changes: NodeOdometry(configured(**changes), transport)


def x_at(odometry, seconds):
    sample = odometry.sample_at(round(seconds * 1e9))
    return None if sample is None else pytest.approx(sample.odom_from_base.translation[0])


def test_the_topic_is_interpolated(odometry_of, robot):
    odometry = odometry_of(odometry__source="topic")
    odometry.take_message(robot.odometry(1.0, x=0.0))
    odometry.take_message(robot.odometry(1.2, x=1.0))
    assert odometry.used == "topic"
    assert x_at(odometry, 1.05) == 0.25
    assert x_at(odometry, 1.3) is None
    assert odometry.newest_stamp_ns == 1_200_000_000


@pytest.mark.parametrize("source", ["tf", "none"])
def test_a_topic_that_was_not_asked_for_is_not_used(odometry_of, robot, source):
    odometry = odometry_of(odometry__source=source)
    odometry.take_message(robot.odometry(1.0))
    assert odometry.used == ""
    assert odometry.newest_stamp_ns is None


@pytest.mark.parametrize("source", ["topic", "none"])
def test_tf_that_was_not_asked_for_is_not_used(odometry_of, robot, source):
    robot.send_transform("odom", "base_link", 1.0)
    odometry = odometry_of(odometry__source=source)
    odometry.poll()
    assert odometry.used == ""


def test_tf_is_polled(odometry_of, robot):
    odometry = odometry_of(odometry__source="tf")
    robot.send_transform("odom", "base_link", 1.0, x=0.0)
    odometry.poll()
    robot.send_transform("odom", "base_link", 1.1, x=2.0)
    odometry.poll()
    assert odometry.used == "tf"
    assert x_at(odometry, 1.05) == 1.0


def test_tf_takes_over_from_the_topic_and_keeps_it_out(odometry_of, robot):
    odometry = odometry_of(odometry__source="auto")
    odometry.poll()
    assert odometry.problem == ""  # nothing is wrong: there may be none
    odometry.take_message(robot.odometry(1.0, x=5.0))
    assert odometry.used == "topic"
    robot.send_transform("odom", "base_link", 1.1, x=7.0)
    odometry.poll()
    assert odometry.used == "tf"
    # The two may have different origins, so that nothing of the topic is left.
    assert x_at(odometry, 1.0) is None
    odometry.take_message(robot.odometry(1.2, x=5.2))
    assert x_at(odometry, 1.1) == 7.0
    assert x_at(odometry, 1.2) is None


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ({"odom_frame": "world"}, "'base_link' in 'world', expected 'base_link' in 'odom'"),
        ({"base_frame": "imu"}, "'imu' in 'odom'"),
        ({"base_frame": ""}, "both frames named"),
    ],
)
def test_odometry_of_other_frames_is_refused(odometry_of, robot, frames, words):
    odometry = odometry_of(odometry__source="topic")
    odometry.take_message(robot.odometry(1.0, **frames))
    assert words in odometry.problem
    assert odometry.newest_stamp_ns is None
    odometry.take_message(robot.odometry(1.1))
    assert odometry.problem == ""


def test_any_base_will_do_where_the_camera_itself_is_asked_for(odometry_of, robot):
    odometry = odometry_of(odometry__source="topic", frames__base_frame="")
    odometry.take_message(robot.odometry(1.0, base_frame="anything"))
    assert odometry.used == "topic"


def test_a_bad_sender_does_not_fill_the_log(odometry_of, robot, caplog):
    odometry = odometry_of(odometry__source="topic")
    with caplog.at_level(logging.WARNING, "hfnet_ros"):
        for number in range(50):  # other words each time, and good messages between them
            message = robot.odometry(1.0 + 0.1 * number)
            message.pose.pose.position.x, message.pose.pose.position.y = math.nan, float(number)
            odometry.take_message(message)
            assert "finite" in odometry.problem
            odometry.take_message(robot.odometry(1.05 + 0.1 * number))
    assert len(caplog.records) == 1
    assert "finite" in caplog.text


def test_a_negative_stamp_is_a_problem_and_not_an_exception(odometry_of, robot):
    odometry = odometry_of(odometry__source="topic")
    message = robot.odometry(1.0)
    message.header.stamp.sec = -1
    odometry.take_message(message)
    assert "stamp is -1" in odometry.problem


@pytest.mark.parametrize(("source", "is_expected"), [("auto", False), ("tf", True)])
def test_a_base_fixed_to_odom_is_no_odometry(odometry_of, robot, source, is_expected):
    robot.send_transform("odom", "base_link", static=True)
    odometry = odometry_of(odometry__source=source)
    odometry.poll()
    assert "fixed" in odometry.problem
    assert odometry.used == ""
    assert odometry.is_expected is is_expected


def test_missing_tf_is_a_problem_where_it_was_asked_for(odometry_of):
    odometry = odometry_of(odometry__source="tf")
    odometry.poll()
    assert "unknown" in odometry.problem
    assert odometry.is_expected


def test_only_what_was_seen_is_expected_by_default(odometry_of, robot):
    odometry = odometry_of(odometry__source="auto")
    assert not odometry.is_expected
    odometry.take_message(robot.odometry(1.0))
    assert odometry.is_expected
    odometry.clear()
    assert not odometry.is_expected
    assert odometry.used == ""


def test_an_image_waits_for_tf_that_comes_a_little_later(odometry_of, robot):
    robot.send_transform("odom", "base_link", 1.0)
    odometry = odometry_of(odometry__source="tf")
    odometry.poll()
    timer = threading.Timer(0.05, lambda: robot.send_transform("odom", "base_link", 1.2, x=1.0))
    timer.start()
    assert odometry.wait_for(1_100_000_000, 20.0)
    assert x_at(odometry, 1.1) == 0.5
    timer.join()


@pytest.mark.parametrize("rate_hz", [1.0, 2.0, 3.9])
def test_a_slow_camera_has_odometry_of_tf_at_its_stamps(odometry_of, robot, rate_hz):
    """Images come a little late, when TF is ahead of them: it was asked for longer ago than is interpolated."""
    odometry, told_s = odometry_of(odometry__source="auto"), 1.0
    for number in range(5):
        taken_s = 1.0 + number / rate_hz
        while told_s < taken_s + 0.05:
            told_s += 0.02
            robot.send_transform("odom", "base_link", told_s, x=told_s)
        odometry.poll(round(taken_s * 1e9))
        if number > 0:
            near_s = [taken_s - 0.02, taken_s, taken_s + 0.02]
            assert [x_at(odometry, at_s) for at_s in near_s] == near_s


def test_waiting_ends(odometry_of, robot):
    robot.send_transform("odom", "base_link", 1.0)
    odometry = odometry_of(odometry__source="tf")
    odometry.poll()
    start_s = time.monotonic()
    assert not odometry.wait_for(9_000_000_000, 0.02)
    assert time.monotonic() - start_s >= 0.02


def test_other_parameters_leave_the_history_as_it_is(odometry_of, robot, configured):
    odometry = odometry_of(odometry__source="topic")
    odometry.take_message(robot.odometry(1.0))
    run = odometry.last_before(1_000_000_000).run
    same = {"odometry__source": "topic", "odometry__wait_s": 0.3, "frames__transform_tolerance_s": 0.5}
    odometry.set_config(configured(**same))
    odometry.take_message(robot.odometry(1.1))
    # The position known so far is carried on only within one run.
    assert odometry.last_before(1_100_000_000).run == run
    odometry.set_config(configured(odometry__source="topic", odometry__max_gap_s=0.01))
    assert odometry.last_before(1_100_000_000) is None


def test_a_frame_that_changes_starts_anew(odometry_of, robot, configured):
    odometry = odometry_of(odometry__source="topic")
    odometry.take_message(robot.odometry(1.0))
    odometry.set_config(configured(odometry__source="topic", frames__odom_frame="wheels"))
    assert odometry.newest_stamp_ns is None
    odometry.take_message(robot.odometry(1.0, odom_frame="wheels"))
    assert odometry.newest_stamp_ns == 1_000_000_000


# Why none comes


def test_where_no_odometry_comes_what_tf_lacks_and_what_there_is_instead_are_told(
    odometry_of, robot, transport
):
    robot.send_transform("robot/odom", "base_link", 1.0)
    odometry = odometry_of()
    transport.others_publish = [
        Published("/tf", ("tf2_msgs/msg/TFMessage",), reliable=False),
        Published("/wheels/odom", ("nav_msgs/msg/Odometry",)),
    ]
    odometry.poll()
    silence = odometry.explain_silence()
    assert "frame 'odom' is unknown; known are base_link, robot/odom" in silence
    assert "/tf: 1 publisher (best effort, volatile) offers less" in silence
    assert "/odom: nobody publishes it; nav_msgs/msg/Odometry is on /wheels/odom" in silence


@pytest.mark.parametrize(("source", "told"), [("tf", "in TF"), ("topic", "/odom: nobody")])
def test_what_is_not_listened_to_is_not_told_of(odometry_of, source, told):
    odometry = odometry_of(odometry__source=source)
    odometry.poll()
    assert odometry.explain_silence().startswith(told)
    assert ("in TF" in odometry.explain_silence()) == (source == "tf")
    assert ("/odom: nobody" in odometry.explain_silence()) == (source == "topic")


def test_a_topic_whose_messages_are_refused_is_not_called_silent(odometry_of, robot):
    odometry = odometry_of(odometry__source="topic")
    odometry.take_message(robot.odometry(1.0, odom_frame="robot/odom"))
    assert odometry.newest_stamp_ns is None
    assert odometry.explain_silence() == ""
    assert "robot/odom" in odometry.problem


def test_two_senders_of_the_topic_are_a_doubt_that_names_it(odometry_of, robot):
    odometry = odometry_of(odometry__source="topic")
    for count in range(100):
        odometry.take_message(robot.odometry(1.0 + 0.01 * count, x=0.01 * count + 0.2 * (count % 2)))
        if count == 5:
            assert odometry.doubt == ""
    assert "jump back and forth by 0.21 m and 0 deg" in odometry.doubt
    assert "keep one (`ros2 topic info -v /odom` names them)" in odometry.doubt
    odometry.clear()
    assert odometry.doubt == ""
