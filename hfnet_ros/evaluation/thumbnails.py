"""Put small images into a page."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2

from hfnet_ros.errors import ImageError
from hfnet_ros.files.images import read_image

_WIDTH_PX = 200
_MAX_HEIGHT_PX = 300
_JPEG_QUALITY = 72


def thumbnail_data_uri(path: Path | None) -> str | None:
    """Return an image file as a small JPEG in a data URI; None if there is none to read.

    A report about a run must not fail because an image was moved since.
    """
    if path is None:
        return None
    try:
        image = read_image(path)
    except ImageError:
        return None
    height, width = image.shape[:2]
    scale = min(_WIDTH_PX / width, _MAX_HEIGHT_PX / height, 1.0)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    was_encoded, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not was_encoded:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
