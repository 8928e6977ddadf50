"""What the relocalizer promises, whatever it runs on."""

import shutil
import time

import numpy as np
import pytest

from hfnet_ros.messages import topics


def test_every_image_gets_a_status_and_accepted_ones_a_pose(rig, stamp_of):
    rig.localize()
    for _ in range(5):
        rig.step()
    statuses = rig.received[topics.STATUS]
    assert [status.num_processed for status in statuses] == list(range(1, len(statuses) + 1))
    accepted = [stamp_of(status) for status in statuses if status.verdict == "ACCEPTED"]
    rig.wait_for(lambda: len(rig.poses) == len(accepted), "a pose for every accepted fix")
    assert [stamp_of(pose) for pose in rig.poses] == accepted
    for pose in rig.poses:
        index = (stamp_of(pose) - rig.start_ns) // 200_000_000
        assert rig.error_of(pose, index) < 0.1


def test_a_position_is_only_believed_when_fixes_agree(rig):
    rig.send_mounting()
    rig.send_camera_info()
    verdicts = [rig.step().verdict for _ in range(4)]
    assert verdicts == ["AWAITING_AGREEMENT", "AWAITING_AGREEMENT", "ACCEPTED", "ACCEPTED"]


def test_poses_obey_the_rules_of_nav2_and_robot_localization(rig):
    rig.localize()
    rig.wait_for(lambda: rig.poses, "a pose")
    message = rig.poses[-1]
    q = message.pose.pose.orientation
    covariance = np.array(message.pose.covariance).reshape(6, 6)
    assert message.header.frame_id == "map"
    assert abs(q.x**2 + q.y**2 + q.z**2 + q.w**2 - 1.0) < 1e-6
    assert np.linalg.eigvalsh(covariance).min() > 0.0
    assert np.diag(covariance).min() > 1e-9
    assert np.abs(covariance).max() < 1e9


def test_nav2_gets_no_negative_element_when_asked(start_rig):
    rig = start_rig(node__diagonal_covariance=True)
    rig.localize()
    rig.wait_for(lambda: rig.poses, "a pose")
    covariance = np.array(rig.poses[-1].pose.covariance).reshape(6, 6)
    assert covariance.min() == 0.0
    assert np.count_nonzero(covariance) == 6


def test_the_map_is_announced(rig):
    rig.wait_for(lambda: rig.received[topics.MAP_INFO], "map_info")
    info = rig.received[topics.MAP_INFO][-1]
    assert info.path == str(rig.map_path)
    assert info.num_keyframes > 0
    assert info.extent_max.x > info.extent_min.x
    rig.wait_for(lambda: rig.received[topics.MAP_POINTS], "the map's points")
    points = rig.received[topics.MAP_POINTS][-1]
    assert points.width == info.num_landmarks


def test_a_request_is_answered_after_the_work(rig):
    rig.localize()
    with rig.while_stepping():
        response = rig.call(topics.RELOCALIZE, rig.request("hfnet_ros/srv/Relocalize", timeout=60.0))
    assert response.success, response.message
    assert response.status.outcome == "LOCALIZED"
    assert response.status.num_inliers > 0
    assert 0.0 < response.elapsed < 60.0
    assert np.trace(np.array(response.pose.pose.covariance).reshape(6, 6)) > 0.0


def test_a_request_without_images_says_so(rig):
    response = rig.call(topics.RELOCALIZE, rig.request("hfnet_ros/srv/Relocalize", timeout=0.2))
    assert not response.success
    assert "0.2 s" in response.message


def test_on_demand_only_requests_are_served(start_rig):
    rig = start_rig(node__mode="on_demand")
    rig.send_mounting()
    rig.send_camera_info()
    with rig.while_stepping():
        response = rig.call(topics.TRIGGER, rig.request("std_srvs/srv/Trigger"))
    assert not response.success  # a first fix awaits agreement
    assert "AWAITING_AGREEMENT" in response.message
    assert len(rig.received[topics.STATUS]) == 1


def test_a_broken_map_leaves_the_old_one_in_service(rig, tmp_path):
    rig.localize()
    broken = tmp_path / "broken.map"
    shutil.copytree(rig.map_path, broken)
    array = next((broken / "arrays").glob("landmark_xyz*"))
    array.write_bytes(array.read_bytes()[:-100])
    response = rig.call(topics.LOAD_MAP, rig.request("hfnet_ros/srv/LoadMap", path=str(broken)))
    assert not response.success
    assert "landmark_xyz" in response.message
    assert response.map.path == str(rig.map_path)
    assert rig.step().verdict == "ACCEPTED"
    rig.wait_for_diagnostics("map", lambda level, message, values: level == 1 and "landmark_xyz" in message)


def test_a_map_is_swapped_while_running(rig, tmp_path):
    rig.localize()
    other = tmp_path / "other.map"
    shutil.copytree(rig.map_path, other)
    response = rig.call(topics.LOAD_MAP, rig.request("hfnet_ros/srv/LoadMap", path=str(other)))
    assert response.success, response.message
    assert response.map.path == str(other)
    # What was known in the old map says nothing in the new one.
    assert rig.step().verdict == "AWAITING_AGREEMENT"


def test_forgetting_the_position_on_request(rig):
    rig.localize()
    rig.call(topics.REINITIALIZE, rig.request("std_srvs/srv/Empty"))
    status = rig.step()
    assert (status.verdict, status.state, status.search) == ("AWAITING_AGREEMENT", "LOST", "global")


