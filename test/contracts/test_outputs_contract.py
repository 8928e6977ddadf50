"""What the relocalizer says only when asked to: map->odom, pictures; and what it does with hints."""

import time

import numpy as np
import pytest

from hfnet_ros.messages import topics
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.messages.poses import rigid_from_transform

LOST, TRACKING = "LOST", "TRACKING"


def stand_still(rig, is_done):
    """Report odometry of the first image's place until something has happened."""
    odom_from_base = rig.walk.odom_from_map @ rig.walk.map_from_base[0]
    until = time.monotonic() + 60.0
    while not is_done():
        assert time.monotonic() < until, "it did not happen"
        rig.send_odometry(odom_from_base, time.time_ns())
        time.sleep(0.02)


def test_map_from_odom_is_broadcast_while_the_position_is_known(start_rig):
    rig = start_rig(frames__publish_tf=True, frames__transform_tolerance_s=5.0)
    rig.send_mounting()
    rig.send_camera_info()
    # What is broadcast is of now, so that images must be too.
    assert [rig.step(0, time.time_ns()).state for _ in range(2)] == [LOST, LOST]
    rig.settle()
    assert rig.transforms_heard == []

    assert rig.step(0, time.time_ns()).state == TRACKING
    stand_still(rig, lambda: len(rig.transforms_heard) > 2)
    heard_ns, message = rig.transforms_heard[-1]
    assert (message.header.frame_id, message.child_frame_id) == ("map", "odom")
    map_from_odom = rigid_from_transform(message.transform)
    for map_from_base in rig.walk.map_from_base:
        composed = map_from_odom @ rig.walk.odom_from_map @ map_from_base
        assert composed.translation_to(map_from_base) < 0.1
        assert np.rad2deg(composed.rotation_to(map_from_base)) < 2.0
    # Dated into the future by the tolerance; how long a message is on its way takes from that.
    ahead_s = 1e-9 * (stamp_from_message(message.header.stamp) - heard_ns)
    assert 0.0 < ahead_s <= 5.0
    stamps = [stamp_from_message(message.header.stamp) for _, message in rig.transforms_heard]
    assert stamps == sorted(set(stamps))

    rig.call(topics.REINITIALIZE, rig.request("std_srvs/srv/Empty"))
    until, before = time.monotonic() + 60.0, -1
    while len(rig.transforms_heard) > before:  # some may still be on their way; then there are no more
        assert time.monotonic() < until, "it is still broadcast"
        before = len(rig.transforms_heard)
        rig.settle()


def test_map_from_odom_is_left_to_others_unless_asked_for(rig):
    rig.localize()
    rig.settle()
    assert rig.transforms_heard == []


def test_pictures_are_drawn_for_those_who_look(rig):
    rig.localize()
    rig.watch(topics.DEBUG_IMAGE)
    rig.watch(topics.MATCHES)
    for _ in range(100):  # until the node has heard of the subscriptions
        status = rig.step()
        rig.settle()
        pictures = [
            picture
            for picture in rig.received.get(topics.DEBUG_IMAGE, [])
            if picture.header.stamp == status.header.stamp
        ]
        if pictures and rig.received.get(topics.MATCHES):
            break
    (picture,) = pictures
    assert (picture.width, picture.height, picture.encoding) == (256, 192, "bgr8")
    assert picture.header.frame_id == "camera_optical"
    markers = [marker for marker in rig.received[topics.MATCHES][-1].markers if len(marker.points)]
    assert {marker.header.frame_id for marker in markers} == {"map"}
    assert max(len(marker.points) for marker in markers) >= status.num_inliers


def test_compressed_images_are_localized(start_rig):
    rig = start_rig(node__image_transport="compressed")
    rig.localize()
    rig.wait_for(lambda: rig.poses, "a pose")
    rig.wait_for_diagnostics("images", lambda level, message, values: values["topic"] == "/image/compressed")


@pytest.mark.parametrize(("is_hinted", "num_rejected"), [(False, 4), (True, 1)])
def test_an_initial_pose_shortens_the_way_back(rig, is_hinted, num_rejected):
    rig.localize()
    last = len(rig.walk.images) - 1
    if is_hinted:
        rig.send_initial_pose(last, rig.stamp(20))
    # Carried away: odometry stands still.
    statuses = [rig.step(0, rig.stamp(20 + number), place=last) for number in range(8)]
    verdicts = [status.verdict for status in statuses]
    assert verdicts == ["REJECTED_INNOVATION"] * num_rejected + ["ACCEPTED"] * (8 - num_rejected)
    rig.wait_for(lambda: rig.poses[-1].header.stamp == statuses[-1].header.stamp, "its pose")
    assert rig.error_of(rig.poses[-1], last) < 0.1


def test_an_initial_pose_alone_is_no_pose(rig):
    rig.send_initial_pose(0, rig.stamp(0))
    rig.settle()
    assert rig.poses == []
    rig.send_mounting()
    rig.send_camera_info()
    assert [rig.step().verdict for _ in range(2)] == ["AWAITING_AGREEMENT", "ACCEPTED"]


@pytest.mark.parametrize("frame_id", ["odom", ""])
def test_an_initial_pose_in_another_frame_is_ignored(rig, frame_id):
    rig.send_initial_pose(0, rig.stamp(0), frame_id)
    rig.send_mounting()
    rig.send_camera_info()
    assert [rig.step().verdict for _ in range(2)] == ["AWAITING_AGREEMENT"] * 2
