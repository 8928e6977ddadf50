"""Procedural materials: what walls, floors and furniture are made of.

Every painter takes `(rng, size_wh)` and returns a BGR image of that size. Two calls never give
the same picture: irregularity at every scale is what makes a point findable again and what
keeps one wall from being mistaken for another.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.types import ImageArray

FloatImage = NDArray[np.float32]
Painter = Callable[[np.random.Generator, tuple[int, int]], ImageArray]


def octave_noise(
    rng: np.random.Generator,
    size_wh: tuple[int, int],
    coarsest_px: float = 256.0,
    finest_px: float = 2.0,
    persistence: float = 0.7,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> FloatImage:
    """Sum random grids of ever finer cells into [H, W] float32 of mean 0 and deviation 1.

    Args:
        rng: source of randomness.
        size_wh: width and height, px.
        coarsest_px: cell of the first octave, px; every octave halves it.
        finest_px: no cell is smaller, px.
        persistence: amplitude of an octave relative to the coarser one.
        stretch: factors on the cell's width and height (wood grain is long and thin).

    Reference: Perlin, An Image Synthesizer, 1985 (value noise is used here).
    """
    width, height = size_wh
    total = np.zeros((height, width), np.float32)
    cell, amplitude = coarsest_px, 1.0
    while cell >= finest_px:
        grid_wh = (int(width / (cell * stretch[0])) + 3, int(height / (cell * stretch[1])) + 3)
        grid = rng.standard_normal((grid_wh[1], grid_wh[0]), dtype=np.float32)
        total += amplitude * cv2.resize(grid, size_wh, interpolation=cv2.INTER_LINEAR)
        cell, amplitude = cell / 2.0, amplitude * persistence
    deviation = float(total.std())
    return np.asarray((total - total.mean()) / max(deviation, 1e-6), dtype=np.float32)


def random_color(
    rng: np.random.Generator, low: float = 40.0, high: float = 230.0
) -> tuple[float, float, float]:
    """Draw a BGR colour, each channel within [low, high]; most are pale, as things in a home are."""
    channels = rng.uniform(low, high, 3)
    gray = float(channels.mean())
    blue, green, red = gray + float(rng.beta(2.0, 2.0)) * (channels - gray)
    return float(blue), float(green), float(red)


def muted_color(
    rng: np.random.Generator, low: float = 140.0, high: float = 215.0
) -> tuple[float, float, float]:
    """Draw a BGR colour near gray, as paint on walls is."""
    gray = rng.uniform(low, high)
    blue, green, red = np.clip(gray + rng.normal(0.0, 9.0, 3), 0.0, 255.0)
    return float(blue), float(green), float(red)


def to_image(values: NDArray[np.floating]) -> ImageArray:
    """Clip [H, W, 3] numbers to uint8."""
    return np.asarray(np.clip(values, 0.0, 255.0), dtype=np.uint8)


def plain_image(size_wh: tuple[int, int], color: tuple[float, float, float]) -> ImageArray:
    """Return an image of one BGR colour."""
    return np.full((size_wh[1], size_wh[0], 3), np.array(color), np.uint8)


def modulate(image: ImageArray, noise: FloatImage, strength: float) -> ImageArray:
    """Lighten and darken [H, W, 3] by `strength` gray levels per unit of noise [H, W]."""
    return to_image(image.astype(np.float32) + (strength * noise)[:, :, None])


def plaster(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint plaster: cloudy colour, trowel strokes, speckles, stains and a few cracks."""
    width, height = size_wh
    image = modulate(
        plain_image(size_wh, muted_color(rng)), octave_noise(rng, size_wh, persistence=0.8), 11.0
    )
    area = width * height
    for _ in range(area // 9000):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        radius = int(rng.choice([1, 2, 2, 3, 4, 6, 9, 14], p=[0.2, 0.2, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02]))
        axes = (radius, max(1, int(radius * rng.uniform(0.4, 1.0))))
        shade = image[y, x].astype(float) + rng.choice([-1.0, 1.0], p=[0.7, 0.3]) * rng.uniform(25, 75)
        color = tuple(float(c) for c in np.clip(shade, 0, 255))
        cv2.ellipse(image, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
    for _ in range(2 + area // 120000):
        steps = rng.normal(0.0, 9.0, (int(rng.integers(5, 30)), 2)) + rng.normal(0.0, 6.0, 2)
        crack = np.cumsum(steps, axis=0) + rng.uniform(0, 1, 2) * size_wh
        color = muted_color(rng, 40.0, 110.0)
        cv2.polylines(image, [crack.astype(np.int32)], False, color, int(rng.integers(1, 3)), cv2.LINE_AA)
    return image


def brick(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint courses of bricks, each with its own colour, length and wear."""
    width, height = size_wh
    image = plain_image(size_wh, muted_color(rng, 120.0, 180.0))
    base = np.array([rng.uniform(50, 90), rng.uniform(70, 110), rng.uniform(130, 190)])
    course = int(rng.integers(24, 34))
    for top in range(0, height, course):
        left = -int(rng.integers(10, 60))
        while left < width:
            length = int(rng.integers(46, 84))
            color = tuple(
                float(c) for c in np.clip(base * rng.uniform(0.6, 1.25) + rng.normal(0, 7, 3), 0, 255)
            )
            jitter = rng.integers(0, 3, 4)
            corner = (left + length - 4 - int(jitter[2]), top + course - 4 - int(jitter[3]))
            cv2.rectangle(image, (left + int(jitter[0]), top + int(jitter[1])), corner, color, -1)
            left += length
    return modulate(image, octave_noise(rng, size_wh, 128.0, 1.5, 0.85), 15.0)


def planks(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint wooden boards: tint per board, grain along it, staggered ends, knots."""
    width, height = size_wh
    base = np.array([rng.uniform(50, 100), rng.uniform(90, 140), rng.uniform(130, 190)])
    image = plain_image(size_wh, (60.0, 70.0, 80.0))
    board = int(rng.integers(26, 46))
    for top in range(0, height, board):
        left = -int(rng.integers(0, 200))
        while left < width:
            length = int(rng.integers(120, 340))
            color = tuple(
                float(c) for c in np.clip(base * rng.uniform(0.65, 1.25) + rng.normal(0, 6, 3), 0, 255)
            )
            cv2.rectangle(image, (left, top), (left + length - 2, top + board - 2), color, -1)
            left += length
    image = modulate(image, octave_noise(rng, size_wh, 32.0, 1.5, 0.8, (6.0, 0.6)), 15.0)
    for _ in range(width * height // 14000):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(2, 11)), int(rng.integers(2, 5)))
        cv2.ellipse(
            image, center, axes, float(rng.normal(0, 15)), 0, 360, muted_color(rng, 30, 80), -1, cv2.LINE_AA
        )
    return modulate(image, octave_noise(rng, size_wh, 256.0, 4.0, 0.8), 8.0)


def tiles(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint square tiles in mixed colours, some with a motif of their own."""
    width, height = size_wh
    side = int(rng.integers(44, 80))
    image = plain_image(size_wh, muted_color(rng, 90.0, 150.0))
    palette = [muted_color(rng, 80.0, 230.0) for _ in range(5)] + [random_color(rng) for _ in range(2)]
    for top in range(0, height, side):
        for left in range(0, width, side):
            color = palette[int(rng.integers(len(palette)))]
            cv2.rectangle(image, (left + 1, top + 1), (left + side - 3, top + side - 3), color, -1)
            for _ in range(int(rng.integers(0, 4))):
                offset = rng.integers(6, side - 6, (int(rng.integers(3, 6)), 2))
                points = (offset + np.array([left, top])).astype(np.int32)
                cv2.fillPoly(image, [points], random_color(rng), cv2.LINE_AA)
    return modulate(image, octave_noise(rng, size_wh, 256.0, 2.0, 0.75), 10.0)


def stone(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint irregular stones: the Voronoi cells of random points, with dark joints."""
    width, height = size_wh
    seeds = np.full((height, width), 255, np.uint8)
    count = max(8, width * height // 1500)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    _, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    base = np.array(muted_color(rng, 90.0, 160.0))
    shades = base * rng.uniform(0.6, 1.4, (count + 2, 1)) + rng.normal(0, 10, (count + 2, 3))
    image = to_image(shades[labels])
    cells = labels.astype(np.float32)
    joint = (cv2.dilate(cells, np.ones((3, 3))) - cv2.erode(cells, np.ones((3, 3)))) > 0
    image[joint] = (image[joint] * 0.45).astype(np.uint8)
    return modulate(image, octave_noise(rng, size_wh, 128.0, 1.5, 0.85), 13.0)


def carpet(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a woven carpet: scattered ornaments over cloudy ground, a border around it."""
    width, height = size_wh
    image = modulate(plain_image(size_wh, random_color(rng, 50, 150)), octave_noise(rng, size_wh), 9.0)
    palette = [random_color(rng) for _ in range(5)]
    for _ in range(width * height // 1400):
        center = rng.uniform(0, 1, 2) * size_wh
        corners = int(rng.integers(3, 8))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.gamma(2.0, 7.0) + 3.0
        radii = radius * rng.uniform(0.4, 1.0, corners)
        points = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(image, [points.astype(np.int32)], palette[int(rng.integers(5))], cv2.LINE_AA)
    for inset in (4, 14, 26):
        low, high = (inset, inset), (width - inset, height - inset)
        cv2.rectangle(image, low, high, palette[int(rng.integers(5))], int(rng.integers(2, 7)))
    return modulate(image, octave_noise(rng, size_wh, 8.0, 1.5, 0.9), 14.0)


def wallpaper(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint wallpaper: stripes of uneven width and leaves, no two of them equal."""
    width, height = size_wh
    image = plain_image(size_wh, muted_color(rng, 150.0, 215.0))
    left = 0
    while left < width:
        stripe = int(rng.integers(12, 70))
        if rng.random() < 0.5:
            cv2.rectangle(image, (left, 0), (left + stripe, height), muted_color(rng, 130.0, 220.0), -1)
        left += stripe
    palette = [random_color(rng) for _ in range(4)]
    for _ in range(width * height // 2600):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        angle, color = float(rng.uniform(0, 360)), palette[int(rng.integers(4))]
        axes = (int(rng.integers(4, 20)), int(rng.integers(2, 8)))
        cv2.ellipse(image, center, axes, angle, 0, float(rng.uniform(160, 360)), color, -1, cv2.LINE_AA)
    return modulate(image, octave_noise(rng, size_wh, 256.0, 2.0, 0.75), 8.0)


def wood(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint one piece of furniture wood: grain, knots, scratches, a label."""
    width, height = size_wh
    red = rng.uniform(90, 190)
    base = (red * rng.uniform(0.35, 0.65), red * rng.uniform(0.6, 0.8), red)
    grain = octave_noise(rng, size_wh, 32.0, 1.5, 0.85, (0.5, 8.0))
    image = modulate(plain_image(size_wh, base), grain, 16.0)
    for _ in range(3 + width * height // 6000):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(1, 6)), int(rng.integers(2, 9)))
        cv2.ellipse(
            image, center, axes, float(rng.normal(0, 12)), 0, 360, muted_color(rng, 25, 70), -1, cv2.LINE_AA
        )
    for _ in range(2 + width * height // 15000):
        start = rng.uniform(0, 1, 2) * size_wh
        end = start + rng.normal(0.0, 25.0, 2)
        color = muted_color(rng, 150.0, 220.0)
        cv2.line(image, start.astype(int).tolist(), end.astype(int).tolist(), color, 1, cv2.LINE_AA)
    return image


def ceiling_panels(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a light ceiling: panels with dark seams, stains, holes and vents."""
    width, height = size_wh
    image = modulate(plain_image(size_wh, muted_color(rng, 190.0, 225.0)), octave_noise(rng, size_wh), 6.0)
    for x in np.cumsum(rng.integers(60, 110, 1 + width // 60)):
        cv2.line(image, (int(x), 0), (int(x), height), (120.0, 120.0, 120.0), 2)
    for y in np.cumsum(rng.integers(60, 110, 1 + height // 60)):
        cv2.line(image, (0, int(y)), (width, int(y)), (120.0, 120.0, 120.0), 2)
    for _ in range(width * height // 3500):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(rng.integers(1, 6))
        cv2.circle(image, center, radius, muted_color(rng, 70, 170), -1, cv2.LINE_AA)
    return image
