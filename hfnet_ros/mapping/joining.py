"""Put two maps of one extractor and one frame together into one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_ros.errors import ExtractorMismatchError, MappingError
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.keyframe_codes import KeyframeCodes, changed_codes
from hfnet_ros.map.pixel_positions import PixelPositions
from hfnet_ros.map.unit_vectors import UnitVectors, concatenate
from hfnet_ros.map.visual_map import CovarianceCalibration, MapCamera, MapConsistency, VisualMap
from hfnet_ros.mapping.disagreement import (
    calibration_with_disagreement,
    consistency_with_disagreement,
    consistency_without_disagreement,
    disagreement_of,
    info_with_disagreement,
)
from hfnet_ros.mapping.joint_retrieval import describe_jointly

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# Landmarks nearer than this part of their distance to the observers are one, if they look alike:
# ten pixels at a focal length of 525 px, as far as given poses of two drives disagree.
_SAME_PLACE_FRACTION = 0.02
_MIN_SIMILARITY = 0.8
_NUM_CANDIDATES = 8


@dataclass(frozen=True, eq=False)
class Reobservations:
    """Landmarks of the first map that keyframes of the second one see, [N] rows each.

    Attributes:
        keyframe_idx: row in the second map.
        landmark_idx: row in the first map.
        xy: [N, 2] float32 px.
    """

    keyframe_idx: IntArray
    landmark_idx: IntArray
    xy: NDArray[np.float32]

    @classmethod
    def none(cls) -> Reobservations:
        """Return no observation."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2), np.float32))


def find_same_landmarks(first: VisualMap, second: VisualMap) -> IntArray:
    """Return for each landmark of the second map its row in the first one, -1 where it is new.

    Landmarks are the same if they are in the same place and look alike, each other's best.
    """
    same = np.full(second.num_landmarks, -1, np.int64)
    if first.num_landmarks == 0 or second.num_landmarks == 0:
        return same
    radius = _SAME_PLACE_FRACTION * second.landmark_distance_ranges[:, 1].astype(np.float64)
    tree = cKDTree(first.landmark_xyz)
    count = min(_NUM_CANDIDATES, first.num_landmarks)
    distances, candidates = tree.query(second.landmark_xyz, k=count)
    distances, candidates = distances.reshape(-1, count), candidates.reshape(-1, count)
    similarity = np.einsum("lcd,ld->lc", first.landmark_descriptors[candidates], second.landmark_descriptors)
    similarity = np.where(distances <= radius[:, None], similarity, -1.0)
    best = similarity.argmax(axis=1)
    rows = np.arange(len(best))
    value, candidate = similarity[rows, best], candidates[rows, best]
    chosen = np.flatnonzero(value >= _MIN_SIMILARITY)
    chosen = chosen[np.argsort(-value[chosen], kind="stable")]
    _, first_claim = np.unique(candidate[chosen], return_index=True)
    same[chosen[first_claim]] = candidate[chosen[first_claim]]
    return same


def join_maps(
    first: VisualMap,
    second: VisualMap,
    same: IntArray,
    seen_again: Reobservations | None = None,
    common: Mapping[int, int] | None = None,
) -> VisualMap:
    """Return one map: the first one's keyframes and landmarks, then those of the second that are new.

    Args:
        first: gives frame, vocabulary and name of the whole.
        second: in the same frame.
        same: for each landmark of the second its row in the first, -1 where it is new.
        seen_again: further observations of the first map's landmarks in the second's keyframes.
        common: keyframes of the second that the first has, and its rows of these; what each of them saw is then seen
            there. None by default.

    Raises:
        ExtractorMismatchError: the maps were built with different extractors.
        MappingError: the maps name their frames differently.
    """
    check_joinable(first, second)
    fresh = same < 0
    row = np.where(fresh, first.num_landmarks + np.cumsum(fresh) - 1, same)
    keyframe_row, added = _place_keyframes(first, second, common or {})
    offsets, landmark_idx, xy = _join_observations(
        first, second, row, keyframe_row, seen_again or Reobservations.none()
    )
    cameras, camera_row = _join_cameras(first, second)
    descriptors, aggregation = describe_jointly(first, second)
    descriptors = descriptors.chosen(
        np.concatenate([np.arange(first.num_keyframes), first.num_keyframes + added])
    )
    new_names = [second.keyframe_names[row] for row in added.tolist()]
    given = _join_given(first, second, len(cameras), camera_row, added)
    disagreement = np.maximum(disagreement_of(first), disagreement_of(second))
    tested = _join_consistency(
        consistency_without_disagreement(first), consistency_without_disagreement(second)
    )
    return dataclasses.replace(
        first,
        cameras=cameras,
        keyframe_names=(*first.keyframe_names, *_new_names(first.keyframe_names, new_names)),
        keyframe_stamps_ns=np.concatenate([first.keyframe_stamps_ns, second.keyframe_stamps_ns[added]]),
        keyframe_camera_idx=np.concatenate(
            [first.keyframe_camera_idx, camera_row[second.keyframe_camera_idx[added]]]
        ).astype(np.int32),
        keyframe_poses=np.concatenate([first.keyframe_poses, second.keyframe_poses[added]]),
        observation_offsets=offsets,
        observation_landmark_idx=landmark_idx,
        observation_xy=PixelPositions.encode(xy),
        global_descriptors=descriptors,
        observation_descriptors=None,
        search=None,
        codes=_join_codes(first, descriptors),
        aggregation=aggregation,
        consistency=consistency_with_disagreement(tested, disagreement, has_given=given is not None),
        calibration=_join_calibration(
            calibration_with_disagreement(first, disagreement),
            calibration_with_disagreement(second, disagreement),
        ),
        build_info=info_with_disagreement(first, disagreement),
        given=given,
        scene=None,  # it knows the first map's keyframes only
        **_join_landmarks(first, second, same),
    )


