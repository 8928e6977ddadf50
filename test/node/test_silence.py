import dataclasses
from dataclasses import replace

import pytest

from hfnet_ros.messages.topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from hfnet_ros.node.silence import Silence, explain_silence


@dataclasses.dataclass
class Published:
    name: str
    type_names: tuple = (IMAGE.type_name,)
    num_publishers: int = 1
    reliable: bool = True
    transient_local: bool = False


INFO = (CAMERA_INFO.type_name,)
COMPRESSED = (COMPRESSED_IMAGE.type_name,)


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
            ["2 publishers (best effort, volatile)", "config/cyclonedds.xml"],
        ),
        (
            IMAGE,
            "/image",
            [Published("/image", COMPRESSED)],
            ["CompressedImage, expected sensor_msgs/msg/Image"],
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
