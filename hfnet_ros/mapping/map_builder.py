"""Build a map: describe the keyframes, match them, triangulate, summarise.

Three ways in: images with poses, images with a COLMAP model, images alone. They differ in
where poses and calibrations come from; structure and summary are the same.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from hfnet_ros.config import Config
from hfnet_ros.errors import DatasetError, MappingError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.visual_map import MapCamera, VisualMap
from hfnet_ros.mapping.assembly import assemble_map
from hfnet_ros.mapping.colmap_model import read_colmap_model
from hfnet_ros.mapping.describe import check_images, describe_globally, describe_images
from hfnet_ros.mapping.matches import match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import create_pair_matcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose, choose_pairs_by_similarity
from hfnet_ros.mapping.pose_refinement import refine_poses
from hfnet_ros.mapping.pruning import drop_moved, with_build_info
from hfnet_ros.mapping.structure import report_intrinsics, solve_structure
from hfnet_ros.mapping.structure_from_motion import recover_motion
from hfnet_ros.mapping.views import Keyframe, MappingImage, views_of


def build_map_from_poses(
    images: Sequence[MappingImage],
    map_from_camera: Sequence[Rigid3],
    cameras: Sequence[Camera],
    extractor: FeatureExtractor,
    config: Config,
    options: BuildOptions | None = None,
) -> VisualMap:
    """Build a map from images whose poses are known; the poses stay as they are.

    Args:
        images: F keyframes, in the order they were taken.
        map_from_camera: their poses.
        cameras: calibrations by the images' `camera_idx`.
        extractor: describes the images.
        config: parameters.
        options: frame name, refinement of calibrations, progress.

    Raises:
        DatasetError: images and poses or cameras do not fit each other.
        ImageError: an image cannot be read or has another size than its calibration.
        MappingError: the images do not make a map; the message says why.
    """
    options = options or BuildOptions()
    started = time.perf_counter()
    _check_input(images, len(map_from_camera), len(cameras))
    with _limited_threads(config):
        check_images(images, cameras, options.progress)
        keyframes = describe_images(images, extractor, config.mapping.max_keypoints, options.progress)
    built = build_map_from_keyframes(keyframes, map_from_camera, cameras, config, options)
    return with_build_info(built, _duration(started))


def build_map_from_keyframes(
    keyframes: Sequence[Keyframe],
    map_from_camera: Sequence[Rigid3],
    cameras: Sequence[Camera],
    config: Config,
    options: BuildOptions,
) -> VisualMap:
    """Build a map from described images whose poses are known.

    Args:
        keyframes: at least two.
        map_from_camera: their poses.
        cameras: calibrations by the images' `camera_idx`.
        config: parameters.
        options: frame name, refinement of calibrations and poses, progress.

    Raises:
        DatasetError: images and poses or cameras do not fit each other.
        MappingError: the images do not make a map; the message says why.
    """
    _check_input([keyframe.image for keyframe in keyframes], len(map_from_camera), len(cameras))
    with _limited_threads(config):
        views = views_of(keyframes, map_from_camera)
        matcher, num_threads = create_pair_matcher(config), config.inference.num_threads
        pairs = choose_pairs_by_pose(views, cameras, matcher, config.mapping, num_threads)
        if not pairs:
            raise MappingError(
                f"none of {len(views)} keyframes looks the same way as another within "
                f"{config.mapping.max_view_angle_deg:g} deg; take more images or raise mapping.max_view_angle_deg"
            )
        features = [view.features for view in views]
        matches = match_pairs(matcher, features, pairs, 0.0, num_threads, options.progress)
        solved = solve_structure(views, cameras, matches, config, options)
        info = {
            "method": "given poses",
            "scale": "of the given poses",
            "num_pairs": len(pairs),
            "intrinsics": report_intrinsics(cameras, solved),
        }
        if options.refine_poses:
            views, solved, report = refine_poses(views, solved, matches, config, options)
            info["poses"] = dataclasses.asdict(report)
        given = [MapCamera(camera, refined) for camera, refined in zip(cameras, solved.cameras, strict=True)]
        built = assemble_map(keyframes, views, solved, given, config, options, info)
        return drop_moved(built) if options.drop_moved else built


def build_map_from_colmap(
    model: Path,
    image_folder: Path,
    extractor: FeatureExtractor,
    config: Config,
    options: BuildOptions | None = None,
) -> VisualMap:
    """Build a map from the poses and cameras of a COLMAP model, with our own features.

    Args:
        model: folder with cameras, images and points3D, .bin or .txt.
        image_folder: where the model's image names start.
        extractor: describes the images.
        config: parameters.
        options: frame name, refinement of calibrations, progress.

    Raises:
        DatasetError: the model cannot be read, or images of it are missing.
        ImageError: an image cannot be read or has another size than its camera.
        MappingError: a camera model has no equal in ROS, or the images do not make a map.
    """
    registered = read_colmap_model(model, image_folder)
    return build_map_from_poses(
        registered.images, registered.map_from_camera, registered.cameras, extractor, config, options
    )


def build_map_without_poses(
    images: Sequence[MappingImage],
    cameras: Sequence[Camera] | None,
    extractor: FeatureExtractor,
    config: Config,
    options: BuildOptions | None = None,
) -> VisualMap:
    """Build a map from images alone: their poses come from the images, at an arbitrary scale.

    Args:
        images: at least two.
        cameras: calibrations by the images' `camera_idx`, held as they are unless
            `options.intrinsics` is "on"; None to estimate them too, one for all images if all
            have one size, otherwise one for each.
        extractor: describes the images.
        config: parameters.
        options: frame name, refinement of calibrations, progress.

    Raises:
        DatasetError: there are fewer than two images.
        ImageError: an image cannot be read or has another size than its calibration.
        MappingError: the images do not hang together.
    """
    options = options or BuildOptions()
    started = time.perf_counter()
    _check_input(images, len(images), len(cameras) if cameras is not None else None)
    with _limited_threads(config):
        expected = (
            cameras if cameras is not None else [None] * (1 + max(image.camera_idx for image in images))
        )
        sizes = check_images(images, expected, options.progress)
        keyframes = describe_images(images, extractor, config.mapping.max_keypoints, options.progress)
        descriptors, _ = describe_globally(keyframes, config.retrieval, config.pose.seed)
        pairs = choose_pairs_by_similarity(descriptors, config.mapping.num_neighbors)
        motion = recover_motion(keyframes, sizes, cameras, pairs, config, options)
        keyframes = [keyframes[idx] for idx in motion.image_idxs]
        views = views_of(keyframes, motion.map_from_camera, motion.camera_idxs)
        held = replace(options, intrinsics="off")
        solved = solve_structure(views, motion.cameras, motion.matches, config, held)
        given = [MapCamera(before, after) for before, after in zip(motion.given, motion.cameras, strict=True)]
        info = {
            "method": "structure from motion",
            "scale": "arbitrary",
            "num_pairs": len(pairs),
            "num_images": len(images),
            "num_registered": len(keyframes),
        }
        built = assemble_map(keyframes, views, solved, given, config, options, info)
        built = drop_moved(built) if options.drop_moved else built
        return with_build_info(built, _duration(started))


def _check_input(images: Sequence[MappingImage], num_poses: int, num_cameras: int | None) -> None:
    if len(images) != num_poses:
        raise DatasetError(f"found {len(images)} images but {num_poses} poses, expected one pose per image")
    if len(images) < 2:
        raise MappingError(
            f"found {len(images)} keyframes, expected at least 2: landmarks come from views of the same thing"
        )
    worst = max(images, key=lambda image: image.camera_idx)
    if num_cameras is not None and worst.camera_idx >= num_cameras:
        raise DatasetError(f"{worst.name} is of camera {worst.camera_idx}, but only {num_cameras} are given")


def _limited_threads(config: Config) -> threadpool_limits:
    """Keep native libraries to the configured threads, and matrix products to one each.

    Threads of one product wait for each other busily; where another process holds a core, each
    of the many small products here then costs a time slice (measured: 128 ms instead of 8).
    """
    return threadpool_limits({"blas": 1, "openmp": config.inference.num_threads})


def _duration(started: float) -> dict[str, float]:
    return {"duration_s": round(time.perf_counter() - started, 1)}