def test_no_images_are_an_error_in_diagnostics(rig):
    rig.wait_for_diagnostics("images", lambda level, message, _: level == 2 and "no image" in message)
    rig.localize()
    until, said = time.monotonic() + 60.0, None
    while said != (0, "localized"):  # diagnostics are of now, so that images must be too
        assert time.monotonic() < until, said
        rig.step(0, time.time_ns())
        said = rig.diagnostics("localization")[:2]
    rig.wait_for_diagnostics("images", lambda level, message, _: level == 2 and "no image" in message)


def test_without_camera_info_images_are_refused_until_it_comes(rig):
    rig.send_mounting()
    status = rig.step()
    assert status.outcome == "BAD_INPUT"
    assert "camera_info" in status.reason
    rig.wait_for_diagnostics("images", lambda level, message, _: level == 2 and "calibration" in message)
    rig.localize()


def test_an_uncalibrated_camera_is_refused_by_name(rig):
    rig.send_mounting()
    header = rig.factory.make("std_msgs/msg/Header", frame_id="camera_optical")
    rig.send(
        topics.CAMERA_INFO,
        rig.factory.make(
            "sensor_msgs/msg/CameraInfo", header=header, width=256, height=192, distortion_model="plumb_bob"
        ),
    )
    rig.flush()
    status = rig.step()
    assert status.outcome == "BAD_INPUT"
    assert "all zeros" in status.reason


def test_a_calibration_of_another_size_is_refused_and_then_recovers(rig):
    rig.localize()
    rig.send_camera_info(rig.walk.camera.resized((640, 480)))
    status = rig.step()
    assert status.outcome == "BAD_INPUT"
    assert "256x192" in status.reason
    assert "640x480" in status.reason
    rig.send_camera_info()
    assert rig.step().verdict == "ACCEPTED"


def changed(rig, message, changes):
    """Return an image message with other fields."""
    names = ("header", "height", "width", "encoding", "is_bigendian", "step", "data")
    fields = {name: getattr(message, name) for name in names} | changes
    return rig.factory.make("sensor_msgs/msg/Image", **fields)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "32FC1"}, "32FC1"),
        ({"height": 500}, "bytes"),
        ({"step": 10}, "step"),
        ({"width": 0}, "0"),
    ],
)
def test_images_that_cannot_be_read(rig, changes, words):
    rig.localize()
    message = rig.image(0, rig.start_ns + 50_000_000_000)
    status = rig.step(0, rig.start_ns + 50_000_000_000, message=changed(rig, message, changes))
    assert status.outcome == "BAD_INPUT"
    assert words in status.reason
    assert rig.step(0, rig.start_ns + 50_200_000_000).outcome == "LOCALIZED"


def test_a_zero_stamp_is_refused(rig):
    rig.localize()
    before = len(rig.poses)
    status = rig.step(0, 0)
    assert status.outcome == "BAD_INPUT"
    assert "stamp" in status.reason
    assert rig.step().verdict == "ACCEPTED"
    rig.wait_for(lambda: len(rig.poses) > before, "a pose")
    assert len(rig.poses) == before + 1


def test_a_bag_that_starts_again_is_localized_again(rig):
    rig.localize()
    for _ in range(4):
        rig.step()
    start_ns = rig.start_ns - 3_600_000_000_000
    verdicts = [rig.step(index, start_ns + index * 200_000_000).verdict for index in range(8)]
    assert "ACCEPTED" not in verdicts[:2]
    assert verdicts[-1] == "ACCEPTED"


def test_odometry_that_is_no_number_is_refused_and_named(rig):
    rig.localize()
    rig.send_odometry_numbers([float("nan")] * 3, rig.start_ns + 60_000_000_000)
    rig.wait_for_diagnostics("odometry", lambda level, message, _: level == 1 and "finite" in message)
    assert rig.step().verdict == "ACCEPTED"


def test_missing_odometry_is_never_identity(rig):
    rig.localize()
    before = len(rig.poses)
    far_ns = rig.start_ns + 30_000_000_000
    number = len(rig.received[topics.STATUS])
    rig.send(topics.IMAGE, rig.image(3, far_ns))
    rig.wait_for(lambda: len(rig.received[topics.STATUS]) > number, "a status")
    status = rig.received[topics.STATUS][-1]
    assert (status.outcome, status.verdict) == ("LOCALIZED", "NO_ODOMETRY")
    assert len(rig.poses) == before


def test_an_unknown_mounting_is_never_identity(rig):
    rig.send_camera_info()
    statuses = [rig.step() for _ in range(4)]
    assert {status.verdict for status in statuses} == {"NO_EXTRINSIC"}
    assert rig.poses == []
    rig.wait_for_diagnostics("images", lambda level, message, _: level == 2 and "base_link" in message)
    rig.localize()


def test_a_kidnapped_robot_is_found_again(rig):
    rig.localize()
    last = len(rig.walk.images) - 1
    verdicts = [rig.step(0, rig.stamp(20 + number), place=last) for number in range(8)]
    rejected = [status for status in verdicts if status.verdict == "REJECTED_INNOVATION"]
    assert rejected
    assert verdicts[-1].verdict == "ACCEPTED"
    assert sum(status.relocated for status in verdicts) == 1
    rig.wait_for(lambda: rig.poses[-1].header.stamp == verdicts[-1].header.stamp, "its pose")
    assert rig.error_of(rig.poses[-1], last) < 0.1


def test_deactivated_it_is_silent_and_comes_back(rig):
    rig.localize()
    rig.deactivate()
    before = len(rig.received[topics.STATUS])
    rig.step(wait=False)
    rig.settle()
    assert len(rig.received[topics.STATUS]) == before
    rig.activate()
    rig.localize()
