"""Describe an image turned about its centre, as if the camera had rolled the other way.

Networks know upright things upright. Their descriptors of a turned image are those of another
thing, until the image is turned back; nothing behind `features` need know that it was.

Convention: an image turned by a positive angle has turned clockwise as it is looked at, that is,
about z of the optical frame: turned_from_camera = Rz(angle).
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.features.preprocess import check_image
from hfnet_ros.features.protocol import FeatureExtractor
from hfnet_ros.types import ImageArray, ImageFeatures

# What lies this near the border of a turned image was described with its padding.
_MARGIN_PX = 8.0
# Turned further than this from what the map shows, networks lose more and more of what they knew;
# two such angles apart, versions of an image leave no gap.
MAX_ROLL_RAD = math.radians(22.5)


def extract_turned(extractor: FeatureExtractor, image: ImageArray, turn_rad: float) -> ImageFeatures:
    """Describe an image turned about its centre; keypoints are pixels of the image as it is.

    The turned image has the size of the image, because networks are made for sizes: corners that turn
    out of it are not described, and what turns into it is padding, on which no keypoint stays.

    Args:
        extractor: describes what it is given.
        image: [H, W] gray or [H, W, 3] BGR, uint8.
        turn_rad: clockwise; 0 describes the image as it is.

    Raises:
        ImageError: the image has another type or shape, or is too small.
        EngineError: the network failed.
    """
    check_image(image)
    size_wh = (image.shape[1], image.shape[0])
    if turn_rad == 0.0:
        return replace(extractor.extract(image), size_wh=size_wh)
    turned_from_image = turning_matrix(size_wh, turn_rad)
    # Of the mean colour, so that the contrast by which some networks normalise stays what it is.
    padding = cv2.mean(image)
    turned_image = cv2.warpAffine(
        image,
        turned_from_image,
        size_wh,
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=padding,
    )
    features = extractor.extract(np.asarray(turned_image, np.uint8))
    keypoints = turned_back(features.local.keypoints, size_wh, turn_rad)
    local = features.local.moved_to(keypoints).chosen(_inside(keypoints, size_wh))
    coordinates = features.coordinates
    if coordinates is not None:
        points = turned_back(coordinates.points2d, size_wh, turn_rad).astype(np.float64)
        coordinates = replace(coordinates, points2d=points).chosen(_inside(points, size_wh))
    return replace(features, local=local, size_wh=size_wh, turn_rad=turn_rad, coordinates=coordinates)


def _inside(points_px: NDArray[np.floating], size_wh: tuple[int, int]) -> NDArray[np.int64]:
    limit = np.array(size_wh, np.float32) - 1.0 - _MARGIN_PX
    return np.flatnonzero(((points_px >= _MARGIN_PX) & (points_px <= limit)).all(axis=1))


def turning_matrix(size_wh: tuple[int, int], turn_rad: float) -> NDArray[np.float64]:
    """Return [2, 3] turned_from_image, about the centre of an image of this size, px."""
    center = 0.5 * (np.array(size_wh, np.float64) - 1.0)
    cosine, sine = math.cos(turn_rad), math.sin(turn_rad)
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([rotation, center - rotation @ center])


def turned_back(
    points_px: NDArray[np.floating], size_wh: tuple[int, int], turn_rad: float
) -> NDArray[np.float32]:
    """Return where points [N, 2] of a turned image are in the image as it is, px."""
    return turned(points_px, size_wh, -turn_rad)


def turned(points_px: NDArray[np.floating], size_wh: tuple[int, int], turn_rad: float) -> NDArray[np.float32]:
    """Return where points [N, 2] of an image are when it is turned, px."""
    matrix = turning_matrix(size_wh, turn_rad)
    return np.asarray(points_px.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2], np.float32)
