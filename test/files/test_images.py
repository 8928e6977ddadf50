import struct
import zlib

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import DatasetError, ImageError
from hfnet_ros.files.images import decode_image, eight_bits, list_images, read_image, to_gray


def smooth_picture(height: int = 40, width: int = 60) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


PICTURE = smooth_picture()


def encode(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    content = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def with_thumbnail(jpeg: bytes) -> bytes:
    thumbnail = encode(".jpg", smooth_picture(8, 8))
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["10.png", "2.png", "1.jpg"], ["1.jpg", "2.png", "10.png"]),
        (["000010.jpg", "000002.jpg"], ["000002.jpg", "000010.jpg"]),
        (["1403636580.0.png", "1403636579.763555.png"], ["1403636579.763555.png", "1403636580.0.png"]),
        (["frame10.png", "frame9.png"], ["frame9.png", "frame10.png"]),
        (["b.png", "a10.png", "a9.png"], ["a9.png", "a10.png", "b.png"]),
        (["cam1_5.png", "cam0_7.png"], ["cam0_7.png", "cam1_5.png"]),
        (["IMG (10).jpg", "IMG (9).jpg"], ["IMG (9).jpg", "IMG (10).jpg"]),
        (["10_left.jpg", "9_left.jpg"], ["9_left.jpg", "10_left.jpg"]),
        (["frame10.color.jpg", "frame9.color.jpg"], ["frame9.color.jpg", "frame10.color.jpg"]),
        (["a.png", "1.png", "a1.png", "a-1.png"], ["1.png", "a.png", "a1.png", "a-1.png"]),
        (
            ["1,000.png", "2.png", "1,234,567.png", "999.png"],
            ["2.png", "999.png", "1,000.png", "1,234,567.png"],
        ),
        (["2,99.png", "1,100.png", "1,99.png", "3.png"], ["1,99.png", "1,100.png", "2,99.png", "3.png"]),
        (["2,100.png", "1,101.png", "1,100.png"], ["1,100.png", "1,101.png", "2,100.png"]),
    ],
)
def test_order_of_images(tmp_path, given, expected):
    for name in given:
        (tmp_path / name).touch()
    assert [image.name for image in list_images(tmp_path)] == expected


def test_only_image_files_are_listed(tmp_path):
    for name in ("A.JPG", "b.Jpeg", "c.tiff", "d.webp", "notes.txt", "poses.tum", ".hidden.png", "png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [image.name for image in list_images(tmp_path)] == ["A.JPG", "b.Jpeg", "c.tiff", "d.webp"]


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError, match="found 1 files but no image"):
        list_images(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        list_images(tmp_path / "missing")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".ppm"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(suffix, PICTURE))
    image = read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, PICTURE)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_come_back_nearly(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(suffix, PICTURE))
    assert np.abs(read_image(path).astype(int) - PICTURE).mean() < 4


def test_gray_stays_gray(tmp_path):
    for suffix in (".png", ".pgm", ".jpg"):
        (tmp_path / f"a{suffix}").write_bytes(encode(suffix, PICTURE[:, :, 0]))
        assert read_image(tmp_path / f"a{suffix}").shape == (40, 60)


def test_transparency_is_dropped(tmp_path):
    alpha = np.random.default_rng(1).integers(0, 256, (40, 60, 1), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(encode(".png", np.concatenate([PICTURE, alpha], axis=2)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    deep = np.array([[0, 255, 256, 511, 4095, 65535]], dtype=np.uint16)
    for suffix in (".png", ".tif", ".pgm"):
        (tmp_path / f"a{suffix}").write_bytes(encode(suffix, deep))
        image = read_image(tmp_path / f"a{suffix}")
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, [[0, 0, 1, 1, 15, 255]])
    colour = np.dstack([deep, deep // 2, deep // 4])
    (tmp_path / "c.png").write_bytes(encode(".png", colour))
    np.testing.assert_array_equal(read_image(tmp_path / "c.png"), colour >> 8)


def test_a_thermal_image_of_fourteen_bits_is_stretched(tmp_path):
    ramp = np.linspace(7000.0, 8500.0, 64 * 48).reshape(48, 64).astype(np.uint16)
    (tmp_path / "t.png").write_bytes(encode(".png", ramp))
    image = read_image(tmp_path / "t.png")
    assert (image.min(), image.max()) == (0, 255)
    assert np.all(np.diff(image.ravel().astype(int)) >= 0)
    np.testing.assert_array_equal(eight_bits(np.full((48, 64), 7000, np.uint16)), 7000 >> 8)
    np.testing.assert_array_equal(eight_bits(8 * ramp), 8 * ramp >> 8)


@pytest.mark.parametrize("bits", [10, 12])
def test_colour_that_fills_few_of_its_bits_is_stretched(tmp_path, bits):
    """Machine vision cameras put 12 bits of light into the lower ones of 16: as read before, 16 levels were left."""
    picture = smooth_picture()
    (tmp_path / "c.png").write_bytes(encode(".png", picture.astype(np.uint16) << (bits - 8)))
    image = read_image(tmp_path / "c.png").astype(float)
    low, high = np.percentile(picture.reshape(-1, 3), [0.5, 99.5], axis=0)
    wanted = (picture - low.min()) * 255.0 / (high.max() - low.min())
    assert np.abs(image - np.clip(wanted, 0, 255)).max() <= 1.0


def test_palettes_are_looked_up(tmp_path):
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
    )
    data += png_chunk(b"IDAT", zlib.compress(b"\0\0\1")) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[0, 0, 255], [255, 0, 0]]])


