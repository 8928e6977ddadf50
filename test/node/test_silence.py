from dataclasses import replace

import pytest
from relocalizer_rigs import Published

from hfnet_ros.messages.topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, ODOMETRY, TF, TF_STATIC
from hfnet_ros.node.silence import (
    Silence,
    UnheardTransforms,
    explain_missing_transforms,
    explain_silence,
    explain_unheard,
)

INFO = (CAMERA_INFO.type_name,)
COMPRESSED = (COMPRESSED_IMAGE.type_name,)
TRANSFORMS = (TF.type_name,)


@pytest.mark.parametrize(
    ("topic", "name", "published", "words"),
    [
        (IMAGE, "/a/image", [], ["nobody publishes it", "nor any other sensor_msgs/msg/Image"]),
        (
            IMAGE,
            "/a/image",
            [Published("/a/image/compressed", COMPRESSED)],
            ["/a/image/compressed", "node.image_transport to compressed"],
        ),
        (
            COMPRESSED_IMAGE,
            "/a/image/compressed",
            [Published("/a/image")],
            ["/a/image", "node.image_transport to raw"],
        ),
        (IMAGE, "/image", [Published("/cam0/raw")], ["is on /cam0/raw", "remap image:=/cam0/raw"]),
        (
            COMPRESSED_IMAGE,
            "/image/compressed",
            [Published("/b/compressed", COMPRESSED)],
            ["/b/compressed", "remap image:=/b"],
        ),
        (IMAGE, "/image", [Published(f"/cam{i}") for i in range(5)], ["/cam0, /cam1, /cam2 and 2 more"]),
        (
            IMAGE,
            "/image",
            [Published("/image", num_publishers=2, reliable=False)],
            [
                "2 publishers (best effort, volatile)",
                "config/fastdds.xml",
                "config/cyclonedds.xml",
                "another user",
            ],
        ),
        (
            IMAGE,
            "/image",
            [Published("/image", COMPRESSED)],
            ["CompressedImage, expected sensor_msgs/msg/Image", "set node.image_transport to compressed"],
        ),
        (
            replace(IMAGE, name="front/image"),
            "/front/image",
            [Published("/front/image/compressed", COMPRESSED)],
            ["set cameras.transports to compressed"],
        ),
        (
            replace(COMPRESSED_IMAGE, name="front/image/compressed", beside="front/image"),
            "/front/image/compressed",
            [Published("/b/compressed", COMPRESSED)],
            ["remap front/image:=/b"],
        ),
        (
            CAMERA_INFO,
            "/camera_info",
            [Published("/cam/info", INFO)],
            ["is on /cam/info", "remap camera_info:=/cam/info"],
        ),
        (
            CAMERA_INFO,
            "/camera_info",
            [Published("/camera_info", INFO)],
            ["(reliable, volatile)", "latch it"],
        ),
        (
            ODOMETRY,
            "/odom",
            [Published("/wheels/odom", (ODOMETRY.type_name,))],
            ["nobody publishes it", "is on /wheels/odom", "remap odom:=/wheels/odom"],
        ),
        (
            ODOMETRY,
            "/odom",
            [Published("/odom", (ODOMETRY.type_name,))],
            ["1 publisher", "sends nothing", "another user"],
        ),
    ],
)
def test_what_is_published_and_how_is_said_with_the_remedy(topic, name, published, words):
    sentence = explain_silence(topic, name, published)
    assert [word for word in words if word not in sentence] == [], sentence


def test_the_topic_comes_first_and_others_are_looked_for_now_and_then_only(transport):
    transport.others_publish = [Published("/cam/info", INFO)]
    silence = Silence(CAMERA_INFO, transport)
    assert silence.explain().startswith("/camera_info: nobody publishes it; ")
    transport.others_publish = []
    assert "/cam/info" in silence.explain()


def transforms(name, **offered):
    return Published(name, TRANSFORMS, **offered)


@pytest.mark.parametrize(
    ("topic", "published", "words"),
    [
        (
            TF,
            [transforms("/tf", reliable=False)],
            ["1 publisher (best effort, volatile) offers less", "(reliable)"],
        ),
        (TF, [transforms("/tf", reliable=False, num_publishers=3)], ["3 publishers", "one of them at least"]),
        (
            TF_STATIC,
            [transforms("/tf_static")],
            ["(reliable, volatile) offers less", "reliable, transient local"],
        ),
    ],
)
def test_transforms_that_are_offered_in_another_way_than_asked_for_are_told(topic, published, words):
    sentence = explain_unheard(topic, topic.name, published)
    assert [word for word in words if word not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("topic", "published"),
    [
        (TF, []),
        (TF, [transforms("/tf")]),
        (TF, [transforms("/tf", transient_local=True)]),
        (TF, [transforms("/other/tf", reliable=False)]),
        (TF_STATIC, [transforms("/tf_static", transient_local=True)]),
        (IMAGE, [Published("image", reliable=False)]),
    ],
)
def test_what_is_offered_as_asked_for_is_not_told(topic, published):
    assert explain_unheard(topic, topic.name, published) == ""


@pytest.mark.parametrize(
    ("published", "words"),
    [
        ([], ["/tf: nobody publishes it", "/tf_static: nobody publishes it"]),
        (
            [transforms("/robot1/tf"), transforms("/robot1/tf_static", transient_local=True)],
            ["remap /tf:=/robot1/tf;", "remap /tf_static:=/robot1/tf_static"],
        ),
        (
            [transforms("/tf"), transforms("/tf_static")],
            ["/tf_static: 1 publisher (reliable, volatile) offers"],
        ),
    ],
)
def test_where_transforms_are_is_told(published, words):
    sentence = explain_missing_transforms({TF: "/tf", TF_STATIC: "/tf_static"}, published)
    assert [word for word in words if word not in sentence] == [], sentence


def test_a_robot_may_have_all_its_transforms_on_one_topic():
    assert explain_missing_transforms({TF: "/tf", TF_STATIC: "/tf_static"}, [transforms("/tf")]) == ""


def test_a_problem_with_transforms_is_told_with_why_they_do_not_come(transport):
    transport.others_publish = [transforms("/tf"), transforms("/tf_static")]
    unheard = UnheardTransforms(transport)
    assert unheard.beside("") == ""
    assert unheard.beside("frame 'camera' is unknown").startswith(
        "frame 'camera' is unknown; /tf_static: 1 publisher (reliable, volatile)"
    )
    transport.others_publish = [transforms("/tf")]
    assert UnheardTransforms(transport).beside("frame 'camera' is unknown") == "frame 'camera' is unknown"
