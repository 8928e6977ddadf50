"""Images of a rig's cameras pair by the numbers or times in their names, and by order only where these say nothing."""

import logging

import numpy as np
import pytest

from hfnet_ros.errors import DatasetError
from hfnet_ros.files.images_of_one_time import images_of_one_time

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000


@pytest.fixture
def pair(tmp_path):
    """Return a function that makes images of cameras by their names, and says which are of one time."""

    def pair(**names):
        for camera, files in names.items():
            (tmp_path / camera).mkdir()
            for name in files:
                (tmp_path / camera / name).touch()
        found = images_of_one_time({camera: tmp_path / camera for camera in names}, 0.02)
        return list(zip(*([path.name for path in paths] for paths in found.values()), strict=True))

    return pair


def stamped(rows, offset_ns=0, jitter_ns=0):
    rng = np.random.default_rng(0)
    return [
        f"{START_NS + row * PERIOD_NS + offset_ns + int(rng.integers(-jitter_ns, jitter_ns + 1))}.png"
        for row in rows
    ]


def test_equal_numbers_are_of_one_time_and_others_are_left_out(pair, caplog):
    left = [f"left_{row:06d}.png" for row in range(20) if row != 7]
    right = [f"right_{row:06d}.png" for row in range(20) if row != 12]
    rows = [row for row in range(20) if row not in (7, 12)]
    assert pair(left=left, right=right) == [(f"left_{row:06d}.png", f"right_{row:06d}.png") for row in rows]
    assert "18 of 19 of 'left', 19 of 'right' have an image of their time" in caplog.text
    assert "2 images are left out" in caplog.text


def test_the_nearest_times_within_the_tolerance_are_of_one_time(pair, caplog):
    left = stamped([row for row in range(20) if row != 3])
    right = stamped([row for row in range(20) if row not in (10, 11)], 4_000_000, 2_000_000)
    found = pair(left=left, right=right)
    times = np.array([[int(name[:-4]) for name in names] for names in found])
    assert len(found) == 17
    assert np.abs(times[:, 0] - times[:, 1]).max() < 7_000_000
    assert "17 of 19 of 'left', 18 of 'right'" in caplog.text


def test_times_in_seconds_and_in_nanoseconds_pair(pair):
    rows = range(12)
    left = [f"{(START_NS + row * PERIOD_NS) / 1e9:.6f}.png" for row in rows]
    assert pair(left=left, right=stamped(rows, 1000)) == list(zip(left, stamped(rows, 1000), strict=True))


def test_three_cameras_need_an_image_of_each(pair):
    rows = range(10)
    found = pair(
        front=stamped(rows),
        left=stamped([row for row in rows if row != 2], 1_000_000),
        right=stamped(rows, -1_000_000),
    )
    assert [names[0] for names in found] == [name for row, name in enumerate(stamped(rows)) if row != 2]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["a.png", "b.png", "c.png"], ["x.png", "y.png", "z.png"]),
        ([f"{row}.png" for row in range(3)], [f"{row}.png" for row in range(100, 103)]),
    ],
)
def test_names_that_say_nothing_pair_by_order(pair, caplog, left, right):
    assert pair(left=left, right=right) == list(zip(left, right, strict=True))
    assert not caplog.records


def test_times_that_do_not_meet_pair_by_order_and_it_is_told(pair, caplog):
    left, right = stamped(range(8)), stamped(range(8), 45_000_000)
    assert pair(left=left, right=right) == list(zip(left, right, strict=True))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "images of 'right' are 0.045 s from those of 'left' at the median" in record.getMessage()


def test_a_few_equal_numbers_are_chance(pair, caplog):
    left, right = [f"{row}.png" for row in range(10)], [f"{row}.png" for row in range(8, 18)]
    assert pair(left=left, right=right) == list(zip(left, right, strict=True))


def test_numbers_of_images_that_differ_are_refused_where_names_say_nothing(pair):
    with pytest.raises(
        DatasetError, match=r"found 2 of 'left', 3 of 'right', expected as many .* or numbers"
    ):
        pair(left=["a.png", "b.png"], right=["a.png", "b.png", "c.png"])
