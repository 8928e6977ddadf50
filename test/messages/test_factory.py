import numpy as np
import pytest

from hfnet_ros.messages.interfaces import interface_definitions


def test_fields_left_out_are_zero_or_empty(factory):
    odometry = factory.make("nav_msgs/msg/Odometry", child_frame_id="base")
    assert (odometry.header.stamp.sec, odometry.header.frame_id, odometry.child_frame_id) == (0, "", "base")
    assert odometry.pose.pose.orientation.w == 0.0
    assert np.asarray(odometry.pose.covariance).shape == (36,)
    assert factory.make("visualization_msgs/msg/MarkerArray").markers == []


def test_two_messages_share_nothing(factory):
    first, second = (factory.make("geometry_msgs/msg/PoseWithCovariance") for _ in range(2))
    first.covariance[0] = 1.0
    first.pose.position.x = 1.0
    assert second.covariance[0] == 0.0
    assert second.pose.position.x == 0.0


def test_a_field_that_does_not_exist(factory):
    with pytest.raises(TypeError, match="stamp"):
        factory.make("std_msgs/msg/Header", stamps=3)
    with pytest.raises(KeyError):
        factory.make("std_msgs/msg/Nothing")


@pytest.mark.parametrize("name", sorted(interface_definitions()))
def test_own_types_and_services_go_over_the_wire(factory, name):
    message = factory.make(name)
    assert factory.deserialize(factory.serialize(message, name), name) is not None


def test_bytes_of_an_array(factory):
    values = np.array([[1, 256], [3, 4]], "<u2")
    np.testing.assert_array_equal(factory.byte_sequence(values), [1, 0, 0, 1, 3, 0, 4, 0])
    np.testing.assert_array_equal(factory.byte_sequence(values[:, 1]), [0, 1, 4, 0])
    image = np.zeros((4, 4), np.uint8)
    assert np.shares_memory(factory.byte_sequence(image), image)
