from hfnet_ros.dds.qos import TF, TF_STATIC
from hfnet_ros.dds.tf import TransformPublisher

TYPE = "tf2_msgs/msg/TFMessage"


def transform(node, child, x=0.0):
    make = node.messages.make
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=make("std_msgs/msg/Header", frame_id="base_link"),
        child_frame_id=child,
        transform=make("geometry_msgs/msg/Transform", translation=make("geometry_msgs/msg/Vector3", x=x)),
    )


def test_a_late_listener_gets_every_static_transform(node, other, wait_until):
    transforms = TransformPublisher(node)
    transforms.publish_static([transform(node, "camera", 1.0), transform(node, "imu", 2.0)])
    transforms.publish_static([transform(node, "laser", 3.0), transform(node, "camera", 4.0)])
    heard = []
    other.create_subscription("/tf_static", TYPE, TF_STATIC, lambda message, _: heard.append(message))
    wait_until(lambda: heard)
    assert len(heard) == 1
    found = {t.child_frame_id: t.transform.translation.x for t in heard[0].transforms}
    assert found == {"camera": 4.0, "imu": 2.0, "laser": 3.0}


def test_moving_transforms_are_published_as_they_come(node, other, wait_until):
    heard = []
    other.create_subscription("/tf", TYPE, TF, lambda message, _: heard.append(message))
    transforms = TransformPublisher(node)
    wait_until(lambda: transforms._changing.num_subscribers)
    transforms.publish([transform(node, "odom", 1.0)])
    transforms.publish([transform(node, "odom", 2.0)])
    wait_until(lambda: len(heard) == 2)
    assert [message.transforms[0].transform.translation.x for message in heard] == [1.0, 2.0]
    transforms.close()
