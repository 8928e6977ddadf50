"""All textures of a scene in one image, each with its mip pyramid, so that one lookup serves all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.scene.model import Rectangle
from hfnet_ros.types import ImageArray

NUM_MIP_LEVELS = 6
_BLOCK_PX = 2 ** (NUM_MIP_LEVELS - 1)
# cv2.remap addresses its source with 16-bit integers.
_MAX_SIDE_PX = 32767
_WIDTH_PX = 8192


@dataclass(frozen=True, slots=True, eq=False)
class TextureAtlas:
    """Mip pyramids packed in one image.

    Attributes:
        image: [H, W, 3] BGR uint8. A pyramid's level 0 lies at its corner, level 1 right of it,
            the following levels below level 1; each half the size of the one before.
        corners: [R, 2] float32, px: x and y of each rectangle's pyramid.
        sizes: [R, 2] float32, px: width and height of its level 0, multiples of 32.
    """

    image: ImageArray
    corners: NDArray[np.float32]
    sizes: NDArray[np.float32]


def pack_textures(rectangles: tuple[Rectangle, ...]) -> TextureAtlas:
    """Pack the rectangles' textures, shared ones once.

    Raises:
        ValueError: a texture or all together are larger than the atlas can be.
    """
    textures = {id(rectangle.texture): rectangle.texture for rectangle in rectangles}
    sizes = {key: _block_size(texture) for key, texture in textures.items()}
    corners, height = _place_on_shelves(sizes)
    image = np.zeros((height, _WIDTH_PX, 3), np.uint8)
    for key, texture in textures.items():
        _draw_pyramid(
            image, corners[key], np.asarray(cv2.resize(texture, sizes[key], interpolation=cv2.INTER_AREA))
        )
    keys = [id(rectangle.texture) for rectangle in rectangles]
    return TextureAtlas(
        image,
        np.array([corners[key] for key in keys], np.float32).reshape(-1, 2),
        np.array([sizes[key] for key in keys], np.float32).reshape(-1, 2),
    )


def _block_size(texture: ImageArray) -> tuple[int, int]:
    height, width = texture.shape[:2]
    return max(1, round(width / _BLOCK_PX)) * _BLOCK_PX, max(1, round(height / _BLOCK_PX)) * _BLOCK_PX


def _place_on_shelves(sizes: dict[int, tuple[int, int]]) -> tuple[dict[int, tuple[int, int]], int]:
    """Fill rows from left to right, tallest first; a pyramid takes 3/2 of its texture's width."""
    corners: dict[int, tuple[int, int]] = {}
    left = top = shelf = 0
    # Equal heights keep their order of insertion: the layout must not depend on memory addresses.
    for key, (width, height) in sorted(sizes.items(), key=lambda item: -item[1][1]):
        needed = width + width // 2
        if needed > _WIDTH_PX:
            raise ValueError(f"texture is {width} px wide, the atlas holds at most {_WIDTH_PX * 2 // 3}")
        if left + needed > _WIDTH_PX:
            left, top, shelf = 0, top + shelf, 0
        corners[key] = (left, top)
        left, shelf = left + needed, max(shelf, height)
    if top + shelf > _MAX_SIDE_PX:
        raise ValueError(f"textures need {top + shelf} rows, the atlas holds at most {_MAX_SIDE_PX}")
    return corners, max(top + shelf, 1)


def _draw_pyramid(image: ImageArray, corner: tuple[int, int], texture: ImageArray) -> None:
    left, top = corner
    level_image = texture
    height, width = level_image.shape[:2]
    image[top : top + height, left : left + width] = level_image
    left += width
    for _ in range(1, NUM_MIP_LEVELS):
        height, width = height // 2, width // 2
        level_image = np.asarray(cv2.resize(level_image, (width, height), interpolation=cv2.INTER_AREA))
        image[top : top + height, left : left + width] = level_image
        top += height
