"""A lens of another project: one `Lens`, one name, and every part that takes a camera takes it.

The recipe of docs/extending.md, written out.
"""

import numpy as np
import pytest
from gathering import gather_hypotheses

from hfnet_ros.config import PoseConfig
from hfnet_ros.errors import CalibrationError
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.lenses import Lens
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import make_problem
from hfnet_ros.pose.refinement import refine_on_inliers
from hfnet_ros.types import Correspondences, RigCamera


def bend(normalized, coefficients):
    """The division model: r_u = r_d / (1 + k r_d^2)."""
    (k,) = coefficients
    radius = np.linalg.norm(normalized, axis=1, keepdims=True)
    return normalized * 2.0 / (1.0 + np.sqrt(np.maximum(1.0 - 4.0 * k * radius**2, 0.0)))


def straighten(bent, coefficients):
    (k,) = coefficients
    return bent / (1.0 + k * np.sum(bent**2, axis=1, keepdims=True))


@pytest.fixture
def division():
    yield DistortionModel.register("division", Lens(1, bend, straighten))
    del DistortionModel._known["division"]


@pytest.fixture
def camera(division):
    return Camera(division, (640, 480), [420.0, 420.0], [319.5, 239.5], [-0.2])


def test_there_and_back(camera):
    pixels = np.random.default_rng(0).uniform([0, 0], [639, 479], (200, 2))
    np.testing.assert_allclose(camera.project(camera.unproject(pixels) * 3.0), pixels, atol=1e-6)


def test_its_derivative_is_taken_by_differences(camera):
    points = np.random.default_rng(1).uniform([-1, -1, 2], [1, 1, 4], (20, 3))
    _, jacobian = camera.project_with_jacobian(points)
    step = 1e-6
    for axis in range(3):
        offset = np.eye(3)[axis] * step
        expected = (camera.project(points + offset) - camera.project(points - offset)) / (2 * step)
        np.testing.assert_allclose(jacobian[:, :, axis], expected, atol=1e-3)


def test_a_pose_is_found_through_it(camera):
    rng = np.random.default_rng(2)
    truth = Rigid3.from_rotvec([0.1, -0.4, 0.2], [1.0, 2.0, 0.5])
    points = truth @ rng.uniform([-2, -1.5, 3], [2, 1.5, 8], (120, 3))
    pixels = camera.project(truth.inverse() @ points) + rng.normal(0.0, 0.3, (120, 2))
    rows = np.arange(120)
    matches = Correspondences(pixels, points, rows, rows, np.linspace(1, 0.7, 120, dtype=np.float32))
    problem = make_problem(matches, [RigCamera(camera)])
    best = gather_hypotheses(problem, PoseConfig(), 3.0, 4.0)[0].map_from_camera
    estimate = refine_on_inliers(problem, best, np.ones(120, np.bool_), 4.0)
    assert estimate.map_from_camera.translation_to(truth) < 0.01
    assert estimate.num_inliers > 110


def test_it_is_read_from_a_calibration_file(division, tmp_path):
    file = tmp_path / "camera.yaml"
    file.write_text(
        "image_width: 640\nimage_height: 480\ndistortion_model: division\n"
        "distortion_coefficients: {rows: 1, cols: 1, data: [-0.2]}\n"
        "camera_matrix: {rows: 3, cols: 3, data: [420, 0, 319.5, 0, 420, 239.5, 0, 0, 1]}\n"
    )
    assert read_camera_yaml(file).model is division


def test_without_it_the_name_is_unknown_and_the_known_are_told():
    with pytest.raises(CalibrationError, match="'division' is unknown; known are none, plumb_bob"):
        DistortionModel.from_ros("division")
