"""Read an image that has arrived; what goes wrong is a sentence."""

from __future__ import annotations

import logging

from hfnet_ros.errors import HfnetRosError
from hfnet_ros.tracking.mailbox import CameraImage
from hfnet_ros.types import CameraView

_logger = logging.getLogger(__name__)


def read_image(image: CameraImage) -> CameraView:
    """Return what a camera saw, without its mounting, or why it cannot be read."""
    if image.read is None:
        return CameraView(image.camera, problem="no image of this time has come", is_missing=True)
    try:
        return CameraView(image.camera, image.read())
    except Exception as problem:
        return CameraView(image.camera, problem=sentence_of(problem))


def sentence_of(problem: Exception) -> str:
    """Return what went wrong; what should not is logged."""
    if isinstance(problem, HfnetRosError):
        return str(problem)
    _logger.error("an image could not be localized", exc_info=problem)
    return f"{type(problem).__name__}: {problem}"
