import pytest

from hfnet_ros.dds import names
from hfnet_ros.errors import DdsError


@pytest.mark.parametrize(
    ("namespace", "given", "expected"),
    [
        ("", "image", "/image"),
        ("", "/camera/image", "/camera/image"),
        ("", "~/pose", "/relocalizer/pose"),
        ("/robot", "image", "/robot/image"),
        ("robot/", "left/image", "/robot/left/image"),
        ("/robot", "/tf", "/tf"),
        ("/robot", "~/pose", "/robot/relocalizer/pose"),
        ("/robot", "~", "/robot/relocalizer"),
    ],
)
def test_names_resolve_as_in_ros(namespace, given, expected):
    assert names.node_names("relocalizer", namespace).resolve(given) == expected


def test_remappings_match_resolved_names_on_both_sides():
    table = {"image": "/camera/image_raw", "~/pose": "pose", "/robot/odom": "wheel/odom"}
    robot = names.node_names("relocalizer", "/robot", table)
    assert robot.resolve("/robot/image") == "/camera/image_raw"
    assert robot.resolve("~/pose") == "/robot/pose"
    assert robot.resolve("odom") == "/robot/wheel/odom"
    assert robot.resolve("/image") == "/image"


@pytest.mark.parametrize("name", ["", "/", "a//b", "/a/", "1image", "/a/2b", "im age", "~pose", "a-b", "ä"])
def test_names_ros_does_not_allow_are_refused(name):
    with pytest.raises(DdsError, match="no name ROS allows"):
        names.node_names("relocalizer", "").resolve(name)


@pytest.mark.parametrize(
    ("name", "namespace", "table"),
    [("a/b", "", {}), ("", "", {}), ("a", "/x//y", {}), ("a", "", {"b": "c d"}), ("a", "", {"1": "c"})],
)
def test_nodes_with_wrong_names_are_refused(name, namespace, table):
    with pytest.raises(DdsError):
        names.node_names(name, namespace, table)


def test_names_on_the_wire():
    assert names.dds_topic("/camera/image") == "rt/camera/image"
    assert names.dds_service("/node/go") == ("rq/node/goRequest", "rr/node/goReply")
    assert names.dds_type("sensor_msgs/msg/Image") == "sensor_msgs::msg::dds_::Image_"
    assert names.dds_type("std_srvs/srv/Empty_Request") == "std_srvs::srv::dds_::Empty_Request_"


def test_names_come_back_from_the_wire():
    assert names.ros_topic("rt/camera/image") == "/camera/image"
    assert names.ros_topic("ros_discovery_info") is None
    assert names.ros_topic("rq/goRequest") is None
    assert names.ros_type("sensor_msgs::msg::dds_::Image_") == "sensor_msgs/msg/Image"
    assert names.ros_type("HelloWorld::Msg") == "HelloWorld::Msg"


@pytest.mark.parametrize("name", ["Image", "sensor_msgs/Image", "sensor_msgs.msg.Image", "a/action/B"])
def test_types_written_otherwise_are_refused(name):
    with pytest.raises(DdsError, match=r"package/msg/Name"):
        names.dds_type(name)
