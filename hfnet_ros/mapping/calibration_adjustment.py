"""Bundle adjustment of calibrations and landmarks under fixed camera poses, by COLMAP.

Reference: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.pixels import colmap_from_pixels
from hfnet_ros.mapping.colmap_convention import (
    camera_from_colmap,
    colmap_camera_from,
    colmap_pose_from,
    needs_full_opencv,
    quiet_colmap,
)
from hfnet_ros.mapping.colmap_database import image_id_of
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
    free = set(free_camera_idxs)
    with quiet_colmap():
        reconstruction = _reconstruction_of(structure, views, cameras, free)
        options = pycolmap.BundleAdjustmentOptions()
        options.refine_extra_params = moves_distortion(cameras)
        options.refine_rig_from_world = options.refine_sensor_from_rig = False
        options.print_summary = False
        options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
        options.ceres.loss_function_scale = robust_scale_px
        options.ceres.auto_select_solver_type = False
        solver = options.ceres.solver_options
        # Few numbers remain when the landmarks are eliminated.
        solver.linear_solver_type = type(solver.linear_solver_type).DENSE_SCHUR
        solver.max_num_iterations = _MAX_STEPS
        solver.function_tolerance = _MIN_RELATIVE_DECREASE
        solver.num_threads = 1
        adjusted = pycolmap.BundleAdjustmentConfig()
        for image_id in reconstruction.images:
            adjusted.add_image(image_id)
        for camera_idx in set(range(len(cameras))) - free:
            adjusted.set_constant_cam_intrinsics(image_id_of(camera_idx))
        pycolmap.create_default_bundle_adjuster(options, adjusted, reconstruction).solve()
    refined = [
        _at_full_size(reconstruction.cameras[image_id_of(idx)], camera) if idx in free else camera
        for idx, camera in enumerate(cameras)
    ]
    xyz = structure.xyz.copy()
    for row, point_id in zip(_adjustable(structure), sorted(reconstruction.point3D_ids()), strict=True):
        xyz[row] = reconstruction.points3D[point_id].xyz
    return Adjusted(refined, dataclasses.replace(structure, xyz=xyz))


def moves_distortion(cameras: Sequence[Camera]) -> bool:
    """Tell whether k1 k2 p1 p2 (the fisheye's k1 to k4) of free cameras move.

    COLMAP cannot hold k3 to k6, of which observations say little, while these move, nor the
    distortion of one camera alone while another's moves.
    """
    return not any(needs_full_opencv(camera) for camera in cameras)


def _reconstruction_of(
    structure: Structure, views: Sequence[View], cameras: Sequence[Camera], free: set[int]
) -> pycolmap.Reconstruction:
    """Return the structure in pixels of the reference focal length, since COLMAP knows one robust scale."""
    reconstruction = pycolmap.Reconstruction()
    scales = [focal_scale(camera) for camera in cameras]
    for idx, (camera, scale) in enumerate(zip(cameras, scales, strict=True)):
        scaled = dataclasses.replace(camera, focal=camera.focal / scale, center=camera.center / scale)
        reconstruction.add_camera_with_trivial_rig(
            colmap_camera_from(scaled, image_id_of(idx), with_distortion=idx in free)
        )
    for view_idx in np.unique(structure.view_idx).tolist():
        view = views[view_idx]
        image = pycolmap.Image(
            keypoints=colmap_from_pixels(view.keypoints / scales[view.camera_idx]),
            camera_id=image_id_of(view.camera_idx),
            image_id=image_id_of(view_idx),
        )
        reconstruction.add_image_with_trivial_frame(image, colmap_pose_from(view.map_from_camera))
    bounds = np.searchsorted(structure.landmark_idx, np.arange(structure.num_landmarks + 1)).tolist()
    for landmark_idx in _adjustable(structure):
        track = pycolmap.Track()
        for row in range(bounds[landmark_idx], bounds[landmark_idx + 1]):
            track.add_element(image_id_of(int(structure.view_idx[row])), int(structure.keypoint_idx[row]))
        reconstruction.add_point3D(structure.xyz[landmark_idx], track)
    return reconstruction


def _adjustable(structure: Structure) -> list[int]:
    """Return the landmarks seen more than once, ascending, as their ids in the reconstruction are."""
    rows: list[int] = np.flatnonzero(structure.track_lengths > 1).tolist()
    return rows


def _at_full_size(scaled: pycolmap.Camera, given: Camera) -> Camera:
    found = camera_from_colmap(scaled)
    model = found.model if given.model is DistortionModel.NONE else given.model
    return Camera(model, given.size_wh, found.focal * focal_scale(given), given.center, found.distortion)
