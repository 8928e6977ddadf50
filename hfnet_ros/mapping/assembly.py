"""Put a map together from its keyframes and their structure."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.stored_poses import pose_rows
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import MapCamera, MapConsistency, VisualMap
from hfnet_ros.mapping.describe import PairDescription, describe_globally
from hfnet_ros.mapping.landmarks import summarize_landmarks, track_length_counts
from hfnet_ros.mapping.lever_arms import estimate_lever_arms
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.structure import SolvedStructure
from hfnet_ros.mapping.triangulation import reprojection_errors
from hfnet_ros.mapping.views import Keyframe, Structure, View

if TYPE_CHECKING:
    from hfnet_ros.features.aggregation import VladAggregation

_logger = logging.getLogger(__name__)

_NAMES_SHOWN = 5


def assemble_map(
    keyframes: Sequence[Keyframe],
    given_views: Sequence[View],
    solved: SolvedStructure,
    cameras: Sequence[MapCamera],
    config: Config,
    options: BuildOptions,
    build_info: Mapping[str, Any],
    aggregation: VladAggregation | None = None,
    described: PairDescription | None = None,
) -> VisualMap:
    """Return the map of the keyframes that see a landmark; the others are named in a warning.

    Args:
        keyframes: described images.
        given_views: with the poses that were given.
        solved: structure, and the poses and calibrations that it was solved with.
        cameras: as given and as used.
        config: parameters.
        options: name of the frame.
        build_info: what is known so far.
        aggregation: of global descriptors; learned of these keyframes unless given.
        described: for pairs; what was learned then is not learned again if all its keyframes see a landmark.

    Raises:
        MappingError: fewer than two keyframes are left.
    """
    structure, seeing = _without_blind_views(solved.structure, len(solved.views))
    blind = sorted(set(range(len(solved.views))) - set(seeing))
    if not options.is_draft:
        _warn_of([keyframes[idx].image.name for idx in blind], len(solved.views))
    keyframes, views = [keyframes[idx] for idx in seeing], [solved.views[idx] for idx in seeing]
    given = None
    if solved.poses.kept:
        given_views = [given_views[idx] for idx in seeing]
        poses = pose_rows(view.map_from_camera for view in given_views)
        given = GivenFrame(poses, estimate_lever_arms(given_views, views, len(cameras)))
    landmarks = summarize_landmarks(
        structure, views, keyframes, keep_observations=config.mapping.keep_observations
    )
    observed = landmarks.observation_descriptors
    if aggregation is None and described is not None:
        aggregation = described.aggregation_of(keyframes)
    found = describe_globally(keyframes, config.retrieval, config.pose.seed, aggregation)
    info = dict(build_info)
    info |= _describe_structure(structure, views, solved)
    info["left_out"] = len(blind)
    return VisualMap(
        frame_id=options.frame_id,
        extractor_id=keyframes[0].features.extractor_id,
        cameras=tuple(cameras),
        keyframe_names=tuple(keyframe.image.name for keyframe in keyframes),
        keyframe_stamps_ns=np.array([keyframe.image.stamp_ns for keyframe in keyframes], np.int64),
        keyframe_camera_idx=np.array([view.camera_idx for view in views], np.int32),
        keyframe_poses=pose_rows(view.map_from_camera for view in views),
        observation_offsets=landmarks.observation_offsets,
        observation_landmark_idx=landmarks.observation_landmark_idx,
        observation_xy=PixelPositions.encode(landmarks.observation_xy),
        landmark_xyz=landmarks.landmark_xyz,
        landmark_descriptors=UnitVectors.encode(landmarks.landmark_descriptors),
        landmark_view_directions=landmarks.landmark_view_directions,
        landmark_distance_ranges=landmarks.landmark_distance_ranges,
        landmark_colors=landmarks.landmark_colors,
        global_descriptors=UnitVectors.encode(found[0]),
        consistency=MapConsistency(0.0, 0.0, 0.0, 0),
        aggregation=found[1],
        build_info=info,
        observation_descriptors=None if observed is None else UnitVectors.encode(observed),
        given=given,
    )


def _without_blind_views(structure: Structure, num_views: int) -> tuple[Structure, list[int]]:
    """Return the structure with views renumbered, and the positions of the views that are left."""
    seeing = np.unique(structure.view_idx)
    if len(seeing) < 2:
        raise MappingError(f"only {len(seeing)} of {num_views} keyframes see a landmark, expected at least 2")
    view_idx = np.searchsorted(seeing, structure.view_idx)
    renumbered = Structure(structure.xyz, structure.landmark_idx, view_idx, structure.keypoint_idx)
    return renumbered, seeing.tolist()


def _warn_of(blind: Sequence[str], num_keyframes: int) -> None:
    if blind:
        shown = ", ".join(blind[:_NAMES_SHOWN]) + (", ..." if len(blind) > _NAMES_SHOWN else "")
        _logger.warning(
            "%d of %d keyframes see no landmark and are left out: %s", len(blind), num_keyframes, shown
        )


def _describe_structure(
    structure: Structure, views: Sequence[View], solved: SolvedStructure
) -> dict[str, Any]:
    errors = reprojection_errors(structure, views, solved.cameras)
    return {
        "num_matches": solved.num_matches,
        "median_reprojection_error_px": round(float(np.median(errors)), 3),
        "mean_track_length": round(float(structure.track_lengths.mean()), 2),
        "track_lengths": track_length_counts(structure),
    }
