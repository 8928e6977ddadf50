"""Changes of light and sensor, as the published training uses, and changes of view for pairs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def spoil(image: NDArray[np.uint8], rng: np.random.Generator) -> Float32Array:
    """Change a gray picture [H, W] as light and cameras do; returns float32, 0 to 255.

    Brightness, contrast, tone curve, shade, blur and noise, each drawn anew; a tenth stays as it is.
    """
    values = image.astype(np.float32)
    if rng.random() < 0.1:
        return values
    if rng.random() < 0.3:
        values = _blur(values, rng)
    if rng.random() < 0.4:
        values *= _shade(values.shape, rng)
    gain = float(np.exp(rng.uniform(np.log(0.1), np.log(2.0)))) if rng.random() < 0.7 else 1.0
    gamma = float(np.exp(rng.normal(0.0, 0.45))) if rng.random() < 0.6 else 1.0
    values = 255.0 * np.clip(gain * values / 255.0, 0.0, 1.0) ** gamma
    if rng.random() < 0.4:
        values = (values - 128.0) * float(rng.uniform(0.5, 1.4)) + 128.0 + float(rng.uniform(-25.0, 25.0))
    if rng.random() < 0.7:
        noise = np.random.default_rng(int(rng.integers(2**63))).standard_normal(
            values.shape, dtype=np.float32
        )
        values = values + float(rng.gamma(1.5, 5.0)) * noise
    return np.clip(np.rint(values), 0.0, 255.0).astype(np.float32)


def draw_homography(
    size_wh: tuple[int, int], rng: np.random.Generator, strength: float = 1.0
) -> Float64Array:
    """Draw a change of view [3, 3], pixels to pixels: turn, scale, shift and tilt about the middle.

    Args:
        size_wh: of the picture, px.
        rng: source of chance.
        strength: 1 goes up to 35 degrees, a factor of 1.7, a fifth of the picture and a strong tilt.
    """
    width, height = size_wh
    angle = float(np.clip(rng.normal(0.0, np.deg2rad(15.0)), -0.6, 0.6)) * strength
    scale = float(np.exp(rng.uniform(-0.5, 0.55) * strength))
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    tilt = np.eye(3)
    tilt[2, :2] = rng.uniform(-0.35, 0.35, 2) * strength * 2.0 / max(size_wh)
    tilt[0, 1] = float(rng.uniform(-0.12, 0.12)) * strength
    shift = rng.uniform(-0.18, 0.18, 2) * strength * size_wh
    center = np.array([[1.0, 0.0, (width - 1) / 2.0], [0.0, 1.0, (height - 1) / 2.0], [0.0, 0.0, 1.0]])
    back = center.copy()
    back[:2, 2] += shift
    homography = back @ turn @ tilt @ np.linalg.inv(center)
    return np.asarray(homography / homography[2, 2])


def draw_turn(size_wh: tuple[int, int], rng: np.random.Generator) -> Float64Array:
    """Draw a turn about the middle of a picture by any angle, [3, 3], pixels to pixels."""
    angle = float(rng.uniform(-np.pi, np.pi))
    cosine, sine = np.cos(angle), np.sin(angle)
    middle = (np.array(size_wh, np.float64) - 1.0) / 2.0
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    turn = np.eye(3)
    turn[:2, :2], turn[:2, 2] = rotation, middle - rotation @ middle
    return turn


def transfer(points: NDArray[np.floating], homography: Float64Array) -> Float64Array:
    """Move pixels [N, 2] by a homography; those at or behind infinity become NaN."""
    moved = np.column_stack([points, np.ones(len(points))]) @ homography.T
    depth = np.where(moved[:, 2:] > 1e-6, moved[:, 2:], np.nan)
    return np.asarray(moved[:, :2] / depth)


def _blur(values: Float32Array, rng: np.random.Generator) -> Float32Array:
    if rng.random() < 0.4:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.4, 1.3))), np.float32)
    reach = int(rng.integers(1, 5))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    angle = float(rng.uniform(0.0, np.pi))
    step = reach * np.array([np.cos(angle), np.sin(angle)])
    start, end = np.rint(reach - step).astype(int), np.rint(reach + step).astype(int)
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
    blurred = cv2.filter2D(values, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)


def _shade(shape: tuple[int, ...], rng: np.random.Generator) -> Float32Array:
    """Return a factor per pixel: a few soft ellipses darker or brighter than the rest."""
    small = np.ones((shape[0] // 8, shape[1] // 8), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        center = (int(rng.integers(small.shape[1])), int(rng.integers(small.shape[0])))
        axes = (int(rng.integers(2, small.shape[1] // 2)), int(rng.integers(2, small.shape[0] // 2)))
        factor = float(rng.uniform(0.35, 1.5))
        cv2.ellipse(small, center, axes, float(rng.uniform(0, 180)), 0, 360, factor, -1)
    soft = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(1.0, 5.0)))
    return np.asarray(cv2.resize(soft, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
