"""Find and read image files; refuse what is damaged instead of passing on half a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from hfnet_ros.errors import DatasetError, ImageError
from hfnet_ros.files.atomic import atomic_file

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from hfnet_ros.types import ImageArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp")

# Of 16-bit samples: less than 16 levels of 8 bits are next to no contrast; less than 64 of 16 bits are noise.
_LITTLE_SPAN, _FINE_SPAN = 16 * 256, 64
_FEWEST_PIXELS = 200  # of which half a per cent is one

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
_JPEG_END = 0xD9
_JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_FOLDERS_SHOWN = 5
_MAX_PIXELS = 1 << 27  # 400 MB in colour; a few kB of a PNG can stand for a hundred times as many
# In the coded data of a scan ff 00 is a plain byte and ff d0..d7 are restart marks.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)")
_THOUSANDS = re.compile(r"(?<![0-9,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_TWO_NUMBERS = re.compile(r"[0-9],[0-9]")


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files of a folder (not of its subfolders) in the order they were taken.

    Names are compared as people read them: all their numbers count as numbers (2_left.png before
    10_left.png, 999.png before 1,000.png), what stands between them as text. Hidden files are left out.

    Raises:
        DatasetError: the folder is missing or holds no image.
    """
    directory = Path(folder)
    if not directory.is_dir():
        raise DatasetError(f"{directory}: no such folder; expected a folder of images")
    files = [entry for entry in directory.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        known = " ".join(IMAGE_SUFFIXES)
        raise DatasetError(
            f"{directory}: found {len(files)} files but no image; expected {known}{_images_below(directory)}"
        )
    plain = dict(zip(images, without_separators([image.name for image in images]), strict=True))
    return sorted(images, key=lambda image: natural_order(Path(plain[image])))


def _images_below(directory: Path) -> str:
    """Return a hint where folders of a folder hold images, which are not searched; else ""."""
    holding = [
        entry.name
        for entry in sorted(directory.iterdir())
        if entry.is_dir() and any(file.suffix.lower() in IMAGE_SUFFIXES for file in entry.iterdir())
    ]
    if not holding:
        return ""
    return f"; its folders {', '.join(holding[:_FOLDERS_SHOWN])} hold some, which are not searched: give one of them"


def numbers_in_name(image: Path) -> tuple[str, ...]:
    """Return the decimal numbers in the name of a file, without its suffix, as they are written."""
    return tuple(_NUMBER.findall(image.stem))


def without_separators(names: Sequence[str]) -> Sequence[str]:
    """Return names with 1,003 as 1003 where some have no comma, and no others stand between digits; else as given.

    Of cameras and frames (1,99 and 1,100) the numbers are two.
    """
    plain = [_THOUSANDS.sub(lambda number: number[0].replace(",", ""), name) for name in names]
    has_small = any(name == given for name, given in zip(plain, names, strict=True))
    return names if not has_small or any(map(_TWO_NUMBERS.search, plain)) else plain


def natural_order(image: Path) -> tuple[list[str | Decimal], str]:
    """Return the key by which images are sorted: numbers in their names, and in folders before, as numbers."""
    # Text and numbers take turns, text first: positions of two names hold the same type.
    parts = _NUMBER.split(str(image.with_suffix("")))
    return [Decimal(part) if odd % 2 else part for odd, part in enumerate(parts)], image.name


def read_image(path: str | os.PathLike[str]) -> ImageArray:
    """Read an image file as [H, W] gray or [H, W, 3] BGR, uint8; see `decode_image`.

    Raises:
        ImageError: the file is missing, empty, cut off, damaged, not an image, or has
            samples other than 8- and 16-bit integers.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ImageError(f"{file}: cannot be read: {error.strerror}; expected an image file") from error
    try:
        return decode_image(data)
    except ImageError as error:
        raise ImageError(f"{file}: {error}; copy or export the file again") from error


def write_png(path: str | os.PathLike[str], image: ImageArray) -> None:
    """Write an image as PNG, whatever its name ends in; the file is replaced as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def decode_image(data: bytes) -> ImageArray:
    """Decode the bytes of an image file as [H, W] gray or [H, W, 3] BGR, uint8.

    Transparency is dropped and palettes are looked up. Of 16-bit samples the upper 8 bits are
    kept, unless that leaves next to no contrast (`eight_bits`). The EXIF
    orientation is ignored, because a calibration belongs to the pixels as they are stored.

    Raises:
        ImageError: the bytes are none, cut off, damaged, not an image, or hold samples other
            than 8- and 16-bit integers. A JPEG damaged in its middle still decodes, wrongly.
    """
    defect = _find_defect(data)
    if defect:
        raise ImageError(_describe(data, defect))
    width, height = _announced_size(data)
    if width * height > _MAX_PIXELS:
        raise ImageError(f"is {width}x{height} px, expected {_MAX_PIXELS} pixels at most; scale it down")
    try:
        decoded = cv2.imdecode(
            np.frombuffer(data, dtype=np.uint8),
            cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION,
        )
    except cv2.error as error:
        raise ImageError(_describe(data, f"cannot be decoded ({error.err})")) from error
    if decoded is None:
        raise ImageError(_describe(data, "cannot be decoded: damaged or not an image"))
    image: NDArray[Any] = np.asarray(decoded)
    if image.dtype == np.uint16:
        image = eight_bits(image)
    if image.dtype != np.uint8:
        raise ImageError(f"found {image.dtype} samples, expected 8- or 16-bit integers")
    return image


def eight_bits(samples: NDArray[np.uint16]) -> ImageArray:
    """Return 16-bit samples [H, W] or [H, W, C] as 8-bit ones.

    The upper 8 bits: a fixed factor, so that equal light stays equal from image to image. Of an image that has next
    to no contrast then, because its camera fills a few of the 16 bits only (thermal cameras of 14 bits, machine vision
    of 10 or 12), what lies between its darkest and brightest half per cent is stretched over all of the 8, in all
    channels alike.
    """
    height, width = samples.shape[:2]
    # Odd steps meet all colours of a mosaic.
    few = samples[:: max(1, height // 200) | 1, :: max(1, width // 200) | 1].reshape(-1, *samples.shape[2:])
    low, high = np.percentile(few, [0.5, 99.5], axis=0)
    if len(few) < _FEWEST_PIXELS or not _FINE_SPAN <= np.max(high - low) < _LITTLE_SPAN:
        return (samples >> 8).astype(np.uint8)
    darkest, brightest = float(np.min(low)), float(np.max(high))
    stretched = (samples.astype(np.float32) - darkest) * (255.0 / (brightest - darkest))
    return np.clip(stretched, 0.0, 255.0).astype(np.uint8)


def to_gray(image: ImageArray) -> ImageArray:
    """Return [H, W] uint8 of a [H, W] gray or [H, W, 3] BGR image; gray comes back as it is.

    Raises:
        ImageError: the shape or the type is another one.
    """
    if image.dtype == np.uint8 and image.ndim == 2:
        return image
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        gray: NDArray[Any] = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        return gray
    raise ImageError(
        f"image has shape {image.shape} and type {image.dtype}, expected [H, W] or [H, W, 3] uint8"
    )


def _describe(data: bytes, defect: str) -> str:
    start = data[:8].hex(" ") if data else "none"
    return f"{defect}; found {len(data)} bytes, the first {start}"


def _find_defect(data: bytes) -> str:
    """Return what is wrong with the frame of the file, or "".

    Decoders fill the missing rest of a cut-off file with gray and merely print a warning.
    """
    if not data:
        return "is empty"
    if data.startswith(_JPEG_SIGNATURE) and not _jpeg_reaches_end(data):
        return "JPEG is cut off (no end-of-image mark)"
    if data.startswith(_PNG_SIGNATURE) and not _png_reaches_end(data):
        return "PNG is cut off (no IEND chunk)"
    return ""


def _jpeg_reaches_end(data: bytes) -> bool:
    # Looking for ff d9 anywhere would find the end of the thumbnail in the EXIF segment.
    position = len(_JPEG_SIGNATURE)
    while True:
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            return False
        code = data[marker.start() + 1]
        if code == _JPEG_END:
            return True
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        # The scan header is skipped like any segment; the search then runs over its coded data.
        position = marker.end() + max(length, 2)


def _announced_size(data: bytes) -> tuple[int, int]:
    """Return width and height that the head of a JPEG or PNG says, px; zeros where it says none."""
    if data.startswith(_PNG_SIGNATURE):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    position = len(_JPEG_SIGNATURE)
    while data.startswith(_JPEG_SIGNATURE) and (marker := _JPEG_MARKER.search(data, position)):
        start = marker.end()
        if data[start - 1] in _JPEG_FRAMES:
            return int.from_bytes(data[start + 5 : start + 7], "big"), int.from_bytes(
                data[start + 3 : start + 5], "big"
            )
        position = start + max(int.from_bytes(data[start : start + 2], "big"), 2)
    return 0, 0


def _png_reaches_end(data: bytes) -> bool:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        position += 12 + length
        if data[position - 8 - length : position - 4 - length] == b"IEND":
            return position <= len(data)
    return False
