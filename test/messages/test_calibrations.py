from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.errors import CalibrationError, ImageError
from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.messages.calibrations import TopicCalibrations, is_rectified


def info(focal=430.0, frame_id="camera", seconds=0, **changes):
    fields = {
        "header": SimpleNamespace(frame_id=frame_id, stamp=SimpleNamespace(sec=seconds, nanosec=0)),
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": np.array([0.1, -0.05, 0.0, 0.0, 0.0]),
        "k": np.array([focal, 0.0, 319.5, 0.0, focal, 239.5, 0.0, 0.0, 1.0]),
        "p": np.array([400.0, 0.0, 320.0, 0.0, 0.0, 400.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.fixture
def calibrations():
    return TopicCalibrations("/cam/camera_info", "/cam/image_raw")


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("/camera/image_raw", False),
        ("/camera/image_rect", True),
        ("/camera/image_rect_color", True),
        ("/zed/rgb/color/rect/image", True),
        ("/left/image_rectified", True),
        ("/rectangle/image", False),
        ("/direct/image", False),
    ],
)
def test_rectified_topics_by_name(topic, expected):
    assert is_rectified(topic) is expected


def test_images_of_a_rectified_topic_follow_p():
    calibrations = TopicCalibrations("/cam/camera_info", "/cam/image_rect_color")
    calibrations.take(info())
    camera = calibrations.camera_of("camera")
    assert camera.focal[0] == 400.0
    assert not camera.has_distortion


def test_each_frame_has_the_calibration_that_names_it(calibrations):
    with pytest.raises(CalibrationError, match="/cam/camera_info: no camera_info has come"):
        calibrations.camera_of("left")
    calibrations.take(info(430.0, "left"))
    assert calibrations.camera_of("left").focal[0] == 430.0
    with pytest.raises(CalibrationError, match="no camera_info of 'right' yet, only of 'left'"):
        calibrations.camera_of("right")
    calibrations.take(info(500.0, "/right"))
    assert [calibrations.camera_of(name).focal[0] for name in ("left", "right")] == [430.0, 500.0]


def test_a_frame_that_no_calibration_names_takes_the_newest(calibrations):
    calibrations.take(info(430.0, ""))
    assert calibrations.camera_of("camera").focal[0] == 430.0


def test_an_unusable_message_leaves_the_calibration_before(calibrations):
    zeros = info(k=np.zeros(9), p=np.zeros(12))
    with pytest.raises(CalibrationError, match=r"^/cam/camera_info: K is all zeros"):
        calibrations.take(zeros)
    assert not calibrations.is_known
    with pytest.raises(CalibrationError, match=r"^/cam/camera_info: K is all zeros"):
        calibrations.camera_of("camera")
    assert not calibrations.take(info())
    camera = calibrations.camera_of("camera")
    with pytest.raises(
        CalibrationError, match="0x480 px, expected both positive; let the driver fill in width"
    ):
        calibrations.take(info(width=0))
    assert calibrations.camera_of("camera") is camera
    assert not calibrations.take(info())  # the same again stays the same record
    assert calibrations.camera_of("camera") is camera
    assert calibrations.take(info(500.0))


def test_an_image_of_another_size_names_the_topic(calibrations):
    calibrations.take(info())
    with pytest.raises(ImageError, match=r"^/cam/image_raw: the image is 320x240 px, expected .* 640x480"):
        calibrations.frame(1, np.zeros((240, 320), np.uint8), "camera")
    assert calibrations.frame(1, np.zeros((480, 640), np.uint8), "camera").camera_frame_id == "camera"


def test_two_drivers_are_checked_once_and_each_has_its_own_problem(calibrations, monkeypatch):
    checked = []
    check = Calibration.camera
    monkeypatch.setattr(
        Calibration, "camera", lambda stated, **kind: checked.append(1) or check(stated, **kind)
    )
    bad = info(frame_id="right", k=np.zeros(9), p=np.zeros(12))
    for _ in range(5):
        calibrations.take(info(430.0, "left"))
        with pytest.raises(CalibrationError, match="K is all zeros"):
            calibrations.take(bad)
    assert len(checked) == 2
    assert calibrations.camera_of("left").focal[0] == 430.0
    with pytest.raises(CalibrationError, match="K is all zeros"):
        calibrations.camera_of("right")


def test_calibrations_that_take_turns_are_told_until_one_has_come_alone_for_long(calibrations):
    for number in range(5):
        assert calibrations.contested == ()
        calibrations.take(info(430.0 if number % 2 else 443.0))
    calibrations.take(info(443.0))
    (said,) = calibrations.contested
    assert said.startswith(
        "/cam/camera_info: calibrations of 'camera' take turns, with focal lengths of (430.0, 430.0)"
    )
    for _ in range(60):
        calibrations.take(info(443.0))
    assert calibrations.contested == ()


def test_a_zoom_that_comes_back_now_and_then_takes_no_turns(calibrations):
    for number in range(200):
        calibrations.take(info(430.0 if number // 40 % 2 else 500.0))
        assert calibrations.contested == ()


def test_a_zoom_in_steps_takes_no_turns(calibrations):
    for number in range(40):
        calibrations.take(info(430.0 + number % 7))
    assert calibrations.contested == ()


def test_an_image_that_waited_while_the_camera_zoomed_has_the_calibration_of_its_time(calibrations):
    """The newest was taken, whichever had come by then: by 1 % of the focal length NEES/6 was 75 to 277."""
    for seconds, focal in ((100, 430.0), (101, 430.0), (102, 440.0), (103, 450.0)):
        calibrations.take(info(focal, seconds=seconds))
    focals = [calibrations.camera_of("camera", seconds * 10**9).focal[0] for seconds in (101, 102, 105)]
    assert focals == [430.0, 440.0, 450.0]
    image = np.zeros((480, 640), np.uint8)
    assert calibrations.frame(102 * 10**9, image, "camera").camera.focal[0] == 440.0
    # Stamped by another clock, or not at all, they hold as they come.
    assert calibrations.camera_of("camera", 10**9).focal[0] == 450.0
    calibrations.take(info(460.0))
    assert calibrations.camera_of("camera", 101 * 10**9).focal[0] == 460.0


def test_two_cameras_on_one_topic_take_no_turns(calibrations):
    for _ in range(20):
        calibrations.take(info(430.0, "left"))
        calibrations.take(info(500.0, "right"))
    assert calibrations.contested == ()
