"""Procedural things with a face: posters, paintings, book shelves, doors, windows, drawers."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from hfnet_ros.scene.textures import (
    modulate,
    muted_color,
    octave_noise,
    plain_image,
    random_color,
    to_image,
    wood,
)
from hfnet_ros.types import ImageArray

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
_SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ren",
    "tus",
    "val",
    "or",
    "SE",
    "qui",
    "BRA",
    "den",
    "fix",
    "ZU",
    "pe",
    "HAN",
    "wo",
)


def random_words(rng: np.random.Generator, count: int) -> str:
    """Invent words of one to three syllables, now and then a number."""
    words = []
    for _ in range(count):
        syllables = rng.choice(_SYLLABLES, int(rng.integers(1, 4)))
        words.append(str(rng.integers(2, 2000)) if rng.random() < 0.15 else "".join(syllables))
    return " ".join(words)


def write_text(
    image: ImageArray,
    rng: np.random.Generator,
    text: str,
    origin: tuple[int, int],
    height_px: float,
    color: tuple[float, float, float],
) -> None:
    """Write one line into `image`; `origin` is its lower left corner, px."""
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    thickness = max(1, int(height_px / 9.0))
    cv2.putText(image, text, origin, font, height_px / 22.0, color, thickness, cv2.LINE_AA)


def _gradient(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    corners = np.array([random_color(rng, 20, 245) for _ in range(4)], np.float32).reshape(2, 2, 3)
    return to_image(np.asarray(cv2.resize(corners, size_wh, interpolation=cv2.INTER_LINEAR)))


def _scatter_shapes(image: ImageArray, rng: np.random.Generator, count: int, scale: float) -> None:
    height, width = image.shape[:2]
    for _ in range(count):
        center = rng.uniform(0, 1, 2) * (width, height)
        radius = max(2.0, scale * rng.gamma(1.5, 0.5))
        color, kind = random_color(rng, 5, 250), rng.integers(4)
        x, y = int(center[0]), int(center[1])
        thickness = -1 if rng.random() < 0.7 else int(rng.integers(1, 6))
        if kind == 0:
            cv2.circle(image, (x, y), int(radius), color, thickness, cv2.LINE_AA)
        elif kind == 1:
            corner = (x + int(radius * rng.uniform(0.3, 2.0)), y + int(radius * rng.uniform(0.3, 2.0)))
            cv2.rectangle(image, (x, y), corner, color, thickness, cv2.LINE_AA)
        elif kind == 2:
            points = center + rng.normal(0.0, radius, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(image, [points.astype(np.int32)], color, cv2.LINE_AA)
        else:
            end = center + rng.normal(0.0, 2.0 * radius, 2)
            cv2.line(image, (x, y), (int(end[0]), int(end[1])), color, int(rng.integers(1, 9)), cv2.LINE_AA)


def _frame(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    height, width = image.shape[:2]
    width_px = int(max(3, min(width, height) * rng.uniform(0.02, 0.05)))
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), random_color(rng, 10, 240), 2 * width_px)
    return image


def poster(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a poster: gradient, shapes, a title and paragraphs of text in several sizes."""
    width, height = size_wh
    image = _gradient(rng, size_wh)
    _scatter_shapes(image, rng, int(rng.integers(10, 26)), min(size_wh) * 0.16)
    for _ in range(int(rng.integers(1, 4))):
        size = height * rng.uniform(0.06, 0.15)
        origin = (int(width * rng.uniform(0.02, 0.3)), int(height * rng.uniform(0.15, 0.95)))
        write_text(
            image, rng, random_words(rng, int(rng.integers(1, 3))), origin, size, random_color(rng, 0, 255)
        )
    for _ in range(int(rng.integers(1, 4))):
        left, top = int(width * rng.uniform(0.05, 0.6)), int(height * rng.uniform(0.1, 0.75))
        block_wh = (int(width * rng.uniform(0.25, 0.5)), int(height * rng.uniform(0.1, 0.3)))
        cv2.rectangle(
            image, (left, top), (left + block_wh[0], top + block_wh[1]), muted_color(rng, 190, 245), -1
        )
        size = float(rng.uniform(7.0, 13.0))
        for line in range(int(block_wh[1] / (1.6 * size))):
            origin = (left + 4, top + int((line + 1) * 1.6 * size))
            text = random_words(rng, 2 + int(block_wh[0] / (4.5 * size)))[: int(block_wh[0] / (0.85 * size))]
            write_text(image, rng, text, origin, size, (30.0, 30.0, 30.0))
    return modulate(_frame(image, rng), octave_noise(rng, size_wh, 64.0, 2.0), 3.0)


