import pytest

from hfnet_ros.messages.topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    PUBLISHED,
    STATUS,
    camera_info_topic,
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
