"""In which frame of a two-frame map an answer is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.covariance import rotate_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.landmarks import nums_common
from hfnet_ros.map.given_frame import mean_pose, scatter_of_few
from hfnet_ros.map.stored_poses import stored_poses
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import Localization, Place, RigCamera

# Keyframes nearer than this count alike.
_NEAR_M = 0.5


def in_given_frame(
    answer: Localization, visual_map: VisualMap, place: Place, cameras: Sequence[RigCamera]
) -> Localization:
    """Move a valid answer as the keyframes around it were moved when their poses were refined, back.

    Each keyframe of the place that sees inliers says where the camera is in the given frame. They count by the square
    of how many they see: near ones tell more. What they disagree about is added to the covariance, along all axes in a
    map that has no self-test.

    Args:
        answer: decided among the refined poses.
        visual_map: what it was decided in; one without given poses leaves the answer as it is.
        place: where it was found.
        cameras: of the views, with calibrations as they were asked with.

    Returns:
        The answer with pose, covariance and points moved: matches project as they did.
    """
    if visual_map.given is None:
        return answer
    assert answer.estimate is not None and answer.correspondences is not None
    estimate = answer.estimate
    refined = estimate.map_from_camera
    inliers = np.sort(answer.correspondences.landmark_idxs[estimate.inlier_mask])
    if len(inliers) and inliers[0] < 0:
        weights = _nearness(visual_map, place, refined)
    else:
        weights = nums_common(visual_map, place.keyframe_idxs, inliers).astype(np.float64) ** 2
    seeing = weights > 0.0
    part = visual_map.part_of(visual_map.part_idx(place.keyframe_idxs[0]))
    mounted = refined @ Rigid3(np.eye(3), _lever_arm(part, cameras))
    turns, shifts = visual_map.motions_to_given(
        [frame for frame, sees in zip(place.keyframe_idxs, seeing, strict=True) if sees]
    )
    answered, scatter = mean_pose(
        turns @ mounted.rotation,
        turns @ mounted.translation + shifts,
        weights[seeing],
    )
    if part.consistency.num_keyframes == 0:  # otherwise the self-test said what answers are off by
        scatter = scatter_of_few(scatter, weights[seeing])
    moved = answered @ refined.inverse()
    covariance = rotate_covariance(estimate.covariance, Rigid3(moved.rotation, np.zeros(3))) + scatter
    matches = answer.correspondences
    return dataclasses.replace(
        answer,
        estimate=dataclasses.replace(estimate, map_from_camera=answered, covariance=covariance),
        correspondences=dataclasses.replace(matches, points3d=moved @ matches.points3d),
    )


def placed(answer: Localization, visual_map: VisualMap, place: Place) -> Localization:
    """Add to a valid answer's covariance what is not known of where the place's map lies in a set of maps."""
    assert answer.estimate is not None
    added = visual_map.placement_covariance(place.keyframe_idxs[0], answer.estimate.map_from_camera)
    if added is None:
        return answer
    covariance = answer.estimate.covariance + added
    estimate = dataclasses.replace(answer.estimate, covariance=covariance, common=added)
    return dataclasses.replace(answer, estimate=estimate)


def _nearness(visual_map: VisualMap, place: Place, pose: Rigid3) -> NDArray[np.float64]:
    """Return how much each keyframe of a place counts for a pose whose matches are with no landmark."""
    _, positions = stored_poses(visual_map.keyframe_poses, place.keyframe_idxs, "keyframe_poses")
    return 1.0 / (_NEAR_M**2 + ((positions - pose.translation) ** 2).sum(axis=1))


def _lever_arm(visual_map: VisualMap, cameras: Sequence[RigCamera]) -> NDArray[np.float64]:
    """Return the mean lever arm [3], m, of the views in the axes of the rig; zero for a camera not of the map."""
    arms = []
    for view in cameras:
        row = visual_map.known_camera_idx(view.camera)
        given = visual_map.given
        arm = np.zeros(3) if row is None or given is None else given.lever_arms_m[row]
        arms.append(view.rig_from_camera.rotation @ arm)
    return np.asarray(np.mean(arms, axis=0))
