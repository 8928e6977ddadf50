"""Images by cv_bridge where it is installed, else by this package."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from hfnet_ros.errors import ImageError
from hfnet_ros.messages.images import image_from_message
from hfnet_ros.types import ImageArray

_logger = logging.getLogger(__name__)

# cv_bridge scales 16 bits by the image's own range or not at all; here equal light stays equal.
_OWN = ("mono16", "16UC1", "8UC1", "8UC3")


def image_decoder() -> Callable[[Any], ImageArray]:
    """Return what turns a sensor_msgs/Image into [H, W] gray or [H, W, 3] BGR uint8."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except Exception as error:  # built for another numpy it fails in ways of its own
        _logger.info("images are decoded by hfnet_ros; cv_bridge cannot be imported: %s", error)
        return image_from_message
    bridge = CvBridge()

    def decode(message: Any) -> ImageArray:
        if message.encoding in _OWN:
            return image_from_message(message)
        try:
            wanted = "mono8" if message.encoding == "mono8" else "bgr8"
            return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, desired_encoding=wanted))
        except (CvBridgeError, ValueError, TypeError) as error:
            raise ImageError(
                f"image of encoding '{message.encoding}' cannot be converted: {error}"
            ) from error

    return decode
