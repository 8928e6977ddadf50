import pytest

from hfnet_ros.dds.type_support import TypeSupports
from hfnet_ros.errors import DdsError
from hfnet_ros.messages.factory import ros_typestore

# As ROS 2 Jazzy's own generators have them, in share/<package>/.../<Name>.json.
HASHES = {
    "sensor_msgs/msg/Image": "d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
    "std_srvs/srv/Trigger_Request": "d010825374ce8918e72bfd826c82603e60f45419e932ea976f807b74a863a199",
    "std_srvs/srv/Trigger_Response": "2d946c21e2fc3f1e9ca6986a8191d85fcc70097a8bb7771a053564bc47009cdf",
    "rmw_dds_common/msg/Gid": "ab6f21cfbb0a6dbb837161e1110c2051a2850ed9f9c53944d7115d9bcebedf71",
}


@pytest.fixture(scope="module")
def supports():
    return TypeSupports(ros_typestore())


@pytest.mark.parametrize(("name", "digest"), HASHES.items())
def test_hashes_are_those_of_ros(supports, name, digest):
    assert supports.of(name).hash == f"RIHS01_{digest}"


def test_every_type_of_the_store_can_be_carried(supports):
    for name in ros_typestore().fielddefs:
        if "/srv/msg/" not in name:
            support = supports.of(name)
            support.idl.__idl__.fill_type_data()
            assert support.hash.startswith("RIHS01_"), name


def test_the_layout_is_that_of_the_message(supports):
    idl = supports.of("geometry_msgs/msg/PoseWithCovarianceStamped").idl
    assert idl.__idl__.idl_transformed_typename == "geometry_msgs::msg::dds_::PoseWithCovarianceStamped_"
    assert list(idl.__annotations__) == ["header", "pose"]
    pose = idl.__annotations__["pose"]
    assert str(pose.__annotations__["covariance"].__metadata__[0]).endswith(", 36]")


def test_services_carry_their_header_in_front(supports):
    fields = list(supports.of("std_srvs/srv/Trigger_Response").idl.__annotations__)
    assert fields == ["client_guid", "sequence_number", "success", "message"]


def test_an_unknown_type_is_named(supports):
    with pytest.raises(DdsError, match="acme_msgs/msg/Rocket is not known"):
        supports.of("acme_msgs/msg/Rocket")


def test_a_type_is_made_once(supports):
    assert supports.of("std_msgs/msg/String") is supports.of("std_msgs/msg/String")
