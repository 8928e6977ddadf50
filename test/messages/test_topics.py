from dataclasses import replace

import pytest

from hfnet_ros.config import CameraConfig, Config
from hfnet_ros.messages.topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    PUBLISHED,
    STATUS,
    CameraTopics,
    Qos,
    camera_info_topic,
    camera_topics,
    compressed_topic,
    resolve_topic,
)


def resolved(topic, remappings):
    def expand(name):
        return name.replace("~", "/relocalizer") if name.startswith("~") else f"/{name}"

    return resolve_topic(topic, lambda name: remappings.get(name, expand(name)), expand)


@pytest.mark.parametrize(
    ("image", "camera_info", "compressed"),
    [
        ("/cam/image_raw", "/cam/camera_info", "/cam/image_raw/compressed"),
        ("/image", "/camera_info", "/image/compressed"),
        ("/cam/image_raw/compressed", "/cam/camera_info", "/cam/image_raw/compressed"),
    ],
)
def test_what_belongs_to_an_image_lies_beside_it(image, camera_info, compressed):
    assert camera_info_topic(image) == camera_info
    assert compressed_topic(image) == compressed
    remappings = {"image": image}
    assert resolved(IMAGE, remappings) == image
    assert resolved(CAMERA_INFO, remappings) == camera_info
    assert resolved(COMPRESSED_IMAGE, remappings) == compressed


def test_what_was_renamed_itself_stays_where_it_was_put():
    remappings = {"image": "/cam/image_raw", "camera_info": "/other/info", "image/compressed": "/jpeg"}
    assert resolved(CAMERA_INFO, remappings) == "/other/info"
    assert resolved(COMPRESSED_IMAGE, remappings) == "/jpeg"


def test_others_are_not_touched():
    assert resolved(STATUS, {"image": "/cam/image_raw"}) == "/relocalizer/status"
    assert len({topic.name for topic in PUBLISHED}) == len(PUBLISHED)


def topics_of(remappings=(), **given):
    config = Config.from_dict({"cameras": given})
    found = [camera_topics(camera, config) for camera in config.cameras.each]
    return [
        (resolved(one.image, dict(remappings)), resolved(one.camera_infos[0], dict(remappings)))
        for one in found
    ]


def test_the_only_camera_is_on_image():
    topics = camera_topics(CameraConfig(), Config())
    latched = replace(CAMERA_INFO, qos=Qos.LATCHED, is_second=True)
    assert topics == CameraTopics(IMAGE, (CAMERA_INFO, latched))
    compressed = Config.from_dict({"node": {"image_transport": "compressed"}})
    assert camera_topics(CameraConfig(), compressed).image == COMPRESSED_IMAGE


def test_cameras_are_on_topics_of_their_names():
    assert topics_of(names="front left") == [
        ("/front/image", "/front/camera_info"),
        ("/left/image", "/left/camera_info"),
    ]


def test_cameras_are_renamed_one_by_one():
    remappings = {"front/image": "/a/rgb/image_raw", "left/camera_info": "/b/info"}
    assert topics_of(remappings, names="front left") == [
        ("/a/rgb/image_raw", "/a/rgb/camera_info"),
        ("/left/image", "/b/info"),
    ]


def test_topics_and_transports_are_given_for_each_camera():
    given = {"image_topics": "a/rgb -", "camera_info_topics": "- c/info", "transports": "compressed -"}
    assert topics_of(names="front left", **given) == [
        ("/a/rgb/compressed", "/a/camera_info"),
        ("/left/image", "/c/info"),
    ]
