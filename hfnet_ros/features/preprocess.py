"""Bring images into the form networks read."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import ImageError

MIN_SIDE_PX = 64
_LITTLE_CONTRAST = 16.0


def check_image(image: NDArray[Any]) -> None:
    """Refuse what is not an uint8 gray or BGR image of a usable size.

    Raises:
        ImageError: says what was found.
    """
    is_gray = image.ndim == 2
    is_color = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (is_gray or is_color):
        raise ImageError(
            f"image is {image.dtype}{list(image.shape)}, expected uint8 [H, W] gray or [H, W, 3] BGR"
        )
    if min(image.shape[:2]) < MIN_SIDE_PX:
        raise ImageError(
            f"image is {image.shape[1]}x{image.shape[0]} px, expected at least {MIN_SIDE_PX} px a side"
        )


def describe_flatness(image: NDArray[np.uint8]) -> str:
    """Say that an image has next to no contrast; empty if it has."""
    few = image[:: max(1, image.shape[0] // 200), :: max(1, image.shape[1] // 200)]
    low, high = np.percentile(few, [1.0, 99.0]).tolist()
    if high - low >= _LITTLE_CONTRAST:
        return ""
    return (
        f"the image has next to no contrast, gray {low:.0f} to {high:.0f} of 255: check exposure and lens, and "
        "stretch what comes of a camera with more than 8 bits"
    )


def mean_gray(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean of the channels [H, W] float32, which is XFeat's gray (not luminance)."""
    if image.ndim == 2:
        return image.astype(np.float32)
    weights = np.full((1, 3), 1.0 / 3.0, np.float32)
    return np.asarray(cv2.transform(image.astype(np.float32), weights), np.float32)


def network_size(size_wh: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Return the largest size not above the image's whose sides are multiples."""
    return size_wh[0] // multiple * multiple, size_wh[1] // multiple * multiple


def resize_to(image: NDArray[np.float32], size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """Resize bilinearly with pixel areas aligned; an image of that size is returned as it is."""
    if (image.shape[1], image.shape[0]) == size_wh:
        return image
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR), np.float32)
