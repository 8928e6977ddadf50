"""First poses by name: PoseLib's, OpenCV's, and by the recipe of docs/extending.md those of another project."""

import dataclasses
import logging

import cv2
import numpy as np
import pytest
from gathering import gather_hypotheses

from hfnet_ros.config import Config, PoseConfig, VerificationConfig
from hfnet_ros.errors import ConfigError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.pose import absolute_pose
from hfnet_ros.pose.absolute_pose import absolute_pose_method, pose_method_name, register_pose_method
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import Outcome

CALLS = []


def opencv_ransac(problem, subset, threshold_px, max_iterations, seed):
    """OpenCV's sampling, for a single camera."""
    CALLS.append(seed)
    rows = np.flatnonzero(subset)
    lens = np.diag([problem.focal, problem.focal, 1.0])
    cv2.setRNGSeed(seed)
    found, rotvec, translation, _ = cv2.solvePnPRansac(
        problem.points3d[rows],
        problem.pinhole[rows],
        lens,
        None,
        iterationsCount=max_iterations,
        reprojectionError=threshold_px,
    )
    return [Rigid3.from_rotvec(rotvec.ravel(), translation.ravel()).inverse()] if found else []


@pytest.fixture
def method():
    CALLS.clear()
    register_pose_method("opencv", opencv_ransac)
    yield "opencv"
    del absolute_pose._methods["opencv"]
    absolute_pose.POSE_METHOD_NAMES.remove("opencv")


def test_its_poses_compete_as_any(method, make_matches):
    maker = make_matches(3)
    problem = maker.mixed_problem(120, 60)
    best = gather_hypotheses(problem, PoseConfig(method=method), 3.0, 4.0)[0]
    assert best.map_from_camera.translation_to(maker.map_from_camera) < 0.02
    assert CALLS


def test_the_localizer_takes_it_by_name(method, apartment, config):
    config = dataclasses.replace(config, pose=dataclasses.replace(config.pose, method=method))
    localizer = Localizer(apartment.visual_map, SiftExtractor(config), config)
    truth = apartment.visual_map.map_from_camera(4)
    answer = localizer.localize(apartment.frame(truth))
    assert answer.outcome is Outcome.LOCALIZED
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.03
    assert CALLS


def test_a_method_nobody_registered_is_refused():
    with pytest.raises(ConfigError, match=r"pose\.method is 'guess', expected one of auto, lo-ransac, usac"):
        Config.from_dict({"pose": {"method": "guess"}})


def test_auto_is_not_a_name_for_a_method():
    with pytest.raises(ConfigError, match="'auto', which stands for lo-ransac or usac"):
        register_pose_method("auto", opencv_ransac)


def test_auto_takes_poselib_where_it_is_installed():
    pytest.importorskip("poselib", reason="PoseLib is not installed")
    assert pose_method_name(PoseConfig()) == "lo-ransac"
    assert absolute_pose_method(PoseConfig()) is absolute_pose.lo_ransac


def test_without_poselib_auto_takes_opencv_and_says_so_once(without_poselib, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert absolute_pose_method(PoseConfig()) is absolute_pose.usac
    (line,) = [record.message for record in caplog.records if "sampled" in record.message]
    assert "OpenCV's USAC, because PoseLib cannot be imported" in line


def test_without_poselib_its_method_is_refused_before_the_first_image(without_poselib):
    with pytest.raises(
        ConfigError, match=r"needs PoseLib: .*; pip install poselib .* or set it to auto or usac"
    ):
        PoseSolver(PoseConfig(method="lo-ransac"), VerificationConfig(), ErrorModel(1.0))


def test_of_equal_matches_both_solvers_end_at_one_pose(make_matches):
    """What follows the samples makes the same of them, as long as they are near."""
    pytest.importorskip("poselib", reason="PoseLib is not installed")
    problem = make_matches(4).mixed_problem(80, 120)
    one, other = (
        gather_hypotheses(problem, PoseConfig(method=name), 3.0, 4.0)[0] for name in ("lo-ransac", "usac")
    )
    assert one.map_from_camera.translation_to(other.map_from_camera) < 1e-4
    assert one.score == pytest.approx(other.score, rel=1e-4)
