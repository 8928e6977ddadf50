"""Choose keypoints on a dense heat map and sample dense maps at them.

Convention: points are (x, y) in pixels of the network's input, the centre of the top-left
pixel is (0, 0). A dense map of w columns belongs to an input of W columns.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

_CUBIC_A = -0.75  # the sharpness of the cubic kernel in PyTorch and OpenCV


def detect_peaks(heatmap: Float32Array, radius: int, threshold: float) -> NDArray[np.intp]:
    """Return the flat indices of local maxima above a threshold, in row order.

    A pixel is kept when no pixel of the (2 radius + 1) square around it is higher.

    Args:
        heatmap: [H, W] float32.
        radius: half size of the square, px.
        threshold: a peak is strictly higher.
    """
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    highest = cv2.dilate(heatmap, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=-np.inf)
    return np.flatnonzero((heatmap == highest) & (heatmap > threshold))


def select_top(scores: Float32Array, count: int) -> NDArray[np.intp]:
    """Return the indices of the `count` highest scores, best first; ties keep their order."""
    if len(scores) > count:
        # Everything at least as high as the count-th score, so that ties are cut by order.
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        candidates = np.flatnonzero(scores >= threshold)
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")[:count]]


def map_coordinates(
    points: Float32Array, map_wh: tuple[int, int], input_wh: tuple[int, int]
) -> NDArray[np.float64]:
    """Return where XFeat's reference sampler reads a dense map for input pixels [N, 2].

    The published sampler scales pixels by (W - 1) but reads with the convention that edges,
    not centres, span the map: x_map = x w / (W - 1) - 0.5. The shift of up to half a cell
    against the exact position is part of what the descriptors were trained with.
    """
    scale = np.array(map_wh, np.float64) / (np.array(input_wh, np.float64) - 1.0)
    return np.asarray(points, np.float64) * scale - 0.5


def sample_bilinear(dense: Float32Array, coordinates: NDArray[np.float64]) -> Float32Array:
    """Sample [C, h, w] at map coordinates [N, 2]; outside the map it is zero. Returns [N, C]."""
    floor = np.floor(coordinates)
    offsets = np.arange(2)
    fraction = coordinates - floor
    weights = np.stack([1.0 - fraction, fraction], axis=2)
    return _sample_separable(dense, floor.astype(np.int64)[:, :, None] + offsets, weights)


def sample_bicubic(dense: Float32Array, coordinates: NDArray[np.float64]) -> Float32Array:
    """Sample [C, h, w] with the cubic kernel at map coordinates [N, 2]; zero outside. Returns [N, C]."""
    floor = np.floor(coordinates)
    fraction = (coordinates - floor)[:, :, None]
    offsets = np.arange(-1, 3)
    weights = _cubic_kernel(np.abs(fraction - offsets))
    return _sample_separable(dense, floor.astype(np.int64)[:, :, None] + offsets, weights)


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Return the rows [N, D] at unit length; a zero row stays zero."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.maximum(length, 1e-12)[:, None]


def _cubic_kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_CUBIC_A + 2.0) * distance - (_CUBIC_A + 3.0)) * distance**2 + 1.0
    far = _CUBIC_A * (((distance - 5.0) * distance + 8.0) * distance - 4.0)
    return np.where(distance <= 1.0, near, np.where(distance < 2.0, far, 0.0))


def _sample_separable(
    dense: Float32Array, taps: NDArray[np.int64], weights: NDArray[np.float64]
) -> Float32Array:
    """Weigh T x T taps [N, 2, T] (x then y), tap by tap for all points and channels."""
    channels, height, width = dense.shape
    count, _, size = taps.shape
    inside = (taps >= 0) & (taps < np.array([width, height])[None, :, None])
    weights = np.where(inside, weights, 0.0)
    taps = np.where(inside, taps, 0)
    columns = (taps[:, 1, :, None] * width + taps[:, 0, None, :]).reshape(count, size * size)
    products = weights[:, 1, :, None] * weights[:, 0, None, :]
    values = products.reshape(count, size * size, 1).astype(np.float32)
    cells = np.ascontiguousarray(dense.reshape(channels, -1).T)
    sampled, tapped = np.zeros((count, channels), np.float32), np.empty((count, channels), np.float32)
    for tap in range(size * size):
        # All are inside the map; to clip is the mode that writes without a copy.
        np.take(cells, columns[:, tap], axis=0, out=tapped, mode="clip")
        tapped *= values[:, tap]
        sampled += tapped
    return sampled
