"""Descriptors, pixels and names as a map stores them: small, and nearly what they were."""

import numpy as np
import pytest

from hfnet_ros.map.name_table import NameTable
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.unit_vectors import UnitVectors, concatenate


def unit(rng, count, size):
    rows = rng.normal(size=(count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("size", [64, 128, 1024])
def test_directions_come_back_nearly(size):
    vectors = unit(np.random.default_rng(size), 500, size)
    back = UnitVectors.encode(vectors)[:]
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1.0, atol=1e-6)
    assert np.einsum("nd,nd->n", vectors, back).min() > 0.9999


def test_hand_computed_codes():
    codes = UnitVectors.encode([[0.6, 0.8], [0.0, -2.0], [0.0, 0.0]])
    assert codes.codes.tolist() == [[95, 127], [0, -127], [0, 0]]
    np.testing.assert_allclose(codes[1], [0.0, -1.0])
    assert codes[2].tolist() == [0.0, 0.0], "nothing was found in this image"


def test_codes_of_what_comes_back_are_the_same():
    once = UnitVectors.encode(unit(np.random.default_rng(1), 300, 64))
    np.testing.assert_array_equal(UnitVectors.encode(once[:]).codes, once.codes)
    assert UnitVectors.encode(once) is once


def test_rows_are_decoded_as_asked():
    vectors = UnitVectors.encode(unit(np.random.default_rng(2), 9, 8))
    everything = np.asarray(vectors)
    np.testing.assert_array_equal(vectors[3], everything[3])
    np.testing.assert_array_equal(vectors[[5, 1]], everything[[5, 1]])
    assert vectors[np.array([[0, 1], [2, 3]])].shape == (2, 2, 8)
    joined = concatenate(vectors, vectors.chosen([4]))
    np.testing.assert_array_equal(joined[9], everything[4])


def test_a_number_that_is_none_is_named():
    vectors = np.ones((4, 3))
    vectors[2, 1] = np.nan
    with pytest.raises(ValueError, match="first row 2"):
        UnitVectors.encode(vectors)
    with pytest.raises(ValueError, match=r"\[3\]"):
        UnitVectors.encode(np.ones(3))


@pytest.mark.parametrize(("width", "steps"), [(640, 16), (4000, 16), (4200, 8), (12000, 4), (60000, 1)])
def test_pixels_come_back_on_the_finest_grid_that_holds_them(width, steps):
    pixels = np.random.default_rng(3).uniform(-0.5, width, (1000, 2))
    pixels[0] = width
    stored = PixelPositions.encode(pixels)
    assert stored.steps_per_px == steps
    assert np.abs(stored[:] - pixels).max() <= 0.5 / steps + 5e-3
    np.testing.assert_array_equal(PixelPositions.encode(stored[:]).codes, stored.codes)


@pytest.mark.parametrize("wrong", [[0.0, np.nan], [-9.0, 5.0], [70000.0, 5.0]])
def test_what_lies_in_no_image_is_named(wrong):
    with pytest.raises(ValueError, match="first row 1"):
        PixelPositions.encode([[0.0, 0.0], wrong])


def test_names_are_text_or_bytes_that_are_none():
    names = ["1.png", "Bücher.png", "", "not text \udcff.png"]
    table = NameTable.of(names)
    assert list(table) == names
    assert table[-1] == names[3]
    assert table[1:3] == ("Bücher.png", "")
    assert table == tuple(names)
    assert table != names[:3]
    with pytest.raises(IndexError):
        _ = table[4]
