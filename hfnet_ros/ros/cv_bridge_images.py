"""Encodings that this package does not decode, by cv_bridge."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from hfnet_ros.errors import ImageError
from hfnet_ros.messages.images import KNOWN_ENCODINGS, check_layout, image_from_message
from hfnet_ros.types import ImageArray


def decode_image(message: Any) -> ImageArray:
    """Return the pixels of a sensor_msgs/Image, [H, W] gray or [H, W, 3] BGR uint8.

    cv_bridge takes rows that are too short, bytes too many and odd halves of a pair for pixels; what comes to it has
    passed the checks that other images pass.

    Raises:
        ImageError: size, step and number of bytes do not fit, or nobody knows the encoding.
    """
    if message.encoding in KNOWN_ENCODINGS:
        return image_from_message(message)
    check_layout(message)
    bridge, errors = _bridge()
    try:
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, desired_encoding="bgr8"))
    except errors as error:
        raise ImageError(
            f"image of encoding '{message.encoding}' cannot be converted by cv_bridge: {error}; decoded without it "
            f"are {', '.join(KNOWN_ENCODINGS)}"
        ) from error


@lru_cache(maxsize=1)
def _bridge() -> tuple[Any, tuple[type[Exception], ...]]:
    """Return a converter and what it raises; without cv_bridge, the package's own refusal."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except Exception as error:  # built for another numpy it fails in ways of its own
        return _NoBridge(str(error)), (RuntimeError,)
    return CvBridge(), (CvBridgeError, ValueError, TypeError)


class _NoBridge:
    def __init__(self, reason: str) -> None:
        self._reason = reason

    def imgmsg_to_cv2(self, message: Any, desired_encoding: str) -> ImageArray:  # noqa: ARG002
        raise RuntimeError(f"it cannot be imported ({self._reason})")