def _join_codes(first: VisualMap, descriptors: UnitVectors) -> KeyframeCodes | None:
    """Return the first map's codes and those of what came; None where its descriptors are others now, or small."""
    count = first.num_keyframes
    if first.codes is None or not np.array_equal(descriptors.codes[:count], first.global_descriptors.codes):
        return None
    source = np.full(len(descriptors), -1, np.int64)
    source[:count] = np.arange(count)
    return changed_codes(first.codes, descriptors, source)


def check_joinable(first: VisualMap, second: VisualMap) -> None:
    """Refuse maps that cannot be put together.

    Raises:
        ExtractorMismatchError: they were built with different extractors.
        MappingError: they name their frames differently.
    """
    if first.extractor_id != second.extractor_id:
        raise ExtractorMismatchError(
            f"the maps were built with '{first.extractor_id}' and '{second.extractor_id}': descriptors of two "
            "extractors cannot be compared; build one of them anew"
        )
    if first.frame_id != second.frame_id:
        raise MappingError(
            f"the maps are in frames '{first.frame_id}' and '{second.frame_id}', expected one; align them with "
            "--align, or build one of them anew with --frame-id"
        )


def _join_landmarks(first: VisualMap, second: VisualMap, same: IntArray) -> dict[str, Any]:
    """Return the landmark arrays; what both maps know counts by the number of observations."""
    fresh, fused = np.flatnonzero(same < 0), np.flatnonzero(same >= 0)
    target = same[fused]
    weight_a, weight_b = (visual_map.track_lengths.astype(np.float64) for visual_map in (first, second))
    share = weight_b[fused] / np.maximum(weight_a[target] + weight_b[fused], 1.0)

    def blended(name: str) -> FloatArray:
        values = np.array(getattr(first, name), np.float64)
        others = np.asarray(getattr(second, name)[fused], np.float64)
        values[target] = (1.0 - share[:, None]) * values[target] + share[:, None] * others
        return values

    ranges = first.landmark_distance_ranges.copy()
    others = second.landmark_distance_ranges[fused]
    ranges[target, 0] = np.minimum(ranges[target, 0], others[:, 0])
    ranges[target, 1] = np.maximum(ranges[target, 1], others[:, 1])
    joined = {
        "landmark_xyz": blended("landmark_xyz"),
        "landmark_view_directions": unit_rows(blended("landmark_view_directions").astype(np.float32)),
        "landmark_distance_ranges": ranges,
        "landmark_colors": np.rint(blended("landmark_colors")).astype(np.uint8),
    }
    arrays = {name: np.concatenate([array, getattr(second, name)[fresh]]) for name, array in joined.items()}
    blend = UnitVectors.encode(blended("landmark_descriptors"))
    return arrays | {"landmark_descriptors": concatenate(blend, second.landmark_descriptors.chosen(fresh))}


def _place_keyframes(
    first: VisualMap, second: VisualMap, common: Mapping[int, int]
) -> tuple[IntArray, IntArray]:
    """Return the row in the joint map of each keyframe of the second, and which of these are new."""
    placed = np.full(second.num_keyframes, -1, np.int64)
    placed[list(common)] = list(common.values())
    added = np.flatnonzero(placed < 0)
    placed[added] = first.num_keyframes + np.arange(len(added))
    return placed, added


