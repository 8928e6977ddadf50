import cv2
import numpy as np
import pytest

from hfnet_ros.errors import ImageError
from hfnet_ros.messages.images import compressed_to_message, image_from_compressed

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8), (0, 0), 4)


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.fixture
def decode(factory):
    def decode(data: bytes, image_format: str) -> np.ndarray:
        message = compressed_to_message(factory, data, image_format, 5, "camera")
        cdr = factory.serialize(message, "sensor_msgs/msg/CompressedImage")
        return image_from_compressed(factory.deserialize(cdr, "sensor_msgs/msg/CompressedImage"))

    return decode


@pytest.mark.parametrize(
    "image_format", ["png", "", "bgr8; png compressed bgr8", "rgb8; png compressed bgr8", "PNG"]
)
def test_png_comes_back_exactly(decode, image_format):
    image = decode(encoded(".png", PICTURE), image_format)
    np.testing.assert_array_equal(image, PICTURE)
    assert image.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("image_format", ["jpeg", "jpg", "bgr8; jpeg compressed bgr8"])
def test_jpeg_comes_back_nearly_and_in_colour(decode, image_format):
    image = decode(encoded(".jpg", PICTURE), image_format)
    assert image.shape == (60, 80, 3)
    assert np.abs(image.astype(int) - PICTURE).mean() < 4


@pytest.mark.parametrize(
    ("suffix", "image_format"), [(".jpg", "mono8; jpeg compressed "), (".png", "mono8; png compressed ")]
)
def test_gray_stays_gray(decode, suffix, image_format):
    gray = PICTURE[:, :, 1]
    image = decode(encoded(suffix, gray), image_format)
    assert image.shape == (60, 80)
    assert np.abs(image.astype(int) - gray).mean() < 4


def test_a_format_that_lies_does_not_matter(decode):
    np.testing.assert_array_equal(decode(encoded(".png", PICTURE), "jpeg"), PICTURE)


def test_sixteen_bits_keep_the_upper_eight(decode):
    deep = np.array([[0, 255, 256, 4095, 65535]], np.uint16)
    np.testing.assert_array_equal(
        decode(encoded(".png", deep), "mono16; png compressed mono16"), [[0, 0, 1, 15, 255]]
    )


def test_channels_sent_in_the_other_order_are_swapped(decode):
    image = decode(encoded(".png", PICTURE[:, :, ::-1]), "rgb8; png compressed rgb8")
    np.testing.assert_array_equal(image, PICTURE)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_mosaic_compressed_as_it_came(decode, depth):
    scale = 1 if depth is np.uint8 else 256
    mosaic = np.tile(np.array([[200, 20], [20, 3]], depth) * depth(scale), (4, 4))
    bits = 8 * depth().itemsize
    image = decode(encoded(".png", mosaic), f"bayer_rggb{bits}; png compressed ")
    np.testing.assert_array_equal(image, np.tile(np.array([3, 20, 200], np.uint8), (8, 8, 1)))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.99])
def test_what_is_cut_off_is_refused(decode, suffix, share):
    data = encoded(suffix, PICTURE)
    with pytest.raises(ImageError, match="compressed image of format 'x'"):
        decode(data[: int(share * len(data))], "x")


def test_a_png_with_a_changed_byte_is_refused(decode):
    data = encoded(".png", PICTURE)
    for position in np.linspace(20, len(data) - 20, 25).astype(int):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        with pytest.raises(ImageError):
            decode(bytes(damaged), "png")


def test_a_jpeg_with_changed_bytes_never_breaks_the_reader(decode):
    data = encoded(".jpg", PICTURE)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        for position in rng.integers(2, len(data), 4):
            damaged[position] = rng.integers(0, 256)
        try:
            image = decode(bytes(damaged), "jpeg")
        except ImageError:
            refused += 1
            continue
        assert image.dtype == np.uint8
        assert image.ndim in (2, 3)
    assert refused > 0


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "found 0 bytes, the first none"),
        (b"hello world", "neither JPEG nor PNG; found 11 bytes, the first 68 65 6c 6c"),
        (encoded(".bmp", PICTURE), "neither JPEG nor PNG"),
        (b"\0" * 12 + encoded(".png", PICTURE), "neither JPEG nor PNG"),  # what compressedDepth sends
        (b"\xff\xd8\xff\xd9", "format 'jpeg'"),
        (b"\x89PNG\r\n\x1a\n", "format 'jpeg'"),
    ],
)
def test_what_is_no_image_is_refused(decode, data, found):
    with pytest.raises(ImageError, match=found):
        decode(data, "jpeg")
