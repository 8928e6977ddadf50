"""Put small images into a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import ImageError
from hfnet_ros.evaluation.records import QueryResult, Thumbnail
from hfnet_ros.files.images import read_image
from hfnet_ros.types import Correspondences, ImageArray

FloatArray = NDArray[np.float64]

_QUALITY = 72


@dataclass(frozen=True, slots=True)
class PictureSize:
    """How large a picture may be: px, and quality of the JPEG in per cent."""

    width: int
    height: int
    quality: int = _QUALITY


TABLE_SIZE = PictureSize(200, 300)
STORED_SIZE = PictureSize(400, 400)
RIG_SIZE = PictureSize(900, 300)


def make_thumbnail(image: ImageArray, size: PictureSize = STORED_SIZE) -> Thumbnail:
    """Shrink an image, [H, W] gray or [H, W, 3] BGR, and encode it; never enlarges.

    Raises:
        ImageError: it cannot be encoded.
    """
    height, width = image.shape[:2]
    scale = min(size.width / width, size.height / height, 1.0)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    was_encoded, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, size.quality])
    if not was_encoded:
        raise ImageError(f"found an image of shape {image.shape}, which cannot be encoded as JPEG")
    return Thumbnail(data.tobytes(), size_wh, (width, height))


def side_by_side(images: Sequence[ImageArray], size: PictureSize) -> Thumbnail:
    """Shrink the images of the views of one query into one picture, each at its scale, their tops in line.

    Raises:
        ImageError: it cannot be encoded.
    """
    height, corners, colored = max(image.shape[0] for image in images), [], list[ImageArray]()
    for image in images:
        color = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        corners.append((sum(other.shape[1] for other in colored), 0))
        below = height - image.shape[0]
        colored.append(np.asarray(cv2.copyMakeBorder(color, 0, below, 0, 0, cv2.BORDER_CONSTANT), np.uint8))
    return replace(make_thumbnail(np.concatenate(colored, axis=1), size), corners_px=tuple(corners))


def points_in_picture(
    matches: Correspondences, corners_px: Sequence[tuple[int, int]]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return where matches [M, 2] are in a picture of views, px of their images, and which [M] are of one it shows."""
    views = matches.views
    corners = np.array(corners_px, np.float64)[np.minimum(views, len(corners_px) - 1)]
    return matches.points2d + corners, views < len(corners_px)


def thumbnail_of(query: QueryResult, size: PictureSize) -> Thumbnail | None:
    """Return a query's picture, from its file or as stored with it; None if there is none to read.

    A report about a run must not fail because an image was moved since. A stored picture
    is returned as it is, whatever its size.
    """
    if query.thumbnail is not None or query.image_path is None:
        return query.thumbnail
    try:
        return make_thumbnail(read_image(query.image_path), size)
    except ImageError:
        return None


def shares_of_size(points2d: FloatArray, size_wh: tuple[int, int]) -> FloatArray:
    """Return where pixels [N, 2] lie in an image as shares of its width and height, 0 at its very edge."""
    # Pixel centres are integers; the image begins half a pixel before the first.
    shares: FloatArray = (points2d + 0.5) / np.array(size_wh, dtype=np.float64)
    return shares


def data_uri(thumbnail: Thumbnail) -> str:
    """Return the picture as the address of an img element."""
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail.jpeg).decode("ascii")
