"""Keyframes from a stream: when one is due, which image is taken, and what is held meanwhile."""

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import ImageError, MappingError
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.mapping.keyframe_stream import (
    KeyframeSelector,
    SelectionLimits,
    exposure_problem,
    measure_sharpness,
    share_in_view,
)
from hfnet_ros.mapping.views import MappingImage

CAMERA = Camera(DistortionModel.NONE, (160, 120), np.array([80.0, 80.0]), np.array([79.5, 59.5]), np.zeros(0))
PICTURE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8), (0, 0), 1.0
)  # not white noise: that survives no resampling


def blurred(sigma):
    return cv2.GaussianBlur(PICTURE, (0, 0), sigma)


class Stream:
    """Images along x; counts which were read."""

    def __init__(self, positions_m, pictures=None, angles_deg=None):
        self.read_rows = []
        pictures = pictures or {}
        angles_deg = np.zeros(len(positions_m)) if angles_deg is None else angles_deg
        self.entries = []
        for row, (position, angle) in enumerate(zip(positions_m, angles_deg, strict=True)):
            pose = Rigid3.from_rotvec([0.0, np.radians(angle), 0.0], [position, 0.0, 0.0])
            image = MappingImage(f"{row}", row, 0, self._reader(row, pictures.get(row, PICTURE)))
            self.entries.append((image, pose))

    def _reader(self, row, picture):
        def read():
            self.read_rows.append(row)
            return picture

        return read

    def select(self, **limits):
        selector = KeyframeSelector(SelectionLimits(**limits), [CAMERA])
        rows = [image.stamp_ns for image, _ in selector.select(iter(self.entries))]
        return rows, selector.report


def test_without_a_window_a_keyframe_is_taken_where_it_is_due():
    stream = Stream(np.arange(0.0, 2.01, 0.1))
    rows, report = stream.select(min_distance_m=0.5, window=0.0, max_window=1)
    assert rows == [0, 5, 10, 15, 20]
    assert (report.num_seen, report.num_selected) == (21, 5)


def test_the_sharpest_image_near_the_place_is_taken():
    pictures = {row: blurred(0.5) for row in range(21)} | {0: PICTURE, 6: PICTURE, 11: PICTURE}
    rows, report = Stream(np.arange(0.0, 2.01, 0.1), pictures).select(min_distance_m=0.5, window=0.3)
    assert rows[:3] == [0, 6, 11]
    assert report.rejected["less sharp"] > 0


def test_every_image_of_the_stream_is_accounted_for():
    pictures = {3: blurred(4.0), 5: np.zeros_like(PICTURE), 6: blurred(3.0)}
    _, report = Stream(np.arange(0.0, 2.01, 0.1), pictures).select(min_distance_m=0.4)
    assert report.num_seen == report.num_selected + sum(report.rejected.values())
    assert report.text().startswith(f"{report.num_selected} of 21 images selected; ")


def test_a_blurred_stretch_is_waited_out_rather_than_mapped():
    positions = np.arange(0.0, 2.01, 0.1)
    pictures = {row: blurred(4.0) for row in range(4, 7)}
    rows, report = Stream(positions, pictures).select(min_distance_m=0.5, window=0.1)
    assert report.rejected["blurred"] > 0
    assert not set(rows) & set(range(4, 7))
    assert rows[1] in (7, 8), "the first sharp image after the blurred ones"


def test_sharpness_is_relative_to_the_neighbours():
    """A whole stream through a soft lens is selected from like any other."""
    positions = np.arange(0.0, 2.01, 0.1)
    soft = {row: blurred(2.5) for row in range(len(positions))}
    rows, report = Stream(positions, soft).select(min_distance_m=0.5)
    assert len(rows) == 5
    assert report.rejected["blurred"] == 0


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.full((120, 160), 12, np.uint8), "too dark"),
        (np.full((120, 160), 240, np.uint8), "too bright"),
        (np.where(np.arange(160) % 2, 255, 0).astype(np.uint8)[None].repeat(120, 0), "clipped"),
        (PICTURE, ""),
    ],
)
def test_exposure(picture, reason):
    assert exposure_problem(picture) == reason


