"""Build a map from described keyframes: match them, triangulate, summarise.

With poses or without: structure and summary are the same. `trust.tested_build` describes the
keyframes first and tests the map afterwards.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.arrangement import arranged
from hfnet_ros.map.visual_map import MapCamera, VisualMap
from hfnet_ros.mapping.assembly import assemble_map
from hfnet_ros.mapping.describe import describe_for_pairs
from hfnet_ros.mapping.matches import match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import PairMatcher, create_pair_matcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose, choose_pairs_by_similarity, pairs_of_frames
from hfnet_ros.mapping.pose_faults import check_poses
from hfnet_ros.mapping.pruning import drop_moved
from hfnet_ros.mapping.rig_motion import hold_rig
from hfnet_ros.mapping.sources import check_counts
from hfnet_ros.mapping.standing import moving
from hfnet_ros.mapping.structure import report_intrinsics, solve_structure
from hfnet_ros.mapping.structure_from_motion import recover_motion
from hfnet_ros.mapping.views import Keyframe, PairMatches, View, among, views_of

if TYPE_CHECKING:
    from hfnet_ros.features.aggregation import VladAggregation

_logger = logging.getLogger(__name__)

_USUAL_DISTANCES_M = (0.03, 300.0)


def build_untested_map(
    keyframes: Sequence[Keyframe],
    map_from_camera: Sequence[Rigid3],
    cameras: Sequence[Camera],
    config: Config,
    options: BuildOptions,
    *,
    known: PairMatches | None = None,
    aggregation: VladAggregation | None = None,
) -> VisualMap:
    """Build a map from described images whose poses are known.

    Args:
        keyframes: at least two.
        map_from_camera: their poses.
        cameras: calibrations by the images' `camera_idx`.
        config: parameters.
        options: frame name, refinement of calibrations and poses, progress.
        known: matches of pairs that were matched before; the others are matched here.
        aggregation: of global descriptors; learned of these keyframes unless given.

    Raises:
        DatasetError: images and poses or cameras do not fit each other.
        MappingError: the images do not make a map, or their poses are wrong (`PoseFaultError`); the
            message says why.
    """
    check_counts([keyframe.image for keyframe in keyframes], cameras, len(map_from_camera))
    num_images, described = len(keyframes), None
    with limited_threads(config):
        sizes_wh = [cameras[keyframe.image.camera_idx].size_wh for keyframe in keyframes]
        kept = moving(keyframes, sizes_wh, map_from_camera)
        known = among(known or {}, kept)
        keyframes = [keyframes[row] for row in kept]
        views = views_of(keyframes, [map_from_camera[row] for row in kept])
        matcher = create_pair_matcher(config)
        matches = _match_by_pose(views, cameras, matcher, config, options, known)
        info: dict[str, Any] = {"num_standing": num_images - len(kept)}
        if config.mapping.check_poses:
            described = describe_for_pairs(keyframes, config)
            checked = check_poses(
                keyframes, views, cameras, matches, described.descriptors, matcher, config, options
            )
            info["pose_faults"] = checked.report
            if checked.has_faults:
                matches = checked.among_kept(matches)
                keyframes = [keyframes[row] for row in checked.kept]
                views = views_of(keyframes, [checked.map_from_camera[row] for row in checked.kept])
                matches = _match_by_pose(views, cameras, matcher, config, options, matches)
        if not matches:
            raise MappingError(
                f"none of {len(views)} keyframes looks the same way as another within "
                f"{config.mapping.max_view_angle_deg:g} deg; take more images or raise mapping.max_view_angle_deg"
            )
        solved = solve_structure(views, cameras, matches, config, options)
        info |= {
            "method": "given poses",
            "scale": "of the given poses",
            "num_pairs": len(matches),
            "intrinsics": report_intrinsics(cameras, solved),
        }
        if options.refine_poses != "off":
            info["poses"] = dataclasses.asdict(solved.poses)
        given = [MapCamera(camera, refined) for camera, refined in zip(cameras, solved.cameras, strict=True)]
        built = assemble_map(keyframes, views, solved, given, config, options, info, aggregation, described)
        if not options.is_draft:
            _doubt_units(built)
        return _finished(built, config, options)


def _doubt_units(built: VisualMap) -> None:
    """Warn where what is seen is farther, or nearer, than cameras that localize robots see."""
    distance_m = float(np.median(built.landmark_distance_ranges))
    nearest_m, farthest_m = _USUAL_DISTANCES_M
    if not nearest_m <= distance_m <= farthest_m:
        _logger.warning(
            "the median landmark is %.3g m from the cameras that see it: are the given positions in metres? Multiply "
            "those in millimetres by 0.001, in kilometres by 1000",
            distance_m,
        )


def _match_by_pose(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matcher: PairMatcher,
    config: Config,
    options: BuildOptions,
    known: PairMatches,
) -> PairMatches:
    """Match the pairs that poses choose, but for those that are matched already."""
    num_threads = config.inference.num_threads
    pairs = choose_pairs_by_pose(views, cameras, matcher, config.mapping, num_threads)
    features = [view.features for view in views]
    missing = [pair for pair in pairs if pair not in known]
    found = match_pairs(matcher, features, missing, 0.0, num_threads, options.progress)
    return {pair: rows for pair in pairs if (rows := known.get(pair, found.get(pair))) is not None}


def build_untested_map_without_poses(
    keyframes: Sequence[Keyframe],
    sizes_wh: Sequence[tuple[int, int]],
    cameras: Sequence[Camera] | None,
    config: Config,
    options: BuildOptions,
    rig_from_camera: Sequence[Rigid3] | None = None,
) -> VisualMap:
    """Build a map from described images alone, at an arbitrary scale, or in metres if they are of a rig.

    Args:
        keyframes: at least two.
        sizes_wh: their sizes, px.
        cameras: calibrations by the images' `camera_idx`, held as they are unless
            `options.intrinsics` is "on"; None to estimate them too.
        config: parameters.
        options: frame name, refinement of calibrations, progress.
        rig_from_camera: where the cameras sit, by the images' `camera_idx`; images of one stamp are of one frame.

    Raises:
        MappingError: the images do not hang together, or not as the rig says.
    """
    num_images = len(keyframes)
    with limited_threads(config):
        kept = moving(keyframes, sizes_wh)
        keyframes, sizes_wh = [keyframes[row] for row in kept], [sizes_wh[row] for row in kept]
        described = describe_for_pairs(keyframes, config)
        pairs = choose_pairs_by_similarity(described.descriptors, config.mapping.num_neighbors)
        if rig_from_camera is not None:
            pairs = sorted({*pairs, *pairs_of_frames([keyframe.image.stamp_ns for keyframe in keyframes])})
        motion = recover_motion(keyframes, sizes_wh, cameras, pairs, config, options)
        contradicted_share = motion.contradicted_share
        scale: dict[str, Any] = {"scale": "arbitrary"}
        if rig_from_camera is not None:
            held_to_rig = hold_rig(motion, keyframes, rig_from_camera, config)
            motion, scale = held_to_rig.motion, held_to_rig.facts
        keyframes = [keyframes[idx] for idx in motion.image_idxs]
        views = views_of(keyframes, motion.map_from_camera, motion.camera_idxs)
        held = replace(options, intrinsics="off", refine_poses="off")
        solved = solve_structure(views, motion.cameras, motion.matches, config, held)
        given = [MapCamera(before, after) for before, after in zip(motion.given, motion.cameras, strict=True)]
        info = {
            "method": "structure from motion",
            "num_pairs": len(pairs),
            "num_images": num_images,
            "num_standing": num_images - len(kept),
            "num_registered": len(keyframes),
            **scale,
        }
        built = assemble_map(keyframes, views, solved, given, config, options, info, described=described)
        consistency = replace(built.consistency, contradicted_share=contradicted_share)
        return _finished(replace(built, consistency=consistency), config, options)


def _finished(built: VisualMap, config: Config, options: BuildOptions) -> VisualMap:
    """Return the map without what has moved, if asked, ready to be searched and stored."""
    kept = drop_moved(built) if options.drop_moved else built
    return arranged(kept, config.retrieval.vocabulary_size, config.pose.seed)


def limited_threads(config: Config) -> threadpool_limits:
    """Keep native libraries to the configured threads, and matrix products to one each.

    Threads of one product wait for each other busily; where another process holds a core, each
    of the many small products here then costs a time slice (measured: 128 ms instead of 8).
    """
    return threadpool_limits({"blas": 1, "openmp": config.inference.num_threads})
