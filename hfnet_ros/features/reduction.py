"""Describe an image much larger than those a map was made of at the map's scale.

Networks know things at the size at which they were taught, and keypoints at that at which they were mapped. An image
of four times the resolution shows another texture to them, and costs sixteen times the memory and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from hfnet_ros.features.preprocess import MIN_SIDE_PX, check_image
from hfnet_ros.features.protocol import FeatureExtractor
from hfnet_ros.features.turning import extract_turned
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.pixels import rescale_pixels
from hfnet_ros.types import ImageArray, ImageFeatures

_MUCH_LARGER = 1.5  # the side of an image, in sides of the map's largest
_MAX_PIXELS = 4.0  # of the map's largest image, whatever its scale


def is_much_larger(size_wh: tuple[int, int], map_size_wh: tuple[int, int]) -> bool:
    """Tell whether images of a size are described at the scale of the map's instead of their own."""
    return max(size_wh) > _MUCH_LARGER * max(map_size_wh)


def reduced_size(camera: Camera, map_cameras: Sequence[Camera]) -> tuple[int, int]:
    """Return the size at which an image is described: its own unless it is much larger than the map's.

    Then that at which its focal length is nearest to that of a camera of the map, and not more than four times the
    pixels of the map's largest image.

    Args:
        camera: of the image.
        map_cameras: of the images the map was made of.
    """
    width, height = camera.size_wh
    largest = max(map_cameras, key=lambda known: known.size_wh[0] * known.size_wh[1])
    if not is_much_larger(camera.size_wh, largest.size_wh):
        return camera.size_wh
    focal = float(camera.focal.mean())
    focals = np.array([float(known.focal.mean()) for known in map_cameras])
    nearest = float(focals[np.argmin(np.abs(np.log(focals / focal)))])
    bound = np.sqrt(_MAX_PIXELS * largest.size_wh[0] * largest.size_wh[1] / (width * height))
    scale = min(1.0, max(min(nearest / focal, float(bound)), MIN_SIDE_PX / min(width, height)))
    return round(scale * width), round(scale * height)


def extract_reduced(
    extractor: FeatureExtractor, image: ImageArray, size_wh: tuple[int, int], turn_rad: float = 0.0
) -> ImageFeatures:
    """Describe an image reduced to a size and turned; keypoints are pixels of the image as it is.

    Args:
        extractor: describes what it is given.
        image: [H, W] gray or [H, W, 3] BGR, uint8.
        size_wh: to describe it at.
        turn_rad: clockwise, see `extract_turned`.

    Raises:
        ImageError: the image has another type or shape, or is too small.
        EngineError: the network failed.
    """
    check_image(image)
    height, width = image.shape[:2]
    if size_wh == (width, height):
        return extract_turned(extractor, image, turn_rad)
    reduced = np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    features = extract_turned(extractor, reduced, turn_rad)
    scale = np.array([width, height]) / np.array(size_wh)
    keypoints = rescale_pixels(features.local.keypoints, scale).astype(np.float32)
    coordinates = features.coordinates
    if coordinates is not None:
        coordinates = replace(coordinates, points2d=rescale_pixels(coordinates.points2d, scale))
    local = features.local.moved_to(keypoints)
    return replace(features, local=local, size_wh=(width, height), coordinates=coordinates)
