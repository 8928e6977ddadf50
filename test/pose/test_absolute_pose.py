"""First poses by a method of another project: the recipe of docs/extending.md, written out."""

import dataclasses

import cv2
import numpy as np
import pytest

from hfnet_ros.config import Config, PoseConfig
from hfnet_ros.errors import ConfigError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.pose import absolute_pose
from hfnet_ros.pose.absolute_pose import register_pose_method
from hfnet_ros.pose.hypotheses import gather_hypotheses
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
    with pytest.raises(ConfigError, match=r"pose\.method is 'guess', expected one of lo-ransac"):
        Config.from_dict({"pose": {"method": "guess"}})
