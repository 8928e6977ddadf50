"""Landmarks from matches between views whose poses are known and stay as they are.

COLMAP joins the matches to tracks and triangulates them robustly; the thresholds that decide
which observations stay are applied once more here, per camera, because COLMAP knows only one
number for all cameras.

Reference: Schoenberger and Frahm, Structure-from-Motion Revisited, CVPR 2016, section 4.3.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import MappingConfig
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.mapping.colmap_convention import MAX_EXTRA_PARAM, quiet_colmap
from hfnet_ros.mapping.colmap_database import image_id_of, write_posed_database
from hfnet_ros.mapping.matches import MIN_PAIR_MATCHES
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.views import PairMatches, Structure, View, focal_scale

FloatArray = NDArray[np.float64]


def triangulate(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: PairMatches,
    config: MappingConfig,
    *,
    num_threads: int,
    seed: int,
    tolerance: float = 1.0,
    is_polished: bool = True,
) -> Structure:
    """Triangulate matches between views with known poses; an empty structure if nothing holds.

    Args:
        views: keypoints and poses, F of them.
        cameras: calibrations, by the views' `camera_idx`.
        matches: keypoint rows [M, 2] by pair, already in agreement with the poses.
        config: thresholds.
        num_threads: CPU threads.
        seed: of COLMAP's sampling.
        tolerance: observations may be off by this many times the configured error. What is to
            judge the calibration must not have been selected by it.
        is_polished: adjust the landmarks, and complete and merge tracks again with them, up to five times. It takes
            three quarters of the time, and changes little where poses and landmarks are adjusted afterwards.
    """
    options = _pipeline_options(cameras, config, num_threads, seed, tolerance)
    if not is_polished:
        options.ba_global_max_refinements = 0
    with tempfile.TemporaryDirectory(prefix="hfnet_ros_map_") as folder, quiet_colmap():
        database, output = Path(folder) / "database.db", Path(folder) / "model"
        # An interrupted COLMAP leaves `<output>.partial` beside its output: that too must be in here.
        output.mkdir()
        reconstruction = write_posed_database(database, views, cameras, matches)
        reconstruction = pycolmap.triangulate_points(
            reconstruction,
            database,
            folder,  # COLMAP asks for images only to colour points, which is switched off
            output,
            clear_points=True,
            options=options,
        )
        structure = structure_from_colmap(
            reconstruction, {image_id_of(idx): idx for idx in range(len(views))}
        )
    return filter_structure(structure, views, cameras, config, tolerance)


def filter_structure(
    structure: Structure,
    views: Sequence[View],
    cameras: Sequence[Camera],
    config: MappingConfig,
    tolerance: float = 1.0,
) -> Structure:
    """Drop observations and landmarks that the configuration does not trust.

    An observation is dropped for its reprojection error, or because the same view sees the
    landmark at a better place; a landmark for too few observations or too little parallax.
    """
    errors = reprojection_errors(structure, views, cameras)
    scales = np.array([focal_scale(cameras[view.camera_idx]) for view in views])
    limits = tolerance * config.max_reprojection_error_px * scales[structure.view_idx]
    kept = (errors <= limits) & _best_in_view(structure, errors)
    structure = structure.keep_observations(kept, config.min_track_length)
    parallax = parallax_angles(structure, views)
    wide = parallax >= np.radians(config.min_triangulation_angle_deg)
    return structure.keep_observations(wide[structure.landmark_idx], config.min_track_length)


def reprojection_errors(structure: Structure, views: Sequence[View], cameras: Sequence[Camera]) -> FloatArray:
    """Return the distance [O] of each observation to its landmark's projection, px; inf if none."""
    errors = np.full(len(structure.view_idx), np.inf)
    for view_idx, rows in _rows_by_view(structure, len(views)):
        view = views[view_idx]
        points = view.map_from_camera.inverse() @ structure.xyz[structure.landmark_idx[rows]]
        offsets = cameras[view.camera_idx].project(points) - view.keypoints[structure.keypoint_idx[rows]]
        errors[rows] = np.nan_to_num(np.linalg.norm(offsets, axis=1), nan=np.inf)
    return errors


