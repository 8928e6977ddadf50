from types import SimpleNamespace

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.messages.camera_info import camera_from_message, camera_to_message
from hfnet_ros.messages.headers import header_to_message

K = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
P = [400.0, 0.0, 300.0, 0.0, 0.0, 400.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def info(**changes):
    roi = {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0, "do_rectify": False}
    roi.update(changes.pop("roi", {}))
    fields = {
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": np.array([0.1, -0.05, 0.001, 0.002, 0.01]),
        "k": np.array(K),
        "p": np.array(P),
        "binning_x": 0,
        "binning_y": 0,
    }
    return SimpleNamespace(**{**fields, **changes}, roi=SimpleNamespace(**roi))


def test_a_full_image():
    camera = camera_from_message(info())
    assert camera.model is DistortionModel.PLUMB_BOB
    assert camera.size_wh == (640, 480)
    np.testing.assert_allclose(camera.focal, [500.0, 510.0])
    np.testing.assert_allclose(camera.center, [320.0, 240.0])
    np.testing.assert_allclose(camera.distortion, [0.1, -0.05, 0.001, 0.002, 0.01])


@pytest.mark.parametrize(
    ("name", "coefficients", "model"),
    [
        ("", [], DistortionModel.NONE),
        ("", [0.0] * 5, DistortionModel.NONE),
        ("plumb_bob", [], DistortionModel.PLUMB_BOB),
        ("plumb_bob", [0.1, 0.2, 0.0, 0.0], DistortionModel.PLUMB_BOB),
        ("rational_polynomial", [0.1] * 8, DistortionModel.RATIONAL_POLYNOMIAL),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 6, DistortionModel.RATIONAL_POLYNOMIAL),
        ("equidistant", [0.01, 0.02, 0.0, 0.0], DistortionModel.EQUIDISTANT),
        ("fisheye", [0.01, 0.02, 0.0, 0.0], DistortionModel.EQUIDISTANT),
    ],
)
def test_distortion_models(name, coefficients, model):
    camera = camera_from_message(info(distortion_model=name, d=coefficients))
    assert camera.model is model
    given = coefficients[: len(camera.distortion)]
    np.testing.assert_allclose(camera.distortion[: len(given)], given)


@pytest.mark.parametrize(
    "model", [model for model in DistortionModel.known() if model is not DistortionModel.NONE]
)
def test_round_trip_over_the_wire(factory, model):
    number = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}[model.value]
    camera = Camera(
        model, (640, 480), np.array([500.0, 510.0]), np.array([320.0, 240.0]), np.linspace(0.01, 0.03, number)
    )
    message = camera_to_message(factory, camera, header_to_message(factory, 5, "camera"))
    cdr = factory.serialize(message, "sensor_msgs/msg/CameraInfo")
    received = camera_from_message(factory.deserialize(cdr, "sensor_msgs/msg/CameraInfo"))
    assert received.is_same_as(camera)
    assert received.model is model


def test_no_distortion_is_sent_under_a_name_ros_knows(factory):
    camera = Camera(DistortionModel.NONE, (64, 48), np.full(2, 50.0), np.full(2, 20.0), np.zeros(0))
    message = camera_to_message(factory, camera, header_to_message(factory, 5, "camera"))
    assert message.distortion_model == "plumb_bob"
    assert camera_from_message(message).is_same_as(camera)


def test_messages_of_ros_1():
    store = get_typestore(Stores.ROS1_NOETIC)
    fields = {name for name, _ in store.fielddefs["sensor_msgs/msg/CameraInfo"][1]}
    assert "K" in fields
    message = info()
    ros1 = SimpleNamespace(
        **{(name.upper() if len(name) == 1 else name): value for name, value in vars(message).items()}
    )
    assert camera_from_message(ros1).is_same_as(camera_from_message(message))


def test_region_of_interest_moves_the_centre():
    camera = camera_from_message(info(roi={"x_offset": 100, "y_offset": 50, "width": 320, "height": 240}))
    assert camera.size_wh == (320, 240)
    np.testing.assert_allclose(camera.focal, [500.0, 510.0])
    np.testing.assert_allclose(camera.center, [220.0, 190.0])


def test_binning_scales_pixel_areas():
    camera = camera_from_message(info(binning_x=2, binning_y=4))
    assert camera.size_wh == (320, 120)
    np.testing.assert_allclose(camera.focal, [250.0, 127.5])
    np.testing.assert_allclose(camera.center, [320.5 / 2 - 0.5, 240.5 / 4 - 0.5])


def test_a_point_is_seen_where_cutting_and_binning_put_its_pixel():
    changes = {
        "binning_x": 2,
        "binning_y": 2,
        "roi": {"x_offset": 100, "y_offset": 50, "width": 320, "height": 240},
    }
    point = np.array([[0.1, -0.2, 2.0]])
    full = camera_from_message(info()).project(point)[0]
    # Pixel areas 2k and 2k + 1 of the region become pixel k: their common border lies at k.
    expected = (full - [100, 50] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(camera_from_message(info(**changes)).project(point)[0], expected)


def test_rectified_images_follow_p():
    camera = camera_from_message(info(), rectified=True)
    assert not camera.has_distortion
    np.testing.assert_allclose(camera.focal, [400.0, 400.0])
    np.testing.assert_allclose(camera.center, [300.0, 200.0])


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"k": [0.0] * 9}, "K is all zeros: the driver has no calibration"),
        ({"k": [*K[:4], float("nan"), *K[5:]]}, "K is not finite"),
        ({"d": [0.1, float("inf")]}, "D is not finite"),
        ({"k": [-500.0, *K[1:]]}, "focal length is"),
        ({"k": [500.0, 3.0, *K[2:]]}, "skew of 3 px, expected 0"),
        ({"k": [*K[:8], 0.0]}, "expected .*fx, 0, cx"),
        ({"width": 0}, "0x480 px, expected both positive"),
        ({"height": 0}, "640x0 px, expected both positive"),
        ({"distortion_model": "division"}, "'division' is unknown; known are"),
        ({"distortion_model": ""}, "5 coefficients, expected 0 for .*none.*; name the model"),
        ({"distortion_model": "equidistant"}, "5 coefficients, expected 4 for .*equidistant"),
        ({"roi": {"x_offset": 400, "width": 320}}, "region of interest 320x480 at .400, 0."),
        ({"roi": {"x_offset": 640}}, "does not fit the image of 640x480"),
        ({"binning_x": 1000}, "binning 1000x1"),
    ],
)
def test_what_cannot_be_used_is_refused(changes, found):
    with pytest.raises(CalibrationError, match=found):
        camera_from_message(info(**changes))


def test_rectified_images_need_p():
    with pytest.raises(CalibrationError, match="P is all zeros"):
        camera_from_message(info(p=np.zeros(12)), rectified=True)


@pytest.mark.parametrize("center", [(10.0, 230.0), (690.0, -40.0), (319.5, 470.0)])
def test_a_part_of_an_image_is_a_region_of_interest(center, factory):
    camera = Camera(DistortionModel.NONE, (640, 480), np.array([525.0, 526.0]), np.array(center), np.zeros(0))
    message = camera_to_message(factory, camera, header_to_message(factory, 1, "camera"))
    assert (message.roi.width, message.roi.height) == (640, 480)
    read = camera_from_message(message)
    assert read.size_wh == camera.size_wh
    np.testing.assert_allclose(read.center, center, atol=1e-9)
