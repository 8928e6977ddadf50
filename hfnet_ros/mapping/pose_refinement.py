"""Make the poses of a map agree with each other, and keep that only if it proves right.

Bundle adjustment of poses and landmarks together, calibrations fixed. Given positions stay as a prior, which keeps
the frame, the unit of length and the course of a long trajectory; a keyframe whose given position is plainly wrong
does not pull on it. Afterwards each part that hangs together by landmarks is brought back onto its given poses as a
rigid body: positions alone do not tell by how much a part seen from a straight path is turned about that path. Half of
the landmarks take no part; whether the adjusted poses explain them better decides.

Few landmarks fix the poses: those that most keyframes see. They come from a tolerant triangulation, because one that
is strict at the given poses keeps only what these explain.

Reference: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
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
from hfnet_ros.mapping.options import RefinementMode
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.triangulation import reprojection_errors
from hfnet_ros.mapping.views import Structure, View, focal_scale

FloatArray = NDArray[np.float64]

_logger = logging.getLogger(__name__)

# Of the held-out error. Where poses are exact chance alone gives -2.8 to 2.4 % in 45 maps (generated, fox, Sacré-Cœur),
# 3.7 in one; measured poses (RedKitchen, EuRoC, also thinned) gain 10 % and more.
_MIN_GAIN = 0.05
_NUM_ROUNDS = 2  # the second starts from poses that landmarks can be triangulated at
# How far given positions may be off, of the distance to what is seen: at first, and at the least once they were moved.
_PRIOR_SIGMA_OF_DEPTH = 0.01
_LEAST_SIGMA_OF_DEPTH = 0.001
_MIN_RELATIVE_DECREASE = 1e-6
_MIN_TESTED_OBSERVATIONS = 400
# RedKitchen: with 200 of some 1400 observations a keyframe poses come out as good as with all, in a sixth of the
# time.
_ADJUSTED_PER_VIEW = 200
_TESTED_PER_VIEW = 100
# Views that share landmarks with a view, on average, up to which the normal equations are solved directly whatever
# their size: those of 1,200 views of a walk in half the time.
_FEW_NEIGHBOURS = 200
# Landmarks that two parts share at the least if they are to say how they are turned to each other.
_MIN_SHARED = 15
_NORMAL_MEDIAN = 0.67449  # median absolute value of a normal variable over its deviation


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
    draft: Structure,
    views: Sequence[View],
    cameras: Sequence[Camera],
    triangulate_at: Callable[[Sequence[View]], Structure],
    mode: RefinementMode,
    config: Config,
) -> tuple[list[View], PoseRefinement]:
    """Return the views with poses that agree with each other, or as they were, and why.

    Args:
        draft: structure at the given poses, triangulated tolerantly.
        views: with the given poses.
        cameras: calibrations, refined by now.
        triangulate_at: returns such a structure at other poses.
        mode: "auto" keeps adjusted poses if held-out landmarks agree, "on" always, "off" never.
        config: parameters.
    """
    if mode == "off":
        return list(views), PoseRefinement(False, "refinement is off")
    tested = _judge(*_held_out_errors(draft, views, cameras, config), mode)
    if not tested.kept:
        return list(views), tested
    refined, structure, depth_m = list(views), draft, _median_depth(draft, views)
    sigma_m = _PRIOR_SIGMA_OF_DEPTH * depth_m
    for round_idx in range(_NUM_ROUNDS):
        if round_idx > 0:
            sigma_m = max(_noise_of_positions(views, refined), _LEAST_SIGMA_OF_DEPTH * depth_m)
            structure = triangulate_at(refined)
        adjusted = _longest_tracks(structure, _ADJUSTED_PER_VIEW)
        refined = _adjust(adjusted, refined, views, cameras, sigma_m, config)
    report = _with_moves(tested, views, refined)
    _logger.info("poses: %s", report)
    return refined, report


def _judge(error_given: float | None, error_refined: float | None, mode: RefinementMode) -> PoseRefinement:
    if error_given is None or error_refined is None:
        reason = "refined as asked, not tested" if mode == "on" else "too few landmarks to test it"
        return PoseRefinement(mode == "on", reason)
    gain = 1.0 - error_refined / max(error_given, 1e-12)
    reason = (
        f"held-out error {error_given:.2f} -> {error_refined:.2f} px, gain {100 * gain:.1f} %, "
        f"needed {100 * _MIN_GAIN:.1f} %"
    )
    kept = gain >= _MIN_GAIN or mode == "on"
    return PoseRefinement(kept, reason, round(error_given, 4), round(error_refined, 4))


def _held_out_errors(
    draft: Structure, views: Sequence[View], cameras: Sequence[Camera], config: Config
) -> tuple[float | None, float | None]:
    """Return the mean error, px, of every second landmark with given and with adjusted poses."""
    even = draft.landmark_idx % 2 == 0
    trained = _longest_tracks(draft.keep_observations(even, min_track_length=2), _ADJUSTED_PER_VIEW)
    tested = _longest_tracks(draft.keep_observations(~even, min_track_length=3), _TESTED_PER_VIEW)
    if len(tested.landmark_idx) < _MIN_TESTED_OBSERVATIONS or trained.num_landmarks == 0:
        return None, None
    sigma_m = _PRIOR_SIGMA_OF_DEPTH * _median_depth(trained, views)
    refined = _adjust(trained, views, views, cameras, sigma_m, config)
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


def _longest_tracks(structure: Structure, per_view: int) -> Structure:
    """Return the landmarks that are among the `per_view` with the longest tracks in any view."""
    order = np.lexsort((-structure.track_lengths[structure.landmark_idx], structure.view_idx))
    view = structure.view_idx[order]
    rank = np.arange(len(order)) - np.searchsorted(view, view)
    chosen = np.zeros(structure.num_landmarks, np.bool_)
    chosen[structure.landmark_idx[order[rank < per_view]]] = True
    return structure.keep_observations(chosen[structure.landmark_idx], min_track_length=2)


def _adjust(
    structure: Structure,
    views: Sequence[View],
    given: Sequence[View],
    cameras: Sequence[Camera],
    sigma_m: float,
    config: Config,
) -> list[View]:
    """Return the views with poses adjusted to the structure, brought back onto the given ones.

    Args:
        structure: landmarks at the poses of `views`.
        views: what to start from.
        given: whose positions are the prior.
        cameras: calibrations.
        sigma_m: standard deviation of the prior per axis.
        config: parameters.
    """
    options = adjustment_options(
        0.5 * config.mapping.max_reprojection_error_px, _MIN_RELATIVE_DECREASE, config.inference.num_threads
    )
    ceres = options.ceres
    every = np.arange(len(views))
    is_long = len(views) > ceres.max_num_images_direct_sparse_cpu_solver
    if is_long and _shared(structure, every).nnz <= _FEW_NEIGHBOURS * len(views):
        ceres.max_num_images_direct_sparse_cpu_solver = len(views)
    adjusted = adjustment_config(structure, range(len(cameras)))
    seeing = np.unique(structure.view_idx).tolist()
    with quiet_colmap():
        keypoints = [view.keypoints for view in views]
        reconstruction = posed_reconstruction(views, keypoints, colmap_cameras_from(cameras))
        add_landmarks(reconstruction, structure)
        priors = _position_priors(given, seeing, sigma_m)
        prior_options = pycolmap.PosePriorBundleAdjustmentOptions()
        # Else it goes on with the numbers of whatever was sampled before in this process.
        prior_options.alignment_ransac.random_seed = config.pose.seed
        prior_options.ceres.prior_position_loss_function_type = pycolmap.LossFunctionType.CAUCHY
        pycolmap.create_pose_prior_bundle_adjuster(
            options, prior_options, adjusted, priors, reconstruction
        ).solve()
    poses = [view.map_from_camera for view in views]
    for view_idx in seeing:
        poses[view_idx] = pose_from_colmap(reconstruction.images[image_id_of(view_idx)])
    return _back_onto(poses, given, _parts(structure, every))


def _shared(structure: Structure, part: NDArray[np.intp]) -> csr_array:
    """Return how many landmarks two parts share, [P, P].

    Args:
        structure: what views see.
        part: [V] number of the part that a view is of, below P.
    """
    pairs = np.unique(np.stack([part[structure.view_idx], structure.landmark_idx]), axis=1)
    shape = (int(part.max(initial=-1)) + 1, structure.num_landmarks)
    seen = csr_array((np.ones(pairs.shape[1], np.int32), (pairs[0], pairs[1])), shape)
    return csr_array(seen @ seen.T)


def _parts(structure: Structure, part: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return numbers [V] of parts that hang together, from smaller ones: those that share enough, again and again."""
    while True:
        count, merged = connected_components(_shared(structure, part) >= _MIN_SHARED, directed=False)
        if count == len(merged):
            return part
        part = merged[part]


