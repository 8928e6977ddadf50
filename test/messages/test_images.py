import array
import runpy
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import ImageError
from hfnet_ros.files.images import eight_bits
from hfnet_ros.messages import images
from hfnet_ros.messages.images import KNOWN_ENCODINGS, image_from_message, image_to_message

BGR = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3) * 10


@pytest.mark.parametrize(
    ("encoding", "pixel", "expected"),
    [
        ("mono8", [7], 7),
        ("8UC1", [7], 7),
        ("bgr8", [1, 2, 3], [1, 2, 3]),
        ("8UC3", [1, 2, 3], [1, 2, 3]),
        ("rgb8", [3, 2, 1], [1, 2, 3]),
        ("bgra8", [1, 2, 3, 99], [1, 2, 3]),
        ("8UC4", [1, 2, 3, 99], [1, 2, 3]),
        ("rgba8", [3, 2, 1, 99], [1, 2, 3]),
        ("mono16", [0xCD, 0xAB], 0xAB),
        ("16UC1", [0xCD, 0xAB], 0xAB),
        ("bgr16", [0, 1, 0, 2, 0, 3], [1, 2, 3]),
        ("16UC3", [0, 1, 0, 2, 0, 3], [1, 2, 3]),
        ("rgb16", [0, 3, 0, 2, 0, 1], [1, 2, 3]),
        ("bgra16", [0, 1, 0, 2, 0, 3, 0, 99], [1, 2, 3]),
        ("rgba16", [0, 3, 0, 2, 0, 1, 0, 99], [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("padding", [0, 5])
def test_bytes_of_one_pixel(image_message, encoding, pixel, expected, padding):
    # Only the pixel in the second row and last column is not black.
    black = [0] * len(pixel)
    data = bytes([*black, *black, *[0xEE] * padding, *black, *pixel, *[0xEE] * padding])
    image = image_from_message(image_message(data, 2, 2, encoding))
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    wanted = np.zeros(image.shape, np.uint8)
    wanted[1, 1] = expected
    np.testing.assert_array_equal(image, wanted)


def test_big_endian_samples(image_message):
    data = bytes([0xAB, 0xCD, 0x12, 0x34])
    image = image_from_message(image_message(data, 2, 1, "mono16", is_bigendian=1))
    np.testing.assert_array_equal(image, [[0xAB, 0x12]])
    data = bytes([1, 0xFF, 2, 0xFF, 3, 0xFF])
    image = image_from_message(image_message(data, 1, 1, "bgr16", is_bigendian=1))
    np.testing.assert_array_equal(image, [[[1, 2, 3]]])


def test_the_order_of_bytes_does_not_matter_for_single_bytes(image_message):
    np.testing.assert_array_equal(
        image_from_message(image_message(bytes([5, 6]), 2, 1, "mono8", is_bigendian=1)), [[5, 6]]
    )


# The colours of the first two pixels of the first two rows, by the encoding's name.
PATTERNS = {
    "bayer_rggb": ("rg", "gb"),
    "bayer_bggr": ("bg", "gr"),
    "bayer_gbrg": ("gb", "rg"),
    "bayer_grbg": ("gr", "bg"),
}


def mosaic_of(color: dict[str, int], pattern: tuple[str, str], size: int = 8) -> np.ndarray:
    cell = np.array([[color[name] for name in row] for row in pattern], np.uint8)
    return np.tile(cell, (size // 2, size // 2))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("color", [{"b": 200, "g": 20, "r": 3}, {"b": 3, "g": 50, "r": 220}])
def test_mosaics_of_an_even_colour(image_message, pattern, color):
    mosaic = mosaic_of(color, PATTERNS[pattern])
    wanted = np.tile(np.array([color["b"], color["g"], color["r"]], np.uint8), (8, 8, 1))
    image = image_from_message(image_message(mosaic.tobytes(), 8, 8, f"{pattern}8"))
    np.testing.assert_array_equal(image, wanted)
    deep = (mosaic.astype(">u2") << 8) + 77
    image = image_from_message(
        image_message(deep.astype(">u2").tobytes(), 8, 8, f"{pattern}16", is_bigendian=1)
    )
    np.testing.assert_array_equal(image, wanted)


# BT.601 with limited range: y = 81, u = 90, v = 240 is pure red.
@pytest.mark.parametrize(
    ("encoding", "two_pixels"),
    [
        ("yuv422", [90, 81, 240, 81]),
        ("uyvy", [90, 81, 240, 81]),
        ("yuv422_yuy2", [81, 90, 81, 240]),
        ("yuyv", [81, 90, 81, 240]),
    ],
)
def test_yuv_of_red(image_message, encoding, two_pixels):
    row = two_pixels * 2
    image = image_from_message(image_message(bytes([*row, 9, 9] * 2), 4, 2, encoding))
    assert image.shape == (2, 4, 3)
    np.testing.assert_allclose(image, np.tile([0, 0, 255], (2, 4, 1)), atol=2)


@pytest.mark.parametrize(("encoding", "colors"), [("nv12", [90, 240]), ("nv21", [240, 90])])
def test_two_planes_of_red(image_message, encoding, colors):
    row, below = [81] * 4 + [9], colors * 2 + [9]
    image = image_from_message(image_message(bytes(row * 2 + below), 4, 2, encoding, step=5))
    np.testing.assert_allclose(image, np.tile([0, 0, 255], (2, 4, 1)), atol=2)


@pytest.mark.parametrize("container", [bytes, bytearray, list, lambda data: array.array("B", data), np.array])
def test_any_kind_of_byte_sequence(image_message, container):
    data = BGR.reshape(-1).tolist()
    held = np.array(data, np.uint8) if container is np.array else container(data)
    np.testing.assert_array_equal(image_from_message(image_message(held, 4, 2, "bgr8")), BGR)


@pytest.mark.parametrize("encoding", ["mono8", "bgr8"])
def test_unpadded_pixels_are_not_copied(image_message, encoding):
    data = np.zeros(24, np.uint8)
    image = image_from_message(image_message(data, 8 if encoding == "bgr8" else 24, 1, encoding))
    assert np.shares_memory(image, data)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (64, 64, 3)])
def test_round_trip_over_the_wire(factory, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    message = image_to_message(factory, image, 12_000_000_034, "camera")
    cdr = factory.serialize(message, "sensor_msgs/msg/Image")
    received = factory.deserialize(cdr, "sensor_msgs/msg/Image")
    assert (received.header.stamp.sec, received.header.stamp.nanosec) == (12, 34)
    assert received.header.frame_id == "camera"
    assert received.encoding == ("mono8" if len(shape) == 2 else "bgr8")
    np.testing.assert_array_equal(image_from_message(received), image)


def test_a_cut_out_image_can_be_sent(factory):
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    message = image_to_message(factory, image[2:5, 3:7], 0, "camera")
    np.testing.assert_array_equal(image_from_message(message), image[2:5, 3:7])


@pytest.mark.parametrize(
    ("data", "width", "height", "encoding", "step", "found"),
    [
        (bytes(11), 4, 3, "mono8", 4, "has 11 bytes, expected 12"),
        (bytes(13), 4, 3, "mono8", 4, "has 13 bytes, expected 12"),
        (b"", 4, 3, "mono8", 4, "has 0 bytes, expected 12"),
        (bytes(9), 4, 3, "mono8", 3, "step of 3 bytes, expected at least 4"),
        (bytes(12), 4, 3, "bgr8", 4, "step of 4 bytes, expected at least 12"),
        (bytes(12), 4, 3, "mono16", 4, "step of 4 bytes, expected at least 8"),
        (bytes(0), 4, 3, "mono8", 0, "step of 0 bytes"),
        (bytes(0), 0, 3, "mono8", 0, "0x3 px, expected both positive"),
        (bytes(0), 4, 0, "mono8", 4, "4x0 px, expected both positive"),
        (bytes(12), 4, 3, "", 4, "encoding '' is unknown; known are mono8"),
        (bytes(48), 4, 3, "32FC1", 16, "encoding '32FC1' is unknown"),
        (bytes(18), 3, 3, "yuv422", 6, "3 px wide, expected an even width"),
        (bytes(12), 4, 2, "nv12", 3, "step of 3 bytes, expected at least 4"),
        (bytes(8), 4, 2, "nv21", 4, "has 8 bytes, expected 12"),
        (bytes(18), 4, 3, "nv12", 4, "4x3 px, expected even sides"),
    ],
)
def test_what_does_not_fit_is_refused(image_message, data, width, height, encoding, step, found):
    with pytest.raises(ImageError, match=found):
        image_from_message(image_message(data, width, height, encoding, step=step))


@pytest.mark.parametrize("encoding", KNOWN_ENCODINGS)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 1), (1, 4), (2, 1), (640, 2)])
def test_tiny_images_are_read_or_refused(image_message, encoding, size):
    width, height = size
    step = width * 8
    rows = height + height // 2 if encoding in ("nv12", "nv21") else height
    try:
        image = image_from_message(image_message(bytes(step * rows), width, height, encoding, step=step))
    except ImageError:
        return
    assert image.shape[:2] == (height, width)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_only_gray_and_bgr_are_sent(factory, image):
    with pytest.raises(ImageError, match="expected uint8"):
        image_to_message(factory, image, 0, "camera")


def test_the_opencv_of_ubuntu_22_04_is_enough(monkeypatch):
    """It has no names of mosaics that say what ROS says; without them the node of Humble did not start."""
    for pattern in PATTERNS:
        monkeypatch.delattr(cv2, f"COLOR_Bayer{pattern.removeprefix('bayer_').upper()}2BGR", raising=False)
    assert runpy.run_path(images.__file__)["KNOWN_ENCODINGS"] == KNOWN_ENCODINGS


def test_mosaics_agree_with_the_picture_they_were_made_of(image_message):
    # A smooth picture sampled by a hand-made mosaic comes back nearly as it was.
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 6)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    channel = {"b": 0, "g": 1, "r": 2}
    for name, pattern in PATTERNS.items():
        mosaic = np.empty((64, 64), np.uint8)
        for row in range(2):
            for column in range(2):
                mosaic[row::2, column::2] = picture[row::2, column::2, channel[pattern[row][column]]]
        image = image_from_message(image_message(mosaic.tobytes(), 64, 64, f"{name}8"))
        difference = np.abs(image.astype(int) - picture)[2:-2, 2:-2]
        assert difference.mean() < 3, name


def test_a_message_needs_no_more_than_the_fields_that_are_read():
    message = SimpleNamespace(width=1, height=1, encoding="mono8", step=1, is_bigendian=0, data=b"\x05")
    assert image_from_message(message)[0, 0] == 5


@pytest.mark.parametrize(("order", "is_bigendian"), [("<u2", 0), (">u2", 1)])
def test_sixteen_bits_in_a_message_are_read_as_those_of_a_file(image_message, order, is_bigendian):
    thermal = np.linspace(7000.0, 8500.0, 64 * 48).reshape(48, 64).astype(np.uint16)
    message = image_message(thermal.astype(order).tobytes(), 64, 48, "mono16", is_bigendian=is_bigendian)
    np.testing.assert_array_equal(image_from_message(message), eight_bits(thermal))


@pytest.mark.parametrize("encoding", ["bgr16", "rgb16", "bgra16", "rgba16", "bayer_rggb16"])
@pytest.mark.parametrize(("order", "is_bigendian"), [("<u2", 0), (">u2", 1)])
def test_twelve_bits_of_light_in_sixteen_are_stretched(image_message, encoding, order, is_bigendian):
    light = np.linspace(0.0, 4095.0, 64 * 48).reshape(48, 64, 1).astype(np.uint16)
    channels = {"bgr16": 3, "rgb16": 3, "bayer_rggb16": 1}.get(encoding, 4)
    deep = np.repeat(light, channels, axis=2)
    if channels == 4:
        deep[:, :, 3] = 65535
    image = image_from_message(
        image_message(deep.astype(order).tobytes(), 64, 48, encoding, is_bigendian=is_bigendian)
    )
    assert image.shape == (48, 64, 3)
    np.testing.assert_allclose(
        image[1:-1, 1:-1], np.repeat(light / 4095 * 255, 3, axis=2)[1:-1, 1:-1], atol=4
    )
