"""Matches made from a known pose, a known camera and known errors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from gathering import gather_hypotheses

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import ObserverCones, make_problem
from hfnet_ros.pose.refinement import refine_on_inliers
from hfnet_ros.pose.verification import verify_pose
from hfnet_ros.types import Correspondences, RigCamera

SIZE_WH = (640, 480)
THRESHOLD_PX, SCALE_PX = 3.0, 4.0  # of a map with a reprojection noise of one pixel
CAMERAS = {
    "none": Camera(DistortionModel.NONE, SIZE_WH, [525.0, 525.0], [319.5, 239.5], []),
    "plumb_bob": Camera(
        DistortionModel.PLUMB_BOB, SIZE_WH, [430.0, 425.0], [322.0, 236.0], [-0.25, 0.08, 1e-3, -1e-3, 0.0]
    ),
    "rational_polynomial": Camera(
        DistortionModel.RATIONAL_POLYNOMIAL,
        SIZE_WH,
        [430.0, 425.0],
        [322.0, 236.0],
        [0.3, 0.05, 1e-3, -1e-3, 0.01, 0.6, 0.15, 0.02],
    ),
    "equidistant": Camera(
        DistortionModel.EQUIDISTANT, SIZE_WH, [260.0, 262.0], [322.0, 236.0], [0.02, -0.01, 3e-3, -1e-3]
    ),
}


@dataclass
class MatchMaker:
    """Makes the matches of one image taken at `map_from_camera`."""

    camera: Camera
    map_from_camera: Rigid3
    rng: np.random.Generator

    def scatter(self, count, depth_m=(2.0, 6.0), margin_px=15.0):
        """Landmarks [count, 3] spread over the image and a range of depths."""
        high = np.array(self.camera.size_wh) - 1.0 - margin_px
        slopes = self.camera.undistort(self.rng.uniform(margin_px, high, (count, 2)))
        depth = self.rng.uniform(*depth_m, count)
        return self.map_from_camera @ (np.column_stack([slopes, np.ones(count)]) * depth[:, None])

    def project(self, points_map, noise_px=0.0):
        pixels = self.camera.project(self.map_from_camera.inverse() @ points_map)
        return pixels + noise_px * self.rng.normal(size=pixels.shape)

    def random_pixels(self, count):
        return self.rng.uniform(0, np.array(self.camera.size_wh) - 1.0, (count, 2))

    def problem(self, points2d, points3d, observers=None, **limits):
        """Problem whose landmarks were mapped from `observers` [M, 3], if not given from the true position."""
        toward = points3d - (self.map_from_camera.translation if observers is None else observers)
        distance = np.linalg.norm(toward, axis=1, keepdims=True)
        rows = np.arange(len(points2d))
        matches = Correspondences(
            points2d, points3d, rows, rows, np.linspace(1, 0.7, len(rows), dtype=np.float32)
        )
        limits = {"max_view_change_rad": np.deg2rad(75.0), "max_scale_change": 4.0, **limits}
        cones = ObserverCones(toward / distance, distance * [0.8, 1.2])
        return make_problem(matches, [RigCamera(self.camera)], cones, **limits)

    def mixed_problem(self, num_true, num_false, noise_px=0.5, **scatter):
        """True matches and matches of random pixels to random landmarks, in random order.

        Equal seeds sample equal rows, so that an order by truth would make all problems succeed or fail.
        """
        true, false = self.scatter(num_true, **scatter), self.scatter(num_false, **scatter)
        pixels = np.concatenate([self.project(true, noise_px), self.random_pixels(num_false)])
        order = self.rng.permutation(len(pixels))
        return self.problem(pixels[order], np.concatenate([true, false])[order])


@pytest.fixture(params=["poselib", "opencv"])
def solver_library(request):
    """Let `auto` sample by PoseLib, then by OpenCV, as where PoseLib is not installed."""
    if request.param == "poselib":
        pytest.importorskip("poselib", reason="PoseLib is not installed")
    else:
        request.getfixturevalue("without_poselib")
    return request.param


@pytest.fixture
def cameras():
    return CAMERAS


@pytest.fixture(scope="session")
def make_matches():
    def make(seed=0, camera="none"):
        rng = np.random.default_rng(seed)
        map_from_camera = Rigid3.from_rotvec([0.4, -0.9, 1.2], [3.0, -2.0, 1.0])
        return MatchMaker(CAMERAS[camera], map_from_camera, rng)

    return make


@pytest.fixture
def error_of():
    """Position (m) and orientation (rad) between two poses."""
    return lambda pose, truth: (pose.translation_to(truth), pose.rotation_to(truth))


@pytest.fixture
def judge():
    """Estimate and verify as the localizer does; returns hypotheses, fit, covariance, verification.

    The last three are None where no pose explains four matches.
    """

    def run(problem, pose=None, **limits):
        pose = pose or PoseConfig()
        limits = replace(VerificationConfig(max_false_probability=1.0), **limits)
        scale_px = problem.pixels(SCALE_PX)
        hypotheses = gather_hypotheses(problem, pose, problem.pixels(THRESHOLD_PX), scale_px)
        if not hypotheses:
            return hypotheses, None, None, None
        best = hypotheses[0].map_from_camera
        fit = refine_on_inliers(problem, best, problem.recognizable(best), scale_px)
        if fit is None:
            return hypotheses, None, None, None
        num_trials = pose.num_hypotheses * pose.max_iterations
        verdict = verify_pose(problem, hypotheses, fit, scale_px, num_trials, limits)
        return hypotheses, fit, fit.covariance, verdict

    return run
