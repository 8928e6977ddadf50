"""Pixels of sensor_msgs/Image and CompressedImage: to gray or BGR, and back.

Convention: 16-bit samples keep their upper 8 bits, a fixed factor, so that equal light stays equal from image to image;
what has next to no contrast then is stretched (`files.images.eight_bits`). Alpha is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import ImageError
from hfnet_ros.files.images import decode_image, eight_bits
from hfnet_ros.messages.headers import header_to_message

if TYPE_CHECKING:
    from hfnet_ros.messages.factory import MessageFactory
    from hfnet_ros.types import ImageArray


@dataclass(frozen=True)
class _Encoding:
    """How pixels lie in memory: channels, bytes per sample, cv2's code to gray or BGR; 16 bits come without alpha."""

    channels: int
    sample_bytes: int = 1
    code: int | None = None


# OpenCV names a mosaic after the second and third pixel of its second row ("BayerBG" is RGGB);
# the names that say what ROS says are newer than the OpenCV of Ubuntu 22.04.
_BAYER_CODES = {
    "bayer_rggb": cv2.COLOR_BayerBG2BGR,
    "bayer_bggr": cv2.COLOR_BayerRG2BGR,
    "bayer_gbrg": cv2.COLOR_BayerGR2BGR,
    "bayer_grbg": cv2.COLOR_BayerGB2BGR,
}
_ENCODINGS = {
    "mono8": _Encoding(1),
    "8UC1": _Encoding(1),
    "mono16": _Encoding(1, 2),
    "16UC1": _Encoding(1, 2),
    "bgr8": _Encoding(3),
    "8UC3": _Encoding(3),
    "rgb8": _Encoding(3, 1, cv2.COLOR_RGB2BGR),
    "bgr16": _Encoding(3, 2),
    "16UC3": _Encoding(3, 2),
    "rgb16": _Encoding(3, 2, cv2.COLOR_RGB2BGR),
    "bgra8": _Encoding(4, 1, cv2.COLOR_BGRA2BGR),
    "8UC4": _Encoding(4, 1, cv2.COLOR_BGRA2BGR),
    "rgba8": _Encoding(4, 1, cv2.COLOR_RGBA2BGR),
    "bgra16": _Encoding(4, 2),
    "rgba16": _Encoding(4, 2, cv2.COLOR_RGB2BGR),
    "uyvy": _Encoding(2, 1, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422": _Encoding(2, 1, cv2.COLOR_YUV2BGR_UYVY),
    "yuyv": _Encoding(2, 1, cv2.COLOR_YUV2BGR_YUY2),
    "yuv422_yuy2": _Encoding(2, 1, cv2.COLOR_YUV2BGR_YUY2),
    **{f"{name}8": _Encoding(1, 1, code) for name, code in _BAYER_CODES.items()},
    **{f"{name}16": _Encoding(1, 2, code) for name, code in _BAYER_CODES.items()},
}
# A plane of brightness and below it one of colour at half the resolution.
_TWO_PLANES = {"nv12": cv2.COLOR_YUV2BGR_NV12, "nv21": cv2.COLOR_YUV2BGR_NV21}

_FILE_SIGNATURES = (b"\xff\xd8", b"\x89PNG\r\n\x1a\n")

KNOWN_ENCODINGS = (*_ENCODINGS, *_TWO_PLANES)


def image_from_message(message: Any) -> ImageArray:
    """Return the pixels of a sensor_msgs/Image, [H, W] gray or [H, W, 3] BGR uint8, contiguous.

    mono8 and bgr8 without padding are not copied: the array is a view of the message, and may be
    read-only.

    Raises:
        ImageError: the encoding is unknown, or size, step and number of bytes do not fit.
    """
    name = str(message.encoding)
    width, height = _size(message)
    if name in _TWO_PLANES:
        return _read_two_planes(message, name)
    encoding = _ENCODINGS.get(name)
    if encoding is None:
        raise ImageError(f"image encoding '{name}' is unknown; known are {', '.join(KNOWN_ENCODINGS)}")
    if encoding.channels == 2 and width % 2:
        raise ImageError(f"{name} image is {width} px wide, expected an even width")
    samples = _samples(message, height, encoding)
    if encoding.code is None:
        return np.ascontiguousarray(samples)
    return np.asarray(cv2.cvtColor(samples, encoding.code), np.uint8)


def check_layout(message: Any) -> None:
    """Refuse a sensor_msgs/Image, of whatever encoding, whose size, step and number of bytes cannot fit.

    Names such as 32FC1 say how large a pixel is; of others a row has at least a byte a pixel.

    Raises:
        ImageError: says what does not fit.
    """
    width, height = _size(message)
    named = re.fullmatch(r"(8|16|32|64)[USF]C([1-9]\d*)?", str(message.encoding))
    if named:
        _checked_data(message, width * int(named[1]) // 8 * int(named[2] or 1), height)
        return
    step, num_bytes = int(message.step), len(_as_bytes_array(message.data))
    if step < width or num_bytes < step * height or num_bytes % step:  # there may be planes of colour below
        raise ImageError(
            f"{message.encoding} image of {width}x{height} px with a step of {step} bytes has {num_bytes} bytes, "
            f"expected whole rows of at least {width} bytes each"
        )


def image_from_compressed(message: Any) -> ImageArray:
    """Return the pixels of a JPEG or PNG, [H, W] gray or [H, W, 3] BGR uint8, contiguous.

    What the bytes are decides, not the format that is announced; of that, the part before the
    semicolon tells a mosaic that was compressed as it came ("bayer_rggb8; png compressed "), and
    the part behind it tells swapped channels ("rgb8; jpeg compressed rgb8").

    Colour is decoded as colour: JPEG's own gray is luminance, twice as fast but up to tens of gray
    levels from the mean of channels that XFeat and the map's images were described with.

    Raises:
        ImageError: neither JPEG nor PNG, cut off, or damaged. Damage in the middle of a JPEG that
            happens to decode is not noticed.
    """
    data = _as_bytes_array(message.data).tobytes()
    announced = str(message.format)
    if not data.startswith(_FILE_SIGNATURES):
        start = data[:8].hex(" ") if data else "none"
        raise ImageError(
            f"compressed image of format '{announced}' is neither JPEG nor PNG; "
            f"found {len(data)} bytes, the first {start}"
        )
    try:
        image = decode_image(data)
    except ImageError as error:
        raise ImageError(f"compressed image of format '{announced}': {error}") from error
    encoding, _, transmitted = announced.partition(";")
    pattern = encoding.strip().removesuffix("16").removesuffix("8")
    if image.ndim == 2:
        return _demosaic(image, pattern) if pattern in _BAYER_CODES else image
    if "compressed rgb" in transmitted:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
    return image


def image_to_message(factory: MessageFactory, image: ImageArray, stamp_ns: int, frame_id: str) -> Any:
    """Return a sensor_msgs/Image of [H, W] gray (mono8) or [H, W, 3] BGR (bgr8) uint8.

    Raises:
        ImageError: the image is something else.
    """
    is_color = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (image.ndim == 2 or is_color):
        raise ImageError(
            f"image is {image.dtype}{list(image.shape)}, expected uint8 [H, W] gray or [H, W, 3] BGR"
        )
    height, width = image.shape[:2]
    return factory.make(
        "sensor_msgs/msg/Image",
        header=header_to_message(factory, stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="bgr8" if is_color else "mono8",
        is_bigendian=0,
        step=width * (3 if is_color else 1),
        data=factory.byte_sequence(image),
    )


def compressed_to_message(
    factory: MessageFactory, encoded: bytes, image_format: str, stamp_ns: int, frame_id: str
) -> Any:
    """Return a sensor_msgs/CompressedImage of the bytes of a file; `image_format` is jpeg or png."""
    return factory.make(
        "sensor_msgs/msg/CompressedImage",
        header=header_to_message(factory, stamp_ns, frame_id),
        format=image_format,
        data=factory.byte_sequence(np.frombuffer(encoded, np.uint8)),
    )


def _demosaic(mosaic: ImageArray, pattern: str) -> ImageArray:
    """Return BGR [H, W, 3] of a mosaic [H, W] whose pattern is one of `_BAYER_CODES`."""
    return np.asarray(cv2.cvtColor(mosaic, _BAYER_CODES[pattern]), np.uint8)


def _as_bytes_array(data: Any) -> NDArray[np.uint8]:
    """Return a field of type uint8[] as [N] uint8: uncopied from numpy, array.array and bytes."""
    if isinstance(data, np.ndarray):
        return np.asarray(data, np.uint8).reshape(-1)
    try:
        return np.frombuffer(data, np.uint8)
    except TypeError:  # a plain list
        return np.array(data, np.uint8)


def _size(message: Any) -> tuple[int, int]:
    width, height = int(message.width), int(message.height)
    if width <= 0 or height <= 0:
        raise ImageError(f"image message says {width}x{height} px, expected both positive")
    return width, height


def _samples(message: Any, height: int, encoding: _Encoding) -> ImageArray:
    """Return [H, W] or [H, W, C] uint8, a view where each sample is a byte."""
    width, step = int(message.width), int(message.step)
    data = _checked_data(message, width * encoding.channels * encoding.sample_bytes, height)
    shape = (height, width, encoding.channels)
    size = encoding.sample_bytes
    order = "u1" if size == 1 else ">u2" if message.is_bigendian else "<u2"
    samples: NDArray[Any] = np.ndarray(shape, order, data, strides=(step, encoding.channels * size, size))
    if encoding.channels == 1:
        samples = samples[:, :, 0]
    elif size == 2:  # transparency says nothing of light
        samples = samples[:, :, :3]
    return samples if size == 1 else eight_bits(samples.astype(np.uint16))


def _read_two_planes(message: Any, name: str) -> ImageArray:
    width, height, step = int(message.width), int(message.height), int(message.step)
    if width % 2 or height % 2:
        raise ImageError(f"{name} image is {width}x{height} px, expected even sides")
    rows = height + height // 2
    data = _checked_data(message, width, rows)
    planes: ImageArray = np.ndarray((rows, width), np.uint8, data, strides=(step, 1))
    return np.asarray(cv2.cvtColor(planes, _TWO_PLANES[name]), np.uint8)


def _checked_data(message: Any, row_bytes: int, rows: int) -> NDArray[np.uint8]:
    """Return the bytes of an image once its rows are known to lie inside them."""
    step = int(message.step)
    what = f"{message.encoding} image of {int(message.width)}x{int(message.height)} px"
    if step < row_bytes:
        raise ImageError(f"{what} has a step of {step} bytes, expected at least {row_bytes}")
    data = _as_bytes_array(message.data)
    if len(data) != step * rows:
        raise ImageError(f"{what} with a step of {step} bytes has {len(data)} bytes, expected {step * rows}")
    return data
