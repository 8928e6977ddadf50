"""The only place where pixel conventions meet.

Convention: everywhere in this package a pixel is (x, y) and the centre of the top-left pixel
is (0, 0), as in ROS and OpenCV. COLMAP puts that centre at (0.5, 0.5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLMAP_OFFSET_PX = 0.5


def colmap_from_pixels(points_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Move pixels [..., 2] of this package to COLMAP's convention."""
    return np.asarray(points_px, dtype=np.float64) + _COLMAP_OFFSET_PX


def pixels_from_colmap(points_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Move COLMAP pixels [..., 2] to this package's convention."""
    return np.asarray(points_px, dtype=np.float64) - _COLMAP_OFFSET_PX


def rescale_pixels(points_px: NDArray[np.floating], scale: NDArray[np.floating]) -> NDArray[np.float64]:
    """Move pixels [..., 2] of an image to the image resized by `scale` (x, y).

    Pixel areas scale, not pixel centres: `(x + 0.5) * s - 0.5`.
    """
    return (np.asarray(points_px, dtype=np.float64) + 0.5) * scale - 0.5
