"""Bundle adjustment of calibrations and landmarks under fixed camera poses, by COLMAP.

Reference: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.mapping.colmap_convention import (
    camera_from_colmap,
    colmap_camera_from,
    needs_full_opencv,
    quiet_colmap,
)
from hfnet_ros.mapping.colmap_database import image_id_of, posed_reconstruction
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.views import Structure, View, focal_scale

_MAX_STEPS = 50
_MIN_RELATIVE_DECREASE = 1e-5


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Calibrations and landmarks after adjustment.

    Attributes:
        cameras: all cameras, the free ones changed.
        structure: the same observations, landmarks moved.
    """

    cameras: list[Camera]
    structure: Structure


def adjust_intrinsics(
    structure: Structure,
    views: Sequence[View],
    cameras: Sequence[Camera],
    free_camera_idxs: Sequence[int],
    robust_scale_px: float,
) -> Adjusted:
    """Minimise the robust reprojection error over landmarks and free calibrations.

    Levenberg-Marquardt on a Cauchy cost, in one thread, because the order of sums would change
    the result. Focal lengths and the distortion (`moves_distortion`) of the free cameras move;
    principal points stay, since they hardly differ from a turn of the camera. With no free
    camera only the landmarks move. A landmark seen once stays where it is.

    Args:
        structure: landmarks and observations.
        views: keypoints and fixed poses.
        cameras: calibrations to start from, by the views' `camera_idx`.
        free_camera_idxs: cameras to refine.
        robust_scale_px: scale of the Cauchy cost at the reference focal length.
    """
    free, scales = set(free_camera_idxs), [focal_scale(camera) for camera in cameras]
    options = adjustment_options(robust_scale_px, _MIN_RELATIVE_DECREASE, num_threads=1)
    options.refine_extra_params = moves_distortion(cameras)
    options.refine_rig_from_world = False
    options.ceres.auto_select_solver_type = False
    solver = options.ceres.solver_options
    # Few numbers remain when the landmarks are eliminated.
    solver.linear_solver_type = type(solver.linear_solver_type).DENSE_SCHUR
    config = adjustment_config(structure, set(range(len(cameras))) - free)
    # In pixels of the reference focal length, since COLMAP knows one robust scale.
    keypoints = [view.keypoints / scales[view.camera_idx] for view in views]
    with quiet_colmap():
        reconstruction = posed_reconstruction(views, keypoints, _free_cameras(cameras, scales, free))
        adjustable = add_landmarks(reconstruction, structure)
        pycolmap.create_default_bundle_adjuster(options, config, reconstruction).solve()
    refined = [
        _at_full_size(reconstruction.cameras[image_id_of(idx)], camera) if idx in free else camera
        for idx, camera in enumerate(cameras)
    ]
    xyz = structure.xyz.copy()
    for point_id, row in enumerate(adjustable, start=1):
        xyz[row] = reconstruction.points3D[point_id].xyz
    return Adjusted(refined, dataclasses.replace(structure, xyz=xyz))


def moves_distortion(cameras: Sequence[Camera]) -> bool:
    """Tell whether k1 k2 p1 p2 (the fisheye's k1 to k4) of free cameras move.

    COLMAP cannot hold k3 to k6, of which observations say little, while these move, nor the
    distortion of one camera alone while another's moves.
    """
    return not any(needs_full_opencv(camera) for camera in cameras)


def add_landmarks(reconstruction: pycolmap.Reconstruction, structure: Structure) -> list[int]:
    """Add the landmarks that are seen more than once; return their rows, of which row n is point n + 1."""
    rows: list[int] = np.flatnonzero(structure.track_lengths > 1).tolist()
    bounds = np.searchsorted(structure.landmark_idx, np.arange(structure.num_landmarks + 1)).tolist()
    views, keypoints = structure.view_idx.tolist(), structure.keypoint_idx.tolist()
    for landmark_idx in rows:
        track = pycolmap.Track()
        for row in range(bounds[landmark_idx], bounds[landmark_idx + 1]):
            track.add_element(image_id_of(views[row]), keypoints[row])
        reconstruction.add_point3D(structure.xyz[landmark_idx], track)
    return rows


def adjustment_options(
    robust_scale_px: float, tolerance: float, num_threads: int
) -> pycolmap.BundleAdjustmentOptions:
    """Return options for a Cauchy cost; `tolerance` is the relative decrease below which it ends."""
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_sensor_from_rig = False
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = robust_scale_px
    options.ceres.solver_options.max_num_iterations = _MAX_STEPS
    options.ceres.solver_options.function_tolerance = tolerance
    options.ceres.solver_options.num_threads = num_threads
    return options


def adjustment_config(
    structure: Structure, held_camera_idxs: Iterable[int]
) -> pycolmap.BundleAdjustmentConfig:
    """Return what takes part: the views that see a landmark, with the calibrations of some cameras held."""
    config = pycolmap.BundleAdjustmentConfig()
    for view_idx in np.unique(structure.view_idx).tolist():
        config.add_image(image_id_of(view_idx))
    for camera_idx in held_camera_idxs:
        config.set_constant_cam_intrinsics(image_id_of(camera_idx))
    return config


def _free_cameras(
    cameras: Sequence[Camera], scales: Sequence[float], free: set[int]
) -> list[pycolmap.Camera]:
    """Return the cameras at the reference focal length, the free ones with coefficients to refine."""
    return [
        colmap_camera_from(
            dataclasses.replace(camera, focal=camera.focal / scale, center=camera.center / scale),
            image_id_of(idx),
            with_distortion=idx in free,
        )
        for idx, (camera, scale) in enumerate(zip(cameras, scales, strict=True))
    ]


def _at_full_size(scaled: pycolmap.Camera, given: Camera) -> Camera:
    found = camera_from_colmap(scaled)
    model = found.model if given.model is DistortionModel.NONE else given.model
    return Camera(model, given.size_wh, found.focal * focal_scale(given), given.center, found.distortion)