def test_exif_orientation_is_ignored(tmp_path):
    turned = with_exif_orientation(encode(".jpg", PICTURE), 6)
    (tmp_path / "a.jpg").write_bytes(turned)
    # The mark is a real one: a reader that obeys it gives a portrait picture.
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (60, 40, 3)
    assert read_image(tmp_path / "a.jpg").shape == (40, 60, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".pgm", ".ppm", ".webp"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_cut_off_files_are_refused(tmp_path, suffix, kept):
    data = encode(suffix, PICTURE[:, :, 0] if suffix == ".pgm" else PICTURE)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError, match=rf"cut\{suffix}.*found {path.stat().st_size} bytes"):
        read_image(path)


@pytest.mark.parametrize("decoder_fills_the_rest", [False, True])
def test_cut_off_files_do_not_depend_on_the_decoder(tmp_path, monkeypatch, decoder_fills_the_rest):
    if decoder_fills_the_rest:  # as OpenCV before version 5 does
        monkeypatch.setattr(cv2, "imdecode", lambda data, flags: PICTURE.copy())
    jpeg, png = encode(".jpg", PICTURE), encode(".png", PICTURE)
    for name, data in {
        "no_end.jpg": jpeg[:-2],
        "half_end.jpg": jpeg[:-1],
        "thumbnail_has_an_end.jpg": with_thumbnail(jpeg)[:-30],
        "no_end.png": png[:-12],
        "half_end.png": png[:-1],
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match="cut off"):
            read_image(tmp_path / name)


def test_bytes_after_the_end_do_no_harm(tmp_path):
    for suffix in (".jpg", ".png"):
        (tmp_path / f"a{suffix}").write_bytes(encode(suffix, PICTURE) + b"trailer of a phone")
        assert read_image(tmp_path / f"a{suffix}").shape == PICTURE.shape
    (tmp_path / "b.jpg").write_bytes(with_thumbnail(encode(".jpg", PICTURE)))
    assert read_image(tmp_path / "b.jpg").shape == PICTURE.shape


def test_a_flipped_byte_in_a_png_is_found(tmp_path):
    data = bytearray(encode(".png", PICTURE))
    data[len(data) // 2] ^= 0x5A
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png"):
        read_image(tmp_path / "a.png")


def test_what_is_no_image_is_refused_with_its_first_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"<html>not found</html>")
    with pytest.raises(ImageError, match=r"a\.jpg.*22 bytes, the first 3c 68 74 6d 6c"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png: is empty; found 0 bytes"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(ImageError, match=r"missing\.png.*No such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="directory"):
        read_image(tmp_path)


def test_floating_point_pictures_are_refused(tmp_path):
    (tmp_path / "depth.tif").write_bytes(encode(".tif", PICTURE.astype(np.float32)))
    with pytest.raises(ImageError, match="float32"):
        read_image(tmp_path / "depth.tif")


def test_to_gray_by_hand():
    # ITU-R BT.601 weights: 0.114 blue, 0.587 green, 0.299 red.
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
    np.testing.assert_array_equal(to_gray(pixels), [[29, 150, 76, 90]])
    gray = PICTURE[:, :, 0]
    assert to_gray(gray) is gray


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.float32), np.zeros(4, np.uint8)]
)
def test_to_gray_refuses(image):
    with pytest.raises(ImageError, match="shape"):
        to_gray(image)


def test_a_few_bytes_that_stand_for_gigabytes_are_refused():
    for suffix in (".png", ".jpg"):
        data = bytearray(encode(suffix, np.zeros((40, 60), np.uint8)))
        at = 16 if suffix == ".png" else data.index(b"\xff\xc0") + 5
        size = struct.pack(">II", 30_000, 30_000) if suffix == ".png" else struct.pack(">HH", 60_000, 60_000)
        data[at : at + len(size)] = size
        with pytest.raises(ImageError, match="pixels at most; scale it down"):
            decode_image(bytes(data))


def test_a_folder_of_folders_of_images_names_them(tmp_path):
    for name in ("cam0", "cam1", "imu"):
        (tmp_path / name).mkdir()
    for name in ("cam0", "cam1"):
        (tmp_path / name / "0.png").touch()
    with pytest.raises(DatasetError, match="its folders cam0, cam1 hold some, which are not searched"):
        list_images(tmp_path)
