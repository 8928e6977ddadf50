"""Poses from bare rays, by sampling: of a second camera beside a first, of a camera among points.

PoseLib samples where it can be imported, OpenCV elsewhere.

Reference: Nister, "An efficient solution to the five-point relative pose problem", PAMI 2004; Persson and Nordberg,
"Lambda Twist: an accurate fast robust P3P solver", ECCV 2018; Chum et al., "Locally optimized RANSAC", DAGM 2003; all
through PoseLib. `usac` and `usac_relative` name their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.poselib_library import why_no_poselib
from hfnet_ros.pose.usac import usac_absolute_pose
from hfnet_ros.pose.usac_relative import usac_relative_pose

FloatArray = NDArray[np.float64]

_PINHOLE = {"model": "SIMPLE_PINHOLE", "width": 0, "height": 0, "params": [REFERENCE_FOCAL_PX, 0.0, 0.0]}
_MIN_ITERATIONS = 100
_MIN_MATCHES = 8


@dataclass(frozen=True, slots=True, eq=False)
class SampledPose:
    """The pose that most matches agree with.

    Attributes:
        motion: b_from_a with a translation of length one, or map_from_camera.
        inliers: [M] bool, matches that agree with it.
    """

    motion: Rigid3
    inliers: NDArray[np.bool_]


def sample_relative_pose(
    points_a: FloatArray, points_b: FloatArray, threshold_px: float, max_iterations: int, seed: int
) -> SampledPose | None:
    """Return b_from_a, its translation of length one; None where nothing is found.

    Args:
        points_a: [M, 2] normalised image coordinates in the first camera.
        points_b: [M, 2] in the second.
        threshold_px: Sampson distance of an inlier, at the reference focal length.
        max_iterations: samples.
        seed: of the samples.
    """
    if len(points_a) < _MIN_MATCHES:
        return None
    if why_no_poselib():
        threshold = threshold_px / REFERENCE_FOCAL_PX
        return _sampled(usac_relative_pose(points_a, points_b, threshold, max_iterations, seed))
    import poselib

    pixels_a, pixels_b = points_a * REFERENCE_FOCAL_PX, points_b * REFERENCE_FOCAL_PX
    options = {"max_epipolar_error": threshold_px, **sampling_options(max_iterations, seed)}
    pose, info = poselib.estimate_relative_pose(pixels_a, pixels_b, _PINHOLE, _PINHOLE, options, {})
    length = float(np.linalg.norm(pose.t))
    if info["num_inliers"] < _MIN_MATCHES or not np.isfinite(pose.R).all() or length < 1e-12:
        return None
    inliers = np.asarray(info["inliers"], np.bool_)
    return SampledPose(Rigid3(np.asarray(pose.R), np.asarray(pose.t) / length), inliers)


def sample_absolute_pose(
    points: FloatArray, points3d: FloatArray, threshold_px: float, max_iterations: int, seed: int
) -> SampledPose | None:
    """Return map_from_camera; None where nothing is found.

    Args:
        points: [M, 2] normalised image coordinates.
        points3d: [M, 3] map coordinates.
        threshold_px: reprojection error of an inlier, at the reference focal length.
        max_iterations: samples.
        seed: of the samples.
    """
    if len(points) < _MIN_MATCHES:
        return None
    if why_no_poselib():
        pixels = points * REFERENCE_FOCAL_PX
        return _sampled(
            usac_absolute_pose(pixels, points3d, REFERENCE_FOCAL_PX, threshold_px, max_iterations, seed)
        )
    import poselib

    options = {"max_reproj_error": threshold_px, **sampling_options(max_iterations, seed)}
    pose, info = poselib.estimate_absolute_pose(points * REFERENCE_FOCAL_PX, points3d, _PINHOLE, options, {})
    if info["num_inliers"] < _MIN_MATCHES or not np.isfinite(pose.R).all():
        return None
    camera_from_map = Rigid3(np.asarray(pose.R), np.asarray(pose.t))
    return SampledPose(camera_from_map.inverse(), np.asarray(info["inliers"], np.bool_))


def _sampled(found: tuple[Rigid3, NDArray[np.bool_]] | None) -> SampledPose | None:
    if found is None or np.count_nonzero(found[1]) < _MIN_MATCHES:
        return None
    return SampledPose(*found)


def sampling_options(max_iterations: int, seed: int) -> dict[str, Any]:
    """Return how PoseLib samples."""
    return {
        "max_iterations": max_iterations,
        "min_iterations": min(_MIN_ITERATIONS, max_iterations),
        "seed": seed,
    }
