"""Which images cv_bridge sees; where it is installed test/contracts run on the real one."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.errors import ImageError
from hfnet_ros.ros import cv_bridge_images
from hfnet_ros.ros.cv_bridge_images import decode_image


def image(encoding, width, height, step, num_bytes):
    return SimpleNamespace(
        encoding=encoding,
        width=width,
        height=height,
        step=step,
        is_bigendian=0,
        data=np.zeros(num_bytes, np.uint8),
    )


@pytest.fixture
def seen(monkeypatch):
    """Install a cv_bridge that takes whatever comes, as the real one nearly does; return what came."""
    encodings = []

    class CvBridge:
        def imgmsg_to_cv2(self, message, desired_encoding):
            encodings.append(message.encoding)
            return np.zeros((message.height, message.width, 3), np.uint8)

    module = ModuleType("cv_bridge")
    module.CvBridge, module.CvBridgeError = CvBridge, type("CvBridgeError", (TypeError,), {})
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    cv_bridge_images._bridge.cache_clear()
    yield encodings
    cv_bridge_images._bridge.cache_clear()


MALFORMED = [
    ("bgr8", 4, 2, 12, 25),  # bytes too many
    ("mono8", 4, 2, 3, 6),  # rows too short
    ("mono16", 4, 2, 7, 14),
    ("yuyv", 3, 2, 6, 12),  # half a pair
    ("32FC1", 4, 2, 15, 30),
    ("32FC1", 4, 2, 16, 33),
    ("64SC", 4, 2, 16, 32),
    ("nv24", 4, 2, 3, 18),
    ("nv24", 4, 2, 4, 25),
    ("nv24", 4, 2, 0, 0),
    ("nv24", 0, 2, 4, 8),
]


@pytest.mark.parametrize("malformed", MALFORMED, ids=str)
def test_a_malformed_image_is_refused_whoever_would_decode_it(seen, malformed):
    with pytest.raises(ImageError):
        decode_image(image(*malformed))
    assert seen == []


def test_cv_bridge_gets_what_is_not_decoded_here(seen):
    assert decode_image(image("bgr8", 4, 2, 12, 24)).shape == (2, 4, 3)
    assert seen == []
    assert decode_image(image("nv24", 4, 2, 4, 24)).shape == (2, 4, 3)
    assert decode_image(image("32FC3", 4, 2, 48, 96)).shape == (2, 4, 3)
    assert seen == ["nv24", "32FC3"]


def test_without_cv_bridge_an_unknown_encoding_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    cv_bridge_images._bridge.cache_clear()
    with pytest.raises(ImageError, match=r"'nv24'.*it cannot be imported.*mono8"):
        decode_image(image("nv24", 4, 2, 4, 24))
    cv_bridge_images._bridge.cache_clear()
