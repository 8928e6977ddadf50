"""Draw a mask of what a camera carries with it: edges that stay where they are in its images while it moves.

Edges of the scene come and go, and their gradients cancel in a mean over many images; those of the robot's own body
add up. How near the length of the mean gradient is to the mean length says which they are, whatever the light does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import ImageError, MappingError
from hfnet_ros.files.images import to_gray
from hfnet_ros.types import ImageArray

_ENOUGH_IMAGES = 100
_FEWEST_IMAGES = 10
_WIDTH_PX = 320  # at which edges are looked at
_CELL_PX = 9  # over which they are taken together
_LEAST_GRADIENT = 4.0  # of Sobel's kernel, whose gain is 8
# Of what is carried 0.9 to 1; of scenes that a camera moves through 0.2 to 0.35 at the median, 0.7 at the most.
_STAYS, _MOVES = 0.8, 0.4
# Of the gradients of two images the cosine, which a fifth of all cells are below: of a robot that waits 0.9.
_SAME_VIEW, _BELOW = 0.7, 0.2
_JOINED_PX = 15
_FEWEST_PX = 20  # of a part
_LEAST_SHARE = 0.002  # of the image: less costs nothing


@dataclass(frozen=True, slots=True, eq=False)
class DrawnMask:
    """What stays in place in a camera's images.

    Attributes:
        seen: [H, W] bool; False is carried. All True where nothing is.
        num_views: of the images, those that showed another view than the one before.
        picture: the last of them.
    """

    seen: NDArray[np.bool_]
    num_views: int
    picture: ImageArray

    @property
    def hidden_share(self) -> float:
        """The share of the image that is carried, from 0 to 1."""
        return 1.0 - float(self.seen.mean())

    def preview(self) -> ImageArray:
        """Return the picture, [H, W, 3] BGR, with what is carried in red."""
        picture = self.picture if self.picture.ndim == 3 else np.repeat(self.picture[:, :, None], 3, axis=2)
        red = np.array([40.0, 40.0, 255.0])
        return np.where(self.seen[:, :, None], picture, 0.4 * picture + 0.6 * red).astype(np.uint8)


def step_between(num_images: int) -> int:
    """Return which every image of so many is enough to draw a mask of."""
    return max(1, num_images // _ENOUGH_IMAGES)


def draw_mask(images: Iterable[ImageArray]) -> DrawnMask:
    """Draw the mask of a camera from its images, [H, W] gray or [H, W, 3] BGR uint8 each, in the order they were taken.

    Raises:
        ImageError: an image cannot be read, or is not of the first one's size.
        MappingError: too few images show other views than the ones before.
    """
    edges, picture, num_images = _Edges(), None, 0
    for image in images:
        num_images += 1
        if picture is not None and image.shape[:2] != picture.shape[:2]:
            raise ImageError(
                f"images have several sizes, {_size(picture)} and {_size(image)} px; a mask is of one camera"
            )
        if edges.add(to_gray(image)) or picture is None:
            picture = image
    if picture is None or edges.num_views < _FEWEST_IMAGES:
        raise MappingError(
            f"found {edges.num_views} views among {num_images} images, expected {_FEWEST_IMAGES} or more: what stays "
            "in place shows where the camera moves"
        )
    steadiness, has_edges = edges.steadiness()
    usual = float(np.median(steadiness[has_edges])) if has_edges.any() else 1.0
    if usual > _MOVES:
        raise MappingError(
            "half of all that the images show stays in place: take images of a drive through other places"
        )
    carried = _joined((steadiness > _STAYS) & has_edges)
    if carried.mean() < _LEAST_SHARE:
        carried[:] = 0
    height, width = picture.shape[:2]
    hidden = cv2.resize(carried, (width, height), interpolation=cv2.INTER_NEAREST)
    return DrawnMask(np.asarray(hidden == 0), edges.num_views, picture)


class _Edges:
    """Sums up gradients of images, in which those of one view count once."""

    def __init__(self) -> None:
        self.num_views = 0
        self._last: NDArray[np.float32] | None = None
        self._sum = np.zeros(0, np.float32)
        self._lengths = np.zeros(0, np.float32)

    def add(self, gray: ImageArray) -> bool:
        """Take an image; tell whether it shows another view than the last one."""
        height, width = gray.shape
        size_wh = (_WIDTH_PX, max(1, round(height * _WIDTH_PX / width)))
        small = cv2.resize(gray, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32)
        smooth = cv2.GaussianBlur(small, (0, 0), 1.0)
        slopes = [cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)]
        gradients: NDArray[np.float32] = np.asarray(slopes, np.float32)
        if self._last is None:
            self._sum = np.zeros(gradients.shape, np.float32)
            self._lengths = np.zeros(small.shape, np.float32)
        elif _is_same_view(gradients, self._last):
            return False
        self._last = gradients
        self._sum += gradients
        self._lengths += np.linalg.norm(gradients, axis=0)
        self.num_views += 1
        return True

    def steadiness(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return how much the edges around each pixel stay in place, [h, w] from 0 to 1, and where there are some."""
        together = cv2.blur(np.linalg.norm(self._sum, axis=0), (_CELL_PX, _CELL_PX))
        alone = cv2.blur(self._lengths, (_CELL_PX, _CELL_PX))
        has_edges = alone > _LEAST_GRADIENT * self.num_views
        return np.asarray(together / np.maximum(alone, 1e-6), np.float32), np.asarray(has_edges)


def _is_same_view(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Tell whether nearly all edges are where they were, not those of what is carried alone; each [2, h, w]."""
    products = [(first * second).sum(axis=0), (first**2).sum(axis=0), (second**2).sum(axis=0)]
    alike, one, other = (cv2.blur(product, (_CELL_PX, _CELL_PX)) for product in products)
    has_edges = one > _LEAST_GRADIENT**2
    if not has_edges.any():
        return True
    cosines = alike[has_edges] / np.sqrt(one[has_edges] * np.maximum(other[has_edges], 1e-6))
    return float(np.quantile(cosines, _BELOW)) > _SAME_VIEW


def _joined(carried: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return what is carried with the gaps between its parts closed, and without specks, [h, w] of 0 and 1."""
    kernel = np.ones((_JOINED_PX, _JOINED_PX), np.uint8)
    closed = cv2.morphologyEx(carried.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(closed)
    is_large = stats[:, cv2.CC_STAT_AREA] >= _FEWEST_PX
    is_large[0] = False
    return is_large[parts].astype(np.uint8)


def _size(image: ImageArray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
