"""Masks of cameras: where their images show the robot itself, or a caption, instead of the scene.

What a camera carries has keypoints that match nothing in a map, and takes places of those that do. It is painted over
with what is around it, before anything looks at the image: no network need know of masks, and what is shown of an
image shows what was seen of it.

A mask is a picture of the images' size, as COLMAP takes them: black is left out, white is seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import CamerasConfig
from hfnet_ros.errors import ConfigError, ImageError
from hfnet_ros.files.images import read_image, to_gray
from hfnet_ros.types import ImageArray

# At an image width of 640, px: beyond what is drawn, and to a soft end, where networks find no corner.
_MARGIN_PX, _BLUR_PX, _AT_WIDTH = 12.0, 6.0, 640.0
_TINY_PX = 16  # what is painted is smooth: it is made in an image so many times smaller
_REACH_PX = 3.0  # of that image, around what is painted
_LEAST_SHARE = 0.02  # of the paint from which on a pixel tells nothing of the scene
_MOST_HIDDEN = 0.75
_WRITE = "paint what is not scene black and the rest white; `hfnet-ros mask` draws one of images"


@dataclass(frozen=True, slots=True, eq=False)
class _Paint:
    """A mask for images of one size.

    Attributes:
        box: rows and columns [h, w] that paint comes to.
        share: [h, w] float32, of the paint in a pixel of the box.
        rest: [h, w] float32, of the image: 1 - share.
        hidden: [m, n] uint8, pixels of the small image that are made of their neighbours.
    """

    box: tuple[slice, slice]
    share: NDArray[np.float32]
    rest: NDArray[np.float32]
    hidden: NDArray[np.uint8]


class CameraMask:
    """Paints over what is not scene in the images of a camera."""

    def __init__(self, seen: NDArray[np.bool_], name: str = "the mask") -> None:
        """Take what is seen, [H, W], of images of this size or of any with the same sides' ratio.

        Args:
            seen: False is left out.
            name: of its file, for messages.

        Raises:
            ImageError: it leaves out nothing, or nearly all.
        """
        hidden_share = 1.0 - float(seen.mean())
        if hidden_share == 0.0:
            raise ImageError(f"{name}: leaves out nothing; {_WRITE}")
        if hidden_share > _MOST_HIDDEN:
            raise ImageError(
                f"{name}: leaves out {100 * hidden_share:.0f} % of the image; black is left out and white is seen, "
                "are they exchanged?"
            )
        self._seen, self._name = seen, name
        self._paints: dict[tuple[int, int], _Paint] = {}

    @property
    def hidden_share(self) -> float:
        """The share of the image that is left out, from 0 to 1."""
        return 1.0 - float(self._seen.mean())

    def hide(self, image: ImageArray) -> ImageArray:
        """Return an image [H, W] or [H, W, 3] uint8 with what is not scene painted over.

        Raises:
            ImageError: the sides of the image have another ratio than the mask's.
        """
        height, width = image.shape[:2]
        paint = self._paints.get((width, height))
        if paint is None:
            paint = self._paints[(width, height)] = self._paint((width, height))
        small = cv2.resize(image, paint.hidden.shape[::-1], interpolation=cv2.INTER_AREA)
        # OpenCV looks at some of the pixels that it is to make, too.
        small[paint.hidden > 0] = small[paint.hidden == 0].mean(axis=0)
        made = cv2.inpaint(small, paint.hidden, _REACH_PX, cv2.INPAINT_TELEA)
        made = cv2.resize(made, (width, height), interpolation=cv2.INTER_LINEAR)
        painted = image.copy()
        painted[paint.box] = cv2.blendLinear(image[paint.box], made[paint.box], paint.rest, paint.share)
        return painted

    def _paint(self, size_wh: tuple[int, int]) -> _Paint:
        width, height = size_wh
        rows, columns = self._seen.shape
        if abs(rows * width / columns - height) > 1.0:
            raise ImageError(
                f"images are {width}x{height} px, but {self._name} is {columns}x{rows}; draw the mask on one of them"
            )
        hidden = cv2.resize((~self._seen).astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
        scale = width / _AT_WIDTH
        side = 2 * max(1, round(_MARGIN_PX * scale)) + 1
        wide = cv2.dilate(hidden.astype(np.float32), np.ones((side, side), np.uint8))
        share = np.asarray(cv2.GaussianBlur(wide, (0, 0), max(1.0, _BLUR_PX * scale)), np.float32)
        share = np.maximum(share, hidden)  # of what is drawn, nothing is left
        small_wh = max(1, width // _TINY_PX), max(1, height // _TINY_PX)
        touched = (share > _LEAST_SHARE).astype(np.float32)
        small = cv2.resize(touched, small_wh, interpolation=cv2.INTER_AREA) > 0.0
        if small.all():
            raise ImageError(f"{self._name}: leaves out nearly all, with its margin; {_WRITE}")
        left, top, box_width, box_height = cv2.boundingRect((share > 0.0).astype(np.uint8))
        box = slice(top, top + box_height), slice(left, left + box_width)
        return _Paint(box, share[box], np.float32(1.0) - share[box], small.astype(np.uint8))


def read_mask(path: str | os.PathLike[str]) -> CameraMask:
    """Read a mask from a picture: what is darker than half of its brightest pixel is left out.

    Raises:
        ConfigError: it cannot be read, or leaves out nothing or nearly all.
    """
    try:
        picture = to_gray(read_image(path))
        if not picture.any():
            raise ImageError(f"{Path(path)}: is black all over; {_WRITE}")
        return CameraMask(picture > 0.5 * float(picture.max()), str(Path(path)))
    except ImageError as error:
        raise ConfigError(f"{error} (cameras.masks, option --mask)") from None


def masks_of(config: CamerasConfig, names: Iterable[str] = ("",)) -> dict[str, CameraMask]:
    """Return the masks of cameras by name; of those that have none nothing.

    Args:
        config: what is said of them.
        names: of the cameras; the only one's is empty.

    Raises:
        ConfigError: a mask is of none of the cameras, or cannot be read.
    """
    names = list(names)
    for name, path in config.mask_files.items():
        if name not in names:
            known = ", ".join(names) if names != [""] else "no names, but one camera"
            said = f"'{name}={path}'" if name else f"'{path}' without a name"
            raise ConfigError(
                f"cameras.masks (option --mask) holds {said}; there are {known}: expected "
                + ("FILE alone" if names == [""] else "NAME=FILE of one of them")
            )
    return {name: read_mask(path) for name, path in config.mask_files.items()}


def read_masked(path: Path, mask: CameraMask | None) -> ImageArray:
    """Read an image file of a camera that may have a mask; raises as `read_image`, and as `CameraMask.hide`."""
    image = read_image(path)
    return image if mask is None else mask.hide(image)
