"""First poses for a set of matches, by sampling; `pose.method` names how.

Reference: Persson and Nordberg, "Lambda Twist: an accurate fast robust P3P solver", ECCV 2018; Chum et al., "Locally
optimized RANSAC", DAGM 2003; both through PoseLib.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import POSE_METHOD_NAMES, PoseConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import PoseProblem
from hfnet_ros.pose.sampled_poses import sampling_options

_MAX_SAMPLED_MATCHES = 300

# Takes a problem, which of its matches [M] to explain, the inlier threshold (px of the problem), the number of
# samples and a seed; returns map_from_rig of what it found, mostly one or none. Refined and ranked by others.
AbsolutePoseMethod = Callable[[PoseProblem, NDArray[np.bool_], float, int, int], list[Rigid3]]


def register_pose_method(name: str, method: AbsolutePoseMethod) -> None:
    """Let `pose.method` name another method from now on; of the same name the last one counts."""
    _methods[name] = method
    if name not in POSE_METHOD_NAMES:
        POSE_METHOD_NAMES.append(name)


def absolute_pose_method(config: PoseConfig) -> AbsolutePoseMethod:
    """Return the method that `pose.method` names."""
    return _methods[config.method]


def lo_ransac(
    problem: PoseProblem, subset: NDArray[np.bool_], threshold_px: float, max_iterations: int, seed: int
) -> list[Rigid3]:
    """Sample minimal poses with local optimisation, by PoseLib; of a rig generalized ones."""
    import poselib

    options = {"max_reproj_error": threshold_px, **sampling_options(max_iterations, seed)}
    pinhole = {"model": "SIMPLE_PINHOLE", "width": 0, "height": 0, "params": [problem.focal, 0.0, 0.0]}
    # The most similar matches hold most of the right ones; the answer is refined on all of them.
    rows = np.flatnonzero(subset)[:_MAX_SAMPLED_MATCHES]
    if problem.is_one_camera:
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
    if info["num_inliers"] < 4 or not np.isfinite(pose.R).all():
        return []
    return [Rigid3(np.asarray(pose.R), np.asarray(pose.t)).inverse()]


def _poselib_pose(camera_from_rig: Rigid3) -> Any:
    import poselib

    pose = poselib.CameraPose()
    pose.R, pose.t = camera_from_rig.rotation, camera_from_rig.translation
    return pose


_methods: dict[str, AbsolutePoseMethod] = {"lo-ransac": lo_ransac}