def painting(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint an abstract picture: clouds of colour under brush strokes and shapes, framed."""
    clouds = np.stack([octave_noise(rng, size_wh, max(size_wh) / 2.0, 2.0, 0.65) for _ in range(3)], axis=2)
    image = to_image(
        np.array(random_color(rng, 80, 180)) + 40.0 * clouds.mean(axis=2, keepdims=True) + 18.0 * clouds
    )
    _scatter_shapes(image, rng, 40, min(size_wh) * 0.08)
    _scatter_shapes(image, rng, 60, min(size_wh) * 0.025)
    return _frame(image, rng)


def book_shelf(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a shelf full of books: spines of all widths, heights and colours, with titles."""
    width, height = size_wh
    image = wood(rng, size_wh)
    rows = max(2, round(height / 75))
    bounds = np.linspace(0, height, rows + 1).astype(int)
    for top, bottom in zip(bounds[:-1] + 6, bounds[1:] - 6, strict=True):
        cv2.rectangle(image, (6, int(top)), (width - 7, int(bottom)), (25.0, 30.0, 38.0), -1)
        left = 8
        while left < width - 12:
            spine = min(int(rng.integers(5, 22)), width - 9 - left)
            tall = int((bottom - top) * rng.uniform(0.55, 0.97))
            if rng.random() < 0.88:
                _paint_book(image, rng, (left, int(bottom) - tall, spine, tall))
            left += spine + int(rng.random() < 0.1) * 3
    return modulate(image, octave_noise(rng, size_wh, 64.0, 2.0), 5.0)


def _paint_book(image: ImageArray, rng: np.random.Generator, box_xywh: tuple[int, int, int, int]) -> None:
    left, top, width, height = box_xywh
    color = random_color(rng, 15, 220)
    cv2.rectangle(image, (left, top), (left + width - 2, top + height), color, -1)
    for _ in range(int(rng.integers(0, 3))):
        band = top + int(height * rng.uniform(0.05, 0.9))
        corner = (left + width - 2, band + int(rng.integers(1, 7)))
        cv2.rectangle(image, (left, band), corner, random_color(rng, 15, 250), -1)
    if width >= 9:
        spine = plain_image((height, width - 2), color)
        write_text(
            spine,
            rng,
            random_words(rng, 3),
            (4, width - 5),
            min(9.0, width - 4.0),
            random_color(rng, 120, 255),
        )
        turned = np.asarray(cv2.rotate(spine, cv2.ROTATE_90_CLOCKWISE))
        target = image[top : top + height, left : left + width - 2]
        if rng.random() < 0.6:
            target[:] = turned[: target.shape[0], : target.shape[1]]


def drawers(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a cabinet's front: drawers and leaves with handles, labels and stickers."""
    width, height = size_wh
    image = wood(rng, size_wh)
    columns, rows = max(1, round(width / 110)), max(2, round(height / 70))
    xs, ys = (
        np.linspace(4, width - 4, columns + 1).astype(int),
        np.linspace(4, height - 4, rows + 1).astype(int),
    )
    for top, bottom in pairwise(ys.tolist()):
        for left, right in pairwise(xs.tolist()):
            cv2.rectangle(image, (left + 2, top + 2), (right - 2, bottom - 2), muted_color(rng, 30, 70), 2)
            center = (int((left + right) / 2 + rng.normal(0, 6)), int((top + bottom) / 2))
            cv2.ellipse(
                image, center, (int(rng.integers(5, 14)), 3), 0, 0, 360, muted_color(rng, 150, 240), -1
            )
            if rng.random() < 0.6:
                origin = (int(left) + 8, int(bottom) - 10)
                write_text(
                    image, rng, random_words(rng, 1), origin, float(rng.uniform(8, 15)), random_color(rng)
                )
            if rng.random() < 0.4:
                corner = (int(rng.integers(left, right)), int(rng.integers(top, bottom)))
                far = (corner[0] + int(rng.integers(8, 26)), corner[1] + int(rng.integers(8, 22)))
                cv2.rectangle(image, corner, far, random_color(rng, 60, 250), -1)
    return image


def door(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a door leaf: panels, handle, a sign, scratches at its foot."""
    width, height = size_wh
    image = wood(rng, size_wh)
    for low, high in ((0.06, 0.42), (0.5, 0.72), (0.77, 0.95)):
        corners = (int(0.14 * width), int(low * height)), (int(0.86 * width), int(high * height))
        cv2.rectangle(image, *corners, muted_color(rng, 30, 80), 3)
        cv2.rectangle(image, *corners, muted_color(rng, 120, 200), 1)
    cv2.circle(image, (int(0.9 * width), int(0.5 * height)), 7, (170.0, 200.0, 210.0), -1, cv2.LINE_AA)
    sign = poster(rng, (max(64, int(width * 0.5)), 80))[:, : int(width * 0.5)]
    top, left = int(height * rng.uniform(0.15, 0.3)), int(width * 0.25)
    image[top : top + sign.shape[0], left : left + sign.shape[1]] = sign
    return _frame(image, rng)


def desk_top(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a table from above: wood under sheets of paper and magazines lying about."""
    width, height = size_wh
    image = wood(rng, size_wh)
    for _ in range(int(rng.integers(5, 10))):
        sheet_wh = (int(rng.integers(40, 110)), int(rng.integers(40, 110)))
        sheet = poster(rng, sheet_wh)
        turn = cv2.getRotationMatrix2D((sheet_wh[0] / 2, sheet_wh[1] / 2), float(rng.uniform(0, 360)), 1.0)
        offset = rng.uniform(0.1, 0.9, 2) * (width, height) - np.array(sheet_wh) / 2
        turn = np.hstack([turn[:, :2], turn[:, 2:] + offset[:, None]])
        cv2.warpAffine(
            sheet, turn, size_wh, dst=image, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
        )
    return image


def window(rng: np.random.Generator, size_wh: tuple[int, int]) -> ImageArray:
    """Paint a window: sky and a street of houses behind muntins."""
    width, height = size_wh
    sky = octave_noise(rng, size_wh, max(size_wh) / 2.0, 4.0, 0.6)
    image = modulate(plain_image(size_wh, (235.0, 200.0, 165.0)), sky, 16.0)
    left = -10
    while left < width:
        house, roof = int(rng.integers(40, 110)), int(height * rng.uniform(0.35, 0.75))
        cv2.rectangle(image, (left, roof), (left + house, height), muted_color(rng, 70, 200), -1)
        for x in range(left + 6, left + house - 8, int(rng.integers(12, 20))):
            for y in range(roof + 8, height, int(rng.integers(16, 26))):
                color = muted_color(rng, 20, 240)
                cv2.rectangle(
                    image, (x, y), (x + int(rng.integers(4, 9)), y + int(rng.integers(6, 12))), color, -1
                )
        left += house
    frame = muted_color(rng, 190, 240)
    cv2.line(image, (int(width * rng.uniform(0.4, 0.6)), 0), (width // 2, height), frame, 9)
    cv2.line(image, (0, int(height * rng.uniform(0.3, 0.7))), (width, height // 2), frame, 7)
    return _frame(image, rng)
