"""Poses from the images alone: verified matches, then COLMAP's incremental mapping.

Reference: Schoenberger and Frahm, Structure-from-Motion Revisited, CVPR 2016.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pycolmap

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.colmap_convention import (
    MAX_EXTRA_PARAM,
    camera_from_colmap,
    pose_from_colmap,
    quiet_colmap,
)
from hfnet_ros.mapping.colmap_database import colmap_cameras_from, image_id_of, write_unposed_database
from hfnet_ros.mapping.matches import MIN_PAIR_MATCHES, match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import create_pair_matcher
from hfnet_ros.mapping.views import Keyframe, PairMatches

_logger = logging.getLogger(__name__)

# Without poses nothing but the likeness of descriptors tells right matches from wrong ones
# before RANSAC, whose work grows steeply with the share of wrong ones.
_MIN_SIMILARITY = 0.8
# Enough for a third of right matches; pairs without a common view would use up COLMAP's 10000.
_MAX_VERIFICATION_TRIALS = 2000
# Width of an ordinary photo is about 60 degrees; refined as soon as there are points.
_FOCAL_GUESS = 1.2
_MIN_INITIAL_INLIERS = 50
_MIN_INITIAL_ANGLE_DEG = 8.0
_MIN_POSE_INLIERS = 20


@dataclass(frozen=True, eq=False)
class RecoveredMotion:
    """The images that hang together, at an arbitrary scale; R of them.

    Attributes:
        image_idxs: their positions among the images given, ascending.
        map_from_camera: their poses.
        camera_idxs: positions of their cameras in `cameras`.
        cameras: calibrations.
        given: what the caller had given for each camera, None where it was estimated.
        matches: tentative matches between them, by positions among the R.
    """

    image_idxs: list[int]
    map_from_camera: list[Rigid3]
    camera_idxs: list[int]
    cameras: list[Camera]
    given: list[Camera | None]
    matches: PairMatches


def recover_motion(
    keyframes: Sequence[Keyframe],
    sizes_wh: Sequence[tuple[int, int]],
    cameras: Sequence[Camera] | None,
    pairs: Sequence[tuple[int, int]],
    config: Config,
    options: BuildOptions,
) -> RecoveredMotion:
    """Register as many images as possible in one model.

    Args:
        keyframes: described images.
        sizes_wh: their sizes, px.
        cameras: calibrations by the images' `camera_idx`; None to estimate them.
        pairs: images to match.
        config: parameters.
        options: a given calibration is refined only with intrinsics "on".

    Raises:
        MappingError: no two images can be put into relation.
    """
    matcher, features = create_pair_matcher(config), [keyframe.features for keyframe in keyframes]
    num_threads = config.inference.num_threads
    matches = match_pairs(matcher, features, pairs, _MIN_SIMILARITY, num_threads, options.progress)
    matches = {pair: rows for pair, rows in matches.items() if len(rows) >= MIN_PAIR_MATCHES}
    camera_idxs, colmap_cameras = _colmap_cameras(keyframes, sizes_wh, cameras)
    hold = cameras is not None and options.intrinsics != "on"
    with tempfile.TemporaryDirectory(prefix="hfnet_ros_sfm_") as folder, quiet_colmap():
        database = Path(folder) / "database.db"
        keypoints = [keyframe.features.local.keypoints for keyframe in keyframes]
        write_unposed_database(database, keypoints, camera_idxs, colmap_cameras, matches)
        options.progress("verify", 0, 1)
        _verify_matches(database, config)
        options.progress("verify", 1, 1)
        models = _map_incrementally(database, Path(folder), len(keyframes), hold, config, options)
        if not models:
            raise _nothing_registered(len(keyframes), matches)
        model = max(models, key=lambda candidate: (candidate.num_reg_images(), candidate.num_points3D()))
        usable = sorted(model.reg_image_ids()) if cameras is not None else _images_of_sound_cameras(model)
        if len(usable) < 2:
            raise _nothing_registered(len(keyframes), matches)
        _report_models(models, usable, keyframes)
        return _motion_of(model, usable, camera_idxs, cameras, matches)


def _colmap_cameras(
    keyframes: Sequence[Keyframe], sizes_wh: Sequence[tuple[int, int]], cameras: Sequence[Camera] | None
) -> tuple[list[int], list[pycolmap.Camera]]:
    """Return each image's camera and all cameras: those given, one for all, or one for each image.

    Images of one size come from one camera as a rule; of several sizes, from anywhere.
    """
    if cameras is not None:
        given = colmap_cameras_from(cameras)
        for camera in given:
            camera.has_prior_focal_length = True
        return [keyframe.image.camera_idx for keyframe in keyframes], given
    shared = len(set(sizes_wh)) == 1
    guessed = []
    for idx, (width, height) in enumerate(sizes_wh[:1] if shared else sizes_wh):
        params = [_FOCAL_GUESS * max(width, height), width / 2.0, height / 2.0, 0.0]
        guessed.append(
            pycolmap.Camera(
                model="SIMPLE_RADIAL", width=width, height=height, params=params, camera_id=image_id_of(idx)
            )
        )
    return [0 if shared else idx for idx in range(len(sizes_wh))], guessed


def _verify_matches(database: Path, config: Config) -> None:
    verifier = pycolmap.GeometricVerifierOptions()
    verifier.num_threads = config.inference.num_threads
    geometry = pycolmap.TwoViewGeometryOptions()
    geometry.min_num_inliers = MIN_PAIR_MATCHES
    geometry.detect_watermark = False
    geometry.ransac.random_seed = config.pose.seed
    geometry.ransac.max_num_trials = _MAX_VERIFICATION_TRIALS
    geometry.ransac.dyn_num_trials_multiplier = 1.0
    pycolmap.geometric_verification(database, verifier, two_view_geometry_options=geometry)


def _map_incrementally(
    database: Path, folder: Path, num_images: int, hold_cameras: bool, config: Config, options: BuildOptions
) -> list[pycolmap.Reconstruction]:
    pipeline = pycolmap.IncrementalPipelineOptions()
    pipeline.num_threads = config.inference.num_threads
    pipeline.random_seed = config.pose.seed
    pipeline.extract_colors = False
    pipeline.min_model_size = 2
    pipeline.min_num_matches = MIN_PAIR_MATCHES
    pipeline.ba_refine_focal_length = pipeline.ba_refine_extra_params = not hold_cameras
    pipeline.mapper.abs_pose_refine_focal_length = not hold_cameras
    pipeline.mapper.abs_pose_refine_extra_params = not hold_cameras
    # COLMAP's own limits are made for collections of thousands of photos.
    pipeline.mapper.init_min_num_inliers = _MIN_INITIAL_INLIERS
    pipeline.mapper.init_min_tri_angle = _MIN_INITIAL_ANGLE_DEG
    pipeline.mapper.abs_pose_min_num_inliers = _MIN_POSE_INLIERS
    if hold_cameras:
        for part in (pipeline, pipeline.mapper, pipeline.triangulation):
            part.max_extra_param = MAX_EXTRA_PARAM
    registered = 0

    def count_registered() -> None:
        nonlocal registered
        registered = min(registered + 1, num_images)
        options.progress("register", registered, num_images)

    models = pycolmap.incremental_mapping(
        database, folder, folder, pipeline, next_image_callback=count_registered
    )
    options.progress("register", num_images, num_images)
    return [model for model in models.values() if model.num_reg_images() >= 2]


def _images_of_sound_cameras(model: pycolmap.Reconstruction) -> list[int]:
    """Return the registered images whose estimated lens could exist.

    COLMAP looks for others between its adjustments, but not after the last.
    """
    ratios = pycolmap.IncrementalPipelineOptions()
    limits = (ratios.min_focal_length_ratio, ratios.max_focal_length_ratio, ratios.max_extra_param)
    return [
        image_id
        for image_id in sorted(model.reg_image_ids())
        if not model.cameras[model.images[image_id].camera_id].has_bogus_params(*limits)
    ]


def _motion_of(
    model: pycolmap.Reconstruction,
    usable: Sequence[int],
    camera_idxs: Sequence[int],
    cameras: Sequence[Camera] | None,
    matches: PairMatches,
) -> RecoveredMotion:
    image_idxs = [image_id - image_id_of(0) for image_id in usable]
    used = sorted({camera_idxs[idx] for idx in image_idxs})
    position = {image_idx: row for row, image_idx in enumerate(image_idxs)}
    return RecoveredMotion(
        image_idxs,
        [pose_from_colmap(model.images[image_id_of(idx)]) for idx in image_idxs],
        [used.index(camera_idxs[idx]) for idx in image_idxs],
        [camera_from_colmap(model.cameras[image_id_of(idx)]) for idx in used],
        [cameras[idx] if cameras is not None else None for idx in used],
        {
            (position[first], position[second]): rows
            for (first, second), rows in matches.items()
            if first in position and second in position
        },
    )


def _report_models(
    models: Sequence[pycolmap.Reconstruction], kept: Sequence[int], keyframes: Sequence[Keyframe]
) -> None:
    ids = set(kept)
    left_out = [frame.image.name for idx, frame in enumerate(keyframes) if image_id_of(idx) not in ids]
    _logger.info("registered %d of %d images; the scale is arbitrary", len(ids), len(keyframes))
    if left_out:
        _logger.warning(
            "%d of %d images do not join the largest of %d models: %s",
            len(left_out),
            len(keyframes),
            len(models),
            ", ".join(left_out[:10]) + (", ..." if len(left_out) > 10 else ""),
        )


def _nothing_registered(num_images: int, matches: PairMatches) -> MappingError:
    most = max(map(len, matches.values()), default=0)
    return MappingError(
        f"no two of {num_images} images could be put into relation: {len(matches)} pairs have "
        f"{MIN_PAIR_MATCHES} matches or more, the best {most}; take images that overlap by half, from places "
        "a step apart, or give poses"
    )