def parallax_angles(structure: Structure, views: Sequence[View]) -> FloatArray:
    """Return for each landmark [L] the angle, rad, between two extreme rays that see it.

    Found in two sweeps: the ray farthest from the first one, then the ray farthest from that;
    at least half of the widest angle of all pairs, and nearly always equal to it.
    """
    centers = np.array([view.map_from_camera.translation for view in views]).reshape(-1, 3)
    landmark = structure.landmark_idx
    if len(landmark) == 0:
        return np.zeros(0)
    rays = structure.xyz[landmark] - centers[structure.view_idx]
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
    starts = np.concatenate([[0], np.cumsum(structure.track_lengths)[:-1]]).astype(np.int64)
    chord = np.linalg.norm(rays - rays[starts][landmark], axis=1)
    farthest = np.lexsort((-chord, landmark))[starts]
    chord = np.linalg.norm(rays - rays[farthest][landmark], axis=1)
    angles: FloatArray = 2.0 * np.arcsin(np.clip(np.maximum.reduceat(chord, starts) / 2.0, 0.0, 1.0))
    return angles


def structure_from_colmap(
    reconstruction: pycolmap.Reconstruction, view_of_image_id: Mapping[int, int]
) -> Structure:
    """Return COLMAP's points and their tracks, in the order of their ids."""
    points = [reconstruction.points3D[point_id] for point_id in sorted(reconstruction.points3D)]
    rows = [
        (landmark_idx, view_of_image_id[element.image_id], element.point2D_idx)
        for landmark_idx, point in enumerate(points)
        for element in point.track.elements
    ]
    observations = np.array(rows, np.int64).reshape(-1, 3)
    observations = observations[np.lexsort(observations.T[::-1])]
    xyz = np.array([point.xyz for point in points], np.float64).reshape(-1, 3)
    return Structure(xyz, observations[:, 0], observations[:, 1], observations[:, 2])


def _pipeline_options(
    cameras: Sequence[Camera], config: MappingConfig, num_threads: int, seed: int, tolerance: float
) -> pycolmap.IncrementalPipelineOptions:
    """Return COLMAP's options; its single pixel threshold is that of the longest camera."""
    max_error_px = config.max_reprojection_error_px * max(focal_scale(camera) for camera in cameras)
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = num_threads
    options.random_seed = seed
    options.extract_colors = False
    options.ba_refine_focal_length = False
    options.ba_refine_extra_params = False
    options.min_num_matches = MIN_PAIR_MATCHES
    options.mapper.filter_max_reproj_error = tolerance * max_error_px
    options.mapper.filter_min_tri_angle = config.min_triangulation_angle_deg
    options.triangulation.min_angle = config.min_triangulation_angle_deg
    options.triangulation.merge_max_reproj_error = max_error_px
    options.triangulation.complete_max_reproj_error = tolerance * max_error_px
    options.triangulation.ignore_two_view_tracks = config.min_track_length > 2
    for part in (options, options.mapper, options.triangulation):
        part.max_extra_param = MAX_EXTRA_PARAM
    return options


def _rows_by_view(structure: Structure, num_views: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    order = np.argsort(structure.view_idx, kind="stable")
    bounds = np.searchsorted(structure.view_idx[order], np.arange(num_views + 1))
    for view_idx in range(num_views):
        if bounds[view_idx] < bounds[view_idx + 1]:
            yield view_idx, order[bounds[view_idx] : bounds[view_idx + 1]]


def _best_in_view(structure: Structure, errors: FloatArray) -> NDArray[np.bool_]:
    """Tell which observations [O] are the only or the best one of their landmark in their view."""
    order = np.lexsort((errors, structure.view_idx, structure.landmark_idx))
    landmark, view = structure.landmark_idx[order], structure.view_idx[order]
    best = np.ones(len(order), np.bool_)
    best[order[1:]] = (landmark[1:] != landmark[:-1]) | (view[1:] != view[:-1])
    return best
