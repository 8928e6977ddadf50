import cv2
import numpy as np
import pytest

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.calibration import Calibration

K = np.array([[430.0, 0.0, 322.0], [0.0, 431.0, 241.0], [0.0, 0.0, 1.0]])
EIGHT = [-0.12, 0.03, 0.0005, -0.0005, 0.01, 0.02, -0.005, 0.0]


def fitted(coefficients):
    return Calibration((640, 480), K, "rational_polynomial", np.array(coefficients)).camera()


@pytest.mark.parametrize(
    "more",
    [
        [0.001, -0.0005, 0.0003, 0.0001],
        [0.001, -0.0005, 0.0003, 0.0001, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.002, -0.001],
        [-0.0008, 0.0002, 0.0005, 0.0, 0.001, 0.002],
    ],
)
def test_a_small_prism_or_tilt_is_expressed_by_the_other_eight(more):
    camera = fitted(EIGHT + more)
    assert camera.model == "rational_polynomial"
    (note,) = camera.notes
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-0.7, 0.7, 500), rng.uniform(-0.52, 0.52, 500), np.ones(500)])
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(EIGHT + more))[0][:, 0]
    off = np.linalg.norm(camera.project(points) - expected, axis=1)
    assert np.sqrt((off**2).mean()) < 0.2
    # Without the fit, the eight alone are farther off.
    alone = np.linalg.norm(fitted(EIGHT).project(points) - expected, axis=1)
    assert np.sqrt((off**2).mean()) < 0.5 * np.sqrt((alone**2).mean())
    assert "expressed by the other eight" in note


def test_a_large_prism_is_refused_with_the_remedy():
    with pytest.raises(CalibrationError, match=r"express only to .* recalibrate with eight .* or rectify"):
        fitted([*EIGHT, 0.05, 0.02, -0.05, 0.02])