def _position_priors(
    given: Sequence[View], seeing: Sequence[int], sigma_m: float
) -> list[pycolmap.PosePrior]:
    priors = []
    for view_idx in seeing:
        image_id = image_id_of(view_idx)
        sensor = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, image_id_of(given[view_idx].camera_idx))
        priors.append(
            pycolmap.PosePrior(
                pose_prior_id=image_id,
                corr_data_id=pycolmap.data_t(sensor, image_id),
                position=given[view_idx].map_from_camera.translation,
                position_covariance=sigma_m**2 * np.eye(3),
                coordinate_system=pycolmap.PosePriorCoordinateSystem.CARTESIAN,
            )
        )
    return priors


def _median_depth(structure: Structure, views: Sequence[View]) -> float:
    """Return the median distance, m, of what is seen."""
    centers = np.array([view.map_from_camera.translation for view in views])
    depths = np.linalg.norm(structure.xyz[structure.landmark_idx] - centers[structure.view_idx], axis=1)
    return float(np.median(depths))


def _noise_of_positions(given: Sequence[View], refined: Sequence[View]) -> float:
    """Return the standard deviation per axis, m, that the given positions show against the refined ones."""
    moved = [
        after.map_from_camera.translation - before.map_from_camera.translation
        for before, after in zip(given, refined, strict=True)
    ]
    return float(np.median(np.abs(moved))) / _NORMAL_MEDIAN


def _back_onto(poses: Sequence[Rigid3], views: Sequence[View], part: NDArray[np.intp]) -> list[View]:
    """Move the poses of each part as one rigid body so that they lie on the given ones as well as they can.

    Args:
        poses: to move.
        views: with the given ones.
        part: [V] number of the part that each is of.
    """
    moved = list(views)
    for number in np.unique(part):
        rows = np.flatnonzero(part == number).tolist()
        given = [views[row].map_from_camera for row in rows]
        turns = np.array(
            [before.rotation @ poses[row].rotation.T for before, row in zip(given, rows, strict=True)]
        )
        turn: FloatArray = Rotation.from_matrix(turns).mean().as_matrix()
        offsets = [
            before.translation - turn @ poses[row].translation
            for before, row in zip(given, rows, strict=True)
        ]
        back = Rigid3(turn, np.median(offsets, axis=0))
        for row in rows:
            moved[row] = dataclasses.replace(views[row], map_from_camera=back @ poses[row])
    return moved


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
        median_moved_deg=round(float(np.median(angles)), 5),
        max_moved_deg=round(float(angles.max()), 5),
    )
