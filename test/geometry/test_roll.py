"""Roll about the optical axis against what is up."""

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.roll import common_up, roll_against

UP = np.array([0.0, 0.0, 1.0])
# Looks along the map's x: its right is -y, its down is -z.
AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def turned(rotvec):
    return Rigid3.from_rotvec(rotvec, np.zeros(3)).rotation


def rolled(yaw, roll):
    return turned([0.0, 0.0, yaw]) @ AHEAD @ turned([0.0, 0.0, roll])


@pytest.mark.parametrize("roll", [0.0, 0.4, -1.3, 3.0])
def test_roll_is_found_whatever_yaw_and_pitch(roll):
    pitched = turned([0.0, 0.0, 0.7]) @ AHEAD @ turned([0.3, 0.0, 0.0]) @ turned([0.0, 0.0, roll])
    assert roll_against(pitched, UP) == pytest.approx(roll)


def test_a_camera_turned_back_by_its_roll_is_upright():
    back = rolled(0.2, 1.1) @ turned([0.0, 0.0, -roll_against(rolled(0.2, 1.1), UP)])
    np.testing.assert_allclose(back, rolled(0.2, 0.0), atol=1e-12)


def test_a_camera_that_looks_along_up_has_no_roll():
    assert roll_against(np.eye(3), UP) == 0.0


def test_cameras_that_roll_a_little_agree_on_up():
    rotations = np.array([rolled(yaw, 0.5 * np.sin(3.0 * yaw)) for yaw in np.linspace(0.0, 6.0, 20)])
    assert common_up(rotations) @ UP > 0.98


def test_cameras_that_roll_anyhow_agree_on_the_axis_they_do_not_look_along():
    rotations = np.array([rolled(yaw, 5.0 * yaw) for yaw in np.linspace(0.0, 6.0, 40)])
    assert np.linalg.norm(rotations[:, :, 1].mean(axis=0)) < 0.3
    axis = common_up(rotations)
    assert abs(axis @ UP) > 0.99
    assert (-rotations[:, :, 1] @ axis).sum() > 0.0