def _join_observations(
    first: VisualMap,
    second: VisualMap,
    row: IntArray,
    keyframe_row: IntArray,
    seen_again: Reobservations,
) -> tuple[IntArray, NDArray[np.int32], NDArray[np.float32]]:
    """Return offsets, landmark rows and pixels by keyframe, then landmark, each pair once."""
    count = first.num_keyframes
    keyframe = np.concatenate(
        [
            first.observation_keyframe_idx,
            keyframe_row[second.observation_keyframe_idx],
            keyframe_row[seen_again.keyframe_idx],
        ]
    )
    landmark = np.concatenate(
        [first.observation_landmark_idx, row[second.observation_landmark_idx], seen_again.landmark_idx]
    ).astype(np.int64)
    xy = np.concatenate([first.observation_xy, second.observation_xy, seen_again.xy])
    # Of two observations of one landmark in one keyframe the first, triangulated one stays.
    order = np.lexsort((np.arange(len(keyframe)), landmark, keyframe))
    keyframe, landmark, xy = keyframe[order], landmark[order], xy[order]
    once = np.ones(len(order), np.bool_)
    once[1:] = (keyframe[1:] != keyframe[:-1]) | (landmark[1:] != landmark[:-1])
    counts = np.bincount(keyframe[once], minlength=max(count, keyframe_row.max(initial=-1) + 1))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, landmark[once].astype(np.int32), xy[once].astype(np.float32)


def _join_cameras(first: VisualMap, second: VisualMap) -> tuple[tuple[MapCamera, ...], IntArray]:
    """Return all cameras, equal ones once, and the new row of each of the second map's cameras."""
    cameras, rows = list(first.cameras), []
    for camera in second.cameras:
        known = [row for row, other in enumerate(cameras) if _is_same_pair(camera, other)]
        rows.append(known[0] if known else len(cameras))
        if not known:
            cameras.append(camera)
    return tuple(cameras), np.array(rows, np.int64)


def _is_same_pair(one: MapCamera, other: MapCamera) -> bool:
    return _is_same(one.given, other.given) and _is_same(one.refined, other.refined)


def _is_same(one: Camera | None, other: Camera | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.is_same_as(other)


def _new_names(taken: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return names that are not taken: one that is gets a number, as in `0007.png~2`."""
    used, renamed = set(taken), []
    for name in names:
        unique, number = name, 1
        while unique in used:
            number += 1
            unique = f"{name}~{number}"
        used.add(unique)
        renamed.append(unique)
    return renamed


def _join_consistency(first: MapConsistency, second: MapConsistency) -> MapConsistency:
    """Return the mean of two self-tests, each counting by its keyframes."""
    counts = np.array([first.num_keyframes, second.num_keyframes], np.float64)
    num_asked = first.num_asked + second.num_asked
    num_elsewhere = first.num_elsewhere + second.num_elsewhere
    look_alikes = first.look_alikes + second.look_alikes
    contradicted_share = max(first.contradicted_share, second.contradicted_share)
    mirrored_share = max(first.mirrored_share, second.mirrored_share)
    if not counts.all() or bool(first.pose_covariance) != bool(second.pose_covariance):
        kept = first if counts[0] >= counts[1] else second
        return dataclasses.replace(
            kept,
            num_asked=num_asked,
            num_elsewhere=num_elsewhere,
            look_alikes=look_alikes,
            contradicted_share=contradicted_share,
            mirrored_share=mirrored_share,
        )
    share = counts / counts.sum()
    squares = (
        np.array([[each.residual_px, each.translation_m, each.rotation_rad] for each in (first, second)]) ** 2
    )
    residual, translation, rotation = np.sqrt(share @ squares).tolist()
    return MapConsistency(
        residual,
        translation,
        rotation,
        int(counts.sum()),
        _join_moments(share, first.pose_covariance, second.pose_covariance),
        _join_moments(share, first.refined_pose_covariance, second.refined_pose_covariance),
        num_asked,
        num_elsewhere,
        look_alikes,
        contradicted_share,
        mirrored_share,
        first.weighs_depths and second.weighs_depths,
    )


def _join_moments(
    share: FloatArray, first: tuple[float, ...], second: tuple[float, ...]
) -> tuple[float, ...]:
    """Return the mean of two second moments; the one there is where the other map has none."""
    if not first or not second:
        return first or second
    return tuple((share @ np.array([first, second])).tolist())


def _join_given(
    first: VisualMap, second: VisualMap, num_cameras: int, camera_row: IntArray, added: IntArray
) -> GivenFrame | None:
    """Return the given poses of both; a map without has answered in the frame of its own all along."""
    if first.given is None and second.given is None:
        return None
    arms = np.zeros((num_cameras, 3))
    if second.given is not None:
        arms[camera_row] = second.given.lever_arms_m
    if first.given is not None:
        arms[: len(first.cameras)] = first.given.lever_arms_m
    return GivenFrame(np.concatenate([first.given_poses, second.given_poses[added]]), arms)


def _join_calibration(
    first: CovarianceCalibration | None, second: CovarianceCalibration | None
) -> CovarianceCalibration | None:
    """Return the one that is fitted to more queries: without any, covariances would be too small."""
    known = [calibration for calibration in (first, second) if calibration is not None]
    if not known:
        return None
    best = max(known, key=lambda calibration: calibration.num_queries)
    return dataclasses.replace(best, source={**best.source, "joined_since": True})
