"""Adjust the given poses to what the images say, and keep that only if it proves right.

Bundle adjustment of poses and landmarks together, calibrations fixed. Given positions stay as a
prior, which keeps the frame and the unit of length; afterwards the whole is brought back onto
the given poses as a rigid body. Half of the landmarks take no part; whether the adjusted poses
explain them better decides.

Reference: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_ros.config import Config
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.calibration_adjustment import (
    add_landmarks,
    adjust_intrinsics,
    adjustment_config,
    adjustment_options,
)
from hfnet_ros.mapping.colmap_convention import pose_from_colmap, quiet_colmap
from hfnet_ros.mapping.colmap_database import colmap_cameras_from, image_id_of, posed_reconstruction
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.structure import SolvedStructure, solve_structure
from hfnet_ros.mapping.triangulation import reprojection_errors
from hfnet_ros.mapping.views import PairMatches, Structure, View, focal_scale

FloatArray = NDArray[np.float64]

_logger = logging.getLogger(__name__)

_MIN_GAIN = 0.02
_PRIOR_SIGMA_OF_DEPTH = 0.01  # how far given positions may be off, of the distance to what is seen
_MIN_RELATIVE_DECREASE = 1e-6
_MIN_TESTED_OBSERVATIONS = 400


@dataclass(frozen=True)
class PoseRefinement:
    """What adjusting the given poses came to.

    Attributes:
        kept: whether the adjusted poses are used.
        reason: why, or why not.
        error_given_px: mean error of held-out landmarks with the given poses; None if untested.
        error_refined_px: the same with poses adjusted to the other landmarks.
        median_moved_m: how far keyframes moved.
        max_moved_m: the farthest.
        median_moved_deg: by how much they turned.
        max_moved_deg: the most.
    """

    kept: bool
    reason: str
    error_given_px: float | None = None
    error_refined_px: float | None = None
    median_moved_m: float = 0.0
    max_moved_m: float = 0.0
    median_moved_deg: float = 0.0
    max_moved_deg: float = 0.0


def refine_poses(
    views: Sequence[View],
    solved: SolvedStructure,
    matches: PairMatches,
    config: Config,
    options: BuildOptions,
) -> tuple[list[View], SolvedStructure, PoseRefinement]:
    """Return views and structure with adjusted poses, or as they were, and why.

    Args:
        views: with the given poses.
        solved: structure and calibrations at these poses.
        matches: all matches, to triangulate from again.
        config: parameters.
        options: progress; refinement of calibrations is over by now.

    Raises:
        MappingError: nothing can be triangulated with the adjusted poses.
    """
    cameras = solved.cameras
    error_given, error_refined = _held_out_errors(solved.structure, views, cameras, config)
    if error_given is None or error_refined is None:
        return list(views), solved, PoseRefinement(False, "too few landmarks to test it")
    gain = 1.0 - error_refined / error_given
    reason = (
        f"held-out error {error_given:.2f} -> {error_refined:.2f} px, gain {100 * gain:.1f} %, "
        f"needed {100 * _MIN_GAIN:.1f} %"
    )
    tested = PoseRefinement(gain >= _MIN_GAIN, reason, round(error_given, 4), round(error_refined, 4))
    if not tested.kept:
        return list(views), solved, tested
    refined = _adjust(solved.structure, views, cameras, config)
    resolved = solve_structure(
        refined, cameras, matches, config, dataclasses.replace(options, intrinsics="off")
    )
    resolved = dataclasses.replace(resolved, reports=solved.reports)
    report = _with_moves(tested, views, refined)
    _logger.info("poses: %s", report)
    return refined, resolved, report


def _held_out_errors(
    structure: Structure, views: Sequence[View], cameras: Sequence[Camera], config: Config
) -> tuple[float | None, float | None]:
    """Return the mean error, px, of every second landmark with given and with adjusted poses."""
    even = structure.landmark_idx % 2 == 0
    trained = structure.keep_observations(even, min_track_length=2)
    tested = structure.keep_observations(~even, min_track_length=3)
    if len(tested.landmark_idx) < _MIN_TESTED_OBSERVATIONS or trained.num_landmarks == 0:
        return None, None
    refined = _adjust(trained, views, cameras, config)
    return _mean_error(tested, views, cameras, config), _mean_error(tested, refined, cameras, config)


def _mean_error(
    structure: Structure, views: Sequence[View], cameras: Sequence[Camera], config: Config
) -> float:
    """Return the mean error, px, with landmarks at their best for these poses."""
    limit = config.mapping.max_reprojection_error_px
    best = adjust_intrinsics(structure, views, cameras, [], 0.5 * limit).structure
    scales = np.array([focal_scale(cameras[view.camera_idx]) for view in views])[best.view_idx]
    # Clipped: observations were chosen by the given poses, and a few lost ones should not decide.
    errors = np.minimum(reprojection_errors(best, views, cameras) / scales, 3.0 * limit)
    return float(errors.mean())


def _adjust(
    structure: Structure, views: Sequence[View], cameras: Sequence[Camera], config: Config
) -> list[View]:
    """Return the views with poses adjusted to the structure, brought back onto the given ones."""
    options = adjustment_options(
        0.5 * config.mapping.max_reprojection_error_px, _MIN_RELATIVE_DECREASE, config.inference.num_threads
    )
    adjusted = adjustment_config(structure, range(len(cameras)))
    seeing = np.unique(structure.view_idx).tolist()
    with quiet_colmap():
        keypoints = [view.keypoints for view in views]
        reconstruction = posed_reconstruction(views, keypoints, colmap_cameras_from(cameras))
        add_landmarks(reconstruction, structure)
        priors = _position_priors(structure, views, seeing)
        prior_options = pycolmap.PosePriorBundleAdjustmentOptions()
        pycolmap.create_pose_prior_bundle_adjuster(
            options, prior_options, adjusted, priors, reconstruction
        ).solve()
    poses = [view.map_from_camera for view in views]
    for view_idx in seeing:
        poses[view_idx] = pose_from_colmap(reconstruction.images[image_id_of(view_idx)])
    return _back_onto(poses, views)


def _position_priors(
    structure: Structure, views: Sequence[View], seeing: Sequence[int]
) -> list[pycolmap.PosePrior]:
    centers = np.array([view.map_from_camera.translation for view in views])
    depths = np.linalg.norm(structure.xyz[structure.landmark_idx] - centers[structure.view_idx], axis=1)
    sigma = _PRIOR_SIGMA_OF_DEPTH * float(np.median(depths))
    priors = []
    for view_idx in seeing:
        image_id = image_id_of(view_idx)
        sensor = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, image_id_of(views[view_idx].camera_idx))
        priors.append(
            pycolmap.PosePrior(
                pose_prior_id=image_id,
                corr_data_id=pycolmap.data_t(sensor, image_id),
                position=centers[view_idx],
                position_covariance=sigma**2 * np.eye(3),
                coordinate_system=pycolmap.PosePriorCoordinateSystem.CARTESIAN,
            )
        )
    return priors


def _back_onto(poses: Sequence[Rigid3], views: Sequence[View]) -> list[View]:
    """Move all poses as one rigid body so that they lie on the given ones as well as they can."""
    given = [view.map_from_camera for view in views]
    turns = np.array([before.rotation @ after.rotation.T for before, after in zip(given, poses, strict=True)])
    turn: FloatArray = Rotation.from_matrix(turns).mean().as_matrix()
    offsets = [
        before.translation - turn @ after.translation for before, after in zip(given, poses, strict=True)
    ]
    back = Rigid3(turn, np.median(offsets, axis=0))
    return [
        dataclasses.replace(view, map_from_camera=back @ pose)
        for view, pose in zip(views, poses, strict=True)
    ]


def _with_moves(report: PoseRefinement, views: Sequence[View], refined: Sequence[View]) -> PoseRefinement:
    pairs = [
        (before.map_from_camera, after.map_from_camera) for before, after in zip(views, refined, strict=True)
    ]
    distances = np.array([before.translation_to(after) for before, after in pairs])
    angles = np.degrees([before.rotation_to(after) for before, after in pairs])
    return dataclasses.replace(
        report,
        median_moved_m=round(float(np.median(distances)), 5),
        max_moved_m=round(float(distances.max()), 5),
        median_moved_deg=round(float(np.median(angles)), 4),
        max_moved_deg=round(float(angles.max()), 4),
    )
