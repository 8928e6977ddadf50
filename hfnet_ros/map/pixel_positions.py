"""Positions in images in two bytes a number: what observations are stored, and held in memory, as."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST_STEPS = 16
_LARGEST_CODE = np.iinfo(np.uint16).max
_MARGIN_PX = 8.0  # that a position may lie outside of its image


class PixelPositions:
    """Pixels [N, 2] on a grid of a sixteenth of a pixel, which keypoints are not sure to by far.

    Images larger than 4087 px have a coarser grid, an eighth, a quarter and so on.

    Attributes:
        codes: [N, 2] uint16, steps right and down from 8 px outside of the top-left pixel's centre.
        steps_per_px: steps of the grid.
    """

    __slots__ = ("codes", "steps_per_px")

    def __init__(self, codes: NDArray[np.uint16], steps_per_px: int) -> None:
        """Take codes as `encode` makes them; not copied, they may be mapped from a file."""
        if codes.ndim != 2 or codes.dtype != np.uint16 or steps_per_px < 1:
            raise ValueError(f"has type {codes.dtype}{list(codes.shape)}, expected uint16 [N, 2]")
        self.codes = codes
        self.steps_per_px = steps_per_px

    @classmethod
    def encode(cls, pixels: ArrayLike | PixelPositions) -> PixelPositions:
        """Return pixels [N, 2] of images as codes; those that are codes already as they are.

        Raises:
            ValueError: a number is not finite or lies in no image, or there are not two dimensions.
        """
        if isinstance(pixels, cls):
            return pixels
        rows = np.asarray(pixels, np.float64)
        if rows.ndim != 2:
            raise ValueError(f"has shape {list(rows.shape)}, expected [N, 2]")
        outside = np.flatnonzero(~((rows >= -_MARGIN_PX) & (rows <= _LARGEST_CODE - _MARGIN_PX)).all(axis=1))
        if len(outside):
            raise ValueError(f"is not finite or in no image in {len(outside)} rows, first row {outside[0]}")
        steps = LARGEST_STEPS
        largest = float(rows.max(initial=0.0)) + _MARGIN_PX
        while steps > 1 and largest * steps > _LARGEST_CODE:
            steps //= 2
        return cls(np.rint((rows + _MARGIN_PX) * steps).astype(np.uint16), steps)

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.codes)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Return some positions, px: [2] of one row, [..., 2] of several."""
        return self.codes[rows].astype(np.float32) / np.float32(self.steps_per_px) - np.float32(_MARGIN_PX)

    def chosen(self, rows: Any) -> PixelPositions:
        """Return some positions as codes, on the same grid."""
        return PixelPositions(self.codes[rows], self.steps_per_px)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all positions, so that numpy's functions take this for an array of float32."""
        if copy is False:
            raise ValueError("positions must be decoded into a new array")
        return self[:].astype(dtype or np.float32, copy=False)
