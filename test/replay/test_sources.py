"""What is found in a bag without being told, and what is said where that cannot be."""

import dataclasses

import pytest

from hfnet_ros.bags.make import LOOKING_AHEAD
from hfnet_ros.config import FramesConfig, OdometryConfig
from hfnet_ros.errors import BagError, ConfigError
from hfnet_ros.geometry import Rigid3

IMAGES, ODOMETRY = [0, 100], [-50, 0, 50, 100, 150]
SIDEWAYS = "1 2 3 0 0 0 1"


def test_everything_is_found_where_there_is_one_of_it(robot, tmp_path):
    path = robot.write(tmp_path / "a", IMAGES, ODOMETRY)
    with robot.sources(path) as sources:
        assert len(sources.frames) == 2
        assert sources.first.stamp_ns == robot.at(0)
        assert (sources.odometry.parent_frame, sources.odometry.child_frame) == ("odom", "base_link")
        assert len(sources.odometry) == 5
        assert sources.mounting.at(0).translation_to(LOOKING_AHEAD) < 1e-12
        assert sources.mounting.at(0).rotation_to(LOOKING_AHEAD) < 1e-12


def test_transforms_go_before_the_topic_as_in_the_live_node(robot, tmp_path):
    path = robot.write(tmp_path / "a", IMAGES, ODOMETRY, odometry_topics=("/tf",), odometry_delay_ms=7)
    with robot.sources(path) as sources:
        assert (sources.odometry.receipts_ns - sources.odometry.stamps_ns).tolist() == [7_000_000] * 5
    both = robot.write(tmp_path / "b", IMAGES, ODOMETRY, odometry_topics=("/odom", "/other", "/tf"))
    with robot.sources(both) as sources:
        assert len(sources.odometry) == 5
    with robot.sources(both, odometry_topic="/other") as sources:
        assert len(sources.odometry) == 5
    by_topic = dataclasses.replace(robot.CONFIG, odometry=OdometryConfig(source="topic"))
    with pytest.raises(BagError, match="several topics could be the odometry") as refused:
        robot.sources(both, by_topic).__enter__()
    assert "/other" in str(refused.value)


def test_a_robot_without_odometry_has_none(robot, tmp_path):
    path = robot.write(tmp_path / "a", IMAGES)
    with robot.sources(path) as sources:
        assert sources.odometry is None
    for source in ("tf", "topic"):
        config = dataclasses.replace(robot.CONFIG, odometry=OdometryConfig(source=source))
        with pytest.raises(BagError):
            robot.sources(path, config).__enter__()
    with_some = robot.write(tmp_path / "b", IMAGES, ODOMETRY)
    config = dataclasses.replace(robot.CONFIG, odometry=OdometryConfig(source="none"))
    with robot.sources(with_some, config) as sources:
        assert sources.odometry is None


def test_the_mounting_is_given_found_or_missing(robot, tmp_path):
    path = robot.write(tmp_path / "a", IMAGES)
    with robot.sources(path, base_from_camera=SIDEWAYS) as sources:
        assert sources.mounting.at(0).translation.tolist() == [1.0, 2.0, 3.0]
    by_parameter = dataclasses.replace(robot.CONFIG, frames=FramesConfig(base_from_camera=SIDEWAYS))
    with robot.sources(path, by_parameter) as sources:
        assert sources.mounting.at(0).translation_to(LOOKING_AHEAD) < 1e-12, "transforms go before it"
    bare = robot.write(tmp_path / "b", IMAGES, mounted=False)
    with robot.sources(bare, by_parameter) as sources:
        assert sources.mounting.at(0).translation.tolist() == [1.0, 2.0, 3.0]
    with robot.sources(bare, base_frame="") as sources:
        assert sources.mounting.at(0).translation_to(Rigid3.identity()) < 1e-12
    with pytest.raises(BagError, match=r"mounting of 'camera_optical' on 'base_link'.*--base-from-camera"):
        robot.sources(bare).__enter__()
    with pytest.raises(ConfigError, match="--base-from-camera is '1 2'"):
        robot.sources(path, base_from_camera="1 2").__enter__()


@pytest.mark.parametrize(
    ("choices", "error", "said"),
    [
        ({"image_topic": "/nowhere"}, BagError, "/camera/image_raw"),
        ({"camera_info_topic": "/nowhere"}, BagError, "/camera/camera_info"),
        ({"odometry_topic": "/camera/image_raw"}, BagError, "expected nav_msgs/msg/Odometry"),
        ({"odometry_frames": "odom"}, ConfigError, "expected e.g. odom:base_link"),
        ({"odometry_frames": "odom:cellar"}, BagError, "cellar"),
        ({"odometry_frames": "odom:base_link", "odometry_topic": "/odom"}, ConfigError, "one of the two"),
        ({"odometry_frames": "odom:base_link", "base_frame": "trunk"}, ConfigError, "trunk"),
        ({"base_frame": "camera_optical", "odometry_topic": "/odom"}, BagError, "odometry is of 'base_link'"),
    ],
)
def test_a_wrong_choice_is_explained(robot, tmp_path, choices, error, said):
    path = robot.write(tmp_path / "a", IMAGES, ODOMETRY)
    with pytest.raises(error) as refused:
        robot.sources(path, **choices).__enter__()
    assert said in str(refused.value)


def test_a_base_that_stands_still_in_odom_is_no_odometry(robot, tmp_path):
    path = robot.write(tmp_path / "a", IMAGES)
    with pytest.raises(BagError, match="say nothing of motion"):
        robot.sources(path, odometry_frames="base_link:camera_optical").__enter__()
