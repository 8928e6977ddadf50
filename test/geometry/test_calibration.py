import numpy as np
import pytest

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.geometry.camera import DistortionModel

K = np.array([[215.0, 0.0, 159.5], [0.0, 216.0, 119.5], [0.0, 0.0, 1.0]])
P = np.array([[200.0, 0.0, 158.0], [0.0, 200.0, 121.0], [0.0, 0.0, 1.0]])
PLUMB_BOB, RATIONAL = DistortionModel.PLUMB_BOB, DistortionModel.RATIONAL_POLYNOMIAL
D = [-0.12, 0.03, 0.0005, -0.0005, 0.01]


def stated(coefficients=(), model="plumb_bob", matrix=K, projection=None, **more):
    return Calibration((320, 240), matrix, model, np.array(coefficients, np.float64), projection, **more)


@pytest.mark.parametrize(
    ("name", "coefficients", "model", "used"),
    [
        ("plumb_bob", [], PLUMB_BOB, 0),
        ("plumb_bob", D[:4], PLUMB_BOB, 4),
        ("plumb_bob", D, PLUMB_BOB, 5),
        ("plumb_bob", [*D, 0, 0, 0], PLUMB_BOB, 5),
        ("plumb_bob", [*D] + [0] * 9, PLUMB_BOB, 5),
        ("plumb_bob", [*D, 0.01, 0.002, 0], RATIONAL, 8),
        ("rational_polynomial", D, RATIONAL, 5),
        ("rational_polynomial", [*D, 0.01, 0.002, 0], RATIONAL, 8),
        ("rational_polynomial", [*D, 0.01, 0.002, 0] + [0] * 4, RATIONAL, 8),
        ("rational_polynomial", [*D, 0.01, 0.002, 0] + [0] * 6, RATIONAL, 8),
        ("Radtan", D[:4], PLUMB_BOB, 4),
        ("brown-conrady", D, PLUMB_BOB, 5),
        ("equidistant", D[:4], DistortionModel.EQUIDISTANT, 4),
        ("Kannala-Brandt", [*D[:4], 0.0], DistortionModel.EQUIDISTANT, 4),
    ],
)
def test_coefficients_of_all_lengths(name, coefficients, model, used):
    camera = stated(coefficients, name).camera()
    assert camera.model is model
    np.testing.assert_array_equal(camera.distortion[:used], coefficients[:used])
    assert not camera.distortion[used:].any()


@pytest.mark.parametrize(
    ("name", "coefficients", "found"),
    [
        ("plumb_bob", D[:3], "D has 3 coefficients, expected 0, 4, 5, 8, 12 or 14"),
        ("plumb_bob", [*D, 0.1], "D has 6 coefficients"),
        ("equidistant", D, "D has 5 coefficients, expected 4"),
        ("equidistant", D[:3], "D has 3 coefficients, expected 4"),
        ("", D, "expected 0 .*name the model"),
        ("fov", D[:1], "'fov' is unknown; known are"),
        ("plumb_bob", [np.nan] * 5, "D is not finite"),
    ],
)
def test_coefficients_that_mean_nothing(name, coefficients, found):
    with pytest.raises(CalibrationError, match=found):
        stated(coefficients, name).camera()


def test_what_five_and_eight_coefficients_say_alike_is_the_same_camera():
    five, eight = stated(D).camera(), stated([*D, 0, 0, 0], "rational_polynomial").camera()
    assert five.is_same_as(eight)
    assert not five.is_same_as(stated([*D, 0.001, 0, 0], "rational_polynomial").camera())
    assert not stated(D[:4]).camera().is_same_as(stated(D[:4], "equidistant").camera())


def test_a_skew_too_small_to_matter_is_noted():
    matrix = K.copy()
    matrix[0, 1] = 1e-12
    assert stated(matrix=matrix).camera().notes == ()
    matrix[0, 1] = -0.1
    assert stated(matrix=matrix).camera().notes == ("K has a skew of -0.1 px, which is taken for 0",)
    matrix[0, 1] = 0.005 * 215
    with pytest.raises(CalibrationError, match=r"skew of 1.075 px, expected 0; recalibrate without skew"):
        stated(matrix=matrix).camera()


def test_rectified_images_follow_p():
    raw, rectified = (stated(D, projection=P).camera(rectified=flag) for flag in (False, True))
    np.testing.assert_array_equal(raw.focal, [215.0, 216.0])
    np.testing.assert_array_equal(rectified.focal, [200.0, 200.0])
    np.testing.assert_array_equal(rectified.center, [158.0, 121.0])
    assert raw.has_distortion
    assert not rectified.has_distortion


def test_one_matrix_is_enough_where_nothing_is_distorted():
    zeros = np.zeros((3, 3))
    for flag in (False, True):
        only_p = stated(matrix=zeros, projection=P).camera(rectified=flag)
        only_k = stated(projection=zeros).camera(rectified=flag)
        assert (only_p.focal[0], only_k.focal[0]) == (200.0, 215.0)
    # P may be there while K and D are those of a raw image that nobody calibrated.
    assert stated(D, matrix=zeros, projection=P).camera(rectified=True).focal[0] == 200.0
    with pytest.raises(CalibrationError, match="K is all zeros: the driver has no calibration"):
        stated(D, matrix=zeros, projection=P).camera()
    with pytest.raises(CalibrationError, match="P is all zeros, which rectified images follow"):
        stated(D, projection=zeros).camera(rectified=True)
    with pytest.raises(CalibrationError, match="K is all zeros"):
        stated(matrix=zeros, projection=zeros).camera(rectified=True)


def test_an_error_names_its_file_and_the_option():
    with pytest.raises(CalibrationError, match=r"^front.yaml: D has 3 .* \(option --camera\)$"):
        stated(D[:3], source="front.yaml").camera()