def test_badly_exposed_images_are_never_keyframes():
    positions = np.arange(0.0, 2.01, 0.1)
    dark = {row: np.full_like(PICTURE, 5) for row in (0, 5, 10)}
    rows, report = Stream(positions, dark).select(min_distance_m=0.5)
    assert not set(rows) & {0, 5, 10}
    assert report.rejected["too dark"] == 3
    assert len(rows) >= 4


def test_images_far_from_any_place_are_not_read():
    stream = Stream(np.arange(0.0, 4.01, 0.1))
    stream.select(min_distance_m=1.0, window=0.2)
    assert not set(stream.read_rows) & {4, 5, 6}
    assert len(stream.read_rows) < 25


def test_turning_is_motion_too():
    stream = Stream(np.zeros(31), angles_deg=np.arange(31.0))
    rows, _ = stream.select(min_angle_deg=9.5, window=0.0, max_window=1)
    assert rows == [0, 10, 20, 30]


def test_overlap_asks_for_a_keyframe_when_half_of_the_view_is_new():
    # At 2 m the image is 4 m wide: after 2 m half of it is new.
    stream = Stream(np.arange(0.0, 4.21, 0.2))
    rows, _ = stream.select(min_overlap=0.5, depth_m=2.0, window=0.0, max_window=1)
    assert rows[0] == 0
    assert 9 <= rows[1] <= 11


def test_share_in_view_counts_what_is_inside_the_image():
    points = np.array([[0.0, 0.0, 2.0], [1.9, 0.0, 2.0], [2.1, 0.0, 2.0], [0.0, 0.0, -2.0]])
    assert share_in_view(points, CAMERA) == pytest.approx(0.5)


def test_standing_still_holds_a_bounded_number_of_images():
    positions = np.concatenate([np.zeros(1), np.full(500, 0.9), [2.0]])
    selector = KeyframeSelector(SelectionLimits(min_distance_m=1.0, max_window=6), [CAMERA])
    most = 0
    for _ in selector.select(iter(Stream(positions).entries)):
        most = max(most, len(selector._window))
    assert most <= 6
    assert selector.report.num_seen == 502


def test_the_stream_is_consumed_lazily():
    entries = Stream(np.arange(0.0, 50.0, 0.1)).entries
    taken = []

    def source():
        for entry in entries:
            taken.append(entry)
            yield entry

    selected = KeyframeSelector(SelectionLimits(min_distance_m=0.5), [CAMERA]).select(source())
    next(selected)
    next(selected)
    assert len(taken) < 12


def test_the_same_stream_gives_the_same_keyframes():
    pictures = {row: blurred(0.8 + 0.1 * (row % 7)) for row in range(60)}
    first, second = (
        Stream(np.arange(0.0, 6.0, 0.1), pictures).select(min_distance_m=0.5)[0] for _ in range(2)
    )
    assert first == second


def test_sharpness_falls_with_blur_and_not_with_contrast():
    values = [measure_sharpness(blurred(sigma)) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert values == sorted(values, reverse=True)
    low_contrast = (PICTURE // 2 + 60).astype(np.uint8)
    assert measure_sharpness(low_contrast) == pytest.approx(measure_sharpness(PICTURE), rel=0.05)


def test_an_empty_stream_selects_nothing():
    assert Stream([]).select(min_distance_m=1.0)[0] == []


def test_an_unreadable_image_passes_its_error_on():
    def fail():
        raise ImageError("broken")

    entry = (MappingImage("0", 0, 0, fail), Rigid3.identity())
    with pytest.raises(ImageError, match="broken"):
        list(KeyframeSelector(SelectionLimits(min_distance_m=1.0), [CAMERA]).select([entry]))


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"min_distance_m": -1.0},
        {"min_distance_m": float("nan")},
        {"min_overlap": 1.0},
        {"min_distance_m": 1.0, "window": 1.0},
        {"min_overlap": 0.5, "depth_m": 0.0},
    ],
)
def test_limits_must_make_sense(limits):
    with pytest.raises(MappingError, match="expected"):
        SelectionLimits(**limits)
