"""Build a map and test it on itself in one call; every image is described once."""

from __future__ import annotations

import time

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.carried import without_carried
from hfnet_ros.mapping.colmap_model import read_colmap_model
from hfnet_ros.mapping.describe import check_images, describe_images
from hfnet_ros.mapping.map_builder import (
    build_untested_map,
    build_untested_map_without_poses,
    limited_threads,
)
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import check_pair_matcher
from hfnet_ros.mapping.pruning import with_build_info
from hfnet_ros.mapping.sources import ColmapModel, PosedImages, UnposedImages, check_counts
from hfnet_ros.mapping.upright import turns_upright
from hfnet_ros.trust.mirror_test import ShownImage, with_mirror_test
from hfnet_ros.trust.self_test import with_self_test


def build_map(
    source: PosedImages | ColmapModel | UnposedImages,
    extractor: FeatureExtractor,
    config: Config,
    options: BuildOptions | None = None,
) -> VisualMap:
    """Build a map and measure how far it can be trusted.

    Args:
        source: images with poses, a COLMAP model, or images alone.
        extractor: describes the images.
        config: parameters of mapping and, for the self-test, of localization.
        options: frame name, refinement, self-test, progress.

    Raises:
        DatasetError: images and poses or cameras do not fit each other, images are missing, or
            the model cannot be read.
        ImageError: an image cannot be read or has another size than its calibration.
        MappingError: the images do not make a map, or a camera model of COLMAP has no equal in
            ROS; the message says why.
        EngineError: the network failed.
        ConfigError: `mapping.matcher` cannot match what the extractor describes.
        WeightsError: its network is nowhere.
    """
    options = options or BuildOptions()
    started = time.perf_counter()
    check_pair_matcher(config, extractor.extractor_id)
    if isinstance(source, ColmapModel):
        source = read_colmap_model(source)
    images, cameras = source.images, source.cameras
    check_counts(images, cameras, len(source.map_from_camera) if isinstance(source, PosedImages) else None)
    with limited_threads(config):
        sizes_wh = check_images(images, cameras, options.progress)
        turns = None
        if isinstance(source, PosedImages):
            turns = turns_upright(source.map_from_camera, extractor, config.mapping)
        described = describe_images(images, extractor, config.mapping.max_keypoints, options.progress, turns)
        keyframes = without_carried(described)
    if isinstance(source, PosedImages):
        built = build_untested_map(keyframes, source.map_from_camera, source.cameras, config, options)
    else:
        built = build_untested_map_without_poses(
            keyframes, sizes_wh, cameras, config, options, source.rig_from_camera
        )
    built = with_build_info(built, {"duration_s": round(time.perf_counter() - started, 1)})
    if isinstance(source, PosedImages) and not source.is_metric:
        built = with_build_info(built, {"scale": "arbitrary"})
    if not options.self_test:
        return built
    built = with_self_test(built, keyframes, extractor, config, options.progress)
    shown = {
        keyframe.image.name: ShownImage(keyframe.image.read, keyframe.extracted.turn_rad)
        for keyframe in keyframes
    }
    return with_mirror_test(built, shown, extractor, config, options.progress)
