"""Poses from the images alone: verified matches, then COLMAP's incremental mapping.

Reference: Schoenberger and Frahm, Structure-from-Motion Revisited, CVPR 2016.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from hfnet_ros.mapping.matches import MIN_PAIR_MATCHES, filter_by_known_poses, match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import create_pair_matcher
from hfnet_ros.mapping.pair_verification import share_of_turning, verify_pairs
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.views import Keyframe, PairMatches, views_of

_logger = logging.getLogger(__name__)

# Without poses nothing but the likeness of descriptors tells right matches from wrong ones
# before RANSAC, whose work grows steeply with the share of wrong ones.
_MIN_SIMILARITY = 0.8
# Width of an ordinary photo is about 60 degrees; refined as soon as there are points.
_FOCAL_GUESS = 1.2
_MIN_INITIAL_INLIERS = 50
_MIN_INITIAL_ANGLE_DEG = 8.0
_MIN_POSE_INLIERS = 20
# Of a camera on a tripod 0.92 with its calibration and 0.98 without, of one that was walked through rooms 0 to 0.3.
_MAX_TURNED = 0.8
# Of a model with the matches it is made of; sound ones had 0.74 to 0.94, wrong ones up to 0.45.
_MIN_AGREEMENT = 0.5
# Of one pair of images with the model that both are in; else it sees something else alike.
_MIN_PAIR_AGREEMENT = 0.5
_STEP_ASIDE = (
    "take images that overlap by half from places a step apart, moving sideways, of one camera at one zoom; name its "
    "calibration with --camera, or give poses"
)


@dataclass(frozen=True, eq=False)
class RecoveredMotion:
    """The images that hang together, at an arbitrary scale; R of them.

    Attributes:
        image_idxs: their positions among the images given, ascending.
        map_from_camera: their poses.
        camera_idxs: positions of their cameras in `cameras`.
        cameras: calibrations.
        given: what the caller had given for each camera, None where it was estimated.
        matches: verified matches between them, by positions among the R.
        contradicted_share: of the pairs of images that see the same by more than chance, and that one model holds, the
            share that the model contradicts; of all models that were found, sound or not.
    """

    image_idxs: list[int]
    map_from_camera: list[Rigid3]
    camera_idxs: list[int]
    cameras: list[Camera]
    given: list[Camera | None]
    matches: PairMatches
    contradicted_share: float = 0.0


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
        verified = verify_pairs(database, matches, sizes_wh, config)
        options.progress("verify", 1, 1)
        turned = share_of_turning(verified, keypoints, sizes_wh, cameras, camera_idxs)
        if turned > _MAX_TURNED:
            raise MappingError(
                f"the camera only turned: a rotation alone explains {100 * turned:.0f} % of what a pair of images has "
                f"in common, and turning gives no depth; {_STEP_ASIDE}"
            )
        models = _map_incrementally(database, Path(folder), len(keyframes), hold, config, options)
        usable = [(model, _usable_images(model, cameras is not None)) for model in models]
        found = [
            _motion_of(model, images, camera_idxs, cameras, verified)
            for model, images in sorted(usable, key=lambda entry: (-len(entry[1]), -entry[0].num_points3D()))
            if len(images) > 1
        ]
        if not found:
            raise _nothing_registered(len(keyframes), matches, verified)
        share = _contradicted_share(found, keyframes, config)
        return replace(_largest_sound(found, keyframes, config), contradicted_share=share)


def _largest_sound(
    found: Sequence[RecoveredMotion], keyframes: Sequence[Keyframe], config: Config
) -> RecoveredMotion:
    """Return the first of the models, largest first, that agrees with the images it is made of.

    Raises:
        MappingError: none does.
    """
    shares = [_agreement(motion, keyframes, config) for motion in found]
    counts = ", ".join(str(len(motion.image_idxs)) for motion in found)
    sizes = f"{len(found)} model{'s' if len(found) > 1 else ''} (of {counts} images)"
    for motion, share in zip(found, shares, strict=True):
        if share >= _MIN_AGREEMENT:
            _report(motion, sizes, keyframes)
            return motion
    raise MappingError(
        f"the images contradict the {sizes} found of them: at most {100 * max(shares):.0f} % of the matches "
        "within a model agree with it. Either places look alike, the lens changes, or next to nothing overlaps: "
        f"{_STEP_ASIDE}"
    )


def _contradicted_share(
    found: Sequence[RecoveredMotion], keyframes: Sequence[Keyframe], config: Config
) -> float:
    """Return the share of the pairs within the models whose verified matches do not agree with the model.

    Two images that agree with each other, and not with where all others put them, see two things that look alike.
    """
    pairs = contradicted = 0
    for motion in found:
        agreeing = _agreeing(motion, keyframes, config)
        pairs += len(motion.matches)
        contradicted += sum(
            len(agreeing.get(pair, ())) < _MIN_PAIR_AGREEMENT * len(rows)
            for pair, rows in motion.matches.items()
        )
    return contradicted / max(pairs, 1)


def _agreement(motion: RecoveredMotion, keyframes: Sequence[Keyframe], config: Config) -> float:
    """Return the share of the verified matches within a model that its poses explain."""
    agreeing = _agreeing(motion, keyframes, config)
    total = sum(map(len, motion.matches.values()))
    return sum(map(len, agreeing.values())) / max(total, 1)


def _agreeing(motion: RecoveredMotion, keyframes: Sequence[Keyframe], config: Config) -> PairMatches:
    """Return the verified matches within a model that its poses explain."""
    registered = [keyframes[idx] for idx in motion.image_idxs]
    views = views_of(registered, motion.map_from_camera, motion.camera_idxs)
    return filter_by_known_poses(motion.matches, views, motion.cameras, config.mapping.max_epipolar_error_px)


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


def _usable_images(model: pycolmap.Reconstruction, is_calibrated: bool) -> list[int]:
    """Return the registered images, without those whose estimated lens cannot exist.

    COLMAP looks for these between its adjustments, but not after the last.
    """
    if is_calibrated:
        return sorted(model.reg_image_ids())
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


def _report(motion: RecoveredMotion, models: str, keyframes: Sequence[Keyframe]) -> None:
    kept = set(motion.image_idxs)
    left_out = [frame.image.name for idx, frame in enumerate(keyframes) if idx not in kept]
    _logger.info("registered %d of %d images; the scale is arbitrary", len(kept), len(keyframes))
    if left_out:
        _logger.warning(
            "%d of %d images do not join the largest sound one of %s: %s; %s",
            len(left_out),
            len(keyframes),
            models,
            ", ".join(left_out[:10]) + (", ..." if len(left_out) > 10 else ""),
            _STEP_ASIDE,
        )


def _nothing_registered(num_images: int, matches: PairMatches, verified: PairMatches) -> MappingError:
    most = max(map(len, matches.values()), default=0)
    return MappingError(
        f"no two of {num_images} images could be put into relation: {len(matches)} pairs have {MIN_PAIR_MATCHES} "
        f"matches or more, the best {most}, and {len(verified)} of them see the same by more than chance; {_STEP_ASIDE}"
    )
