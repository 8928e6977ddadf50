"""First poses for a set of matches, by sampling; `pose.method` names how.

PoseLib samples where it can be imported, OpenCV elsewhere; what comes after is the same.

Reference: Persson and Nordberg, "Lambda Twist: an accurate fast robust P3P solver", ECCV 2018; Chum et al., "Locally
optimized RANSAC", DAGM 2003; both through PoseLib. `usac` and `rig_sampling` name their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import POSE_METHOD_NAMES, PoseConfig
from hfnet_ros.errors import ConfigError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.poselib_library import INSTALL_POSELIB, why_no_poselib
from hfnet_ros.pose.problem import PoseProblem
from hfnet_ros.pose.rig_sampling import sample_rig_pose
from hfnet_ros.pose.sampled_poses import sampling_options
from hfnet_ros.pose.usac import usac_absolute_pose

# The most similar matches hold most of the right ones; the answer is refined on all of them.
MAX_SAMPLED_MATCHES = 300
_START_DECIMALS = 6  # m and quaternion; a start is refined
_MIN_INLIERS = 4

AUTO = "auto"  # PoseLib where it is installed, else OpenCV

# Takes a problem, which of its matches [M] to explain, the inlier threshold (px of the problem), the number of
# samples and a seed; returns map_from_rig of what it found, mostly one or none. Refined and ranked by others.
AbsolutePoseMethod = Callable[[PoseProblem, NDArray[np.bool_], float, int, int], list[Rigid3]]


def register_pose_method(name: str, method: AbsolutePoseMethod) -> None:
    """Let `pose.method` name another method from now on; of the same name the last one counts.

    Raises:
        ConfigError: `auto` is no method, but the choice among those that come with the package.
    """
    if name == AUTO:
        raise ConfigError(
            f"a pose method cannot be named '{AUTO}', which stands for lo-ransac or usac; take another name"
        )
    _methods[name] = method
    if name not in POSE_METHOD_NAMES:
        POSE_METHOD_NAMES.append(name)


def absolute_pose_method(config: PoseConfig) -> AbsolutePoseMethod:
    """Return the method that `pose.method` names.

    Raises:
        ConfigError: it needs PoseLib, which cannot be imported.
    """
    method = _methods[pose_method_name(config)]
    if method is lo_ransac and why_no_poselib():
        raise ConfigError(
            f"pose.method is '{config.method}', which needs PoseLib: {why_no_poselib()}; {INSTALL_POSELIB}, or set it "
            "to auto or usac"
        )
    return method


def pose_method_name(config: PoseConfig) -> str:
    """Return the name of the method that samples: what `auto` stands for here."""
    if config.method != AUTO:
        return config.method
    return "usac" if why_no_poselib() else "lo-ransac"


def lo_ransac(
    problem: PoseProblem, subset: NDArray[np.bool_], threshold_px: float, max_iterations: int, seed: int
) -> list[Rigid3]:
    """Sample minimal poses with local optimisation, by PoseLib; of several views generalized ones."""
    import poselib

    options = {"max_reproj_error": threshold_px, **sampling_options(max_iterations, seed)}
    pinhole = {"model": "SIMPLE_PINHOLE", "width": 0, "height": 0, "params": [problem.focal, 0.0, 0.0]}
    rows = np.flatnonzero(subset)[:MAX_SAMPLED_MATCHES]
    views = np.unique(problem.view_idxs[rows])
    if len(views) <= 1:
        pose, info = poselib.estimate_absolute_pose(
            problem.pinhole[rows], problem.points3d[rows], pinhole, options, {}
        )
    else:
        of_view = [rows[problem.view_idxs[rows] == view_idx] for view_idx in range(len(problem.cameras))]
        pose, info = poselib.estimate_generalized_absolute_pose(
            [problem.pinhole[some] for some in of_view],
            [problem.points3d[some] for some in of_view],
            [_poselib_pose(view.rig_from_camera.inverse()) for view in problem.cameras],
            [pinhole] * len(problem.cameras),
            options,
            {},
        )
    if info["num_inliers"] < _MIN_INLIERS or not np.isfinite(pose.R).all():
        return []
    found = Rigid3(np.asarray(pose.R), np.asarray(pose.t)).inverse()
    return [_rounded(found) if len(views) > 1 else _of_rig(problem, found, views)]


def _rounded(pose: Rigid3) -> Rigid3:
    """Return a start for refinement without the last digits.

    PoseLib's generalized poses were seen to differ by some 1e-14 from call to call on the same matches; starts that are
    the same make replays the same.
    """
    return Rigid3.from_quat(
        np.round(pose.quat_xyzw, _START_DECIMALS), np.round(pose.translation, _START_DECIMALS)
    )


def usac(
    problem: PoseProblem, subset: NDArray[np.bool_], threshold_px: float, max_iterations: int, seed: int
) -> list[Rigid3]:
    """Sample minimal poses with local optimisation, by OpenCV; of several views each from one of them."""
    rows = np.flatnonzero(subset)[:MAX_SAMPLED_MATCHES]
    views = np.unique(problem.view_idxs[rows])
    if len(views) > 1:
        pose = sample_rig_pose(problem, rows, threshold_px, max_iterations, seed)
        return [] if pose is None else [pose]
    found = usac_absolute_pose(
        problem.pinhole[rows], problem.points3d[rows], problem.focal, threshold_px, max_iterations, seed
    )
    if found is None or np.count_nonzero(found[1]) < _MIN_INLIERS:
        return []
    return [_of_rig(problem, found[0], views)]


def _of_rig(problem: PoseProblem, map_from_camera: Rigid3, views: NDArray[np.int64]) -> Rigid3:
    """Return the pose of the rig, of which one view was found."""
    if problem.is_one_camera:
        return map_from_camera
    return map_from_camera @ problem.cameras[views[0]].rig_from_camera.inverse()


def _poselib_pose(camera_from_rig: Rigid3) -> Any:
    import poselib

    pose = poselib.CameraPose()
    pose.R, pose.t = camera_from_rig.rotation, camera_from_rig.translation
    return pose


_methods: dict[str, AbsolutePoseMethod] = {"lo-ransac": lo_ransac, "usac": usac}
